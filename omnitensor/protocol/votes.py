"""What validators say to one another: candidates, proposals, and the table that weighs votes.

Votes themselves are in ``ballots``. Data only; the rules are in ``consensus``.
"""

from functools import cached_property
from typing import Annotated, Final

from msgspec import Meta

from omnitensor.protocol import hashing
from omnitensor.protocol.ballots import SKIP_ID, Attendance, Certificate, Vote, VoteKind, vote_message
from omnitensor.protocol.blocks import Block
from omnitensor.protocol.codec import Record, encode
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.limits import justification_certificates_max, validators_max
from omnitensor.protocol.types import (
    U64,
    Address,
    AddressF,
    BlsPublicKey,
    BlsPublicKeyF,
    Epoch,
    EpochF,
    Hash,
    HashF,
    ViewF,
)

__all__ = [
    "SKIP_ID",
    "Attendance",
    "Candidate",
    "Certificate",
    "FinalityProof",
    "Proposal",
    "ValidatorEntry",
    "ValidatorTable",
    "ValidatorTableError",
    "Vote",
    "VoteKind",
    "vote_message",
]


class Candidate(Record, frozen=True):
    """A block offered in a view on a notarized parent. Its id binds all fields."""

    epoch: EpochF
    view: ViewF
    parent_view: ViewF
    parent_id: HashF
    """Id of the parent candidate; at the root of an epoch the hash of the boundary block."""
    block_hash: HashF

    @property
    def id(self) -> Hash:
        return hashing.CANDIDATE(encode(self))


class Proposal(Record, frozen=True):
    """A leader's offer: candidate, block, why its parent is allowed, and the leader's own NOTARIZE, which authenticates it.

    ``justification`` holds the parent's certificate (none for the epoch's root) and the skip certificates of every view crossed.
    A filler has no block: its candidate names the block of its parent again, which is the epoch's boundary.
    """

    candidate: Candidate
    block: Block | None
    justification: Annotated[tuple[Certificate, ...], Meta(max_length=justification_certificates_max)]
    leader_vote: Vote


class ValidatorEntry(Record, frozen=True):
    """A voter of an epoch. ``weight`` is its stake in whole OMNIT units of the state's choosing; only ratios matter."""

    address: AddressF
    consensus_key: BlsPublicKeyF
    weight: U64


class ValidatorTableError(ProtocolError):
    """A table that can't be one: empty, too long, unsorted, repeated keys or weights of zero."""

    code = "validator_table"


class ValidatorTable:
    """The voters of one epoch, sorted by address; an index in it names a validator in votes and bitmaps. Immutable."""

    def __init__(self, epoch: Epoch, entries: tuple[ValidatorEntry, ...]) -> None:
        if not 0 < len(entries) <= validators_max:
            raise ValidatorTableError(
                "a validator table needs between one and the largest number of validators",
                value=len(entries),
                remedy=f"give 1 to {validators_max} validators",
            )
        addresses = [entry.address for entry in entries]
        if sorted(set(addresses)) != addresses or len({entry.consensus_key for entry in entries}) != len(
            entries
        ):
            raise ValidatorTableError(
                "a validator table must be sorted by address, each address and key once"
            )
        if any(entry.weight <= 0 for entry in entries):
            raise ValidatorTableError("a validator in a table must have stake")
        self.epoch: Final = epoch
        self.entries: Final = entries

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def total_weight(self) -> int:
        return sum(entry.weight for entry in self.entries)

    @cached_property
    def quorum_weight(self) -> int:
        """``2*W//3 + 1``: any two quorums share stake that is not hostile while hostile stake is below a third."""
        return 2 * self.total_weight // 3 + 1

    @cached_property
    def hash(self) -> Hash:
        return hashing.VALIDATORS(encode((int(self.epoch), self.entries)))

    @cached_property
    def _index(self) -> dict[Address, int]:
        return {entry.address: index for index, entry in enumerate(self.entries)}

    def index_of(self, address: Address) -> int | None:
        return self._index.get(address)

    def key(self, index: int) -> BlsPublicKey:
        return self.entries[index].consensus_key

    def bitmap(self, indexes: "frozenset[int] | set[int] | tuple[int, ...]") -> bytes:
        """Bitmap of validators for a certificate."""
        bits = bytearray((len(self.entries) + 7) // 8)
        for index in indexes:
            assert 0 <= index < len(self.entries)
            bits[index // 8] |= 1 << (index % 8)
        return bytes(bits)

    def indexes(self, bitmap: bytes) -> tuple[int, ...] | None:
        """Validators in a bitmap, ascending; None when it has the wrong length or a bit beyond the table."""
        if len(bitmap) != (len(self.entries) + 7) // 8:
            return None
        found = tuple(i for i in range(len(bitmap) * 8) if bitmap[i // 8] >> (i % 8) & 1)
        return None if found and found[-1] >= len(self.entries) else found

    def weight_of(self, indexes: "tuple[int, ...] | frozenset[int] | set[int]") -> int:
        return sum(self.entries[index].weight for index in indexes)


class FinalityProof(Record, frozen=True):
    """Why a block is final: the candidate that carries it and a FINALIZE certificate of that candidate.

    For an epoch's boundary block the candidate may be a filler above it, which names it too.
    """

    candidate: Candidate
    certificate: Certificate
