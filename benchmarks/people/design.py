"""The figures that the design measured with a population of its own, to compare with. Data only.

Its people were other people: what must agree is the order of the strategies and the size of the gaps, not the last digit.
"""

from __future__ import annotations

from typing import Final

SHARES: Final = (0.5, 0.7, 0.9, 0.95)
"""Shares of good items."""

PAY: Final[dict[str, tuple[float, float, float, float]]] = {
    "honest": (0.919, 0.898, 0.818, 0.739),
    "lenient": (0.887, 0.862, 0.732, 0.691),
    "harsh": (0.824, 0.834, 0.750, 0.665),
    "extreme": (0.818, 0.786, 0.770, 0.682),
    "one_criterion": (0.596, 0.632, 0.597, 0.390),
    "half_effort": (0.319, 0.184, 0.249, 0.076),
    "gold_aware": (-0.396, -0.417, -0.402, -0.397),
    "copies": (-0.460, -0.480, -0.372, -0.444),
    "always_accept": (-0.586, -0.521, -0.540, -0.526),
    "always_reject": (-0.675, -0.491, -0.588, -0.581),
    "random": (-0.539, -0.526, -0.428, -0.580),
}
"""Share of the fee that a lone deviant earns, by share of good items."""

HONEST_SPREAD: Final = 0.016
DEVIANT_SPREAD: Final = 0.2
"""Standard deviations over seeds; a lone deviant's was .02 to .2."""

COALITIONS: Final[dict[tuple[str, float], tuple[float, float, float]]] = {
    ("always_accept", 0.3): (0.903, -0.536, 0.964),
    ("shared_pattern", 0.3): (0.893, -0.562, 0.956),
    ("always_accept", 0.5): (0.794, -0.428, 0.912),
    ("always_accept", 0.6): (0.381, -0.366, 0.758),
}
"""Honest pay, colluders' pay, accuracy, at 70 % good items, by kind and share of the stake."""
COALITION_SPREAD: Final[dict[float, float]] = {0.3: HONEST_SPREAD, 0.5: HONEST_SPREAD, 0.6: 0.57}
"""Standard deviations of honest pay over seeds, by share of the stake; of a half none was given but that of honest work."""

SPAM: Final[dict[float, float]] = {0.1: 0.004, 0.2: 0.012, 0.3: 0.023, 0.4: 0.123}
"""Share of a coalition's own spam that is accepted, by its share of the stake."""

FALSE_ACCEPTS: Final = (0.002, 0.003)
FALSE_REJECTS: Final = (0.047, 0.054)
SEATS_PER_ITEM: Final = (7.5, 8.9)
APPEALS: Final[dict[str, float | None]] = {"wrong": None, "clear": 0.908, "right": 0.001}
"""Shares of rejections that appeals turned: what was measured is a *clean* wrong rejection, and a right one."""
"""Share of wrong and of right rejections that an appeal turned."""
