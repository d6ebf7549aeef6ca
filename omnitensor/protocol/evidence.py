"""Evidence: two messages that no honest validator can have signed both. The types can't be built without the conflict.

Compares records; checks no signature (``conviction`` does) and slashes nobody (the ledger does).

What convicts: two NOTARIZE of different candidates in one view, two FINALIZE of different candidates in one view, SKIP with
FINALIZE in one view. Two proposals of one leader are two of its NOTARIZE votes, since a proposal carries one.
NOTARIZE with SKIP is allowed (R3), and so is NOTARIZE of one candidate with FINALIZE of another: an equivocating leader can
bring an honest validator to it.

The two messages stand in one order, by kind and then by candidate, so that one conflict has one encoding and one id.
"""

from enum import IntEnum
from typing import Final, Union

from omnitensor.protocol import hashing, limits
from omnitensor.protocol.ballots import Certificate, Vote, VoteKind
from omnitensor.protocol.codec import Record, decode, encode
from omnitensor.protocol.types import Epoch, Hash, View


class NoConflict(ValueError):
    """What was given as evidence is none. A decoder turns it into a CodecError: a peer's or a user's fault."""


class Fault(IntEnum):
    """What a validator did that no honest one does."""

    NOTARIZE_TWICE = 1
    FINALIZE_TWICE = 2
    SKIP_AND_FINALIZE = 3

    @property
    def label(self) -> str:
        return self.name.lower()


def fault_of(first_kind: VoteKind, first_id: Hash, second_kind: VoteKind, second_id: Hash) -> Fault | None:
    """What two votes of one validator in one view of one epoch convict it of; None where they are allowed together."""
    if first_kind == second_kind:
        if first_kind == VoteKind.SKIP or first_id == second_id:
            return None
        return Fault.NOTARIZE_TWICE if first_kind == VoteKind.NOTARIZE else Fault.FINALIZE_TWICE
    if {first_kind, second_kind} == {VoteKind.SKIP, VoteKind.FINALIZE}:
        return Fault.SKIP_AND_FINALIZE
    return None


def conflicts(first_kind: VoteKind, first_id: Hash, second_kind: VoteKind, second_id: Hash) -> bool:
    """Whether two votes of one validator in one view of one epoch convict it."""
    return fault_of(first_kind, first_id, second_kind, second_id) is not None


def _in_order(first: Vote | Certificate, second: Vote | Certificate) -> bool:
    return (first.kind, first.candidate_id) < (second.kind, second.candidate_id)


def _check(first: Vote | Certificate, second: Vote | Certificate) -> None:
    """Raises NoConflict unless two messages of one view contradict each other, and stand in their order."""
    if first.epoch != second.epoch or first.view != second.view:
        raise NoConflict("two messages convict only when they are of one view of one epoch")
    if not conflicts(first.kind, Hash(first.candidate_id), second.kind, Hash(second.candidate_id)):
        raise NoConflict("these two messages are allowed together")
    if not _in_order(first, second):
        raise NoConflict("evidence has the message of the lower kind or candidate first")


class EvidenceBase(Record, frozen=True):
    """Common to both kinds of evidence: what is convicted of what, and where."""

    @property
    def messages(self) -> tuple[Vote, Vote] | tuple[Certificate, Certificate]:
        """The two messages, in their order."""
        raise AssertionError("each kind of evidence has its own")

    @property
    def epoch(self) -> Epoch:
        return Epoch(self.messages[0].epoch)

    @property
    def view(self) -> View:
        return View(self.messages[0].view)

    @property
    def fault(self) -> Fault:
        first, second = self.messages
        found = fault_of(first.kind, Hash(first.candidate_id), second.kind, Hash(second.candidate_id))
        assert found is not None, "evidence is not built without a conflict"
        return found

    @property
    def id(self) -> Hash:
        return hashing.EVIDENCE(encode(self))


class ConflictingVotes(EvidenceBase, frozen=True, tag=1):
    """Two votes of one validator that convict it. Raises NoConflict for anything else; ``of`` puts them in order."""

    first: Vote
    second: Vote

    def __post_init__(self) -> None:
        if self.first.signer != self.second.signer:
            raise NoConflict("two votes convict only when they are of one validator")
        _check(self.first, self.second)

    @classmethod
    def of(cls, one: Vote, other: Vote) -> "ConflictingVotes":
        """Evidence of two votes in either order."""
        return cls(one, other) if _in_order(one, other) else cls(other, one)

    @property
    def messages(self) -> tuple[Vote, Vote]:
        return self.first, self.second

    @property
    def culprits(self) -> tuple[int, ...]:
        """Indexes of the convicted in the epoch's validator table."""
        return (self.first.signer,)


class ConflictingCertificates(EvidenceBase, frozen=True, tag=2):
    """Two certificates that convict everyone who signed both. Raises NoConflict for anything else; ``of`` puts them in order."""

    first: Certificate
    second: Certificate

    def __post_init__(self) -> None:
        _check(self.first, self.second)
        if len(self.first.signers) != len(self.second.signers):
            raise NoConflict("the bitmaps of two certificates of one epoch are of one length")
        if not self.culprits:
            raise NoConflict("nobody signed both certificates")

    @classmethod
    def of(cls, one: Certificate, other: Certificate) -> "ConflictingCertificates":
        """Evidence of two certificates in either order."""
        return cls(one, other) if _in_order(one, other) else cls(other, one)

    @property
    def messages(self) -> tuple[Certificate, Certificate]:
        return self.first, self.second

    @property
    def culprits(self) -> tuple[int, ...]:
        """Indexes of the convicted: the intersection of the two bitmaps, ascending."""
        both = bytes(a & b for a, b in zip(self.first.signers, self.second.signers, strict=True))
        return tuple(i for i in range(8 * len(both)) if both[i // 8] >> (i % 8) & 1)


Evidence = Union[ConflictingVotes, ConflictingCertificates]  # noqa: UP007  # a decoder's type needs a name at run time
EVIDENCE_KINDS: Final = (ConflictingVotes, ConflictingCertificates)


def decode_evidence(data: bytes) -> Evidence:
    """Evidence from its canonical bytes. Raises CodecError or LimitError, also where there is no conflict in it."""
    return decode(Evidence, data, limits.evidence_bytes_max)  # type: ignore[arg-type]  # a union is no type[T]
