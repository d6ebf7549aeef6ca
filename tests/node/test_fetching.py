"""Content on its way between nodes: through peers that lie, that hold something else, and past those that hold nothing."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from datalayer import files
from datalayer.quota import NODE_OWNER
from datalayer.store import ContentStore
from datalayer.upload import ContentError
from node import fetching, relaying
from node.fetching import serve
from node.relaying import Relay
from node.service import Node
from node.slow_peers import SlowPeers
from omnitensor.protocol import limits
from omnitensor.protocol.content import ContentId, content_id_of
from omnitensor.protocol.errors import StorageError
from omnitensor.protocol.types import Hash
from p2p.messages import (
    Chunk,
    ChunkRequest,
    ContentComing,
    ContentQuery,
    Leaves,
    LeavesRequest,
    PeerId,
    Request,
    Response,
)
from tests.node.node_kit import (
    Answer,
    Folders,
    Stranger,
    is_peer,
    make_folders,
    node_at,
    stranger,
    until,
)

DATA = b"".join(sha256(bytes([place])).digest() * 4096 * 8 for place in range(5)) + b"the end"
"""Two chunks and a half."""
CONTENT = content_id_of(DATA)
STALL_SECONDS = limits.content_stall_ms_max / 1_000


class Clock:
    """What a fetch takes for the time since something came: stands still but for what a test adds, however slow the machine."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, paces: bool = False) -> None:
        """``paces``: what a test adds is time for the pace of peers, too."""
        self.seconds = 0.0
        pace = self._ns if paces else time.monotonic_ns
        shown = SimpleNamespace(monotonic=lambda: self.seconds, monotonic_ns=pace)
        for module in (fetching, relaying):
            monkeypatch.setattr(module, "time", shown)

    def _ns(self) -> int:
        """As real time passes, and what a test adds."""
        return time.monotonic_ns() + int(self.seconds * 1e9)


def keep(store: ContentStore, data: bytes) -> ContentId:
    """Puts content into a store."""
    content = content_id_of(data)
    begun = store.begin(content, NODE_OWNER)
    for index in range(content.chunks):
        store.put_chunk(begun.upload_id, index, data[index * limits.chunk_bytes :][: limits.chunk_bytes])
    return store.finish(begun.upload_id)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return make_folders(tmp_path, validators=1)


@pytest.fixture
async def node(folders: Folders) -> AsyncIterator[Node]:
    made = node_at(folders.extra("fetching"))
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def truth(tmp_path: Path) -> ContentStore:
    """The store of whoever has the content."""
    store = ContentStore(tmp_path / "truth", 64 * limits.MIB)
    keep(store, DATA)
    return store


def answers_of(store: ContentStore, **lies: Answer) -> Mapping[type, Answer]:
    """What a peer with this store says, but for the lies, by name of the request."""

    def honest(_: PeerId, request: Request) -> Response | None:
        assert isinstance(request, ContentQuery | LeavesRequest | ChunkRequest)
        return serve(store, request)

    kinds: tuple[type, ...] = (ContentQuery, LeavesRequest, ChunkRequest)
    return {kind: lies.get(kind.__name__, honest) for kind in kinds}


def stored(node: Node) -> bytes:
    """The content as the node has it now."""
    return b"".join(node._content.read_chunk(CONTENT.chunk_root, index) for index in range(CONTENT.chunks))


def asked_for_bytes(peer: Stranger) -> list[Request]:
    """What a peer was asked that has to do with content: of consensus it may be asked at any time."""
    return [each for each in peer.asked if isinstance(each, ContentQuery | LeavesRequest | ChunkRequest)]


def score(node: Node, who: bytes) -> int:
    return next((peer.score for peer in node.network.peers() if bytes(peer.peer_id) == who), -999)


def wrong_bytes(_: PeerId, request: Request) -> Response:
    assert isinstance(request, ChunkRequest)
    return Chunk(b"\0" * request.size)


def short_piece(_: PeerId, request: Request) -> Response:
    assert isinstance(request, ChunkRequest)
    return Chunk(b"x")


def wrong_leaves(_: PeerId, request: Request) -> Response:
    assert isinstance(request, LeavesRequest)
    return Leaves(tuple(Hash(bytes(32)) for _ in range(request.count)))


@pytest.mark.parametrize(
    "lie", [{"ChunkRequest": wrong_bytes}, {"ChunkRequest": short_piece}, {"LeavesRequest": wrong_leaves}]
)
async def test_what_a_liar_sends_is_fetched_from_another(
    folders: Folders, node: Node, truth: ContentStore, lie: Mapping[str, Answer]
) -> None:
    async with stranger(folders.genesis, node, answers=answers_of(truth, **lie)) as liar:
        assert not await node._fetcher.fetch(CONTENT), "nobody else has it"
        assert score(node, liar.identity.public) < 0
        assert not node._content.has(CONTENT.chunk_root)
        async with stranger(folders.genesis, node, answers=answers_of(truth)) as honest:
            assert await node._fetcher.fetch(CONTENT)
            assert stored(node) == DATA
            assert score(node, honest.identity.public) == 0
        assert await node._fetcher.fetch(CONTENT), "what is here needs no peers"


async def test_who_holds_the_true_content_is_not_charged_for_a_false_item(
    folders: Folders, node: Node, truth: ContentStore
) -> None:
    """An item on the chain may name a true chunk root with a false digest; nodes must not ban one another for that."""
    false = msgspec.structs.replace(CONTENT, sha256=Hash(b"f" * 32))
    async with stranger(folders.genesis, node, answers=answers_of(truth)) as honest:
        for _ in range(3):
            assert not await node._fetcher.fetch(false)
        assert is_peer(node, honest)
        assert score(node, honest.identity.public) == 0
        assert await node._fetcher.fetch(CONTENT)


async def test_every_peer_is_asked_before_a_fetch_gives_up(
    folders: Folders, node: Node, truth: ContentStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "fetch_peers_max", 2)
    empty = ContentStore(tmp_path / "empty", limits.MIB)
    async with AsyncExitStack() as stack:
        made = [
            await stack.enter_async_context(stranger(folders.genesis, node, answers=answers_of(empty)))
            for _ in range(5)
        ]
        # Whoever is asked last is the one that has it.
        last = max(made, key=lambda each: each.identity.public)
        last.answers = answers_of(truth)
        assert await node._fetcher.fetch(CONTENT)
        assert all(score(node, each.identity.public) == 0 for each in made)


async def test_what_the_chain_does_not_name_is_not_fetched(
    folders: Folders, node: Node, truth: ContentStore
) -> None:
    """Anybody may ask a node's RPC for anything; only content of items is worth the peers' bandwidth."""
    async with stranger(folders.genesis, node, answers=answers_of(truth)) as peer:
        assert not await node._backend.fetch(CONTENT.chunk_root)
        assert asked_for_bytes(peer) == []


async def test_too_many_fetches_are_refused(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "content_fetches_waiting_max", 0)
    assert not await node._fetcher.fetch(CONTENT)


async def test_nodes_serve_one_another(folders: Folders, node: Node) -> None:
    holder = node_at(folders.extra("holder"), [node])
    keep(holder._content, DATA)
    try:
        await holder.start()
        await until("connected", lambda: node.network.peers())
        assert await node._fetcher.fetch(CONTENT)
        assert stored(node) == DATA
    finally:
        await holder.stop()


async def test_a_full_disk_is_this_nodes_fault_and_blames_nobody(
    folders: Folders, node: Node, truth: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asked must not take the content for one that nobody has."""
    write = files.write_at

    def full(path: Path, *more: Any, **other: Any) -> None:
        if path.name == "data":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, *more, **other)

    async with stranger(folders.genesis, node, answers=answers_of(truth)) as honest:
        with monkeypatch.context() as broken:
            broken.setattr(files, "write_at", full)
            with pytest.raises(StorageError, match="disk is full"):
                await node._fetcher.fetch(CONTENT)
        with monkeypatch.context() as small:
            small.setattr(node._content._quota, "total_max", limits.MIB)
            node._content.abort(next(iter(node._content._uploads)))
            with pytest.raises(ContentError) as caught:
                await node._fetcher.fetch(CONTENT)
            assert caught.value.code == "quota"
        assert score(node, honest.identity.public) == 0
        assert await node._fetcher.fetch(CONTENT)


async def test_a_fetch_goes_on_as_long_as_something_comes(
    folders: Folders, node: Node, truth: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gigabytes from far away take as long as they take; what is given up is a fetch that brings nothing."""
    clock, gates, all_at_once = Clock(monkeypatch), dict[int, asyncio.Event](), False

    async def slow(_: PeerId, request: Request) -> Response | None:
        assert isinstance(request, ChunkRequest)
        if not all_at_once:
            await gates.setdefault(request.index, asyncio.Event()).wait()
        return serve(truth, request)

    def closed() -> list[asyncio.Event]:
        return [gate for gate in gates.values() if not gate.is_set()]

    async with stranger(folders.genesis, node, answers=answers_of(truth, ChunkRequest=slow)):
        fetch = asyncio.create_task(node._fetcher.fetch(CONTENT))
        for _ in range(CONTENT.chunks - 1):
            await until("a chunk is asked for", closed)
            before = node._fetcher.here(CONTENT.chunk_root)
            closed()[0].set()
            await until(
                "it is here",
                lambda before=before: node._fetcher.here(CONTENT.chunk_root) > before,  # type: ignore[misc]
            )
            clock.seconds += 0.9 * STALL_SECONDS
        all_at_once = True
        for gate in closed():
            gate.set()
        assert await fetch
        assert clock.seconds > STALL_SECONDS, "it took longer than a fetch without progress may"
    assert stored(node) == DATA
    assert node._fetcher.here(CONTENT.chunk_root) == 0, "nothing is on its way"


async def test_a_fetch_of_which_nothing_comes_is_given_up_and_gone_on_with(
    folders: Folders, node: Node, truth: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Withheld bytes: the peer says that it has the content, gives one chunk, and then says nothing more."""
    clock, given = Clock(monkeypatch), list[ChunkRequest]()

    async def stops(_: PeerId, request: Request) -> Response | None:
        assert isinstance(request, ChunkRequest)
        given.append(request)
        if request.index != given[0].index:
            await asyncio.Event().wait()
        return serve(truth, request)

    async with stranger(folders.genesis, node, answers=answers_of(truth, ChunkRequest=stops)):
        fetch = asyncio.create_task(node._fetcher.fetch(CONTENT))
        await until("a chunk is here", lambda: node._fetcher.here(CONTENT.chunk_root) > 0)
        clock.seconds += 1.1 * STALL_SECONDS
        assert not await fetch
    fetched = node.metrics.content_fetched._value.get()
    assert fetched == limits.chunk_bytes
    async with stranger(folders.genesis, node, answers=answers_of(truth)) as honest:
        assert await node._fetcher.fetch(CONTENT)
        again = [request.index for request in honest.asked if isinstance(request, ChunkRequest)]
        assert set(again) == set(range(CONTENT.chunks)) - {given[0].index}, (
            "what was there did not come again"
        )
    assert stored(node) == DATA


async def test_a_peer_that_trickles_is_left_for_another_and_asked_last(
    folders: Folders, node: Node, truth: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, gates = Clock(monkeypatch, paces=True), list[asyncio.Event]()

    async def trickles(_: PeerId, request: Request) -> Response | None:
        gates.append(asyncio.Event())
        await gates[-1].wait()
        return serve(truth, request)  # type: ignore[arg-type]  # a ChunkRequest

    async with stranger(folders.genesis, node, answers=answers_of(truth, ChunkRequest=trickles)) as trickler:
        fetch = asyncio.create_task(node._fetcher.fetch(CONTENT))
        for piece in range(3):
            await until("pieces are asked for", lambda piece=piece: len(gates) > piece)  # type: ignore[misc]
            clock.seconds += 7  # with the real time, below the window until somebody else is there
            gates[piece].set()
            await asyncio.sleep(0.6)  # the fetch looks at the time twice a second
        async with stranger(folders.genesis, node, answers=answers_of(truth)) as honest:
            clock.seconds += 8.5  # now beyond the window
            assert await fetch
            assert stored(node) == DATA
            assert score(node, honest.identity.public) == 0
            assert is_peer(node, trickler), "a slow line is no crime"
            assert -limits.fetch_slow_points <= score(node, trickler.identity.public) < 0
            node._content.drop(CONTENT.chunk_root)
            trickler.asked.clear()
            monkeypatch.setattr(limits, "fetch_peers_max", 1)
            assert await node._fetcher.fetch(CONTENT)
            assert asked_for_bytes(trickler) == [], "others are asked first, whatever their ids"
            for gate in gates:
                gate.set()


@pytest.mark.parametrize("others_wait", [True, False])
async def test_a_fetch_that_comes_slowly_gives_way_where_others_wait(
    folders: Folders, truth: ContentStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others_wait: bool
) -> None:
    """Whoever is the only one to have a large content could keep the few places of fetches for days."""
    monkeypatch.setattr(limits, "content_fetches_max", 1)
    monkeypatch.setattr(limits, "content_turn_ms", 400)
    elsewhere = ContentStore(tmp_path / "elsewhere", limits.MIB)
    other, go_on = keep(elsewhere, b"what others wait for"), asyncio.Event()

    async def slow(_: PeerId, request: Request) -> Response | None:
        await go_on.wait()
        return serve(truth, request)  # type: ignore[arg-type]  # a ChunkRequest

    node = node_at(folders.extra("crowded"))
    await node.start()
    try:
        async with (
            stranger(folders.genesis, node, answers=answers_of(truth, ChunkRequest=slow)) as peer,
            stranger(folders.genesis, node, answers=answers_of(elsewhere)),
        ):
            fetch = asyncio.create_task(node._fetcher.fetch(CONTENT))
            await until("it is under way", lambda: len(asked_for_bytes(peer)) > 2)
            if others_wait:
                async with asyncio.timeout(20):
                    assert await node._fetcher.fetch(other)
                with pytest.raises(ContentError, match="others wait") as caught:
                    await fetch
                assert caught.value.code == "busy"
                go_on.set()
                assert await node._fetcher.fetch(CONTENT)
            else:
                await asyncio.sleep(1.5)
                assert not fetch.done()
                go_on.set()
                assert await fetch
            assert stored(node) == DATA
    finally:
        await node.stop()


async def test_no_more_fetches_give_way_than_others_wait(
    folders: Folders, truth: ContentStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "content_fetches_max", 2)
    monkeypatch.setattr(limits, "content_turn_ms", 1_500)
    elsewhere, go_on = ContentStore(tmp_path / "elsewhere", limits.MIB), asyncio.Event()
    second, other = keep(truth, DATA[::-1]), keep(elsewhere, b"what others wait for")

    async def slow(_: PeerId, request: Request) -> Response | None:
        await go_on.wait()
        return serve(truth, request)  # type: ignore[arg-type]  # a ChunkRequest

    node = node_at(folders.extra("crowded"))
    await node.start()
    try:
        async with (
            stranger(folders.genesis, node, answers=answers_of(truth, ChunkRequest=slow)),
            stranger(folders.genesis, node, answers=answers_of(elsewhere)),
        ):
            fetches = [asyncio.create_task(node._fetcher.fetch(content)) for content in (CONTENT, second)]
            await asyncio.sleep(0)
            async with asyncio.timeout(60):
                assert await node._fetcher.fetch(other)
            go_on.set()
            outcomes = await asyncio.gather(*fetches, return_exceptions=True)
            assert sorted(isinstance(outcome, ContentError) for outcome in outcomes) == [False, True]
    finally:
        await node.stop()


def test_peers_that_were_slow_are_remembered_for_a_while_and_few_of_them() -> None:
    slow = SlowPeers()
    assert slow.mark(PeerId(b"a"), 0)
    assert not slow.mark(PeerId(b"a"), 1)
    assert slow.has(PeerId(b"a"), limits.fetch_slow_ms)
    assert not slow.has(PeerId(b"a"), limits.fetch_slow_ms + 1)
    for number in range(limits.fetch_slow_peers_max):
        slow.mark(PeerId(b"%d" % number), 2)
    assert not slow.has(PeerId(b"a"), 2), "the oldest gave way"


# -- content that none of a node's own peers holds


def names_it(*nodes: Node) -> None:
    """As if an item on the chain named the content."""
    for node in nodes:
        node._handler.relay = Relay(
            node._fetcher, lambda root: (CONTENT,) * (root == CONTENT.chunk_root)
        ).asked


@pytest.fixture
async def middle(folders: Folders, node: Node) -> AsyncIterator[Node]:
    """A node that is a peer of the first one and of whom a test makes it one."""
    made = node_at(folders.extra("middle"), [node])
    await made.start()
    await until("connected", lambda: node.network.peers())
    yield made
    await made.stop()


async def test_what_a_peer_of_a_peer_holds_is_had_through_it(
    folders: Folders, node: Node, middle: Node, truth: ContentStore
) -> None:
    """A reviewer's node need not be connected to the one that the contributor chose."""
    names_it(node, middle)
    async with stranger(folders.genesis, middle, answers=answers_of(truth)) as holder:
        assert not is_peer(node, holder)
        assert await node._fetcher.fetch(CONTENT)
        assert stored(node) == stored(middle) == DATA


async def test_how_far_it_is_is_seen_while_it_comes_through_another(
    folders: Folders, node: Node, middle: Node, truth: ContentStore
) -> None:
    names_it(node, middle)
    go_on = asyncio.Event()

    async def slow(_: PeerId, request: Request) -> Response | None:
        assert isinstance(request, ChunkRequest)
        if request.index > 0:
            await go_on.wait()
        return serve(truth, request)

    seen: list[int] = []
    async with stranger(folders.genesis, middle, answers=answers_of(truth, ChunkRequest=slow)):
        fetch = asyncio.create_task(node._fetcher.fetch(CONTENT))
        await until("some of it is at the other", lambda: node._fetcher.here(CONTENT.chunk_root) > 0)
        go_on.set()
        while not fetch.done():
            seen.append(node._fetcher.here(CONTENT.chunk_root))
            await asyncio.sleep(0.02)
        assert await fetch
    during = seen[: len(seen) - seen[::-1].index(max(seen))]
    assert during == sorted(during), "it never goes down"


async def test_what_nobody_holds_is_soon_known_not_to_be_had(
    folders: Folders, node: Node, middle: Node
) -> None:
    """Each would wait for the other for ever if a node that looks for it said that it comes."""
    names_it(node, middle)
    async with asyncio.timeout(240):
        assert await asyncio.gather(node._fetcher.fetch(CONTENT), middle._fetcher.fetch(CONTENT)) == [
            False,
            False,
        ]
    assert not node._fetcher.is_looking(CONTENT.chunk_root)
    assert node._fetcher.here(CONTENT.chunk_root) == 0


async def test_nobody_has_a_node_fetch_what_the_chain_does_not_name(
    folders: Folders, node: Node, middle: Node, truth: ContentStore
) -> None:
    async with stranger(folders.genesis, middle, answers=answers_of(truth)) as holder:
        assert not await node._fetcher.fetch(CONTENT)
        assert asked_for_bytes(holder) == []
        assert not middle._content.has(CONTENT.chunk_root)


async def test_a_peer_that_only_says_that_it_comes_is_not_waited_for_for_ever(
    folders: Folders, node: Node, truth: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, said = Clock(monkeypatch), list[bool]()

    def liar(_: PeerId, request: Request) -> Response | None:
        assert isinstance(request, ContentQuery)
        said.append(request.relay)
        clock.seconds += 0.4 * STALL_SECONDS
        return ContentComing(min(len(said), 3)) if request.relay else None

    async with stranger(folders.genesis, node, answers={ContentQuery: liar}):
        async with asyncio.timeout(240):
            assert not await node._fetcher.fetch(CONTENT)
        assert said[0] is False
        assert sum(said) > 1
        async with stranger(folders.genesis, node, answers=answers_of(truth)):
            assert await node._fetcher.fetch(CONTENT)


async def test_a_node_fetches_few_contents_for_others_and_none_again_at_once(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = {content_id_of(bytes([place])).chunk_root: content_id_of(bytes([place])) for place in range(4)}
    monkeypatch.setattr(relaying, "IN_VAIN_SECONDS", 1_000.0)
    released, fetched = asyncio.Event(), []

    class Slow:
        async def fetch(self, content: ContentId, *, further: bool = True) -> bool:
            assert not further
            fetched.append(content)
            await released.wait()
            return False

        def here(self, chunk_root: Hash) -> int:
            return 7

        def is_looking(self, chunk_root: Hash) -> bool:
            return False

    relay = Relay(Slow(), lambda root: (contents[root],))
    first, second, third, _ = contents
    assert [relay.asked(root) for root in (first, second, third, first)] == [0, 0, None, 7]
    await asyncio.sleep(0)
    released.set()
    await until("they ended", lambda: relay.asked(third) == 0)
    assert relay.asked(first) is None, "it has just looked for it in vain"
    assert fetched[:2] == [contents[first], contents[second]]
