"""Brings content from peers into the store: carries out what ``datalayer.transfer`` decides. Judges no bytes itself."""

import asyncio
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any, Final, TypeVar

import structlog

from datalayer import transfer
from datalayer.quota import NODE_OWNER
from datalayer.remote import RemoteError, RemoteStore
from datalayer.store import ContentStore
from datalayer.upload import ContentError
from node.metrics import Metrics
from node.relaying import Lookout
from node.slow_peers import SlowPeers
from node.tasks import Tasks
from omnitensor.protocol import limits
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.errors import ProtocolError, StorageError
from omnitensor.protocol.types import Hash
from p2p.errors import AskError
from p2p.interface import Network, PeerInfo
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


class ContentFetcher:
    """One fetch a content at a time; who asks for the same content meanwhile waits for the same fetch.

    A fetch may take as long as its content is large: it is given up when nothing of it comes any more, or when it comes slowly
    and others wait for their turn.
    """

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
        self._here: dict[Hash, int] = {}
        self._near: set[ContentId] = set()
        """Of those that run, which ask this node's peers and nobody further."""
        self._looking: set[Hash] = set()
        self._slots = asyncio.Semaphore(limits.content_fetches_max)
        self._waiting = 0
        """Fetches that wait for a slot,"""
        self._leaving = 0
        """and that give one up for them."""
        self._slow = SlowPeers()
        self._log = structlog.get_logger("fetching")

    async def fetch(self, content: ContentId, *, further: bool = True) -> bool:
        """Whether the content is in the store now. Goes on with what an earlier attempt has brought.

        Where no peer holds it, and ``further``, they are asked to get it from theirs. Raises StorageError or ContentError
        (``quota``) where this node has no room for it, which says nothing of who has it; ContentError (``busy``) where it came
        slowly while others waited, and is to be asked for again.
        """
        task = self._running.get(content)
        if task is not None and further and content in self._near:
            if await asyncio.shield(task):
                return True
            task = self._running.get(content)  # that one asked its peers alone
        if task is None:
            if len(self._running) >= limits.content_fetches_waiting_max:
                self._log.warning("too many contents are waited for", chunk_root=content.chunk_root.hex())
                return False
            task = asyncio.create_task(self._fetch(content, further))
            self._running[content] = task
            if not further:
                self._near.add(content)
            task.add_done_callback(lambda _: self._ended(content))
        return await asyncio.shield(task)

    def here(self, chunk_root: Hash) -> int:
        """Bytes that a fetch under way has brought so far, here or to a peer that gets them for it; 0 where there is none."""
        return self._here.get(chunk_root, 0)

    def is_looking(self, chunk_root: Hash) -> bool:
        """Whether it has peers look for the content among theirs."""
        return chunk_root in self._looking

    def _ended(self, content: ContentId) -> None:
        self._running.pop(content, None)
        self._near.discard(content)

    async def stop(self) -> None:
        for task in tuple(self._running.values()):
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _fetch(self, content: ContentId, further: bool) -> bool:
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
            self._leaving = max(0, self._leaving - 1)
        try:
            return await self._in_slot(content, further)
        finally:
            self._slots.release()

    async def _in_slot(self, content: ContentId, further: bool) -> bool:
        started = time.monotonic()
        came = _Came(content, self._here)
        try:
            found = await self._while_it_comes(self._bring(content, further, came), came)
        except (ProtocolError, OSError) as error:  # a timeout is an OSError
            self._log.warning("content not fetched", chunk_root=content.chunk_root.hex(), error=str(error))
            if isinstance(error, StorageError) or (
                isinstance(error, ContentError) and error.code in ("quota", "busy")
            ):
                raise
            return False
        finally:
            self._here.pop(content.chunk_root, None)
        if found:
            took = round(time.monotonic() - started, 1)
            self._log.info(
                "content fetched", chunk_root=content.chunk_root.hex(), bytes=came.fetched, seconds=took
            )
        return found

    async def _while_it_comes(self, bringing: Coroutine[Any, Any, bool], came: "_Came") -> bool:
        """What ``bringing`` finds; given up, with ContentError (``busy``), when it comes slowly and others wait for the slot."""
        work = asyncio.create_task(bringing)
        seconds = limits.content_turn_ms / 1_000
        least = int(limits.content_turn_bytes_per_second_min * seconds)
        try:
            while True:
                before = came.moved
                done, _ = await asyncio.wait((work,), timeout=seconds)
                if done:
                    return work.result()
                if self._waiting > self._leaving and came.moved - before < least:
                    self._leaving += 1
                    raise ContentError(
                        "it comes slowly, and others wait for their turn",
                        value=f"{came.moved - before} bytes in {seconds:g} s",
                        remedy="ask again: it goes on with what is here",
                        code="busy",
                    )
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _bring(self, content: ContentId, further: bool, came: "_Came") -> bool:
        if await self._from_remote(content, came):
            return True
        found = await self._from_peers(content, came)
        while not found and further and await self._look(content, came):
            found = await self._from_peers(content, came)
        return found

    async def _from_peers(self, content: ContentId, came: "_Came") -> bool:
        run = _Run(self._network, self._store, self._disk, content, self._metrics, came, self._slow)
        return await run.go()

    async def _look(self, content: ContentId, came: "_Came") -> bool:
        """Whether one of the peers holds now what none of them did."""
        self._looking.add(content.chunk_root)
        try:
            return await Lookout(self._network, content, came.far, came.offered).find()
        finally:
            self._looking.discard(content.chunk_root)

    async def _from_remote(self, content: ContentId, came: "_Came") -> bool:
        """Whether the node's own object store had it, and it is here now. Peers are asked otherwise."""
        if self._remote is None:
            return False
        loop = asyncio.get_running_loop()
        bring = Bring(self._remote, self._store, content)
        try:
            while bring.left:
                # A step at a time, so that one content does not keep a thread for itself.
                async with asyncio.timeout(limits.content_stall_ms_max / 1_000):
                    came.add(await loop.run_in_executor(self._disk, bring.step))
            return bring.whole
        except (RemoteError, TimeoutError) as error:
            self._log.warning("the object store was of no help", error=str(error) or "it takes too long")
            return False


class Bring:
    """Content on its way from an object store, chunk by chunk, going on where it stopped. Blocking; one thread at a time."""

    def __init__(self, remote: RemoteStore, store: ContentStore, content: ContentId) -> None:
        self._remote, self._store, self._content = remote, store, content
        self._upload = ""
        self._todo: Iterator[int] = iter(())
        self._hashes: tuple[bytes, ...] = ()
        self.left = True
        """Whether there is another step."""
        self.whole = False
        """Whether the content is in the store."""

    def step(self) -> int:
        """Does the next step; bytes that are here by it. Raises RemoteError, ContentError or StorageError."""
        if not self._upload:
            return self._begin()
        index = next(self._todo, None)
        if index is None:
            self._store.finish(self._upload)
            self._store.mark(self._content.chunk_root)
            self.left, self.whole = False, True
            return 0
        data = self._remote.read_chunk(self._content, index, self._hashes[index])
        self._store.put_chunk(self._upload, index, data)
        return len(data)

    def _begin(self) -> int:
        begun = self._store.begin(self._content, NODE_OWNER)
        self._upload = begun.upload_id
        if begun.stored or not self._remote.has(self._content.chunk_root):
            self.left, self.whole = False, begun.stored
            return 0
        self._hashes = self._remote.leaf_hashes(self._content)
        self._todo = (index for first, end in begun.missing for index in range(first, end))
        return 0


class _Came:
    """How much of a content is here, for those who wait for it."""

    def __init__(self, content: ContentId, here: dict[Hash, int]) -> None:
        self._root, self._here = content.chunk_root, here
        self._here.setdefault(self._root, 0)
        self.fetched = self._far = 0
        self.offered: set[PeerId] = set()
        """Who said that they hold it."""
        self.at = time.monotonic()
        """When something came last."""

    @property
    def moved(self) -> int:
        """Bytes that came, here or to a peer that gets them for this node."""
        return self.fetched + self._far

    def had(self, count: int) -> None:
        """So many bytes were here before it began."""
        self._here[self._root] = self._far + count
        self.at = time.monotonic()

    def far(self, count: int) -> None:
        """So many are at a peer that gets them for this node. Its own begin only then: both together never go down."""
        if count > self._far:
            self._here[self._root] += count - self._far
            self._far = count

    def add(self, count: int) -> None:
        """So many bytes came."""
        self._here[self._root] = self._here.get(self._root, 0) + count
        self.fetched += count
        self.at = time.monotonic()


class _Run:
    """One content on its way here."""

    def __init__(
        self,
        network: Network,
        store: ContentStore,
        disk: ThreadPoolExecutor,
        content: ContentId,
        metrics: Metrics,
        came: _Came,
        slow: SlowPeers,
    ) -> None:
        self._network = network
        self._slow = slow
        self._store = store
        self._disk = disk
        self._content = content
        self._metrics = metrics
        self._came = came
        self._upload = ""
        self._answers: asyncio.Queue[tuple[transfer.Action, ...]] = asyncio.Queue()
        self._asks = Tasks("content")
        self._open: dict[int, asyncio.Task[None]] = {}
        """What waits for an answer, by the number of its ask."""
        self._tried: set[PeerId] = set()

    async def go(self) -> bool:
        loop = asyncio.get_running_loop()
        begun = await loop.run_in_executor(self._disk, self._store.begin, self._content, NODE_OWNER)
        if begun.stored:
            return True
        self._upload = begun.upload_id
        self._machine = transfer.Fetch(self._content, begun.missing)
        missing = (index for first, end in begun.missing for index in range(first, end))
        self._came.had(self._content.size - sum(self._content.chunk_size(index) for index in missing))
        try:
            if not self._machine.done and not await self._gather():
                return False
        finally:
            self._asks.cancel()
        await loop.run_in_executor(self._disk, self._store.finish, self._upload)
        return True

    async def _gather(self) -> bool:
        """Runs the machine until every chunk is kept; False when no peer has the content. TimeoutError when nothing comes."""
        while True:
            if time.monotonic() - self._came.at > limits.content_stall_ms_max / 1_000:
                raise TimeoutError("no peer gave any of it for too long")
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
                        self._came.add(len(data))
                    case transfer.Blame(culprit, reason):
                        self._network.charge(PeerId(culprit), LIAR_POINTS, f"content: {reason}")
                    case transfer.Slow(laggard):
                        self._set_aside(PeerId(laggard))
                    case transfer.Done():
                        return True
                    case transfer.Stuck():
                        self._add_peers()
                        if not self._machine.peers:
                            return False
            for number, task in tuple(self._open.items()):
                if not self._machine.is_open(number):
                    task.cancel()  # it is asked of another: the line is not kept busy with it

    def _set_aside(self, peer_id: PeerId) -> None:
        """It is asked last for a while, by every fetch. Whoever only has a slow line is not banned for it: it is charged once."""
        if self._slow.mark(peer_id, _now_ms()):
            self._network.charge(peer_id, limits.fetch_slow_points, "content: comes too slowly")

    def _turn(self, peer: PeerInfo) -> tuple[bool, bool, bytes]:
        """Who was slow comes last, whom this node dialled first; else of each content another, so that none is always first."""
        slow = self._slow.has(peer.peer_id, _now_ms())
        return slow, not peer.outbound, sha256(self._content.chunk_root + peer.peer_id).digest()

    def _add_peers(self) -> None:
        """As many peers as may be asked at once, each of them in its turn: any one may be the only one that has it."""
        if len(self._machine.peers) >= limits.fetch_peers_max:
            return
        fresh = [peer for peer in self._network.peers() if peer.peer_id not in self._tried]
        for peer in sorted(fresh, key=self._turn):
            if len(self._machine.peers) >= limits.fetch_peers_max:
                return
            self._tried.add(peer.peer_id)
            self._answers.put_nowait(self._machine.add_peer(peer.peer_id, _now_ms()))

    async def _ask(self, ask: transfer.Ask) -> None:
        machine, number = self._machine, ask.number
        task = asyncio.current_task()
        assert task is not None
        self._open[number] = task
        try:
            match ask.query:
                case transfer.HoldsQuery():
                    offer = await self._request(
                        ask.peer, ContentQuery(self._content.chunk_root, False), ContentOffer
                    )
                    self._came.offered.add(PeerId(ask.peer))
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
                        number,
                        (await self._request(ask.peer, wanted, Chunk, limits.fetch_window_ms)).data,
                        _now_ms(),
                    )
        except AskError as error:
            if error.code == "timeout":
                return  # the machine counts who is late, and asks others
            actions = machine.on_absent(number, _now_ms())
        finally:
            del self._open[number]
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

    async def _request(
        self, peer: bytes, request: Request, kind: type[R], timeout_ms: int | None = None
    ) -> R:
        response = await self._network.ask(PeerId(peer), request, timeout_ms)
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
