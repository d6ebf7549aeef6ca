"""Planted faults in tallying, certificates, evidence and sync: what is counted, what a signature binds, what is verified."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import msgspec

from consensus.stake.tally import Counted, Tally, VoteBook
from consensus.stake.verify import Verifier
from omnitensor.protocol import ballots
from omnitensor.protocol.codec import Record
from omnitensor.protocol.errors import CodecError
from omnitensor.protocol.types import Epoch, Hash, View
from omnitensor.protocol.votes import (
    SKIP_ID,
    Candidate,
    Certificate,
    FinalityProof,
    ValidatorTable,
    Vote,
    VoteKind,
)

true_message = ballots.vote_message


class MajorityTable(ValidatorTable):
    """A quorum of just over half: two of them need not share an honest validator."""

    @cached_property
    def quorum_weight(self) -> int:
        return self.total_weight // 2 + 1


class HeadsTable(ValidatorTable):
    """Counts validators in place of their stake."""

    def weight_of(self, indexes: Any) -> int:
        return len(indexes)

    @cached_property
    def quorum_weight(self) -> int:
        return 2 * len(self) // 3 + 1


class HeadsBook(VoteBook):
    """As ``HeadsTable``, in the tally."""

    __slots__ = ()

    def _tally(self, vote: Vote) -> Certificate | None:
        key = (vote.kind, vote.candidate_id)
        tally = self._tallies.setdefault(key, Tally(self._scheme.new_sum()))
        tally.weight += 1 - self._table.entries[vote.signer].weight
        return super()._tally(vote)


class WrappingTable(ValidatorTable):
    """Takes a bitmap of any length, and counts on from the first validator after the last."""

    def indexes(self, bitmap: bytes) -> tuple[int, ...] | None:
        return tuple(i % len(self) for i in range(len(bitmap) * 8) if bitmap[i // 8] >> (i % 8) & 1)


class RepeatingBook(VoteBook):
    """Counts a vote each time that it comes."""

    __slots__ = ()

    def knows(self, vote: Vote) -> bool:
        return False


class PoolingBook(VoteBook):
    """Adds up votes of one kind, whatever they are for."""

    __slots__ = ()

    def add(self, vote: Vote) -> Counted:
        counted = super().add(vote)
        return Counted(counted.new, counted.conflict, self._pooled(vote)) if counted.new else counted

    def _pooled(self, vote: Vote) -> Certificate | None:
        alike = [old for votes in self._by_signer.values() for old in votes if old.kind == vote.kind]
        signers = frozenset(old.signer for old in alike)
        if self._table.weight_of(signers) < self._table.quorum_weight:
            return None
        total = self._scheme.new_sum()
        for old in alike:
            total.add(old.signature)
        bitmap = self._table.bitmap(signers)
        return Certificate(vote.kind, vote.epoch, vote.view, vote.candidate_id, bitmap, total.signature())


def without_kind(chain_id: str, epoch: Epoch, kind: VoteKind, view: View, candidate_id: Hash) -> bytes:
    """Signatures that do not say whether they notarize, skip or finalize."""
    return true_message(chain_id, epoch, VoteKind.SKIP, view, candidate_id)


def without_view(chain_id: str, epoch: Epoch, kind: VoteKind, view: View, candidate_id: Hash) -> bytes:
    """Signatures that do not say of which view they are."""
    return true_message(chain_id, epoch, kind, View(1), candidate_id)


def without_epoch(chain_id: str, epoch: Epoch, kind: VoteKind, view: View, candidate_id: Hash) -> bytes:
    """Signatures that do not say of which epoch they are."""
    return true_message(chain_id, Epoch(0), kind, view, candidate_id)


class NoSkipCheckVerifier(Verifier):
    def _check_justification(self, candidate: Candidate, justification: tuple[Certificate, ...]) -> None:
        pass


class GullibleVerifier(Verifier):
    """Takes votes without looking at their signatures."""

    def verify_vote(self, vote: Vote) -> None:
        self.check_vote_shape(vote)


class TrustingVerifier(Verifier):
    """Takes a block for final when a certificate says so, whoever signed it."""

    def verify_finality(self, proof: FinalityProof) -> None:
        self.check_certificate_shape(proof.certificate)


# -- evidence


class AnyTwoVotes(Record, frozen=True, tag=1):
    """Evidence that may be built without a conflict."""

    first: Vote
    second: Vote

    @property
    def messages(self) -> tuple[Vote, Vote]:
        return self.first, self.second

    @property
    def epoch(self) -> int:
        return self.first.epoch

    @property
    def culprits(self) -> tuple[int, ...]:
        return (self.first.signer,)


def decode_anything(data: bytes) -> AnyTwoVotes:
    """Evidence without the check of its conflict."""
    try:
        return msgspec.msgpack.decode(data, type=AnyTwoVotes)
    except msgspec.MsgspecError as error:
        raise CodecError(str(error)) from error


def convict_unsigned(evidence: Any, *_: Any) -> tuple[int, ...]:
    """Evidence without the check of its signatures."""
    culprits: tuple[int, ...] = evidence.culprits
    return culprits


def zealous(first_kind: VoteKind, first_id: Hash, second_kind: VoteKind, second_id: Hash) -> bool:
    """Also convicts of NOTARIZE of one candidate with FINALIZE of another, which an equivocating leader brings honest ones to."""
    if SKIP_ID in (first_id, second_id):
        return {first_kind, second_kind} == {VoteKind.SKIP, VoteKind.FINALIZE}
    return first_id != second_id
