"""The chunks of one snapshot on their way here: from everybody who gives it, a few at a time of each, each verified alone.

When nothing is left to ask for, what one peer is slow to give is asked of a second one. The first good answer counts, and
who was only slower owes nothing.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from node.snapshot_part import Part
from omnitensor.protocol import limits
from omnitensor.protocol.types import Height
from p2p.errors import AskError
from p2p.messages import Chunk, PeerId, Request, Response, SnapshotPieceRequest
from state.snapshots.chunks import read_chunk
from state.snapshots.manifest import Manifest, SnapshotError

LOOK_SECONDS: Final = 0.5


@dataclass(slots=True)
class Offer:
    """A snapshot, and who gives it."""

    encoded: bytes
    manifest: Manifest
    peers: set[PeerId]
    guessed: set[PeerId] = field(default_factory=set)
    """Of these, who has not said so: they have a newer one, and perhaps this one, which was under way before, too."""


class Givers(Protocol):
    """The peers, and what is held against them."""

    def able(self, offer: Offer) -> list[PeerId]: ...

    async def ask(self, peer_id: PeerId, request: Request) -> Response: ...

    def owes(self, peer_id: PeerId, reason: str) -> None: ...

    def blame(self, peer_id: PeerId, reason: str) -> None: ...


@dataclass(slots=True)
class _Ask:
    """One chunk asked of one peer."""

    task: "asyncio.Task[bool]"
    """Whether the chunk is kept now."""
    since: float
    gave: int = 0

    def pace(self, now: float) -> float:
        """Bytes a second."""
        return self.gave / max(now - self.since, 0.001)


class Chunks:
    """All chunks of one snapshot that are not here yet."""

    def __init__(self, givers: Givers, part: Part, offer: Offer, tell: Callable[[int, int], None]) -> None:
        """``tell`` gets how many chunks are here, and of how many."""
        self._givers = givers
        self._part = part
        self._offer = offer
        self._tell = tell
        self._waiting = part.missing()[::-1]
        self._of = sum(chunk.size > 0 for chunk in offer.manifest.chunks)
        self._asks: dict[int, dict[PeerId, _Ask]] = {}
        """By chunk and peer; of each chunk the first peer first."""
        self._times: Counter[tuple[int, PeerId]] = Counter()
        """How often a chunk was asked of a peer."""
        self._let_go: set[asyncio.Task[bool]] = set()

    async def run(self) -> None:
        """Raises AskError where nobody is left to ask."""
        try:
            while self._waiting or self._asks:
                self._begin()
                self._tell(self._of - len(self._waiting) - len(self._asks), self._of)
                if not self._asks:
                    raise AskError(
                        "nobody is left who gives this snapshot", value=self._offer.manifest.height
                    )
                tasks = [ask.task for asks in self._asks.values() for ask in asks.values()]
                await asyncio.wait(tasks, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                self._settle()
        finally:
            for index in tuple(self._asks):
                for peer_id in tuple(self._asks[index]):
                    self._drop(index, peer_id)
            await asyncio.gather(*self._let_go, return_exceptions=True)

    def _settle(self) -> None:
        """Takes account of what has ended."""
        for index, asks in tuple(self._asks.items()):
            ended = [peer_id for peer_id, ask in asks.items() if ask.task.done()]
            kept = [asks.pop(peer_id).task.result() for peer_id in ended]
            if any(kept):
                for peer_id in tuple(asks):
                    self._drop(index, peer_id)
            elif not asks:
                self._waiting.append(index)
            if not asks:
                del self._asks[index]

    def _drop(self, index: int, peer_id: PeerId) -> None:
        """Waits no more for a peer's answer: it owes nothing for that."""
        task = self._asks[index].pop(peer_id).task
        task.cancel()
        self._let_go.add(task)
        task.add_done_callback(self._let_go.discard)

    def _begin(self) -> None:
        """Asks for what waits; when nothing does, for what takes long of another peer as well."""
        able = self._givers.able(self._offer)
        for peer_id in able:
            while self._waiting and self._busy(peer_id) < limits.snapshot_chunks_per_peer_max:
                self._ask(self._waiting.pop(), peer_id)
        if not self._waiting:
            for index in tuple(self._asks):
                self._ask_another(index, able)

    def _busy(self, peer_id: PeerId) -> int:
        return sum(peer_id in asks for asks in self._asks.values())

    def _ask_another(self, index: int, able: list[PeerId]) -> None:
        """Asks somebody else for a chunk, one that was not asked for it yet if there is one.

        Where as many as may be are asked already, the slowest of them gives way, but only to one that was not asked.
        """
        asks, now = self._asks[index], time.monotonic()
        age_ms = (now - max(ask.since for ask in asks.values())) * 1_000
        spare = [
            peer_id
            for peer_id in able
            if peer_id not in asks and self._busy(peer_id) < limits.snapshot_chunks_per_peer_max
        ]
        if not spare or age_ms < limits.snapshot_held_up_ms_min:
            return
        chosen = min(spare, key=lambda peer_id: self._times[index, peer_id])
        if len(asks) >= limits.snapshot_asks_per_chunk_max:
            if self._times[index, chosen] or age_ms < limits.snapshot_outpaced_ms_min:
                return
            self._drop(index, min(asks, key=lambda peer_id: asks[peer_id].pace(now)))
        self._ask(index, chosen)

    def _ask(self, index: int, peer_id: PeerId) -> None:
        self._times[index, peer_id] += 1
        task = asyncio.create_task(self._chunk(peer_id, index))
        self._asks.setdefault(index, {})[peer_id] = _Ask(task, time.monotonic())

    async def _chunk(self, peer_id: PeerId, index: int) -> bool:
        info, ask = self._offer.manifest.chunks[index], self._asks[index][peer_id]
        try:
            data = await self._pieces(peer_id, index, info.size, ask)
            await asyncio.to_thread(read_chunk, index, info, data)
            await asyncio.to_thread(self._part.put, index, data)
        except AskError as error:
            self._givers.owes(peer_id, str(error))
        except SnapshotError as error:
            if peer_id in self._offer.guessed:
                self._givers.owes(peer_id, str(error))
            else:
                self._givers.blame(peer_id, str(error))
        else:
            return True
        return False

    async def _pieces(self, peer_id: PeerId, index: int, size: int, ask: _Ask) -> bytes:
        data = bytearray()
        while len(data) < size:
            wanted = min(limits.piece_bytes_max, size - len(data))
            request = SnapshotPieceRequest(Height(self._offer.manifest.height), index, len(data), wanted)
            answer = await self._givers.ask(peer_id, request)
            assert isinstance(answer, Chunk), "the connection lets no other kind through"
            if len(answer.data) != wanted:
                raise SnapshotError("a peer sent another length than was asked for", value=f"chunk {index}")
            data += answer.data
            ask.gave += wanted
        return bytes(data)
