"""Catches up with the chain: carries out what ``catch_up`` says is due, verifies every range, and has it committed.

A range is believed for its finality proof alone; its blocks are executed like any others.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Final, Protocol

import structlog

from node.catch_up import FORGED_POINTS, UNRELIABLE_POINTS, CatchUp, read_range
from node.tasks import Tasks
from omnitensor.protocol.blocks import Block
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.types import Height
from omnitensor.protocol.votes import FinalityProof
from p2p.errors import AskError
from p2p.interface import Network
from p2p.messages import PeerId
from p2p.sync import DropPeer, Fetch, Progress, Range
from state.reader import Reader

PAUSE_SECONDS: Final = 0.2
PROGRESS_SECONDS: Final = 5.0
BEHIND_BLOCKS_MAX: Final = 20
"""A node further behind than this sends clients elsewhere."""


class SyncTarget(Protocol):
    """The chain as the sync sees it."""

    @property
    def height(self) -> Height: ...

    async def verify_proof(self, proof: FinalityProof) -> ProtocolError | None:
        """Why a finality proof is not to be believed, or None."""
        ...

    async def commit_range(self, blocks: tuple[Block, ...], proof: FinalityProof) -> None:
        """Executes and commits those blocks that are above the head; ``proof`` is of the last or of one above.

        What it raises is no fault of the peer that sent them: they are final.
        """
        ...


class Syncer:
    """Runs until it is cancelled; does nothing while the node is as far as its peers."""

    def __init__(
        self,
        network: Network,
        target: SyncTarget,
        crypto: Executor,
        on_committed: Callable[[], Awaitable[None]],
    ) -> None:
        """``on_committed`` is called after every committed range: consensus then goes on from the new head."""
        self._network = network
        self._target = target
        self._crypto = crypto
        self._on_committed = on_committed
        self._sync = CatchUp(target.height, _now_ms())
        self._tasks = Tasks("sync")
        self._wake = asyncio.Event()
        self._log = structlog.get_logger("sync")

    def peer_status(self, peer_id: PeerId, height: int) -> None:
        self._sync.peer_status(peer_id, height)
        self._wake.set()

    def peer_gone(self, peer_id: PeerId) -> None:
        self._sync.peer_gone(peer_id)
        self._wake.set()

    def wake(self) -> None:
        """Looks again at once, for instance because consensus says that this node is behind."""
        self._wake.set()

    @property
    def progress(self) -> Progress:
        return self._sync.progress

    @property
    def syncing(self) -> bool:
        return self._sync.syncing

    async def run(self) -> None:
        said = 0.0
        try:
            while True:
                step = self._sync.step(self._target.height, _now_ms())
                for fetch in step.fetches:
                    self._tasks.start(self._fetch(fetch))
                for drop in step.drops:
                    self._drop(drop)
                if step.ready is not None:
                    await self._apply(step.ready)
                    continue
                if self._sync.syncing and time.monotonic() - said > PROGRESS_SECONDS:
                    said = time.monotonic()
                    progress = self._sync.progress
                    self._log.info(
                        "catching up",
                        height=progress.height,
                        target=progress.target,
                        remaining_s=None if progress.remaining_ms is None else progress.remaining_ms // 1000,
                    )
                said = self._complain(said)
                self._wake.clear()
                try:
                    await asyncio.wait_for(self._wake.wait(), PAUSE_SECONDS)
                except TimeoutError:
                    continue
        finally:
            self._tasks.cancel()

    def _complain(self, said: float) -> float:
        """Says what a person has to mend, now and then; when it last said anything."""
        if self._sync.unheld is None or time.monotonic() - said <= PROGRESS_SECONDS:
            return said
        self._log.error(
            "no peer keeps the block that comes next",
            height=self._sync.unheld,
            remedy="connect to a node that archives, or begin with a snapshot: sync.snapshot, or omnitensor-node snapshot import",
        )
        return time.monotonic()

    def _drop(self, drop: DropPeer) -> None:
        self._log.warning("peer dropped", peer=drop.peer_id.hex(), reason=drop.reason)
        self._network.charge(drop.peer_id, UNRELIABLE_POINTS, drop.reason)
        self._network.drop(drop.peer_id, drop.reason)

    async def _fetch(self, fetch: Fetch) -> None:
        timeout_ms = max(1, fetch.deadline_ms - _now_ms())
        try:
            response = await self._network.ask(fetch.peer_id, fetch.request, timeout_ms)
        except AskError as error:
            self._sync.unanswered(fetch, str(error))
        else:
            self._sync.answered(fetch, response)
        self._wake.set()

    async def _apply(self, ready: Range) -> None:
        """Form and proof first: what fails there costs the peer that sent the range. What fails after it is not the peer's."""
        proof = ready.response.proof
        try:
            blocks = await asyncio.get_running_loop().run_in_executor(self._crypto, read_range, ready)
            fault = await self._target.verify_proof(proof)
            if fault is not None:
                raise fault
        except ProtocolError as error:
            self._log.warning("range refused", peer=ready.peer_id.hex(), error=str(error))
            self._network.charge(ready.peer_id, FORGED_POINTS, str(error))
            self._sync.refuse(ready, str(error))
            return
        await self._target.commit_range(blocks, proof)
        await self._on_committed()


def is_old(reader: Reader) -> bool:
    """Whether a node with this head can be so far behind that it sends clients elsewhere: one with a young head is not, whatever
    strangers claim."""
    age_ms = time.time_ns() // 1_000_000 - reader.head.header.timestamp_ms
    return age_ms > BEHIND_BLOCKS_MAX * reader.params().block_interval_ms


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
