"""Brings content from peers into the store: carries out what ``datalayer.transfer`` decides. Judges no bytes itself."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import structlog

from datalayer import transfer
from datalayer.quota import NODE_OWNER
from datalayer.remote import RemoteError, RemoteStore
from datalayer.store import ContentStore
from datalayer.upload import ContentError
from node.metrics import Metrics
from node.tasks import Tasks
from omnitensor.protocol import limits
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.errors import ProtocolError, StorageError
from omnitensor.protocol.types import Hash
from p2p.errors import AskError
from p2p.interface import Network
from p2p.messages import (
    Chunk,
    ChunkRequest,
    ContentOffer,
    ContentQuery,
    Leaves,
    LeavesRequest,
    PeerId,
    Request,
    Response,
)

R = TypeVar("R", bound=Response)

POLL_SECONDS: Final = 0.5
LIAR_POINTS: Final = 50
TIMEOUT_SECONDS: Final = 110


class ContentFetcher:
    """One fetch a content at a time; who asks for the same content meanwhile waits for the same fetch."""

    def __init__(
        self,
        network: Network,
        store: ContentStore,
        disk: ThreadPoolExecutor,
        metrics: Metrics,
        remote: RemoteStore | None = None,
    ) -> None:
        self._network = network
        self._remote = remote
        self._store = store
        self._disk = disk
        self._metrics = metrics
        self._running: dict[ContentId, asyncio.Task[bool]] = {}
        self._slots = asyncio.Semaphore(limits.content_fetches_max)
        self._log = structlog.get_logger("fetching")

    async def fetch(self, content: ContentId) -> bool:
        """Whether the content is in the store now. Goes on with what an earlier attempt has brought."""
        task = self._running.get(content)
        if task is None:
            if len(self._running) >= limits.content_fetches_waiting_max:
                self._log.warning("too many contents are waited for", chunk_root=content.chunk_root.hex())
                return False
            task = asyncio.create_task(self._fetch(content))
            self._running[content] = task
            task.add_done_callback(lambda _: self._running.pop(content, None))
        return await asyncio.shield(task)

    async def stop(self) -> None:
        for task in tuple(self._running.values()):
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _fetch(self, content: ContentId) -> bool:
        async with self._slots:
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    if await self._from_remote(content):
                        return True
                    return await _Run(self._network, self._store, self._disk, content, self._metrics).go()
            except (ProtocolError, OSError) as error:  # a timeout is an OSError
                self._log.warning(
                    "content not fetched", chunk_root=content.chunk_root.hex(), error=str(error)
                )
                return False

    async def _from_remote(self, content: ContentId) -> bool:
        """Whether the node's own object store had it, and it is here now. Peers are asked otherwise."""
        if self._remote is None:
            return False
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._disk, _bring, self._remote, self._store, content)
        except RemoteError as error:
            self._log.warning("the object store was of no help", error=str(error))
            return False


def _bring(remote: RemoteStore, store: ContentStore, content: ContentId) -> bool:
    """Brings content from an object store, chunk by chunk, going on where it stopped. Blocking. Raises RemoteError."""
    begun = store.begin(content, NODE_OWNER)
    if begun.stored:
        return True
    if not remote.has(content.chunk_root):
        return False
    hashes = remote.leaf_hashes(content)
    for first, end in begun.missing:
        for index in range(first, end):
            store.put_chunk(begun.upload_id, index, remote.read_chunk(content, index, hashes[index]))
    store.finish(begun.upload_id)
    store.mark(content.chunk_root)
    return True


class _Run:
    """One content on its way here."""

    def __init__(
        self,
        network: Network,
        store: ContentStore,
        disk: ThreadPoolExecutor,
        content: ContentId,
        metrics: Metrics,
    ) -> None:
        self._network = network
        self._store = store
        self._disk = disk
        self._content = content
        self._metrics = metrics
        self._upload = ""
        self._answers: asyncio.Queue[tuple[transfer.Action, ...]] = asyncio.Queue()
        self._asks = Tasks("content")
        self._tried: set[PeerId] = set()

    async def go(self) -> bool:
        loop = asyncio.get_running_loop()
        begun = await loop.run_in_executor(self._disk, self._store.begin, self._content, NODE_OWNER)
        if begun.stored:
            return True
        self._upload = begun.upload_id
        self._machine = transfer.Fetch(self._content, begun.missing)
        try:
            if not self._machine.done and not await self._gather():
                return False
        finally:
            self._asks.cancel()
        await loop.run_in_executor(self._disk, self._store.finish, self._upload)
        return True

    async def _gather(self) -> bool:
        """Runs the machine until every chunk is kept; False when no peer has the content."""
        while True:
            self._add_peers()
            try:
                actions = await asyncio.wait_for(self._answers.get(), POLL_SECONDS)
            except TimeoutError:
                actions = self._machine.poll(_now_ms())
            for action in actions:
                match action:
                    case transfer.Ask():
                        self._asks.start(self._ask(action))
                    case transfer.Keep(index, data):
                        await asyncio.get_running_loop().run_in_executor(
                            self._disk, self._store.put_chunk, self._upload, index, data
                        )
                        self._metrics.content_fetched.inc(len(data))
                    case transfer.Blame(culprit, reason):
                        self._network.charge(PeerId(culprit), LIAR_POINTS, f"content: {reason}")
                    case transfer.Done():
                        return True
                    case transfer.Stuck():
                        self._add_peers()
                        if not self._machine.peers:
                            return False

    def _add_peers(self) -> None:
        """As many peers as may be asked at once, each of them in its turn: any one may be the only one that has it."""
        for peer in self._network.peers():
            if len(self._machine.peers) >= limits.fetch_peers_max:
                return
            if peer.peer_id not in self._tried:
                self._tried.add(peer.peer_id)
                self._answers.put_nowait(self._machine.add_peer(peer.peer_id, _now_ms()))

    async def _ask(self, ask: transfer.Ask) -> None:
        machine, number = self._machine, ask.number
        try:
            match ask.query:
                case transfer.HoldsQuery():
                    offer = await self._request(
                        ask.peer, ContentQuery(self._content.chunk_root), ContentOffer
                    )
                    if offer.content == self._content:
                        actions = machine.on_offer(number, offer.content, _now_ms())
                    else:
                        # What is wrong is what an item on the chain says of it: no fault of who holds the true one.
                        actions = machine.on_absent(number, _now_ms())
                case transfer.LeavesQuery(count):
                    actions = machine.on_leaves(number, await self._leaves(ask.peer, count), _now_ms())
                case transfer.PieceQuery(index, offset, size):
                    wanted = ChunkRequest(self._content.chunk_root, index, offset, size)
                    actions = machine.on_piece(
                        number, (await self._request(ask.peer, wanted, Chunk)).data, _now_ms()
                    )
        except AskError:
            actions = machine.on_absent(number, _now_ms())
        self._answers.put_nowait(actions)

    async def _leaves(self, peer: bytes, count: int) -> tuple[bytes, ...]:
        """All leaf hashes, by as many requests as their number needs."""
        found: list[bytes] = []
        while len(found) < count:
            part = min(count - len(found), limits.leaf_hashes_per_message_max)
            request = LeavesRequest(self._content.chunk_root, len(found), part)
            hashes = (await self._request(peer, request, Leaves)).hashes
            if not hashes:
                break
            found += hashes
        return tuple(found)

    async def _request(self, peer: bytes, request: Request, kind: type[R]) -> R:
        response = await self._network.ask(PeerId(peer), request)
        if not isinstance(response, kind):
            raise AskError("the peer does not hold it", value=request)
        return response


def serve(store: ContentStore, request: ContentQuery | LeavesRequest | ChunkRequest) -> Response | None:
    """The answer to a peer's question about content; None when it is not held. Reads the disk: call it on the disk's threads."""
    try:
        match request:
            case ContentQuery(root):
                content = store.stat(root)
                return None if content is None else ContentOffer(content)
            case LeavesRequest(root, start, count):
                return Leaves(tuple(Hash(leaf) for leaf in store.leaf_hashes(root)[start : start + count]))
            case ChunkRequest(root, index, offset, size):
                data = store.read_range(root, index * limits.chunk_bytes + offset, size)
                return Chunk(data) if data else None
    except ContentError:
        return None
    except (StorageError, OSError) as error:
        structlog.get_logger("fetching").error("content can't be read", error=str(error))
        return None


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
