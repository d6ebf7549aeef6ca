"""What the state holds of attendance and downtime. Data only; rows are named in ``schema``."""

from typing import Annotated

from msgspec import Meta

from omnitensor.protocol.codec import Record
from omnitensor.protocol.limits import validators_max
from omnitensor.protocol.types import U32, U64, EpochF, HeightF


class EpochAttendance(Record, frozen=True):
    """How many blocks of an epoch were counted, and for how many of them each voter was named, in the order of its table."""

    blocks: U32
    votes: Annotated[tuple[U32, ...], Meta(min_length=1, max_length=validators_max)]


class Downtime(Record, frozen=True):
    """A validator that is absent, or in jail."""

    epochs: U32
    """How many it was absent in, one after the other,"""
    last_epoch: EpochF
    """and the last of them; of one in jail the epoch that jailed it."""
    until: HeightF
    """Lowest height at which it may leave jail; 0 where it is in none."""
    weight: U64
    """Its weight in the epoch whose end jailed it for downtime; else 0."""
