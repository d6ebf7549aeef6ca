"""The chain as consensus and sync use it: on its own thread, the one writer, asked from the event loop.

Decides nothing about finality. All that touches the chain runs in the order in which it was asked for, so that a check of a child
never overtakes that of its parent.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

import structlog

from consensus.stake import effects as fx
from consensus.stake.events import FinalPoint
from node.driver import Below, Checked
from node.epochs import EpochView, epoch_above, final_point_of
from node.keys import NodeKeys
from node.metrics import Metrics
from node.waiting import WaitingTransactions
from omnitensor.protocol import limits
from omnitensor.protocol.blocks import Block, beacon_message
from omnitensor.protocol.epochs import epoch_of
from omnitensor.protocol.errors import BlockError, ProtocolError, SignatureError
from omnitensor.protocol.limits import block_bytes_max
from omnitensor.protocol.types import BlsPublicKey, Hash, Height
from omnitensor.protocol.votes import Candidate, FinalityProof
from rpc.feed import BlockFeed, CommittedBlock
from state.chain import HEADER_ROOM_BYTES, Chain, Committed, NoRoomError
from state.reader import Reader
from state.schema import HEIGHTS

T = TypeVar("T")

log = structlog.get_logger("chain")


class DivergedError(ProtocolError):
    """A quorum made final what can't be final here: somebody computes wrongly, or a third of the stake is hostile."""

    code = "diverged"

    def __init__(self, reason: str, block: Block) -> None:
        super().__init__(
            reason,
            value=f"height {block.header.height}, {block.hash.hex()}",
            remedy="keep this node's data, and report both versions and the block to the project's issue tracker",
        )


class ProofsAhead:
    """Finality proofs that came before the block that they prove, the latest few."""

    def __init__(self) -> None:
        self._proofs: OrderedDict[Hash, FinalityProof] = OrderedDict()

    def put(self, proof: FinalityProof) -> None:
        self._proofs[Hash(proof.candidate.block_hash)] = proof
        while len(self._proofs) > limits.proofs_ahead_max:
            self._proofs.popitem(last=False)

    def take(self, block_hash: Hash) -> FinalityProof | None:
        return self._proofs.pop(block_hash, None)


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
        on_head: Callable[[], None],
    ) -> None:
        """``voter`` is the key that this node votes with, None when it only follows; ``on_head`` is told of every new head."""
        self.chain: Final = chain
        self.waiting: Final = waiting
        self._feed = feed
        self._keys = keys
        self._voter = voter
        self._epoch: EpochView | None = None
        self._crypto = crypto
        self._metrics = metrics
        self._on_head = on_head
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="state")
        self._commits = asyncio.Lock()
        self._proofs = ProofsAhead()
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
        return self._epoch_of(self.chain.reader())

    def _epoch_of(self, reader: Reader) -> EpochView:
        number = epoch_above(reader)
        if self._epoch is None or self._epoch.number != number:
            self._epoch = EpochView.of(reader, number, self.chain.genesis_hash, self._voter)
            assert self._epoch is not None, "the set of the epoch under way is never forgotten"
        return self._epoch

    def standing(self) -> tuple[EpochView, FinalPoint | None]:
        """The epoch that votes now, and where its core begins: None while the head is final only through a block above it."""
        reader = self.chain.reader()
        epoch = self._epoch_of(reader)
        return epoch, final_point_of(reader.head, epoch.number)

    def final_point(self) -> FinalPoint | None:
        """Where the core of the epoch that votes now begins; see ``standing``."""
        return self.standing()[1]

    # -- for the driver

    async def build(self, build: fx.Build, below: Below) -> Block | None:
        """A block of waiting transactions on the parent; None when none can be built there."""
        epoch = self.epoch
        address = epoch.address
        if address is None or epoch_of(Height(build.parent_height + 1), self.chain.params) != epoch.number:
            return None  # sync has brought another epoch meanwhile
        reveal = self._keys.sign(beacon_message(self.chain.chain_id, Height(build.parent_height + 1)))
        if not await self.call(lambda: self.chain.is_executed(build.parent_hash)):
            blocks = tuple(below())
            await self.call(lambda: self._execute(blocks))
        above_head = await self.call(lambda: self.chain.pending_ids(build.parent_hash))
        waiting = await self.waiting.select(
            self.reader().next_base_fee,
            self.chain.params.block_weight_max,
            block_bytes_max - HEADER_ROOM_BYTES,
            above_head,
        )
        try:
            return await self.call(
                lambda: self.chain.build(build.parent_hash, build.timestamp_ms, address, reveal, waiting)
            )
        except (BlockError, NoRoomError) as error:
            log.warning("no block built", view=build.view, reason=str(error))
            return None

    async def check(self, candidate: Candidate, block: Block, below: Below) -> Checked | None:
        """Why a candidate's block is invalid, the same on every node. None when it can't be judged now: see ``_check``."""
        epoch = self.epoch
        leader = epoch.table.entries[epoch.schedule.leader(candidate.view)].address
        if candidate.epoch == epoch.number and block.header.proposer != leader:
            return Checked("the block's proposer is not its view's leader")
        started = time.perf_counter()
        checked = await self.call(lambda: self._check(block, ()))
        if checked is None and (blocks := tuple(below())):
            checked = await self.call(lambda: self._check(block, blocks))
        self._metrics.check_seconds.observe(time.perf_counter() - started)
        if checked is None:
            log.info("block not judged yet", view=candidate.view, height=block.header.height)
        elif checked.fault is not None:
            log.warning("invalid block", view=candidate.view, height=block.header.height, fault=checked.fault)
        return checked

    def _check(self, block: Block, below: Sequence[Block]) -> Checked | None:
        """None where it was overtaken by sync, its parent was, or too many blocks wait: none of that is the block's fault.

        A block that contradicts a final one may well have a quorum's notarization (and was passed over then), so it must not
        be called invalid either.
        """
        if block.header.height <= self.chain.head.height:
            return Checked(None) if self._is_final(block) else None
        self._execute(below)
        if not self.chain.is_executed(block.header.parent):
            return None
        try:
            self.chain.check(block)
        except NoRoomError as error:
            log.warning("no room for another block", reason=str(error))
            return None
        except BlockError as error:
            return Checked(str(error))
        return Checked(None)

    def _execute(self, blocks: Sequence[Block]) -> None:
        """Executes again what the chain has forgotten of blocks that were found valid before."""
        for block in blocks:
            if block.header.height <= self.chain.head.height or self.chain.is_executed(block.hash):
                continue
            if not self.chain.is_executed(block.header.parent):
                return
            try:
                self.chain.check(block)
            except NoRoomError as error:
                log.warning("no room for another block", reason=str(error))
                return

    def _is_final(self, block: Block) -> bool:
        row = self.chain.reader().get(HEIGHTS, block.hash)
        return row is not None and row.height == block.header.height

    async def commit(self, commit: fx.Commit) -> None:
        """R6: the blocks that became final, in one synced batch; those that sync has committed already are left out."""
        blocks = tuple(finalized.block for finalized in commit.chain)
        async with self._commits:
            await self._publish(await self._timed_commit(lambda: self._commit(blocks, commit.proof)))

    def _commit(self, blocks: Sequence[Block], proof: FinalityProof) -> tuple[Committed, ...]:
        last = blocks[-1]
        if last.header.height > self.chain.head.height and self.chain.is_executed(last.hash):
            return self.chain.commit_path(last.hash, proof)
        # Forgotten, or overtaken by sync: what is left is committed one by one, as sync does.
        self._proofs.put(proof)
        return tuple(committed for block in blocks for committed in self._commit_next(block))

    # -- for the sync

    async def verify_proof(self, proof: FinalityProof) -> ProtocolError | None:
        """Why a finality proof is not to be believed, or None."""
        reader = self.chain.reader()
        epoch: EpochView | None = self._epoch_of(reader)
        if epoch is None or proof.candidate.epoch != epoch.number:
            # Of an epoch that is over here, when the node has overtaken its sync; of a later one it can't be verified yet.
            epoch = EpochView.of(reader, proof.candidate.epoch, self.chain.genesis_hash, None)
        if epoch is None:
            return SignatureError(
                "a proof of an epoch whose validators are not known", value=proof.candidate.epoch
            )
        try:
            await asyncio.get_running_loop().run_in_executor(
                self._crypto, epoch.verifier.verify_finality, proof
            )
        except ProtocolError as error:
            return error
        return None

    async def commit_range(self, blocks: tuple[Block, ...], proof: FinalityProof) -> None:
        """Executes and commits those blocks of a range that are above the head. ``proof`` is of the last or of one above it.

        The proof was verified and the blocks lead up to it. Raises DivergedError where one of them is invalid here.
        """
        self._proofs.put(proof)
        for block in blocks:
            async with self._commits:
                await self._publish(await self._timed_commit(partial(self._commit_next, block)))

    def _commit_next(self, block: Block) -> tuple[Committed, ...]:
        """Commits a block that a quorum made final, with its own proof where there is one."""
        header, head = block.header, self.chain.head
        if header.height <= head.height:
            if self._is_final(block):
                return ()
            raise DivergedError("a quorum made two blocks of one height final", block)
        if header.parent != head.hash:
            raise DivergedError(
                f"a quorum made a block final that does not stand on the final block {head.height}", block
            )
        try:
            self.chain.check(block)
        except BlockError as error:
            raise DivergedError(
                f"a quorum made a block final that is invalid here ({error})", block
            ) from error
        return self.chain.commit_path(block.hash, self._proofs.take(block.hash))

    # -- after a commit

    async def _timed_commit(self, work: Callable[[], tuple[Committed, ...]]) -> tuple[Committed, ...]:
        started = time.perf_counter()
        committed = await self.call(work)
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

    def _show_head(self, reader: Reader) -> None:
        self._metrics.height.set(reader.head.height)
        self._metrics.base_fee.set(reader.next_base_fee)
