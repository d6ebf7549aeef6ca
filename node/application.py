"""The chain as consensus and sync use it: on its own thread, the one writer, asked from the event loop.

Decides nothing about finality. All that touches the chain runs in the order in which it was asked for, so that a check of a child
never overtakes that of its parent.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import structlog

from consensus.schedule.leaders import LeaderSchedule
from consensus.stake import effects as fx
from consensus.stake.events import FinalPoint
from consensus.stake.verify import Verifier
from node.keys import NodeKeys
from node.metrics import Metrics
from omnitensor.protocol.blocks import Block, beacon_message
from omnitensor.protocol.errors import BlockError, ProtocolError, StorageError
from omnitensor.protocol.limits import block_bytes_max
from omnitensor.protocol.types import Address, Hash, Height, View
from omnitensor.protocol.votes import Candidate, FinalityProof
from rpc.feed import BlockFeed, CommittedBlock
from state.chain import HEADER_ROOM_BYTES, Chain, Committed
from state.mempool import Mempool
from state.reader import Reader

T = TypeVar("T")

log = structlog.get_logger("chain")


class ChainApplication:
    """Builds, checks and commits for the driver, and commits ranges for the sync."""

    def __init__(
        self,
        chain: Chain,
        mempool: Mempool,
        feed: BlockFeed,
        keys: NodeKeys,
        address: Address | None,
        schedule: LeaderSchedule,
        verifier: Verifier,
        metrics: Metrics,
        on_head: Callable[[], None],
    ) -> None:
        """``address`` is this validator's account, None for a node that only follows; ``on_head`` is told of every new head."""
        self.chain: Final = chain
        self.mempool: Final = mempool
        self._feed = feed
        self._keys = keys
        self._address = address
        self._schedule = schedule
        self._verifier = verifier
        self._metrics = metrics
        self._on_head = on_head
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="state")
        self._commits = asyncio.Lock()
        self._show_head(chain.reader())

    async def call(self, work: Callable[[], T]) -> T:
        """Runs work on the chain's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def close(self) -> None:
        """Waits for what is under way, then closes the database."""
        await self.call(self.chain.close)
        self._thread.shutdown()

    def reader(self) -> Reader:
        return self.chain.reader()

    @property
    def height(self) -> Height:
        return self.chain.reader().head.height

    def final_point(self) -> FinalPoint | None:
        """Where a core begins; None while the head is final only through a block above it (in the middle of a sync)."""
        head = self.chain.reader().head
        if head.height == 0:
            root = self.chain.genesis_hash
            return FinalPoint(View(0), root, root, Height(0), head.header.timestamp_ms, None)
        if head.proof is None:
            return None
        candidate = head.proof.candidate
        return FinalPoint(
            candidate.view, candidate.id, head.hash, head.height, head.header.timestamp_ms, head.proof
        )

    # -- for the driver

    async def build(self, build: fx.Build) -> Block | None:
        """A block of waiting transactions on the parent; None when none can be built there."""
        assert self._address is not None, "only a validator builds"
        address = self._address
        reveal = self._keys.sign(beacon_message(self.chain.chain_id, Height(build.parent_height + 1)))
        above_head = await self.call(lambda: self._ids_above_head(build.parent_hash))
        waiting = self.mempool.select(
            self.reader().next_base_fee,
            self.chain.params.block_weight_max,
            block_bytes_max - HEADER_ROOM_BYTES,
            above_head,
        )
        try:
            return await self.call(
                lambda: self.chain.build(build.parent_hash, build.timestamp_ms, address, reveal, waiting)
            )
        except BlockError as error:
            log.warning("no block built", view=build.view, reason=str(error))
            return None

    def _ids_above_head(self, block_hash: Hash) -> frozenset[Hash]:
        """Ids of transactions in blocks between the head and a block on which another is built, that block included."""
        found: set[Hash] = set()
        while (block := self.chain.pending_block(block_hash)) is not None:
            found.update(transaction.id for transaction in block.transactions)
            block_hash = block.header.parent
        return frozenset(found)

    async def check(self, candidate: Candidate, block: Block) -> str | None:
        """Why a candidate's block is invalid, the same on every node; None when it is valid and was executed here."""
        leader = self._verifier.table.entries[self._schedule.leader(candidate.view)].address
        if block.header.proposer != leader:
            return "the block's proposer is not its view's leader"
        started = time.perf_counter()
        fault = await self.call(lambda: self._check(block))
        self._metrics.check_seconds.observe(time.perf_counter() - started)
        if fault is not None:
            log.warning("invalid block", view=candidate.view, height=block.header.height, fault=fault)
        return fault

    def _check(self, block: Block) -> str | None:
        reader = self.chain.reader()
        if block.header.height <= reader.head.height:
            # Sync was faster. What is final is valid; what contradicts it can never be final.
            final = reader.block(block.header.height)
            same = final is not None and final.hash == block.hash
            return None if same else "the block contradicts a final one"
        if not self.chain.is_executed(block.header.parent):
            raise StorageError(
                "a block's parent is not executed here, so the block can't be judged",
                value=block.header.parent,
                remedy="start the node again; it goes on from its last final block",
            )
        try:
            self.chain.check(block)
        except BlockError as error:
            return str(error)
        return None

    async def commit(self, commit: fx.Commit) -> None:
        """R6: the blocks that became final, in one synced batch; those that sync has committed already are left out."""
        last = commit.chain[-1].block

        def work() -> tuple[Committed, ...]:
            head = self.chain.reader().head
            if last.header.height <= head.height:
                return ()
            return self.chain.commit_path(last.hash, commit.proof)

        async with self._commits:
            self._publish(await self._timed_commit(work))

    # -- for the sync

    async def verify_proof(self, proof: FinalityProof) -> ProtocolError | None:
        """Why a finality proof is not to be believed, or None."""
        try:
            await asyncio.to_thread(self._verifier.verify_finality, proof)
        except ProtocolError as error:
            return error
        return None

    async def commit_range(
        self, blocks: tuple[Block, ...], proof: FinalityProof, *, proves_last: bool
    ) -> None:
        """Executes and commits those blocks of a range that are above the head. Raises BlockError at the first wrong one."""
        for block in blocks:
            own_proof = proof if proves_last and block is blocks[-1] else None
            async with self._commits:
                self._publish(await self._timed_commit(lambda: self._commit_final(block, own_proof)))  # noqa: B023  # awaited before the loop goes on

    def _commit_final(self, block: Block, proof: FinalityProof | None) -> tuple[Committed, ...]:
        if block.header.height <= self.chain.reader().head.height:
            return ()
        self.chain.check(block)
        return self.chain.commit_path(block.hash, proof)

    # -- after a commit

    async def _timed_commit(self, work: Callable[[], tuple[Committed, ...]]) -> tuple[Committed, ...]:
        started = time.perf_counter()
        committed = await self.call(work)
        self._metrics.commit_seconds.observe(time.perf_counter() - started)
        return committed

    def _publish(self, committed: tuple[Committed, ...]) -> None:
        """Tells mempool, subscribers and metrics, in order of height."""
        if not committed:
            return
        reader = self.chain.reader()
        now_ms = time.time_ns() // 1_000_000
        for one in committed:
            self.mempool.on_commit(one.block, reader)
            self._metrics.finality_seconds.observe(max(0, now_ms - one.block.header.timestamp_ms) / 1000)
            failed = sum(not receipt.ok for receipt in one.result.receipts)
            self._metrics.transactions.labels("failed").inc(failed)
            self._metrics.transactions.labels("ok").inc(len(one.result.receipts) - failed)
            self._feed.publish(CommittedBlock(one.block, one.result))
        self._show_head(reader)
        header = reader.head.header
        log.info(
            "final",
            height=header.height,
            hash=reader.head.hash.hex()[:16],
            transactions=sum(len(one.block.transactions) for one in committed),
            after_ms=now_ms - header.timestamp_ms,
        )
        self._on_head()

    def _show_head(self, reader: Reader) -> None:
        self._metrics.height.set(reader.head.height)
        self._metrics.base_fee.set(reader.next_base_fee)
