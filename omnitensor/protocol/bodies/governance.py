"""Orders of governance: proposals with what they would do, deposits, votes. Data only."""

from enum import IntEnum
from typing import Annotated, ClassVar

from msgspec import Meta

from omnitensor.protocol import limits
from omnitensor.protocol.bodies.base import BodyBase
from omnitensor.protocol.codec import Record
from omnitensor.protocol.parameter import Value
from omnitensor.protocol.types import (
    U16,
    U32,
    AddressF,
    AmountF,
    HeightF,
    ParameterNumberF,
    ProposalIdF,
)

_Name = Annotated[str, Meta(min_length=1, max_length=limits.name_chars_max)]


class VoteOption(IntEnum):
    """What a vote says. Veto counts as no, and more: enough of it burns the deposits."""

    YES = 0
    NO = 1
    ABSTAIN = 2
    VETO = 3


class ParameterChange(Record, frozen=True):
    """A parameter's new value; of a ratio ``value`` over ``of``, else ``of`` is 0."""

    name: _Name
    value: ParameterNumberF
    of: U32 = 0

    @property
    def given(self) -> Value:
        """The value as a parameter has it."""
        return (self.value, self.of) if self.of else self.value


class ParameterChanges(Record, frozen=True, tag=1):
    """All of them together, or none."""

    KIND: ClassVar[str] = "parameters"
    changes: Annotated[tuple[ParameterChange, ...], Meta(min_length=1, max_length=limits.proposal_parts_max)]


class Payment(Record, frozen=True):
    """Money for an account."""

    to: AddressF
    amount: AmountF


class TreasurySpend(Record, frozen=True, tag=2):
    """Pays accounts out of the reserve: all of them, or none."""

    KIND: ClassVar[str] = "spend"
    payments: Annotated[tuple[Payment, ...], Meta(min_length=1, max_length=limits.proposal_parts_max)]


class AdmissionChange(Record, frozen=True, tag=3):
    """Accounts that may register as validators where governance admits them, and accounts that may no longer."""

    KIND: ClassVar[str] = "admission"
    admit: Annotated[tuple[AddressF, ...], Meta(max_length=limits.proposal_parts_max)]
    dismiss: Annotated[tuple[AddressF, ...], Meta(max_length=limits.proposal_parts_max)]


class SoftwareUpgrade(Record, frozen=True, tag=4):
    """From a height on blocks are made by software that knows the upgrade of this name alone."""

    KIND: ClassVar[str] = "upgrade"
    name: _Name
    version: _Name
    """What to install, for people."""
    height: HeightF


class UpgradeCancel(Record, frozen=True, tag=5):
    """Takes back an upgrade whose height has not come."""

    KIND: ClassVar[str] = "upgrade_cancel"
    name: _Name


class TextOnly(Record, frozen=True, tag=6):
    """Does nothing: the vote itself is the point."""

    KIND: ClassVar[str] = "text"


Content = ParameterChanges | TreasurySpend | AdmissionChange | SoftwareUpgrade | UpgradeCancel | TextOnly
"""What a proposal does when it is executed."""


class ProposalSubmit(BodyBase, frozen=True, tag=70):
    KIND: ClassVar[str] = "proposal_submit"
    title: Annotated[str, Meta(min_length=1, max_length=limits.title_chars_max)]
    summary: Annotated[str, Meta(max_length=limits.instructions_chars_max)]
    content: Content
    deposit: AmountF
    """The proposer's own part, at once."""

    def weight(self) -> int:
        return 3_000


class ProposalDeposit(BodyBase, frozen=True, tag=71):
    """Adds to a proposal's deposit, at most what is missing."""

    KIND: ClassVar[str] = "proposal_deposit"
    proposal: ProposalIdF
    amount: AmountF

    def weight(self) -> int:
        return 500


class ProposalVote(BodyBase, frozen=True, tag=72):
    """Votes with all the stake that the sender has or delegated. Until the vote ends a later one replaces it."""

    KIND: ClassVar[str] = "proposal_vote"
    proposal: ProposalIdF
    option: U16
    """A ``VoteOption``."""

    def weight(self) -> int:
        return 2_000  # up to as many rows as an account may have delegations


class ProposalCancel(BodyBase, frozen=True, tag=73):
    """Takes a proposal back, by its proposer, before the vote begins; deposits return."""

    KIND: ClassVar[str] = "proposal_cancel"
    proposal: ProposalIdF

    def weight(self) -> int:
        return 1_000
