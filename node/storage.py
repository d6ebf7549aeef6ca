"""Looks after what a running node has on disk: takes snapshots at boundaries, and prunes, both beside the chain's own work.

Takes no snapshot and prunes nothing by itself: ``state`` does, on the threads that are given here.
"""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import structlog

from omnitensor.protocol.disk import told
from omnitensor.protocol.epochs import is_boundary
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.types import Hash, Height
from state.pruning import kept_blocks, kept_least
from state.reader import Reader
from state.snapshots import taking
from state.snapshots.files import heights_in

WANTED: Final = "wanted"
"""A file of this name in the folder of snapshots asks for one at the next boundary; it goes when that is there."""
PAUSE_SECONDS: Final = 0.002
"""Every few hundred rows a snapshot waits so long, and lets the threads that keep up the chain go first."""
PIECE_PAUSE_SECONDS: Final = 0.05
IDLE_SECONDS: Final = 2.0

log = structlog.get_logger("storage")


class StoppedError(ProtocolError):
    """The node stops: what was under way is left."""

    code = "stopped"


def say_migration(what: str, place: int, end: int) -> None:
    """Tells the operator how far the database is that an older version made."""
    log.info("migrating the database", step=what, done=place, of=end)


class PrunedChain(Protocol):
    """The chain as pruning needs it."""

    def reader(self) -> Reader: ...

    async def prune(self, below: Height) -> int:
        """Removes some blocks below a height; how many."""
        ...


@dataclass(frozen=True, slots=True)
class StoragePolicy:
    """What the operator wants kept."""

    snapshots: Path
    every: int
    """A snapshot at every so many boundaries; 0 for none but those asked for."""
    keep: int
    prune: bool
    keep_blocks: int
    """0 for the least that others need."""


class StorageKeeper:
    """Lives on the event loop. ``head_moved`` after every commit; ``run`` until it is cancelled, then ``stop``."""

    def __init__(self, chain: PrunedChain, genesis_hash: Hash, policy: StoragePolicy) -> None:
        """Raises KeepError where too few blocks are to be kept."""
        self._chain: Final = chain
        self._genesis_hash: Final = genesis_hash
        self._policy: Final = policy
        if policy.prune:
            kept_blocks(policy.keep_blocks, chain.reader().params())
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="snapshots")
        self._stopping = threading.Event()
        self._taking: asyncio.Task[None] | None = None
        self._taken_height = Height(0)
        """Of the snapshot under way, or the last one."""
        taking.clean(policy.snapshots)

    def head_moved(self, *, syncing: bool) -> None:
        """Begins a snapshot where this head is a boundary that should have one; none while the node is catching up."""
        reader = self._chain.reader()
        if syncing or self._taking is not None or not is_boundary(reader.head.height, reader.params()):
            return
        every = self._policy.every
        due = every > 0 and (reader.head.header.epoch + 1) % every == 0
        if reader.head.proof is not None and (due or self._wanted.exists()):
            self._taken_height = reader.head.height
            self._taking = asyncio.create_task(self._take(reader), name="snapshot")

    async def run(self) -> None:
        """Prunes, a piece at a time, while there is anything to prune."""
        while True:
            pruned = await self._prune_piece() if self._policy.prune else 0
            await asyncio.sleep(PIECE_PAUSE_SECONDS if pruned else IDLE_SECONDS)

    async def stop(self) -> None:
        """Leaves what is under way. The database must not be closed before this has ended."""
        self._stopping.set()
        if self._taking is not None:
            await asyncio.gather(self._taking, return_exceptions=True)
        self._thread.shutdown(wait=True)

    @property
    def _wanted(self) -> Path:
        return self._policy.snapshots / WANTED

    async def _prune_piece(self) -> int:
        reader = self._chain.reader()
        keep = max(self._policy.keep_blocks, kept_least(reader.params()))  # parameters may have changed since
        below = reader.head.height - keep + 1
        # Who begins with a snapshot of this node's asks it for the block of that height, and for those above. A node that
        # takes none any more does not keep blocks for an old one for ever, and does not give it then.
        given = heights_in(self._policy.snapshots) if self._policy.every else []
        if self._taking is not None:
            given.append(self._taken_height)
        below = min([below, *given])
        if below <= max(1, reader.first_block):
            return 0
        pruned = await self._chain.prune(Height(below))
        if pruned:
            log.info("pruned", blocks=pruned, first_block=self._chain.reader().first_block)
        return pruned

    async def _take(self, reader: Reader) -> None:
        """Runs on its own thread; a failure is said, and the node goes on."""
        try:
            began = time.monotonic()
            path = await asyncio.get_running_loop().run_in_executor(self._thread, self._write, reader)
            log.info(
                "snapshot taken",
                height=reader.head.height,
                hash=reader.head.hash.hex(),
                bytes=path.stat().st_size,
                seconds=round(time.monotonic() - began, 1),
            )
        except StoppedError:
            log.info("snapshot left", height=reader.head.height)
        except (ProtocolError, OSError) as error:
            fault = told(error, self._policy.snapshots)
            log.error("no snapshot taken", height=reader.head.height, error=fault)
        finally:
            self._taking = None

    def _write(self, reader: Reader) -> Path:
        path = taking.take(reader, self._genesis_hash, self._policy.snapshots, self._pause)
        self._wanted.unlink(missing_ok=True)
        taking.keep_newest(self._policy.snapshots, max(1, self._policy.keep))
        return path

    def _pause(self) -> None:
        if self._stopping.wait(PAUSE_SECONDS):
            raise StoppedError("the node stops")
