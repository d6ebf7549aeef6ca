"""From a parent and transactions to everything a block is: state changes, receipts, roots. Writes nothing.

Where ``state.ledger`` says what a block does, this says what bytes that makes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from omnitensor.protocol import merkle
from omnitensor.protocol.blocks import BlockResult, Header
from omnitensor.protocol.bodies import WorkCommit
from omnitensor.protocol.codec import encode
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import Hash, Height, Weight
from omnitensor.protocol.work import Receipt as WorkReceipt
from state import history, indexes, pages
from state.blocks import PreparedBlock
from state.commitment import Change, Commitment
from state.history import History
from state.ledger.accounts import Pot, pot
from state.ledger.context import BlockContext
from state.ledger.errors import Unpayable
from state.ledger.parameters import IN_FORCE
from state.ledger.prepared import Prepared
from state.ledger.supply import check_account_sum, check_supply
from state.ledger.transition import Execution, Outcome
from state.overlay import Base, Overlay
from state.records import BlockEvents, HashRow, HeadRow, HeightRow
from state.schema import (
    ACCOUNTS,
    BLOCK_EVENTS,
    BLOCKS,
    HEAD,
    HEIGHTS,
    HISTORY,
    PARAMS,
    RECEIPTS,
    TABLES,
    Kind,
)
from state.store import Batch
from state.trie import ReadPage, Writes

_TRIPLE: Final = b"\x93"
"""Head of an array of three in msgpack: a placed receipt is height, index, receipt."""


@dataclass(frozen=True, slots=True)
class Tip:
    """A block to build upon: committed, or executed and waiting."""

    hash: Hash
    header: Header
    base: Base
    commitment: Commitment
    history: History

    @property
    def beacon(self) -> Hash:
        """The beacon after this block; at genesis the block's hash."""
        return self.header.beacon if self.header.height else self.hash

    @property
    def params(self) -> Params:
        """The parameters in force in the block above."""
        params = self.base.row(PARAMS, IN_FORCE)
        assert params is not None, "genesis sets the parameters"
        return params


@dataclass(frozen=True, slots=True)
class Executed:
    """What execution made of transactions: all that a header says of it, and what is to be written."""

    overlay: Overlay
    outcome: Outcome
    transactions: tuple[Prepared, ...]
    commitment: Commitment
    page_writes: Writes
    state_rows: Batch
    """Rows of the state, of indexes, and the trie's pages."""
    receipts: tuple[bytes, ...]
    receipts_root: Hash

    @property
    def result(self) -> BlockResult:
        return self.outcome.result

    @property
    def weight_used(self) -> Weight:
        return self.outcome.weight_used

    @property
    def work(self) -> tuple[WorkReceipt, ...]:
        """Workers' receipts that were committed, without those that were refused."""
        bodies = (prepared.transaction.body for prepared in self.transactions)
        return tuple(
            body.receipt
            for body, told in zip(bodies, self.result.receipts, strict=True)
            if isinstance(body, WorkCommit) and told.ok
        )


@dataclass(frozen=True, slots=True)
class Pending:
    """A block that was executed and is not final."""

    prepared: PreparedBlock
    executed: Executed
    tip: Tip
    history_rows: Batch


def execute(
    tip: Tip,
    ctx: BlockContext,
    transactions: Sequence[Prepared],
    read_page: ReadPage,
    room: int | None = None,
) -> Executed:
    """Executes transactions on a tip.

    Without ``room`` each of them must be able to stand in the block (else Unpayable is raised, naming it). With ``room``, in
    bytes, those that can't or don't fit are left out. Raises SupplyError where the ledger made or lost money.
    """
    overlay = Overlay(tip.base)
    execution = Execution(overlay, ctx)
    taken = list(transactions) if room is None else []
    if room is None:
        for prepared in transactions:
            execution.apply(prepared)
    else:
        for prepared in transactions:
            if len(prepared.encoded) > room:
                continue
            try:
                execution.apply(prepared)
            except Unpayable:
                continue
            taken.append(prepared)
            room -= len(prepared.encoded)
    return _settle(tip, overlay, execution.finish(), tuple(taken), read_page)


def _settle(
    tip: Tip, overlay: Overlay, outcome: Outcome, transactions: tuple[Prepared, ...], read_page: ReadPage
) -> Executed:
    """Encodes what changed, once, and commits to it; by how much the accounts moved is summed on the way."""
    rows: Batch = []
    changes: list[Change] = []
    moved = 0
    for prefix, changed in overlay.changes_by_table().items():
        table, before_row = TABLES[prefix], tip.base.row
        head, committed = table.prefix_bytes, table.kind is Kind.STATE
        for key, value in changed.items():
            full, after = head + key, None if value is None else encode(value)
            rows.append((full, after))
            if committed:
                changes.append((full, after))
            if table is ACCOUNTS:
                before = before_row(table, key)
                moved += value.balance - (before.balance if before else 0)
    check_supply(overlay)
    check_account_sum(moved, pot(Overlay(tip.base), Pot.ACCOUNTS), pot(overlay, Pot.ACCOUNTS))
    receipts = tuple([encode(receipt) for receipt in outcome.result.receipts])
    committed_to = tip.commitment.changed(changes, read_page)
    rows += pages.rows_of(committed_to.writes)
    return Executed(
        overlay,
        outcome,
        transactions,
        committed_to.commitment,
        committed_to.writes,
        rows,
        receipts,
        Hash(merkle.counted_root_of([*receipts, encode(outcome.result.events)])),
    )


def pending_of(tip: Tip, prepared: PreparedBlock, executed: Executed) -> Pending:
    """A block over a tip, as a tip for others."""
    height = prepared.header.height
    blocks = history.appended(tip.history, height, tip_hash := prepared.hash)
    return Pending(
        prepared,
        executed,
        Tip(tip_hash, prepared.header, executed.overlay, executed.commitment, blocks),
        history_rows(tip.history, height, prepared.hash),
    )


def history_rows(below: History, height: Height, block_hash: Hash) -> Batch:
    """Nodes that a block adds to the tree over the hashes of all blocks."""
    return [
        (HISTORY.full_key(level, index), encode(HashRow(node)))
        for level, index, node in history.completed(below, height, block_hash)
    ]


def rows_of(pending: Pending) -> Batch:
    """Everything that committing a block writes, but for its proof: values, receipts, indexes, the block and the head."""
    prepared, executed, tip = pending.prepared, pending.executed, pending.tip
    height = prepared.header.height
    rows: Batch = [*executed.state_rows, *pending.history_rows]
    add, receipt_head = rows.append, RECEIPTS.prefix_bytes
    height_key, height_head = height.to_bytes(8, "big"), _TRIPLE + encode(height)
    for index, (transaction, encoded) in enumerate(
        zip(prepared.transactions, executed.receipts, strict=True)
    ):
        add((receipt_head + transaction.id, height_head + encode(index) + encoded))
    if executed.result.events:
        add((BLOCK_EVENTS.prefix_bytes + height_key, encode(BlockEvents(executed.result.events))))
    rows += indexes.of_block(height, prepared.transactions, executed.result)
    add((BLOCKS.prefix_bytes + height_key, prepared.encoded))
    add((HEIGHTS.full_key(prepared.hash), encode(HeightRow(height))))
    add(head_row(height, tip))
    return rows


def head_row(height: Height, tip: Tip) -> tuple[bytes, bytes]:
    """The row that makes a block the head."""
    return HEAD.full_key(b""), encode(HeadRow(height, tip.hash, tip.history))
