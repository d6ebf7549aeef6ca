"""The chain of blocks on one disk: builds, checks and commits them. Its one owner is one thread; readers may be anywhere.

Knows no votes: what may be committed is consensus' to say.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from omnitensor.protocol import bls, limits
from omnitensor.protocol.attendance import attendants, check_attendance, skipped_views
from omnitensor.protocol.blocks import (
    HEADER_VERSION,
    Block,
    BlockResult,
    Header,
    beacon_message,
    next_beacon,
)
from omnitensor.protocol.codec import encode
from omnitensor.protocol.epochs import epoch_of, is_boundary
from omnitensor.protocol.errors import BlockError, StorageError
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import Address, Epoch, Hash, Height, TimeMs
from omnitensor.protocol.votes import Attendance, FinalityProof, ValidatorTable
from omnitensor.protocol.work import work_root
from state import history, indexing, judging, opening, pruning, steps
from state.blocks import PreparedBlock, assemble, prepare_block, root_of_transactions
from state.execution import Executed, Pending, Tip, execute, pending_of, rows_of
from state.genesis import Genesis
from state.ledger import epochs, upgrades
from state.ledger.context import BlockContext, Scheme
from state.ledger.errors import Unpayable
from state.ledger.fees import next_base_fee
from state.ledger.prepared import Prepared
from state.ledger.supply import SupplyError
from state.migration import Tell
from state.overlay import Overlay
from state.pages import StoredPages
from state.reader import Head, Reader
from state.rows import CommittedRows
from state.schema import PROOFS
from state.signatures import Checking, SignatureChecker
from state.store import Store

HEADER_ROOM_BYTES: Final = 1_024
"""Kept free for the header when a block is built; a header takes about 700."""
TABLES_KEPT: Final = 4
"""Validator tables in memory: this epoch's, and those that blocks at its end would begin the next with."""


class NoRoomError(StorageError):
    """As many executed blocks wait for finality as are kept. Says nothing of the block that was refused."""

    code = "storage_no_room"


@dataclass(frozen=True, slots=True)
class Committed:
    """A block that is final and on disk, and what it did."""

    block: Block
    result: BlockResult


class Chain:
    """A chain on disk, and the blocks above its head that are not final yet."""

    def __init__(
        self,
        store: Store,
        genesis: Genesis,
        head: Head,
        tip: Tip,
        rows: CommittedRows,
        scheme: Scheme = bls.SCHEME,
    ) -> None:
        """By ``create``, ``open`` or ``on`` alone."""
        self.genesis: Final = genesis
        self.chain_id: Final = genesis.chain_id
        self.genesis_hash: Final = genesis.hash
        self.scheme: Final = scheme
        self.signatures: Final = SignatureChecker()
        self._store: Final = store
        self._rows: Final = rows
        self._pages: Final = StoredPages(store, tip.commitment)
        self._tip = tip
        self._pending: dict[Hash, Pending] = {}
        self._tables: dict[Hash, ValidatorTable] = {}
        self._reader = self._new_reader(head)

    @classmethod
    def create(cls, path: Path, genesis: Genesis) -> "Chain":
        """Makes the database of a new chain. Raises StorageError where something is there already."""
        opening.create(path, genesis)
        return cls.open(path, genesis)

    @classmethod
    def open(cls, path: Path, genesis: Genesis | None = None, tell: Tell = opening.silent) -> "Chain":
        """Opens a chain, migrates it where an older version made it, walks back from its head, and checks its state.

        ``tell`` hears how far a migration is. Raises a StorageError: no database here, damaged, in use, or not of ``genesis``.
        """
        return cls(*_loaded(Store.open(path), genesis, tell))

    @classmethod
    def on(cls, store: Store, genesis: Genesis | None = None, scheme: Scheme = bls.SCHEME) -> "Chain":
        """Opens a chain on an open database, which is closed where this fails. Raises as ``open``.

        ``scheme`` is the chain's own, and another's only where consensus signs with another.
        """
        return cls(*_loaded(store, genesis, opening.silent), scheme)

    def close(self) -> None:
        """Closes database and threads. Readers are void then."""
        self.signatures.close()
        self._store.close()

    # -- looking

    @property
    def head(self) -> Head:
        """The last committed block."""
        return self._reader.head

    def reader(self) -> Reader:
        """A snapshot of the last committed state. May be called from any thread."""
        return self._reader

    @property
    def epoch(self) -> Epoch:
        """The epoch of the block above the head: the one that votes now."""
        return epoch_of(Height(self.head.height + 1), self.params)

    @property
    def params(self) -> Params:
        """The parameters in force in the block above the head. May be called from any thread."""
        return self._reader.params()

    def validator_table(self, epoch: Epoch | None = None) -> ValidatorTable:
        """The voters of an epoch that is kept; without a number, of the one that votes now."""
        if epoch is None or epoch == self.epoch:
            return self._table_above(self._tip)
        table = epochs.table_of(self.reader(), epoch)
        assert table is not None, "the set of this epoch is not kept"
        return table

    def leader_seed(self) -> Hash:
        """What draws the leaders of the epoch that votes now: the beacon at the boundary below it; genesis in epoch 0."""
        row = epochs.validator_set(self.reader(), self.epoch)
        assert row is not None, "the set of the epoch under way is never forgotten"
        return Hash(row.seed) if self.epoch else self.genesis_hash

    def is_executed(self, block_hash: Hash) -> bool:
        """Whether a block is the head, or was built or checked here and waits."""
        return block_hash == self._tip.hash or block_hash in self._pending

    def pending_block(self, block_hash: Hash) -> Block | None:
        """A block that was built or checked here and is not final."""
        pending = self._pending.get(block_hash)
        return pending.prepared.block if pending else None

    def pending_ids(self, block_hash: Hash) -> frozenset[Hash]:
        """Ids of the transactions in executed blocks from above the head up to this one: not to be put into a block above it."""
        return frozenset(
            transaction.id
            for pending in self._path_to(block_hash)
            for transaction in pending.prepared.transactions
        )

    # -- building and checking

    def build(
        self,
        parent_hash: Hash,
        timestamp_ms: TimeMs,
        proposer: Address,
        beacon_reveal: bytes,
        transactions: Sequence[Prepared],
        attendance: Attendance | None = None,
    ) -> Block:
        """A block on an executed parent, of those transactions that can stand in it and fit, in the order given.

        Their signatures must have been checked (the mempool does), and so must ``attendance``, the voters of the parent, without
        which a block is valid as the first of an epoch alone. Raises BlockError where the parent is unknown, NoRoomError,
        UpgradeError.
        """
        tip = self._tip_of(parent_hash)
        upgrades.check_known(Overlay(tip.base), Height(tip.header.height + 1))
        timestamp_ms = max(timestamp_ms, _earliest_above(tip))
        ctx = self._context(tip, timestamp_ms, proposer, beacon_reveal, attendance)
        room = limits.block_bytes_max - HEADER_ROOM_BYTES
        executed = execute(tip, ctx, transactions[: limits.block_transactions_max], self._pages.read, room)
        block = Block(
            self._header(
                tip, ctx, beacon_reveal, executed, attendance, root_of_transactions(executed.transactions)
            ),
            tuple([prepared.transaction for prepared in executed.transactions]),
        )
        self._keep(pending_of(tip, assemble(block, executed.transactions), executed), tip)
        return block

    def check(self, block: Block | PreparedBlock) -> None:
        """Executes a block on its parent, which must be the head or executed, and compares all that its header says.

        Afterwards it can be committed and built upon. Raises BlockError. NoRoomError, SupplyError and UpgradeError (only newer
        software can judge it) are no fault of the block.
        """
        prepared = prepare_block(block) if isinstance(block, Block) else block
        # First of all, since the hash is the header's alone: what is known of it says nothing of other transactions.
        judging.check_transactions_root(prepared)
        if self.is_executed(prepared.hash):
            return
        header = prepared.header
        tip = self._tip_of(header.parent)
        upgrades.check_known(Overlay(tip.base), Height(tip.header.height + 1))
        self._check_before_execution(tip, prepared)
        ctx = self._context_of(tip, header)
        checking = self.signatures.begin(prepared.transactions)
        try:
            executed = execute(tip, ctx, prepared.transactions, self._pages.read)
        except Unpayable as refusal:
            raise BlockError(
                f"a transaction can't stand in the block: {refusal.reason}", value=refusal.value
            ) from refusal
        finally:
            # Whatever execution came to, a signature that is none is what is wrong with the block.
            self._check_signatures(prepared, checking)
        expected = self._header(
            tip, ctx, header.beacon_reveal, executed, header.attendance, header.transactions_root
        )
        judging.compare(header, expected)
        assert header == expected
        self._keep(pending_of(tip, prepared, executed), tip)

    def explain(self, block: Block) -> tuple[Header | None, Header | None]:
        """For a block that was found invalid: its parent's header, and the header that execution gives here. Keeps nothing.

        Either is None where there is no such thing: the parent is not here, or a transaction can't stand in the block.
        """
        try:
            prepared = prepare_block(block)
            tip = self._tip_of(block.header.parent)
        except BlockError:
            return None, None
        header = block.header
        ctx = self._context_of(tip, header)
        try:
            executed = execute(tip, ctx, prepared.transactions, self._pages.read)
        except (Unpayable, SupplyError):
            return tip.header, None
        root = root_of_transactions(prepared.transactions)
        return tip.header, self._header(tip, ctx, header.beacon_reveal, executed, header.attendance, root)

    def _check_before_execution(self, tip: Tip, prepared: PreparedBlock) -> None:
        """What is wrong without executing, the cheap things first. Raises BlockError."""
        header, parent = prepared.header, tip.header
        if header.timestamp_ms < (earliest := _earliest_above(tip)):
            raise BlockError(
                "the timestamp is less than a block interval after the parent's",
                value=header.timestamp_ms,
                remedy=f"at least {earliest}",
            )
        if len(prepared.transactions) > limits.block_transactions_max:
            raise BlockError("the block has too many transactions", value=len(prepared.transactions))
        for transaction in prepared.transactions:
            if len(transaction.encoded) > limits.transaction_bytes_max:
                raise BlockError("a transaction is too large", value=f"{len(transaction.encoded)} bytes")
        table = self._table_above(tip)
        if header.epoch != table.epoch:
            raise BlockError(
                "the block is of another epoch than its height",
                value=header.epoch,
                remedy=f"height {parent.height + 1} is in epoch {table.epoch}",
            )
        message = beacon_message(self.chain_id, Height(parent.height + 1))
        judging.check_proposer(Overlay(tip.base), table, header, message, self.scheme)
        check_attendance(header, parent, table, self.scheme)

    @staticmethod
    def _check_signatures(prepared: PreparedBlock, checking: Checking) -> None:
        """Waits until a block's signatures are checked. Raises BlockError."""
        bad = checking.first_bad()
        if bad is not None:
            raise BlockError(
                f"the signature of transaction {bad} does not verify", value=prepared.transactions[bad].id
            )

    def _context_of(self, tip: Tip, header: Header) -> BlockContext:
        return self._context(
            tip, header.timestamp_ms, header.proposer, header.beacon_reveal, header.attendance
        )

    def _context(
        self,
        tip: Tip,
        timestamp_ms: TimeMs,
        proposer: Address,
        beacon_reveal: bytes,
        attendance: Attendance | None,
    ) -> BlockContext:
        parent, params = tip.header, tip.params
        height = Height(parent.height + 1)
        return BlockContext(
            chain_id=self.chain_id,
            height=height,
            epoch=epoch_of(height, params),
            timestamp_ms=timestamp_ms,
            proposer=proposer,
            beacon=next_beacon(tip.beacon, beacon_reveal),
            params=params,
            base_fee=_base_fee_above(parent, params),
            scheme=self.scheme,
            attended=attendants(attendance, self._table_above(tip)),
            skipped=skipped_views(attendance),
        )

    def _table_above(self, tip: Tip) -> ValidatorTable:
        """The voters of the epoch of a tip's children. Kept by the hash that the tip's header names, so never another's."""
        named = Hash(tip.header.next_validators_hash)
        table = self._tables.get(named)
        if table is None:
            epoch = epoch_of(Height(tip.header.height + 1), tip.params)
            table = epochs.table_of(Overlay(tip.base), epoch)
            assert table is not None and table.hash == named, "the state holds the set that the header names"
            if len(self._tables) >= TABLES_KEPT:
                self._tables.pop(next(iter(self._tables)))
            self._tables[named] = table
        return table

    def _hash_of_next_table(self, ctx: BlockContext, table: ValidatorTable, executed: Executed) -> Hash:
        """Hash of the table of the block above this one."""
        if not is_boundary(ctx.height, ctx.params):
            return table.hash
        following = epochs.table_of(executed.overlay, Epoch(ctx.epoch + 1))
        assert following is not None, "a boundary fixes the next set"
        return following.hash

    def _header(
        self,
        tip: Tip,
        ctx: BlockContext,
        beacon_reveal: bytes,
        executed: Executed,
        attendance: Attendance | None,
        transactions_root: Hash,
    ) -> Header:
        """What execution makes the header of, with the root over its transactions, which is known where a block is checked."""
        table = self._table_above(tip)
        return Header(
            version=HEADER_VERSION,
            chain_id=ctx.chain_id,
            height=ctx.height,
            epoch=ctx.epoch,
            parent=tip.hash,
            timestamp_ms=ctx.timestamp_ms,
            proposer=ctx.proposer,
            beacon_reveal=beacon_reveal,
            beacon=ctx.beacon,
            base_fee=ctx.base_fee,
            weight_used=executed.weight_used,
            transactions_root=transactions_root,
            receipts_root=executed.receipts_root,
            work_root=work_root(executed.work),
            state_root=executed.commitment.root(),
            validators_hash=table.hash,
            next_validators_hash=self._hash_of_next_table(ctx, table, executed),
            history_root=history.root_of(tip.history),
            attendance=attendance,
        )

    # -- committing

    def commit(self, block_hash: Hash, proof: FinalityProof | None) -> Committed:
        """Makes an executed child of the head final, on disk when this returns; others at its height are forgotten."""
        pending = self._pending.get(block_hash)
        assert pending is not None, "only an executed block is committed"
        assert pending.prepared.header.parent == self._tip.hash, "only a child of the head is committed"
        return self.commit_path(block_hash, proof)[-1]

    def commit_path(self, block_hash: Hash, proof: FinalityProof | None) -> tuple[Committed, ...]:
        """Makes an executed block and all below it final, in one batch: after a kill all or none of them are there."""
        assert proof is None or proof.candidate.block_hash == block_hash, "the proof is of another block"
        path = self._path_to(block_hash)
        assert path, "only an executed block above the head is committed"
        rows = [row for pending in path for row in rows_of(pending)]
        last = path[-1]
        if proof is not None:
            rows.append((PROOFS.full_key(last.prepared.header.height), encode(proof)))
        rows += steps.rows_at(last.prepared.header, proof, last.executed.overlay, self.params)
        self._store.write(rows)
        for pending in path:
            self._rows.committed(pending.executed.overlay)
            self._pages.committed(pending.executed.page_writes)
            self.signatures.forget(pending.prepared.transactions)
        self._advance(last, proof)
        return tuple([Committed(pending.prepared.block, pending.executed.result) for pending in path])

    def verify(self) -> None:
        """Looks at every row, page and block that there is. Raises DamagedStoreError."""
        opening.verify(self._store, self._tip)

    def verify_indexes(self) -> dict[str, int]:
        """How many rows each index has, all of them compared with what follows from the chain. Raises WrongIndexError."""
        return indexing.verify(self._store)

    def prune(self, below: Height) -> int:
        """Removes blocks below a height with what was derived from them, the lowest first and a few at a time; how many.

        Readers taken before go on seeing them. The head and genesis stay.
        """
        rows, count = pruning.piece(self._store, Height(min(below, self.head.height)))
        if count:
            self._store.write(rows)
            self._reader = self._new_reader(self.head)
        return count

    def _path_to(self, block_hash: Hash) -> list[Pending]:
        """Executed blocks from above the head up to one, the lowest first; empty where it is not above the head."""
        path: list[Pending] = []
        while block_hash != self._tip.hash:
            pending = self._pending.get(block_hash)
            if pending is None:
                return []
            path.append(pending)
            block_hash = pending.prepared.header.parent
        return path[::-1]

    def _advance(self, last: Pending, proof: FinalityProof | None) -> None:
        """Makes a written block the head; keeps what is built upon it, and forgets all else."""
        old = last.tip
        self._tip = Tip(old.hash, old.header, self._rows, old.commitment, old.history)
        kept: dict[Hash, Pending] = {}
        for block_hash, pending in self._pending.items():  # parents stand before their children
            parent = pending.prepared.header.parent
            if parent == self._tip.hash:
                pending.executed.overlay.rebase(self._rows)
            elif parent not in kept:
                continue
            kept[block_hash] = pending
        self._pending = kept
        header = last.prepared.header
        self._reader = self._new_reader(Head(header.height, last.prepared.hash, header, proof))

    def _new_reader(self, head: Head) -> Reader:
        next_base_fee = _base_fee_above(head.header, self._tip.params)
        return Reader(self._store.snapshot(), head, next_base_fee, self._tip.commitment)

    # -- pending blocks

    def _tip_of(self, block_hash: Hash) -> Tip:
        if block_hash == self._tip.hash:
            return self._tip
        pending = self._pending.get(block_hash)
        if pending is None:
            raise BlockError(
                "the parent block is neither the head nor an executed block above it", value=block_hash
            )
        return pending.tip

    def _keep(self, pending: Pending, tip: Tip) -> None:
        """Keeps an executed block. At the limit the lowest and oldest one that nothing is built upon makes room."""
        if len(self._pending) >= limits.pending_blocks_max:
            parents = {other.prepared.header.parent for other in self._pending.values()} | {tip.hash}
            leaves = [block_hash for block_hash in self._pending if block_hash not in parents]
            leaf = min(
                leaves, key=lambda block_hash: self._pending[block_hash].prepared.header.height, default=None
            )
            if leaf is None:
                raise NoRoomError(
                    "too many blocks wait to become final",
                    value=len(self._pending),
                    remedy="wait for finality",
                )
            del self._pending[leaf]
        self._pending[pending.prepared.hash] = pending


def _loaded(store: Store, genesis: Genesis | None, tell: Tell) -> opening.Loaded:
    """What a database holds that hangs together, its indexes included; closes it where that is not so."""
    loaded = opening.load(store, genesis, tell)
    try:
        indexing.refuse_unfinished(store)
    except StorageError:
        store.close()
        raise
    return loaded


def _earliest_above(tip: Tip) -> TimeMs:
    """The least timestamp of the block above: what is counted in blocks lasts at least so many block intervals."""
    return TimeMs(tip.header.timestamp_ms + tip.params.block_interval_ms)


def _base_fee_above(parent: Header, params: Params) -> int:
    """What the block above pays; the first one pays what genesis says."""
    if parent.height == 0:
        return parent.base_fee
    return next_base_fee(parent.base_fee, parent.weight_used, params)
