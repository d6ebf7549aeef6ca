"""Counts the votes of one view. Knows weights, the quorum and conflicts; nothing of time, rules, peers or disks."""

from dataclasses import dataclass, field

from consensus.stake.evidence import ConflictingVotes, conflicts
from consensus.stake.scheme import Scheme, SignatureSum
from omnitensor.protocol.types import Hash, View
from omnitensor.protocol.votes import Certificate, ValidatorTable, Vote, VoteKind

VOTES_OF_ONE_KIND_MAX = 2
"""Votes of one kind that are taken from one validator in one view. Two NOTARIZE or FINALIZE convict it; more say nothing new."""


@dataclass(slots=True)
class Tally:
    """Weight and signatures for one thing: a kind of vote and a candidate."""

    sum: SignatureSum | None
    """None once the certificate is there: further signatures are not needed."""
    weight: int = 0
    signers: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Counted:
    """What adding a vote did."""

    new: bool
    """The vote was not known, and counts."""
    conflict: ConflictingVotes | None = None
    certificate: Certificate | None = None
    """The certificate that this vote completed (R7)."""


NOTHING_NEW = Counted(False)


class VoteBook:
    """All votes of one view, at most five of a validator, and the tallies over them."""

    __slots__ = ("_by_signer", "_scheme", "_table", "_tallies", "view")

    def __init__(self, view: View, table: ValidatorTable, scheme: Scheme) -> None:
        self.view = view
        self._table = table
        self._scheme = scheme
        self._by_signer: dict[int, list[Vote]] = {}
        self._tallies: dict[tuple[VoteKind, Hash], Tally] = {}

    def knows(self, vote: Vote) -> bool:
        """Whether adding this vote would change nothing."""
        before = self._by_signer.get(vote.signer, ())
        same_kind = [old for old in before if old.kind == vote.kind]
        return len(same_kind) >= VOTES_OF_ONE_KIND_MAX or any(
            old.candidate_id == vote.candidate_id for old in same_kind
        )

    def add(self, vote: Vote) -> Counted:
        """Count a verified vote of this view. Both votes of an equivocator count: others may have seen either."""
        if self.knows(vote):
            return NOTHING_NEW
        before = self._by_signer.setdefault(vote.signer, [])
        conflict = next(
            (
                ConflictingVotes.of(old, vote)
                for old in before
                if conflicts(old.kind, old.candidate_id, vote.kind, vote.candidate_id)
            ),
            None,
        )
        before.append(vote)
        return Counted(True, conflict, self._tally(vote))

    def close(self, kind: VoteKind, candidate_id: Hash) -> None:
        """The certificate for this is known: stop adding up its signatures."""
        self._tallies.setdefault((kind, candidate_id), Tally(None)).sum = None

    def of_signer(self, signer: int) -> tuple[Vote, ...]:
        return tuple(self._by_signer.get(signer, ()))

    def votes_for(self, kind: VoteKind, candidate_id: Hash) -> list[Vote]:
        """Every vote that is known for one thing, by signer."""
        return [
            vote
            for signer in sorted(self._by_signer)
            for vote in self._by_signer[signer]
            if (vote.kind, vote.candidate_id) == (kind, candidate_id)
        ]

    def weight(self, kind: VoteKind, candidate_id: Hash) -> int:
        tally = self._tallies.get((kind, candidate_id))
        return tally.weight if tally is not None else 0

    def _tally(self, vote: Vote) -> Certificate | None:
        key = (vote.kind, vote.candidate_id)
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = Tally(self._scheme.new_sum())
        tally.signers.add(vote.signer)
        tally.weight += self._table.entries[vote.signer].weight
        if tally.sum is None:
            return None
        tally.sum.add(vote.signature)
        if tally.weight < self._table.quorum_weight:
            return None
        signature, tally.sum = tally.sum.signature(), None
        bitmap = self._table.bitmap(frozenset(tally.signers))
        return Certificate(vote.kind, vote.epoch, vote.view, vote.candidate_id, bitmap, signature)
