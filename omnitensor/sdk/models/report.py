"""What quantisation costs: the network in floating point beside the integer program, on the same rows. Knows no files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from omnitensor.protocol.models import OPERAND_MAX
from omnitensor.sdk.models.network import Kind

if TYPE_CHECKING:
    from omnitensor.sdk.models.card import Prediction


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
    mean = sum(truth) / len(truth)
    spread = sum((value - mean) ** 2 for value in truth)
    left = sum((one - two) ** 2 for one, two in zip(found, truth, strict=True))
    if not spread:
        return 1.0 if not left else 0.0
    return 1 - left / spread


def at_the_end(rows: Sequence[Sequence[int]], columns: int) -> float:
    """Share of the operands in the first columns that are -63 or 63."""
    many = sum(abs(value) == OPERAND_MAX for row in rows for value in row[:columns])
    return many / max(1, len(rows) * columns)
