"""What the state holds of delegated stake and of rewards. Data only; rows are named in ``schema``.

Amounts in nanoOMNIT. A share is a share in what is delegated to one validator.
"""

from typing import Final

from omnitensor.protocol.codec import Record
from omnitensor.protocol.rows import FIXED_BYTES as FIXED_BYTES
from omnitensor.protocol.rows import Delegation as Delegation
from omnitensor.protocol.rows import FixedF
from omnitensor.protocol.types import U32, U64, AddressF, AmountF, Bps, EpochF, HeightF

ZERO_FIXED: Final = bytes(FIXED_BYTES)


class Undelegation(Record, frozen=True):
    """Delegated stake on its way back to its delegator. It can be slashed until it is paid."""

    amount: AmountF
    """At the scale below; a slash since then makes it worth less."""
    since: HeightF
    due: HeightF
    generation: U32
    scale: FixedF
    """The validator's when it left, or when it was last looked at."""
    source: bytes
    """The validator that it came from by a redelegation under way: it can be slashed for both. Empty where there is none."""
    source_generation: U32
    source_scale: FixedF


class Redelegation(Record, frozen=True):
    """Shares that came from another validator and can be slashed for it until ``due``."""

    source: AddressF
    shares: U64
    """Of the delegation; they can't be redelegated meanwhile."""
    since: HeightF
    due: HeightF
    generation: U32
    scale: FixedF
    """The source's when they came, or when they were last looked at."""


class RewardIndex(Record, frozen=True):
    """Where the reward index of a validator stood at the end of an epoch in which somebody joined."""

    index: FixedF
    shares: U64
    """Joining in that epoch, when it ended; meanwhile, so far."""
    users: U32
    """Delegations that have not read it yet; nobody's row is kept."""


class StakePool(Record, frozen=True):
    """A validator's rewards, what of its stake earns in the epoch under way, and how far it was slashed."""

    owed: AmountF
    """Its own rewards and commission, not claimed yet."""
    index: FixedF
    """Sum of the rewards of one share since the beginning, times 2**96."""
    epoch: EpochF
    """The last epoch in whose set it was; the next three were read when that epoch began."""
    own: AmountF
    delegated: AmountF
    commission_bps: Bps
    generation: U32
    """Times that everything was slashed away, or all but nothing."""
    scale: FixedF
    """What is left of a unit of stake that was never slashed in this generation, times 10**36."""


class EpochReviews(Record, frozen=True):
    """How a validator reviewed in the latest epoch in which a report of it was due."""

    epoch: EpochF
    due: U64
    """Items of reports that were scored, or did not come."""
    points: U64
    """Basis points, summed over the items."""
