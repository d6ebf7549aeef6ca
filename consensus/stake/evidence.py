"""Evidence: two messages that no honest validator can have signed both. The types can't be built without the conflict.

Compares records; checks no signature (``verify`` does) and slashes nobody (the ledger does).

What convicts: two NOTARIZE of different candidates in one view, two FINALIZE of different candidates in one view, SKIP with
FINALIZE in one view. Two proposals of one leader are two of its NOTARIZE votes, since a proposal carries one.
NOTARIZE with SKIP is allowed (R3), and so is NOTARIZE of one candidate with FINALIZE of another: an equivocating leader can
bring an honest validator to it.
"""

from dataclasses import dataclass

from omnitensor.protocol.types import Epoch, Hash, View
from omnitensor.protocol.votes import Certificate, Vote, VoteKind


class NoConflict(ValueError):
    """What was given as evidence is none. Not a peer's fault by itself: whoever decodes evidence turns it into one."""


def conflicts(first_kind: VoteKind, first_id: Hash, second_kind: VoteKind, second_id: Hash) -> bool:
    """Whether two votes of one validator in one view of one epoch convict it."""
    if first_kind == second_kind:
        return first_kind != VoteKind.SKIP and first_id != second_id
    return {first_kind, second_kind} == {VoteKind.SKIP, VoteKind.FINALIZE}


def _same_view(first: Vote | Certificate, second: Vote | Certificate) -> bool:
    return first.epoch == second.epoch and first.view == second.view


@dataclass(frozen=True, slots=True)
class ConflictingVotes:
    """Two votes of one validator that convict it, in the order in which they were seen. Raises NoConflict otherwise."""

    first: Vote
    second: Vote

    def __post_init__(self) -> None:
        a, b = self.first, self.second
        if a.signer != b.signer or not _same_view(a, b):
            raise NoConflict("two votes convict only when they are of one validator in one view")
        if not conflicts(a.kind, a.candidate_id, b.kind, b.candidate_id):
            raise NoConflict("these two votes are allowed together")

    @property
    def epoch(self) -> Epoch:
        return Epoch(self.first.epoch)

    @property
    def view(self) -> View:
        return View(self.first.view)

    @property
    def culprits(self) -> tuple[int, ...]:
        """Indexes of the convicted in the epoch's validator table."""
        return (self.first.signer,)


@dataclass(frozen=True, slots=True)
class ConflictingCertificates:
    """Two certificates that convict everyone who signed both. Raises NoConflict otherwise."""

    first: Certificate
    second: Certificate

    def __post_init__(self) -> None:
        a, b = self.first, self.second
        if not _same_view(a, b) or not conflicts(a.kind, a.candidate_id, b.kind, b.candidate_id):
            raise NoConflict("these two certificates are allowed together")
        if not self.culprits:
            raise NoConflict("nobody signed both certificates")

    @property
    def epoch(self) -> Epoch:
        return Epoch(self.first.epoch)

    @property
    def view(self) -> View:
        return View(self.first.view)

    @property
    def culprits(self) -> tuple[int, ...]:
        """Indexes of the convicted: the intersection of the two bitmaps, ascending."""
        both = bytes(a & b for a, b in zip(self.first.signers, self.second.signers, strict=False))
        return tuple(i for i in range(8 * len(both)) if both[i // 8] >> (i % 8) & 1)


Evidence = ConflictingVotes | ConflictingCertificates
