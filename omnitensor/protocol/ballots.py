"""What a validator says of a view, and what a quorum said: votes, certificates, attendance. Data only.

Apart from ``votes``, because transactions carry votes as evidence, and proposals carry transactions.
"""

from enum import IntEnum
from typing import Annotated, Final

from msgspec import Meta

from omnitensor.protocol import hashing
from omnitensor.protocol.codec import Record, encode
from omnitensor.protocol.limits import validators_max
from omnitensor.protocol.types import (
    U16,
    ZERO_HASH,
    BlsSignatureF,
    Epoch,
    EpochF,
    Hash,
    HashF,
    View,
    ViewF,
)

SKIP_ID: Final = ZERO_HASH
"""Candidate id in a SKIP vote or certificate."""


class VoteKind(IntEnum):
    """The three things that a validator can say of a view."""

    NOTARIZE = 1
    SKIP = 2
    FINALIZE = 3


def vote_message(chain_id: str, epoch: Epoch, kind: VoteKind, view: View, candidate_id: Hash) -> bytes:
    """The 32 bytes that a vote's BLS signature covers: chain, epoch, kind, view and candidate."""
    return hashing.VOTE(encode((chain_id, int(epoch), int(kind), int(view), bytes(candidate_id))))


class Vote(Record, frozen=True):
    """One validator's vote. ``candidate_id`` is zero in a SKIP."""

    kind: VoteKind
    epoch: EpochF
    view: ViewF
    candidate_id: HashF
    signer: U16
    """Index in the epoch's validator table."""
    signature: BlsSignatureF

    def message(self, chain_id: str) -> bytes:
        return vote_message(chain_id, self.epoch, self.kind, self.view, self.candidate_id)


class Certificate(Record, frozen=True):
    """A quorum's votes for one thing: bitmap over the epoch's table and one aggregate signature.

    Bit ``i % 8`` (from the low end) of byte ``i // 8`` stands for the validator at index ``i``. The bitmap has exactly as many
    bytes as the table needs, and no bit beyond the table.
    """

    kind: VoteKind
    epoch: EpochF
    view: ViewF
    candidate_id: HashF
    signers: Annotated[bytes, Meta(min_length=1, max_length=(validators_max + 7) // 8)]
    signature: BlsSignatureF

    def message(self, chain_id: str) -> bytes:
        return vote_message(chain_id, self.epoch, self.kind, self.view, self.candidate_id)


class Attendance(Record, frozen=True):
    """Who voted for the block below, as its child's header says it: a quorum's NOTARIZE or FINALIZE votes for a candidate of it.

    The candidate's epoch and block hash are the parent's, so these fields give its whole id (see ``attendance``).
    """

    kind: VoteKind
    view: ViewF
    parent_view: ViewF
    parent_id: HashF
    signers: Annotated[bytes, Meta(min_length=1, max_length=(validators_max + 7) // 8)]
    signature: BlsSignatureF
