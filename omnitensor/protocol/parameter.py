"""What is said of a parameter besides its type and default: unit, bounds, when a change takes effect. Knows no parameter."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from omnitensor.protocol.types import U32

BLOCKS_MAX: Final = 100_000_000
"""Of any span of blocks: three years at a block a second."""

Ratio = tuple[U32, U32]
"""Two numbers, the first below the second: ``7/8``."""

Value = int | tuple[int, int]
"""What a parameter may be: a number, or a ratio."""


class Area(Enum):
    """What a parameter is about. The value is what people read."""

    PACE = "pace"
    FEES = "fees"
    EPOCHS = "epochs"
    STAKING = "staking"
    REVIEW = "review"
    SCORES = "scores"
    GOVERNANCE = "governance"
    SEASONS = "seasons"
    WORK = "work"


class Takes(Enum):
    """When a change takes effect. The value is what people read."""

    BLOCK = "next block"
    """With the block above the one in which the change is executed."""
    EPOCH = "next epoch"
    """With the first block of the epoch above the one in which the change is executed: the whole epoch has one value."""
    GENESIS = "fixed"
    """Never: it is set in genesis for good."""


BLOCK, EPOCH, GENESIS = Takes.BLOCK, Takes.EPOCH, Takes.GENESIS


@dataclass(frozen=True, slots=True)
class Spec:
    """One parameter. Bounds are part of the software: no vote can move a parameter out of them, nor a genesis set it there.

    The bounds of a ratio (``7/8``) are those of its two numbers.
    """

    area: Area
    unit: str
    low: int
    high: int
    takes: Takes
    about: str
    fixed_because: str = ""
    """Why no vote can change it; for a fixed one alone."""
    step: int = 0
    """A vote may at most multiply or divide it by this at once; 0: no such bound."""

    def __post_init__(self) -> None:
        assert self.low <= self.high, self
        assert bool(self.fixed_because) == (self.takes is GENESIS), self
