"""What the state holds of governance: proposals, deposits, votes, upgrades. Data only; rows are named in ``schema``."""

from enum import IntEnum
from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from omnitensor.protocol import limits
from omnitensor.protocol.bodies.governance import Content
from omnitensor.protocol.codec import Record
from omnitensor.protocol.types import U16, U64, AddressF, Amount, AmountF, HeightF, ProposalIdF


class ProposalStatus(IntEnum):
    """Where a proposal is. Those up to PASSED are under way; the rest are ends."""

    DEPOSIT = 0
    """Its deposit is not complete."""
    VOTING = 1
    PASSED = 2
    """Waits for its execution."""
    EXECUTED = 3
    FAILED = 4
    """It passed, and could not be carried out any more when its time came."""
    REJECTED = 5
    VETOED = 6
    NO_QUORUM = 7
    EXPIRED = 8
    """Its deposit was not complete in time."""
    CANCELLED = 9

    @property
    def label(self) -> str:
        return self.name.lower()


BURNING = (ProposalStatus.VETOED, ProposalStatus.NO_QUORUM)
"""Ends with which deposits burn."""
NEVER_VOTED_ON = (ProposalStatus.EXPIRED, ProposalStatus.CANCELLED)
"""Ends of what cost nothing but a fee: the state does not keep its text."""


class Tally(Record, frozen=True):
    """Stake by what it voted for, and the stake of all voters, nanoOMNIT."""

    yes: AmountF = Amount(0)
    no: AmountF = Amount(0)
    abstain: AmountF = Amount(0)
    veto: AmountF = Amount(0)
    power: AmountF = Amount(0)

    @property
    def voted(self) -> int:
        return self.yes + self.no + self.abstain + self.veto


class Proposal(Record, frozen=True):
    """A proposal and how far it is. A height that has not come about yet is 0."""

    proposer: AddressF
    title: Annotated[str, Meta(max_length=limits.title_chars_max)]
    summary: Annotated[str, Meta(max_length=limits.instructions_chars_max)]
    content: Content
    status: U16
    """A ``ProposalStatus``."""
    submitted_at: HeightF
    deposit: AmountF
    deposit_wanted: AmountF
    """What begins the vote: the parameter when it was submitted."""
    deposit_until: HeightF
    voting_until: HeightF
    """The last height at which votes count."""
    executes_at: HeightF
    ended_at: HeightF
    tally: Tally
    """What was counted; nothing before that."""
    reason: Annotated[str, Meta(max_length=limits.reason_chars_max)]
    """Why it failed."""

    def moved(self, status: ProposalStatus, **changes: object) -> "Proposal":
        return replace(self, status=int(status), **changes)


class Deposit(Record, frozen=True):
    """What an account put down for a proposal and has not got back."""

    amount: AmountF


class Vote(Record, frozen=True):
    """An account's vote on a proposal."""

    option: U16
    """A ``VoteOption``."""
    height: HeightF


class Overrides(Record, frozen=True):
    """Shares in a validator whose owners voted themselves, by ``VoteOption``."""

    shares: tuple[U64, U64, U64, U64] = (0, 0, 0, 0)


class PlannedUpgrade(Record, frozen=True):
    """From the height in the key on, only software that knows the name makes blocks."""

    name: Annotated[str, Meta(max_length=limits.name_chars_max)]
    version: Annotated[str, Meta(max_length=limits.name_chars_max)]
    proposal: ProposalIdF


class ParameterOrigin(Record, frozen=True):
    """Which proposal gave a parameter its latest value, and from which height on that is in force."""

    proposal: ProposalIdF
    executed_at: HeightF
    in_force_from: HeightF
