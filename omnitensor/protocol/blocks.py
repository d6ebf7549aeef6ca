"""Headers, blocks, receipts and events, and the roots that bind them. Data only; what a block does is in ``state``."""

from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from omnitensor.protocol import hashing, merkle
from omnitensor.protocol.ballots import Attendance
from omnitensor.protocol.codec import Record, encode
from omnitensor.protocol.limits import block_transactions_max, chain_id_chars_max
from omnitensor.protocol.transactions import Transaction
from omnitensor.protocol.types import (
    U16,
    U64,
    AddressF,
    AmountF,
    Epoch,
    EpochF,
    Hash,
    HashF,
    Height,
    HeightF,
    TimeMsF,
    WeightF,
)

HEADER_VERSION = 1

if TYPE_CHECKING:
    EventValue = int | str | bytes
else:
    # The decoder knows no union of text and bytes; Event itself checks what it is given.
    EventValue = Any


class Header(Record, frozen=True):
    """What a candidate's block hash binds. Roots over a block's own are counted RFC 6962 roots (``merkle.counted_root``)."""

    version: U16
    chain_id: Annotated[str, Meta(min_length=1, max_length=chain_id_chars_max)]
    height: HeightF
    epoch: EpochF
    parent: HashF
    """Hash of the block below; zero at genesis."""
    timestamp_ms: TimeMsF
    proposer: AddressF
    """Account of the leader, which gets the tips."""
    beacon_reveal: Annotated[bytes, Meta(max_length=96)]
    """The leader's BLS signature over ``beacon_message(chain_id, height)``; empty at genesis."""
    beacon: HashF
    base_fee: U64
    """nanoOMNIT a unit of weight that this block's transactions pay."""
    weight_used: WeightF
    transactions_root: HashF
    receipts_root: HashF
    """Over this block's receipts in order, then the block's own events as one last leaf."""
    work_root: HashF
    """Over the receipts of work that were committed in this block, in order; zero without any (``work.work_root``)."""
    state_root: HashF
    """Commitment to the whole state after this block."""
    validators_hash: HashF
    """Of the validator table of this block's epoch."""
    next_validators_hash: HashF
    """Of the table of the epoch of the block above: another than this epoch's at a boundary alone. A light client that trusts
    this header trusts the voters of the next epoch, and goes one step an epoch."""
    history_root: HashF
    """Over the hashes of all blocks below, genesis first; as many as the height says, so this root is not counted."""
    attendance: Attendance | None
    """Whose votes for the block below the leader saw; None where that is of another epoch, and at genesis."""

    @property
    def hash(self) -> Hash:
        return hashing.HEADER(encode(self))


class Block(Record, frozen=True):
    """A header and the transactions under its root, in order of execution."""

    header: Header
    transactions: Annotated[tuple[Transaction, ...], Meta(max_length=block_transactions_max)]

    @property
    def hash(self) -> Hash:
        return self.header.hash


_EVENT_VALUES = (int, str, bytes)
"""As a tuple: an event is made for every transfer, and asking a tuple of types is four times as fast as asking a union."""


class Event(Record, frozen=True):
    """Something that happened in a block: a kind such as ``item.accepted`` and named values in a fixed order."""

    kind: str
    fields: tuple[tuple[str, EventValue], ...]

    def __post_init__(self) -> None:
        for name, value in self.fields:
            if not isinstance(value, _EVENT_VALUES):
                raise TypeError(f"event field {name} is neither integer, text nor bytes")


class Receipt(Record, frozen=True):
    """What became of a transaction. ``code`` is ``ok`` or the code of the error; then only fee and nonce changed."""

    transaction_id: HashF
    code: str
    reason: str
    fee: AmountF
    """nanoOMNIT burned (weight times base fee)."""
    tip: AmountF
    weight: WeightF
    events: tuple[Event, ...]

    @property
    def ok(self) -> bool:
        return self.code == "ok"


class BlockResult(Record, frozen=True):
    """What executing a block says besides the state: receipts, and the block's own events (draws, verdicts, pay)."""

    receipts: tuple[Receipt, ...]
    events: tuple[Event, ...]


def beacon_message(chain_id: str, height: Height) -> bytes:
    """The 32 bytes that a leader signs as its reveal for a height: unique, so it can be withheld but not ground."""
    return hashing.BEACON_MESSAGE(encode((chain_id, int(height))))


def next_beacon(previous: Hash, reveal: bytes) -> Hash:
    return hashing.BEACON(previous, reveal)


def transactions_root(transactions: tuple[Transaction, ...]) -> Hash:
    """Over the canonical bytes of each transaction, signature included."""
    return Hash(merkle.counted_root_of([encode(transaction) for transaction in transactions]))


def receipts_root(result: BlockResult) -> Hash:
    return Hash(
        merkle.counted_root_of([*(encode(receipt) for receipt in result.receipts), encode(result.events)])
    )


GENESIS_EPOCH = Epoch(0)
