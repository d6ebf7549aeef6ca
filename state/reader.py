"""The committed chain as it was at one moment, for those who only look. Safe from any thread; writes nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from omnitensor.protocol import merkle
from omnitensor.protocol.blocks import Block, Event, Header
from omnitensor.protocol.codec import Record, decode, encode
from omnitensor.protocol.epochs import epoch_of, is_boundary
from omnitensor.protocol.errors import StorageError
from omnitensor.protocol.limits import sync_blocks_max
from omnitensor.protocol.merkle import Inclusion
from omnitensor.protocol.params import Params
from omnitensor.protocol.state_proof import StateProof
from omnitensor.protocol.transactions import Transaction
from omnitensor.protocol.types import Address, Epoch, Hash, Height
from omnitensor.protocol.votes import FinalityProof
from state import history
from state.commitment import Commitment
from state.history import History
from state.ledger.accounts import Pot, account, pot
from state.ledger.parameters import IN_FORCE
from state.pages import read_page
from state.records import Account, PlacedReceipt, StepRow
from state.rows import decode_block_parts, decode_row, read_row, read_rows, state_rows
from state.schema import (
    BLOCK_EVENTS,
    BLOCKS,
    EVENTS_BY_ADDRESS,
    HEIGHTS,
    HISTORY,
    KEPT,
    PARAMS,
    PROOFS,
    RECEIPTS,
    STEPS,
    TABLES,
    TRANSACTIONS_BY_ADDRESS,
    KeyPart,
    Kind,
    Table,
    join_key,
    number,
)
from state.store import DamagedStoreError, Snapshot

V = TypeVar("V", bound=Record)

Place = tuple[int, int]
"""Height and index: where a transaction or event is."""
_TOP: Final = (2**64 - 1).to_bytes(8, "big")


class PrunedError(StorageError):
    """Something that was on the chain, and that this node does not keep any more or never had."""

    code = "pruned"


@dataclass(frozen=True, slots=True)
class Head:
    """The last committed block. ``proof`` is None at genesis."""

    height: Height
    hash: Hash
    header: Header
    proof: FinalityProof | None


class Reader:
    """A consistent snapshot of the last committed state; also a ``ledger.view.ReadView``."""

    def __init__(self, snapshot: Snapshot, head: Head, next_base_fee: int, commitment: Commitment) -> None:
        self._snapshot: Final = snapshot
        self._commitment: Final = commitment
        self._params: Params | None = None
        self.head: Final = head
        self.next_base_fee: Final = next_base_fee
        """nanoOMNIT a unit of weight that the next block's transactions pay."""

    # -- the state

    def get(self, table: Table[V], *key: KeyPart) -> V | None:
        """The row, or None."""
        return read_row(self._snapshot, table, join_key(key))

    def scan(
        self, table: Table[V], *key_prefix: KeyPart, start: bytes = b"", reverse: bool = False
    ) -> Iterator[tuple[bytes, V]]:
        """Rows whose key begins with the parts given, as (rest of the key, value); see ``ReadView.scan``."""
        prefix = join_key(key_prefix) if key_prefix else b""
        cut = len(prefix)
        rows = read_rows(self._snapshot, table, prefix, start, reverse)
        return ((key[cut:], value) for key, value in rows)

    def prove(self, key: bytes) -> tuple[bytes | None, StateProof]:
        """The encoded row under a whole key with its table's prefix byte, or None, and the proof of that.

        The proof is against the state root in the head's header.
        """
        assert TABLES[key[0]].kind is Kind.STATE, "only rows of the state are committed to"
        proof = self._commitment.prove(key, lambda place: read_page(self._snapshot, place))
        return self._snapshot.get(key), proof

    def account(self, address: Address) -> Account:
        """The account, empty where it was never seen."""
        return account(self, address)

    def params(self) -> Params:
        """The parameters in force in the block above the head."""
        if self._params is None:
            self._params = self.get(PARAMS, IN_FORCE)
            assert self._params is not None, "genesis sets the parameters"
        return self._params

    def supply(self) -> dict[Pot, int]:
        """nanoOMNIT by pot: the sum over accounts, the named pots, and what burned. They sum to the genesis supply."""
        return {which: pot(self, which) for which in Pot}

    # -- blocks

    def block(self, where: Height | Hash) -> Block | None:
        """A block by height or by hash, or None."""
        encoded = self.encoded_block(where)
        return None if encoded is None else decode_row(BLOCKS, encoded)

    def encoded_block(self, where: Height | Hash) -> bytes | None:
        """A block's canonical bytes by height or by hash, or None."""
        if isinstance(where, bytes):
            row = self.get(HEIGHTS, where)
            if row is None:
                return None
            where = row.height
        return self._snapshot.get(BLOCKS.full_key(where))

    def block_line(self, height: Height) -> tuple[Header, int] | None:
        """A block's header and the number of its transactions, which are not decoded."""
        encoded = self.encoded_block(height)
        if encoded is None:
            return None
        header, transactions = decode_block_parts(encoded)
        return header, len(transactions)

    def transactions_at(
        self, height: Height, indexes: Sequence[int]
    ) -> tuple[Header, list[Transaction]] | None:
        """A block's header and some of its transactions; the others are not decoded. An index beyond the last is a bug."""
        encoded = self.encoded_block(height)
        if encoded is None:
            return None
        header, transactions = decode_block_parts(encoded)
        return header, [decode(Transaction, bytes(transactions[index])) for index in indexes]

    def block_events(self, height: Height) -> tuple[Event, ...]:
        """What the steps at the end of a block said."""
        row = self.get(BLOCK_EVENTS, height)
        return row.events if row else ()

    def proof(self, height: Height) -> FinalityProof | None:
        """Why a block is final; None where it became final with one above it."""
        return self.get(PROOFS, height)

    def newest_proof(self) -> FinalityProof | None:
        """Of the highest block that has one of its own; None where none has."""
        for _, proof in self.scan(PROOFS, reverse=True):
            return proof
        return None

    def proof_at_or_above(self, height: Height) -> FinalityProof | None:
        """The first proof that makes the block at a height final: its own, or that of a block above."""
        for _, proof in self.scan(PROOFS, start=height.to_bytes(8, "big")):
            return proof
        return None

    @property
    def first_block(self) -> Height:
        """The first height whose block is kept with its receipts and what the indexes say of it; genesis always is.

        A node that began with a snapshot has the block below this one as well, without what executing it said.
        """
        row = self.get(KEPT, b"")
        return Height(0) if row is None else row.height

    def is_pruned(self, height: int) -> bool:
        """Whether there was a block of this height, and it is not kept with all that belongs to it."""
        return 0 < height < self.first_block

    def pruned(self, what: str, value: object) -> PrunedError:
        """The error for something that is gone with its block."""
        return PrunedError(
            f"this node does not keep {what}",
            value=value,
            remedy=f"the first block that it keeps is {self.first_block}; ask a node that archives",
        )

    def step(self, epoch: Epoch) -> StepRow | None:
        """What leads a light client over an epoch that is over; None where this node began above it, or it is not over."""
        return self.get(STEPS, epoch)

    @property
    def first_step(self) -> Epoch:
        """The first epoch over which there is a step; the one that votes now where there is none."""
        for key, _ in self.scan(STEPS):
            return Epoch(number(key))
        return epoch_of(Height(self.head.height + 1), self.params())

    def blocks_for_sync(
        self, start: Height, count: int, bytes_max: int
    ) -> tuple[tuple[bytes, ...], FinalityProof | None]:
        """Encoded blocks from a height on, at most ``count`` and ``bytes_max`` (but one at least), and the last one's proof.

        They are of one epoch, and end at a block with a proof where one is among them;
        else the proof is None, and the receiver keeps them until the
        next answer brings it.
        """
        params = self.params()
        blocks: list[bytes] = []
        size = proven = 0
        last: FinalityProof | None = None
        for height in range(start, start + min(count, sync_blocks_max)):
            encoded = self.encoded_block(Height(height))
            if encoded is None or (blocks and size + len(encoded) > bytes_max):
                break
            if blocks and is_boundary(Height(height - 1), params):
                break
            blocks.append(encoded)
            size += len(encoded)
            proof = self.proof(Height(height))
            if proof is not None:
                proven, last = len(blocks), proof
        return (tuple(blocks[:proven]), last) if last else (tuple(blocks), None)

    def prove_block(self, height: Height) -> Inclusion:
        """Where a block below the head stands in the tree that the head's header has the root of."""
        blocks = self.head.height
        assert 0 <= height < blocks, "the head is in no tree of its own"
        return Inclusion(height, blocks, history.path_to(height, blocks, self._history_node))

    def _history_node(self, level: int, index: int) -> Hash:
        row = self.get(HISTORY, level, index)
        if row is None and self.first_block:
            raise self.pruned("what proves blocks below the snapshot that it began with", (level, index))
        if row is None:
            raise DamagedStoreError("a node of the tree over all blocks is missing", value=(level, index))
        return row.hash

    def history_below(self) -> History:
        """The roots of the tree over the hashes of all blocks below the head."""
        return history.kept_peaks(self.head.height, self._history_node)

    def state_rows(self) -> Iterator[tuple[bytes, bytes]]:
        """Every row that the head's state root commits to, as bytes."""
        return state_rows(self._snapshot)

    # -- transactions and events

    def receipt(self, transaction_id: Hash) -> PlacedReceipt | None:
        """A final transaction's receipt with height and index in its block, or None."""
        return self.get(RECEIPTS, transaction_id)

    def prove_receipt(self, placed: PlacedReceipt) -> Inclusion:
        """Where a receipt stands in the tree that its block's header has the root of."""
        block = self.block(placed.height)
        assert block is not None, "a receipt's block is there"
        return _inclusion(self._result_leaves(block), placed.index)

    def prove_transaction(self, placed: PlacedReceipt) -> tuple[bytes, Inclusion]:
        """A transaction's canonical bytes, and where they stand in the tree that its block's header has the root of."""
        block = self.block(placed.height)
        assert block is not None, "a receipt's block is there"
        encoded = [encode(transaction) for transaction in block.transactions]
        return encoded[placed.index], _inclusion([merkle.leaf_hash(data) for data in encoded], placed.index)

    def prove_events(self, block: Block) -> Inclusion:
        """Where the block's own events stand in the tree that its header has the root of: they are the last leaf."""
        return _inclusion(self._result_leaves(block), len(block.transactions))

    def _result_leaves(self, block: Block) -> list[bytes]:
        """Hashes of the leaves that a header's root of receipts is over."""
        leaves: list[bytes] = []
        for transaction in block.transactions:
            found = self.receipt(transaction.id)
            assert found is not None, "every transaction of a block has a receipt"
            leaves.append(merkle.leaf_hash(encode(found.receipt)))
        leaves.append(merkle.leaf_hash(encode(self.block_events(block.header.height))))
        return leaves

    def transactions_by_address(
        self, address: Address, before: Place | None = None, limit: int = 50
    ) -> list[tuple[Place, Hash]]:
        """Transactions that an address sent or that name it, the newest first; ``before`` a place, for the next page."""
        found: list[tuple[Place, Hash]] = []
        for key, row in self.scan(TRANSACTIONS_BY_ADDRESS, address, start=_below(before), reverse=True):
            place = (number(key[:8]), number(key[8:]))
            if place == before:
                continue
            found.append((place, row.id))
            if len(found) == limit:
                break
        return found

    def events_by_address(
        self, address: Address, before: Place | None = None, limit: int = 50
    ) -> list[tuple[Place, Event]]:
        """Events of blocks themselves (draws, verdicts, pay) that name an address, the newest first."""
        found: list[tuple[Place, Event]] = []
        for key, event in self.scan(EVENTS_BY_ADDRESS, address, start=_below(before), reverse=True):
            place = (number(key[:8]), number(key[8:]))
            if place == before:
                continue
            found.append((place, event))
            if len(found) == limit:
                break
        return found


def _inclusion(leaves: Sequence[bytes], index: int) -> Inclusion:
    path = merkle.inclusion_proof(leaves, index)
    return Inclusion(index, len(leaves), tuple([Hash(sibling) for sibling in path]))


def _below(place: Place | None) -> bytes:
    if place is None:
        return _TOP + _TOP
    return place[0].to_bytes(8, "big") + place[1].to_bytes(8, "big")
