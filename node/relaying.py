"""Content that none of a node's peers holds: they are asked to fetch it from theirs. One step further, and no more.

Whoever was given the bytes first need not be a peer of every reviewer's node. Judges no bytes.
"""

import asyncio
import time
from collections.abc import Callable, Set
from hashlib import sha256
from typing import Final, Protocol

import structlog

from node.tasks import Tasks
from omnitensor.protocol import limits
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.types import Hash
from p2p.errors import AskError
from p2p.interface import Network
from p2p.messages import ContentComing, ContentOffer, ContentQuery, PeerId

ASK_AGAIN_SECONDS: Final = 1.0
IN_VAIN_SECONDS: Final = 10.0
"""For so long nobody's asking makes a node look for a content again that it has just looked for in vain."""

log = structlog.get_logger("fetching")


class Fetcher(Protocol):
    """What brings content here."""

    async def fetch(self, content: ContentId, *, further: bool = True) -> bool: ...

    def here(self, chunk_root: Hash) -> int: ...

    def is_looking(self, chunk_root: Hash) -> bool: ...


class Lookout:
    """Has peers get a content from their own: a few are asked at a time, and waited for while something comes."""

    def __init__(
        self, network: Network, content: ContentId, far: Callable[[int], None], known: Set[PeerId]
    ) -> None:
        """``far`` is told how many bytes are at the peer that has the most; ``known`` have offered it and did not give it."""
        self._known: Final = known
        self._network: Final = network
        self._content: Final = content
        self._far: Final = far

    async def find(self) -> bool:
        """Whether a peer holds the content now that did not before."""

        def turn(
            peer: PeerId,
        ) -> bytes:  # of each content another, so that not always the same are asked first
            return sha256(self._content.chunk_root + peer).digest()

        peers = sorted({peer.peer_id for peer in self._network.peers()} - self._known, key=turn)
        for start in range(0, len(peers), limits.content_relays_asked_max):
            if await self._brought(peers[start : start + limits.content_relays_asked_max]):
                return True
        return False

    async def _brought(self, peers: list[PeerId]) -> bool:
        here = dict.fromkeys(peers, -1)
        since = began = time.monotonic()
        most = self._content.size / limits.content_relay_bytes_per_second_min
        while here:
            for peer in tuple(here):
                found = await self._ask(peer)
                if found == self._content.size:
                    return True
                if found is None:
                    del here[peer]
                elif found > here[peer]:
                    here[peer], since = found, time.monotonic()
                    self._far(found)
            now, stall = time.monotonic(), limits.content_stall_ms_max / 1_000
            if now - since > stall or now - began > stall + most:
                return False
            if here:
                await asyncio.sleep(ASK_AGAIN_SECONDS)
        return False

    async def _ask(self, peer: PeerId) -> int | None:
        """Bytes that a peer has of it; None where it has none and gets none."""
        try:
            answer = await self._network.ask(peer, ContentQuery(self._content.chunk_root, True))
        except AskError:
            return None
        match answer:
            case ContentOffer(content) if content == self._content:
                return content.size
            case ContentComing(here) if here < self._content.size:
                return here
            case _:
                return None


class Relay:
    """Fetches what peers ask for on their own peers' behalf: content that the chain names, few at a time."""

    def __init__(self, fetcher: Fetcher, named: Callable[[Hash], tuple[ContentId, ...]]) -> None:
        """``named``: what the chain declares of a chunk root and this node would keep."""
        self._fetcher: Final = fetcher
        self._named: Final = named
        self._running: Final[set[Hash]] = set()
        self._in_vain: Final[dict[Hash, float]] = {}
        self._tasks: Final = Tasks("content relay")

    def asked(self, chunk_root: Hash) -> int | None:
        """Bytes that are here of a content which is fetched for whoever asked; None where it is not.

        A node that looks for it itself says no: two that wait for one another would wait for nothing.
        """
        if self._fetcher.is_looking(chunk_root):
            return None
        if chunk_root in self._running:
            return self._fetcher.here(chunk_root)
        now = time.monotonic()
        for root in [root for root, until in self._in_vain.items() if until < now]:
            del self._in_vain[root]
        if chunk_root in self._in_vain or len(self._running) >= limits.content_relays_max:
            return None
        contents = self._named(chunk_root)
        if not contents:
            return None
        self._running.add(chunk_root)
        self._tasks.start(self._bring(chunk_root, contents))
        return 0

    async def _bring(self, chunk_root: Hash, contents: tuple[ContentId, ...]) -> None:
        try:
            for content in contents:
                if await self._fetcher.fetch(content, further=False):
                    return
            self._in_vain[chunk_root] = time.monotonic() + IN_VAIN_SECONDS
        except (ProtocolError, OSError) as error:
            self._in_vain[chunk_root] = time.monotonic() + IN_VAIN_SECONDS
            log.warning("content not relayed", chunk_root=chunk_root.hex(), error=str(error))
        finally:
            self._running.discard(chunk_root)
