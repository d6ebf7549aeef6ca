"""What quantisation costs: the network in floating point beside the integer program, on the same rows. Knows no files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from omnitensor.protocol.models import OPERAND_MAX
from omnitensor.sdk.models.network import Kind

if TYPE_CHECKING:
    from omnitensor.sdk.models.card import Prediction


_WORST: Final = -1e6
"""A score below says no more, and might be infinite."""


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Scores are shares of right rows (``accuracy``) or, for values, of the variance explained (``r2``); none without truth."""

    rows: int
    measure: Literal["accuracy", "r2"]
    float_score: float | None
    """Of the network in floating point."""
    integer_score: float | None
    """Of the integer program."""
    loss_points: float | None
    """What the second lacks, in hundredths; negative where it is better."""
    agreement: float
    """The integer program's score against the other one's predictions."""
    saturation: tuple[float, ...]
    """Of the rows and of each layer's outputs, the share of numbers that stand at the end of their range."""


def measure(
    kind: Kind,
    floats: Sequence[Prediction],
    integers: Sequence[Prediction],
    truth: Sequence[Prediction] | None,
    saturation: Sequence[float],
) -> Report:
    """Of predictions, row by row."""
    float_score = None if truth is None else score(kind, floats, truth)
    integer_score = None if truth is None else score(kind, integers, truth)
    loss = None
    if float_score is not None and integer_score is not None:
        loss = (float_score - integer_score) * 100
    return Report(
        rows=len(floats),
        measure="r2" if kind == "values" else "accuracy",
        float_score=float_score,
        integer_score=integer_score,
        loss_points=loss,
        agreement=score(kind, integers, floats),
        saturation=tuple(saturation),
    )


def score(kind: Kind, found: Sequence[Prediction], truth: Sequence[Prediction]) -> float:
    """Share of rows that are the same; for values, of the truth's variance that is explained, the mean over columns."""
    if kind != "values":
        return sum(one == two for one, two in zip(found, truth, strict=True)) / max(1, len(found))
    columns = zip(zip(*found, strict=True), zip(*truth, strict=True), strict=True)
    scores = [_explained([float(x) for x in one], [float(x) for x in two]) for one, two in columns]
    return sum(scores) / len(scores)


def _explained(found: list[float], truth: list[float]) -> float:
    mean = sum(value / len(truth) for value in truth)
    far = max(abs(value - mean) for value in truth)
    if not far:
        return 1.0 if found == truth else 0.0
    # As shares of the farthest, whose squares stay numbers.
    spread = sum(_squared((value - mean) / far) for value in truth)
    left = sum(_squared((one - two) / far) for one, two in zip(found, truth, strict=True))
    return max(_WORST, 1 - left / spread)


def _squared(value: float) -> float:
    return value * value


def at_the_end(rows: Sequence[Sequence[int]], columns: int) -> float:
    """Share of the operands in the first columns that are -63 or 63."""
    many = sum(abs(value) == OPERAND_MAX for row in rows for value in row[:columns])
    return many / max(1, len(rows) * columns)
