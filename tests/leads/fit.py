"""Whether leads fit the shares that drew them: Pearson's chi-squared where the shares differ from epoch to epoch.

Leads of one epoch are multinomial; their sum over epochs of other shares is not, and Pearson's sum would understate what is odd.
So the difference of what came and what was due is measured by its own covariance, the sum of the epochs' covariances: for one
epoch that is Pearson's statistic exactly, and for many it has the same distribution in the limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.stats import chi2

SIGNIFICANCE: Final = 0.001
"""By chance one honest run in a thousand is below it."""
DUE_MIN: Final = 5.0
"""The approximation wants so many leads due of each; who has fewer in all is put together with others like it."""


@dataclass(frozen=True)
class Fit:
    """What was due of each, and how odd what came is. ``chance`` that honest draws are at least as odd."""

    due: dict[str, float]
    statistic: float
    freedom: int
    chance: float

    @property
    def holds(self) -> bool:
        return self.chance >= SIGNIFICANCE


def fit_of(epochs: Sequence[tuple[Mapping[str, int], Counter[str]]]) -> Fit:
    """``epochs``: weights, and how many views each led by them."""
    names = sorted({name for weights, led in epochs for name in (*weights, *led)})
    size = len(names)
    came, due, spread = np.zeros(size), np.zeros(size), np.zeros((size, size))
    for weights, led in epochs:
        views, total = sum(led.values()), sum(weights.values())
        if not views:
            continue
        assert total, "somebody led, and nobody has weight"
        share = np.array([weights.get(name, 0) / total for name in names])
        came += [led[name] for name in names]
        due += views * share
        spread += views * (np.diag(share) - np.outer(share, share))
    together = _groups(due)
    odd = together @ (came - due)
    covariance = together @ spread @ together.T
    freedom = int(np.linalg.matrix_rank(covariance, tol=1e-6, hermitian=True))
    statistic = float(odd @ np.linalg.pinv(covariance, rcond=1e-9, hermitian=True) @ odd)
    impossible = any(led[name] and not weights.get(name) for weights, led in epochs for name in led)
    chance = 0.0 if impossible else (float(chi2.sf(statistic, freedom)) if freedom else 1.0)
    return Fit(dict(zip(names, due.tolist(), strict=True)), statistic, freedom, chance)


def _groups(
    due: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """A row for each of whom enough is due, and one for all others together."""
    alone = [place for place, amount in enumerate(due) if amount >= DUE_MIN]
    rest = [place for place, amount in enumerate(due) if amount < DUE_MIN]
    found = np.zeros((len(alone) + bool(rest), len(due)))
    for row, place in enumerate(alone):
        found[row, place] = 1.0
    found[len(alone) :, rest] = 1.0
    return found
