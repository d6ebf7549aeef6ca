"""The chain as consensus and sync use it: on its own thread, the one writer, asked from the event loop.

Decides nothing about finality. All that touches the chain runs in the order in which it was asked for, so that a check of a child
never overtakes that of its parent.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

import structlog

from consensus.stake import effects as fx
from consensus.stake.events import FinalPoint
from node.chain_work import ChainWork, DivergedError
from node.disputes import DisputeFolder
from node.driver import Below, Checked
from node.epochs import EpochView
from node.keys import NodeKeys
from node.metrics import Metrics
from node.waiting import WaitingTransactions
from omnitensor.protocol.blocks import Block, beacon_message
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.limits import block_bytes_max
from omnitensor.protocol.types import BPS, BlsPublicKey, Height
from omnitensor.protocol.votes import Candidate, FinalityProof
from rpc.feed import BlockFeed, CommittedBlock
from state.chain import HEADER_ROOM_BYTES, Chain, Committed
from state.ledger import attendance
from state.reader import Reader
from state.schema import WORK_EPOCHS

T = TypeVar("T")

log = structlog.get_logger("chain")


class ChainApplication:
    """Builds, checks and commits for the driver, and commits ranges for the sync."""

    def __init__(
        self,
        chain: Chain,
        waiting: WaitingTransactions,
        feed: BlockFeed,
        keys: NodeKeys,
        voter: BlsPublicKey | None,
        crypto: ThreadPoolExecutor,
        metrics: Metrics,
        disputes: DisputeFolder,
        on_head: Callable[[], None],
    ) -> None:
        """``voter`` is the key that this node votes with, None when it only follows; ``on_head`` is told of every new head."""
        self.chain: Final = chain
        self.waiting: Final = waiting
        self._feed = feed
        self._keys = keys
        self._work = ChainWork(chain, voter)
        self._crypto = crypto
        self._metrics = metrics
        self._disputes = disputes
        self._on_head = on_head
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="state")
        self._commits = asyncio.Lock()
        self._votes_for = self._work.epoch.address
        """The account that this node voted for last, in this epoch or before."""
        self._show_head(chain.reader())

    async def call(self, work: Callable[[], T]) -> T:
        """Runs work on the chain's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def close(self) -> None:
        """Waits for what is under way, then closes the database."""
        self.waiting.close()
        await self.call(self.chain.close)
        self._thread.shutdown()

    def reader(self) -> Reader:
        return self.chain.reader()

    @property
    def height(self) -> Height:
        return self.chain.reader().head.height

    @property
    def epoch(self) -> EpochView:
        """The epoch that votes now: that of the block above the head."""
        return self._work.epoch

    def standing(self) -> tuple[EpochView, FinalPoint | None]:
        """The epoch that votes now, and where its core begins: None while the head is final only through a block above it."""
        return self._work.standing()

    def final_point(self) -> FinalPoint | None:
        """Where the core of the epoch that votes now begins; see ``standing``."""
        return self.standing()[1]

    async def prune(self, below: Height) -> int:
        """Removes some blocks below a height, on the chain's thread; how many."""
        return await self.call(partial(self.chain.prune, below))

    # -- for the driver

    async def build(self, build: fx.Build, below: Below) -> Block | None:
        """A block of waiting transactions on the parent; None when none can be built there."""
        builder = self._work.builder_of(build)
        if builder is None:
            return None
        reveal = self._keys.sign(beacon_message(self.chain.chain_id, Height(build.parent_height + 1)))
        if not await self.call(lambda: self.chain.is_executed(build.parent_hash)):
            blocks = tuple(below())
            await self.call(lambda: self._work.execute(blocks))
        above_head = await self.call(lambda: self.chain.pending_ids(build.parent_hash))
        waiting = await self.waiting.select(
            self.reader().next_base_fee,
            self.chain.params.block_weight_max,
            block_bytes_max - HEADER_ROOM_BYTES,
            above_head,
        )
        return await self.call(lambda: self._work.build(build, builder, reveal, waiting))

    async def check(self, candidate: Candidate, block: Block, below: Below) -> Checked | None:
        """Why a candidate's block is invalid, the same on every node; see ``ChainWork.check``. None: not judged now."""
        not_its_turn = self._work.leader_fault(candidate, block)
        if not_its_turn is not None:
            return not_its_turn
        started = time.perf_counter()
        checked = await self.call(lambda: self._work.check(block, ()))
        if checked is None and (blocks := tuple(below())):
            checked = await self.call(lambda: self._work.check(block, blocks))
        self._metrics.check_seconds.observe(time.perf_counter() - started)
        if checked is None:
            log.info("block not judged yet", view=candidate.view, height=block.header.height)
        elif checked.fault is not None:
            log.warning("invalid block", view=candidate.view, height=block.header.height, fault=checked.fault)
        return checked

    async def commit(self, commit: fx.Commit) -> None:
        """R6: the blocks that became final, in one synced batch; those that sync has committed already are left out."""
        blocks = tuple(finalized.block for finalized in commit.chain)
        async with self._commits:
            await self._publish(await self._timed_commit(lambda: self._work.commit(blocks, commit.proof)))

    async def save_dispute(self, disputed: fx.Disputed) -> str:
        """Saves a block that is invalid here, with all that execution gives otherwise; a sentence that says where."""
        return await self.call(partial(self._save, disputed))

    def _save(self, disputed: fx.Disputed) -> str:
        parent, computed = self.chain.explain(disputed.block)
        return self._disputes.save(disputed, parent, computed)

    # -- for the sync

    async def verify_proof(self, proof: FinalityProof) -> ProtocolError | None:
        """Why a finality proof is not to be believed, or None."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._crypto, self._work.fault_of_proof, proof)

    async def commit_range(self, blocks: tuple[Block, ...], proof: FinalityProof) -> None:
        """Executes and commits those blocks of a range that are above the head. ``proof`` is of the last or of one above it.

        The proof was verified and the blocks lead up to it. Raises DivergedError where one of them is invalid here.
        """
        self._work.expect(proof)
        for block in blocks:
            async with self._commits:
                await self._publish(await self._timed_commit(partial(self._work.commit_next, block)))

    # -- after a commit

    async def _timed_commit(self, work: Callable[[], tuple[Committed, ...]]) -> tuple[Committed, ...]:
        started = time.perf_counter()
        try:
            committed = await self.call(work)
        except DivergedError as error:
            saved = await self.save_dispute(fx.Disputed(None, error.block, error.reason, None))
            raise DivergedError(f"{error.reason}. {saved}", error.block) from error
        self._metrics.commit_seconds.observe(time.perf_counter() - started)
        return committed

    async def _publish(self, committed: tuple[Committed, ...]) -> None:
        """Tells the mempool, then (they may ask for a nonce at once) subscribers and metrics, in order of height."""
        if not committed:
            return
        reader = self.chain.reader()
        await self.waiting.on_commit(committed, reader)
        now_ms = time.time_ns() // 1_000_000
        for one in committed:
            self._metrics.finality_seconds.observe(max(0, now_ms - one.block.header.timestamp_ms) / 1000)
            failed = sum(not receipt.ok for receipt in one.result.receipts)
            self._metrics.transactions.labels("failed").inc(failed)
            self._metrics.transactions.labels("ok").inc(len(one.result.receipts) - failed)
            self._warn_of_jail(one)
            try:
                self._feed.publish(CommittedBlock(one.block, one.result))
            except Exception:
                log.exception("a subscriber failed", height=one.block.header.height)
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

    def _warn_of_jail(self, committed: Committed) -> None:
        """Tells the operator when the validator that this node votes for was jailed."""
        for event in committed.result.events:
            if event.kind == "validator.jailed" and dict(event.fields)["validator"] == self._votes_for:
                log.error(
                    "this validator was jailed for downtime",
                    until=dict(event.fields)["until"],
                    remedy="when the node keeps up again: otensor-cli validator unjail",
                )
        self._votes_for = self._work.epoch.address or self._votes_for

    def _show_head(self, reader: Reader) -> None:
        self._metrics.height.set(reader.head.height)
        self._metrics.base_fee.set(reader.next_base_fee)
        epoch = self._work.epoch
        share_bps = 0
        if epoch.me is not None:
            row = attendance.of_epoch(reader, epoch.number)
            share_bps = attendance.share_bps(row.votes[epoch.me], row.blocks)
        self._metrics.attendance_bps.set(share_bps)
        sums = reader.get(WORK_EPOCHS, epoch.number)
        if sums is not None and sums.macs:
            self._metrics.work_useful_bps.set(sums.useful * BPS / sums.macs)
