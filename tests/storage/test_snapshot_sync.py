"""An empty node begins with a snapshot of its peers, over real sockets: from several, despite liars, and after a kill."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from msgspec.structs import replace

from node import config as configuration
from node import snapshot_chunks, snapshot_sync
from node.service import Node
from node.snapshot_chunks import Chunks, Offer
from node.snapshot_part import Part, begun
from node.snapshot_serving import SnapshotShelf
from node.snapshot_work import listed
from omnitensor.protocol import limits
from omnitensor.protocol.codec import encode
from omnitensor.protocol.keys import SigningKey
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import Epoch, Hash, Height
from p2p.config import HostConfig, Seed
from p2p.host import Host
from p2p.messages import (
    BlocksRequest,
    BlocksResponse,
    Chunk,
    PeerId,
    Pruned,
    Request,
    Response,
    SnapshotOffer,
    SnapshotPieceRequest,
    SnapshotQuery,
    StepsRequest,
    StepsResponse,
)
from p2p.ranges import assemble_blocks
from rpc.server import RpcServer
from state.chain import Chain
from state.genesis import Genesis
from state.history import root_of
from state.snapshots import taking
from state.snapshots.manifest import Manifest, read_manifest
from tests.node.node_kit import Folders, Stranger, height_of, make_folders, node_at, transfer, until
from tests.storage.test_storage_node import NET

EPOCH_BLOCKS = NET.epoch_blocks
assert isinstance(NET, Params)


class Giver:
    """What an honest node has of a chain, and how it answers; whoever lies changes one answer."""

    def __init__(self, home: Path) -> None:
        genesis = Genesis.load(home / "genesis.json")
        self.chain = Chain.open(home / "chain", genesis)
        self.shelf = SnapshotShelf(home / "snapshots")
        self.asked: Counter[type] = Counter()

    def close(self) -> None:
        self.shelf.close()
        self.chain.close()

    def answer(self, peer_id: PeerId, request: Request) -> Response | None:
        self.asked[type(request)] += 1
        reader = self.chain.reader()
        if isinstance(request, BlocksRequest):
            return assemble_blocks(
                request,
                lambda height: reader.encoded_block(Height(height)),
                lambda height: None if (block := reader.block(Height(height))) is None else block.header,
                lambda height: reader.proof(Height(height)),
            )
        assert isinstance(request, SnapshotQuery | SnapshotPieceRequest | StepsRequest)
        return self.shelf.serve(request, reader)

    def answers(self) -> dict[type, object]:
        kinds = (SnapshotQuery, SnapshotPieceRequest, StepsRequest, BlocksRequest)
        return dict.fromkeys(kinds, self.answer)


@pytest.fixture
async def folders(tmp_path: Path) -> Folders:
    """A net of one validator whose chain has passed a few epochs, and stands; it has a snapshot."""
    folders = make_folders(tmp_path / "net", 1, NET)
    node = node_at(folders.homes[0], snapshots__every=1, snapshots__keep=1)
    await node.start()
    await until("a few epochs", lambda: height_of(node) > 3 * EPOCH_BLOCKS and listed(folders.homes[0]))
    await node.stop()
    return folders


@pytest.fixture
async def giver(folders: Folders) -> AsyncIterator[Giver]:
    giver = Giver(folders.homes[0])
    yield giver
    giver.close()


def new_config(folders: Folders, name: str, *peers: Stranger | Node) -> configuration.Config:
    ports = [
        peer.host.listen_port if isinstance(peer, Stranger) else peer.network.listen_port for peer in peers
    ]
    bootstrap = tuple(f"127.0.0.1:{port}" for port in ports)
    home = folders.root / name
    if not home.exists():
        home = folders.extra(name)
    flags = {"p2p.bootstrap": bootstrap, "sync.snapshot": True}
    return configuration.load(home, configuration.Sources(flags=flags, environment={}))


async def peer(folders: Folders, answers: dict[type, object], identity: SigningKey | None = None) -> Stranger:
    made = Stranger(
        folders.genesis,
        99,
        answers,  # type: ignore[arg-type]  # answers of every kind
        identity or SigningKey.generate(),
    )
    return await made.start()


def head_of(config: configuration.Config) -> int:
    chain = Chain.open(config.chain_path, Genesis.load(config.genesis_path))
    height = int(chain.head.height)
    chain.close()
    return height


async def test_a_node_begins_with_its_peers_snapshot_and_goes_on_with_blocks(folders: Folders) -> None:
    snapshot = listed(folders.homes[0])[0]
    old = node_at(folders.homes[0], snapshots__every=0)
    await old.start()
    config = new_config(folders, "new", old)
    try:
        assert await snapshot_sync.begin(config)
        assert head_of(config) == snapshot.height
        assert not await snapshot_sync.begin(config), "once"
        young = node_at(config.home, [old])
        await young.start()
        try:
            await until("it followed", lambda: height_of(young) > snapshot.height + EPOCH_BLOCKS)
            assert young.application.reader().first_block == snapshot.height + 1
        finally:
            await young.stop()
    finally:
        await old.stop()
    assert listed(config.home)[0].checkpoint == snapshot.checkpoint, "and it gives the snapshot to others"


def lies(giver: Giver) -> dict[str, dict[type, object]]:
    """Peers that give something else than they should, one thing each."""

    def changed(response: Response | None) -> Response | None:
        if isinstance(response, Chunk):
            return Chunk(bytes([response.data[0] ^ 1]) + response.data[1:])
        if isinstance(response, SnapshotOffer):
            return SnapshotOffer(response.manifest[:-1] + bytes([response.manifest[-1] ^ 1]))
        if isinstance(response, BlocksResponse):
            return BlocksResponse((b"no block",), response.links, response.proof)
        return None

    def lying(kind: type) -> dict[type, object]:
        def answer(peer_id: PeerId, request: Request) -> Response | None:
            return changed(giver.answer(peer_id, request))

        return giver.answers() | {kind: answer}

    return {
        "manifest": lying(SnapshotQuery),
        "chunk": lying(SnapshotPieceRequest),
        "block": lying(BlocksRequest),
        "no steps": giver.answers() | {StepsRequest: lambda peer_id, request: None},
        "pruned": giver.answers() | {BlocksRequest: lambda peer_id, request: Pruned(Height(10**6))},
    }


@pytest.mark.parametrize("lie", ["manifest", "chunk", "block", "no steps", "pruned"])
async def test_among_liars_one_honest_peer_is_enough(folders: Folders, giver: Giver, lie: str) -> None:
    liars = [await peer(folders, lies(giver)[lie]) for _ in range(2)]
    honest = await peer(folders, giver.answers())
    config = new_config(folders, "new", *liars, honest)
    try:
        assert await snapshot_sync.begin(config)
    finally:
        for each in (*liars, honest):
            await each.stop()
    assert head_of(config) == listed(folders.homes[0])[0].height


def noted_faults(monkeypatch: pytest.MonkeyPatch) -> list[PeerId]:
    """Whom the node holds something against, as it goes."""
    found: list[PeerId] = []
    for name in ("owes", "blame"):
        kept = getattr(snapshot_sync.SnapshotFetch, name)

        def note(self: Any, peer_id: PeerId, reason: str, kept: Any = kept) -> None:
            found.append(peer_id)
            kept(self, peer_id, reason)

        monkeypatch.setattr(snapshot_sync.SnapshotFetch, name, note)
    return found


async def test_the_last_chunks_do_not_wait_for_a_slow_peer(
    folders: Folders, giver: Giver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it was asked for is asked of another when nothing else is left. It is no liar, and is not held to be one."""
    monkeypatch.setattr(limits, "ask_ms_max", 10**7)
    monkeypatch.setattr(limits, "snapshot_held_up_ms_min", 100)
    faults, go_on, held = noted_faults(monkeypatch), asyncio.Event(), 0

    async def slow(peer_id: PeerId, request: Request) -> Response | None:
        nonlocal held
        held += 1
        await go_on.wait()
        return giver.answer(peer_id, request)

    # The block is asked of whoever has the least id: a peer that makes two answers for one node makes no third.
    first, second = sorted((SigningKey.generate() for _ in range(2)), key=lambda key: key.public)
    honest = await peer(folders, giver.answers(), first)
    laggard = await peer(folders, giver.answers() | {SnapshotPieceRequest: slow}, second)
    config = new_config(folders, "new", laggard, honest)
    try:
        async with asyncio.timeout(120):
            assert await snapshot_sync.begin(config)
    finally:
        go_on.set()
        await laggard.stop()
        await honest.stop()
    assert head_of(config) == listed(folders.homes[0])[0].height
    assert held
    assert not faults
    asked = [each.index for each in honest.asked if isinstance(each, SnapshotPieceRequest)]
    assert len(asked) == len(set(asked)), "nothing was asked of the same peer twice"


class Slow:
    """Givers of whom all but the last say nothing, without a network between (``node.snapshot_chunks.Givers``)."""

    def __init__(self, giver: Giver, *peers: PeerId) -> None:
        self.giver = giver
        self.peers = list(peers)
        self.faults: list[PeerId] = []
        self.asked: Counter[tuple[PeerId, int]] = Counter()
        self.open: Counter[int] = Counter()
        self.most_open = 0

    def able(self, offer: Offer) -> list[PeerId]:
        return self.peers

    async def ask(self, peer_id: PeerId, request: Request) -> Response:
        assert isinstance(request, SnapshotPieceRequest)
        self.asked[peer_id, request.index] += 1
        self.open[request.index] += 1
        self.most_open = max(self.most_open, self.open[request.index])
        try:
            if peer_id != self.peers[-1]:
                await asyncio.Event().wait()
            answer = self.giver.answer(peer_id, request)
            assert answer is not None
            return answer
        finally:
            self.open[request.index] -= 1

    def owes(self, peer_id: PeerId, reason: str) -> None:
        self.faults.append(peer_id)

    blame = owes


async def test_two_slow_peers_give_way_to_a_third(
    giver: Giver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each chunk two are asked at the most, and who was not asked yet comes before who was."""
    monkeypatch.setattr(limits, "snapshot_chunks_per_peer_max", 300)
    monkeypatch.setattr(limits, "snapshot_held_up_ms_min", 50)
    monkeypatch.setattr(limits, "snapshot_outpaced_ms_min", 150)
    monkeypatch.setattr(snapshot_chunks, "LOOK_SECONDS", 0.02)
    found = giver.shelf.serve(SnapshotQuery(), giver.chain.reader())
    assert isinstance(found, SnapshotOffer)
    offer = Offer(found.manifest, read_manifest(found.manifest), set())
    givers = Slow(giver, PeerId(b"a"), PeerId(b"b"), PeerId(b"c"))
    part, told = Part(tmp_path / "part", found.manifest), list[tuple[int, int]]()
    async with asyncio.timeout(120):
        await Chunks(givers, part, offer, lambda done, of: told.append((done, of))).run()
    assert not part.missing()
    part.close()
    assert givers.most_open == 2
    assert set(givers.asked.values()) == {1}, "nobody is asked for the same twice"
    assert not givers.faults
    assert told == sorted(told)


async def test_a_piece_of_another_length_than_was_asked_for_is_a_lie(folders: Folders, giver: Giver) -> None:
    """One byte an answer would take a day for a chunk, and never be late."""

    def short(peer_id: PeerId, request: Request) -> Response | None:
        whole = giver.answer(peer_id, request)
        assert isinstance(whole, Chunk)
        return Chunk(whole.data[:1])

    liar = await peer(folders, giver.answers() | {SnapshotPieceRequest: short})
    honest = await peer(folders, giver.answers())
    config = new_config(folders, "new", liar, honest)
    try:
        assert await snapshot_sync.begin(config)
        assert any("charged" in reason for _, reason in liar.downs), liar.downs
    finally:
        await liar.stop()
        await honest.stop()
    assert head_of(config) == listed(folders.homes[0])[0].height


async def test_with_nobody_honest_it_begins_with_blocks(
    folders: Folders, giver: Giver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_sync, "OFFER_SECONDS", 3.0)
    monkeypatch.setattr(snapshot_sync, "GATHER_SECONDS", 0.2)
    liar = await peer(folders, lies(giver)["chunk"])
    mute = await peer(folders, {})
    config = new_config(folders, "new", liar, mute)
    try:
        assert not await snapshot_sync.begin(config)
    finally:
        await liar.stop()
        await mute.stop()
    assert head_of(config) == 0
    assert not listed(config.home)


async def test_what_a_kill_interrupts_goes_on(
    folders: Folders, giver: Giver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the peer has a newer snapshot by then, and still the old one."""

    class Killed(Exception):
        pass

    kept: list[int] = []
    put = Part.put

    def put_some(self: Part, index: int, data: bytes) -> None:
        if len(kept) == 20:
            raise Killed
        kept.append(index)
        put(self, index, data)

    honest = await peer(folders, giver.answers())
    config = new_config(folders, "new", honest)
    with monkeypatch.context() as patch:
        patch.setattr(Part, "put", put_some)
        with pytest.raises(Killed):
            await snapshot_sync.begin(config)
    await honest.stop()
    encoded = begun(config.snapshots_path)
    assert encoded is not None
    assert head_of(config) == 0
    part = Part(config.snapshots_path, encoded)
    missing = len(part.missing())
    part.close()
    assert missing <= sum(1 for chunk in part.manifest.chunks if chunk.size) - 19
    # The node gives another one meanwhile.
    old = listed(folders.homes[0])[0].height
    giver.close()
    node = node_at(folders.homes[0], snapshots__every=1, snapshots__keep=2)
    await node.start()
    await until("another snapshot", lambda: listed(folders.homes[0])[0].height > old)
    await node.stop()
    again = Giver(folders.homes[0])
    honest = await peer(folders, again.answers())
    config = new_config(folders, "new", honest)
    try:
        assert await snapshot_sync.begin(config)
    finally:
        await honest.stop()
        again.close()
    assert head_of(config) == old, "the one that was under way"
    assert again.asked[SnapshotPieceRequest] == missing, "and no chunk twice"
    assert begun(config.snapshots_path) is None
    assert taking.keep_newest(config.snapshots_path, 5) == []


async def test_a_checkpoint_that_fits_nothing_is_nobodys_fault(
    folders: Folders, giver: Giver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_sync, "OFFER_SECONDS", 10.0)
    monkeypatch.setattr(snapshot_sync, "GATHER_SECONDS", 0.1)
    honest = await peer(folders, giver.answers())
    config = dataclasses.replace(new_config(folders, "new", honest), sync_checkpoint=f"5:{'ab' * 32}")
    try:
        assert not await snapshot_sync.begin(config)
        assert not any("charged" in reason for _, reason in honest.downs), honest.downs
    finally:
        await honest.stop()
    assert head_of(config) == 0
    assert giver.asked[StepsRequest] == 1, "and is not asked again and again"


async def test_a_checkpoint_is_enough_where_the_chain_is_too_old_for_genesis(
    folders: Folders, giver: Giver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the voters never changed, so that no step spells them out."""
    step = giver.chain.reader().step(Epoch(0))
    assert step is not None
    assert step.voters is None
    years_later = time.time_ns() + 10**17
    monkeypatch.setattr(snapshot_sync.time, "time_ns", lambda: years_later)
    monkeypatch.setattr(snapshot_sync, "OFFER_SECONDS", 8.0)
    monkeypatch.setattr(snapshot_sync, "GATHER_SECONDS", 0.1)
    snapshot = listed(folders.homes[0])[0]
    honest = await peer(folders, giver.answers())
    try:
        assert not await snapshot_sync.begin(new_config(folders, "new", honest))
        config = dataclasses.replace(new_config(folders, "new", honest), sync_checkpoint=snapshot.checkpoint)
        assert await snapshot_sync.begin(config)
    finally:
        await honest.stop()
    assert head_of(config) == snapshot.height


async def test_a_snapshot_whose_block_is_pruned_is_not_given(giver: Giver) -> None:
    reader = giver.chain.reader()
    assert isinstance(giver.shelf.serve(SnapshotQuery(), reader), SnapshotOffer)
    while giver.chain.prune(reader.head.height):
        pass
    assert giver.shelf.serve(SnapshotQuery(), giver.chain.reader()) is None


async def test_it_is_not_begun_on_a_chain_that_has_blocks(folders: Folders) -> None:
    config = configuration.load(folders.homes[0], configuration.Sources(environment={}))
    assert not await snapshot_sync.begin(config)


async def test_meanwhile_it_says_how_far_it_is(
    folders: Folders, giver: Giver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over JSON-RPC, as a node that syncs from genesis would; and it leaves port and folders to the node itself."""
    servers: list[RpcServer] = []
    start, go_on, given = RpcServer.start, asyncio.Event(), 0

    async def noted(self: RpcServer) -> None:
        await start(self)
        servers.append(self)

    async def slow(peer_id: PeerId, request: Request) -> Response | None:
        nonlocal given
        given += 1
        if given > 3:
            await go_on.wait()
        return giver.answer(peer_id, request)

    monkeypatch.setattr(RpcServer, "start", noted)
    honest = await peer(folders, giver.answers() | {SnapshotPieceRequest: slow})
    config = new_config(folders, "new", honest)
    begin = asyncio.create_task(snapshot_sync.begin(config))
    try:
        await until("some chunks are asked for", lambda: given > 3 or begin.done())
        async with aiohttp.ClientSession(f"http://127.0.0.1:{servers[0].port}") as http:
            async with http.get("/health") as answer:
                assert (answer.status, (await answer.json())["height"]) == (200, 0)
            async with http.get("/ready") as answer:
                assert answer.status == 503
                reason = (await answer.json())["reason"]
            height = listed(folders.homes[0])[0].height
            fetching = f"beginning with a snapshot: fetching the one of height {height}, "
            assert reason.startswith(fetching)
            status = await result(http, "chain.status")
            assert (status["height"], status["syncing"], status["sync_target"]) == (0, True, height)
            info = await result(http, "node.info")
            assert (info["ready"], info["peers"]) == (False, 1)
            assert info["not_ready_reason"].startswith(fetching)
            assert (await result(http, "p2p.peers"))["peers"][0]["peer_id"] == honest.identity.public.hex()
            refused = await said(http, "tx.submit", tx=transfer("alice", 0).encoded.hex())
            assert refused["error"]["data"]["code"] == "beginning"
        go_on.set()
        assert await begin
    finally:
        go_on.set()
        await honest.stop()
        await asyncio.gather(begin, return_exceptions=True)
    assert not (config.home / "beginning").exists()
    node = node_at(config.home)
    await node.start()
    assert height_of(node) == height
    await node.stop()


async def said(http: aiohttp.ClientSession, method: str, **params: object) -> dict[str, Any]:
    """The whole answer to a call."""
    call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    async with http.post("/", json=call) as answer:
        found: dict[str, Any] = await answer.json()
        return found


async def result(http: aiohttp.ClientSession, method: str) -> dict[str, Any]:
    answer = await said(http, method)
    assert "result" in answer, answer
    found: dict[str, Any] = answer["result"]
    return found


def invented(giver: Giver) -> Manifest:
    """A manifest in good form far above the chain: only its steps would show that it is not so."""
    offer = giver.shelf.serve(SnapshotQuery(), giver.chain.reader())
    assert isinstance(offer, SnapshotOffer)
    true = read_manifest(offer.manifest)
    below = (Hash(b"\x07" * 32),)
    header = replace(true.header, height=Height(2**40), epoch=Epoch(2**30), history_root=root_of(below))
    candidate = replace(true.proof.candidate, block_hash=header.hash)
    found = replace(true, header=header, below=below, proof=replace(true.proof, candidate=candidate))
    return read_manifest(encode(found))


async def test_what_is_offered_by_whoever_dials_in_comes_last(
    folders: Folders, giver: Giver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Identities cost nothing: a new node that tried every newest offer first would never begin."""
    hosts: list[Host] = []
    start, heard = Host.start, asyncio.Event()
    invention = SnapshotOffer(encode(invented(giver)))

    async def noted(self: Host) -> None:
        await start(self)
        hosts.append(self)

    def lie(peer_id: PeerId, request: Request) -> Response:
        heard.set()
        return invention

    async def late(peer_id: PeerId, request: Request) -> Response | None:
        await heard.wait()
        return giver.answer(peer_id, request)

    honest = await peer(folders, giver.answers() | {SnapshotQuery: late})
    liar = Stranger(folders.genesis, 99, {SnapshotQuery: lie})
    monkeypatch.setattr(Host, "start", noted)
    config = new_config(folders, "new", honest)
    begin = asyncio.create_task(snapshot_sync.begin(config))
    await until("it listens", lambda: hosts)
    identity = PeerId(hosts[0].peer_id)
    liar._host = Host(
        liar.identity,
        folders.genesis.chain_id,
        folders.genesis.hash,
        liar,
        HostConfig(persistent=(Seed("127.0.0.1", hosts[0].listen_port, identity),), exchange=False),
    )
    await liar.host.start()
    try:
        assert await begin
    finally:
        await liar.stop()
        await honest.stop()
    assert heard.is_set()
    assert not [asked for asked in liar.asked if isinstance(asked, StepsRequest)]
    assert head_of(config) == listed(folders.homes[0])[0].height


async def test_steps_beyond_a_checkpoint_are_not_taken_without_end(
    folders: Folders, giver: Giver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing shows that those below it are true, and a liar has as many as a new node has memory."""
    monkeypatch.setattr(snapshot_sync, "OFFER_SECONDS", 10.0)
    monkeypatch.setattr(snapshot_sync, "GATHER_SECONDS", 0.1)
    step, invention, given = giver.chain.reader().step(Epoch(0)), SnapshotOffer(encode(invented(giver))), 0
    assert step is not None
    template = replace(step, voters=folders.genesis.table.entries)

    def endless(peer_id: PeerId, request: Request) -> Response | None:
        nonlocal given
        assert isinstance(request, StepsRequest)
        given += 1
        epochs = range(request.from_epoch, request.from_epoch + request.count)
        steps = (replace(template, header=replace(template.header, epoch=Epoch(epoch))) for epoch in epochs)
        return None if given > 20 else StepsResponse(tuple(encode(each) for each in steps))

    liar = await peer(folders, {SnapshotQuery: lambda peer_id, request: invention, StepsRequest: endless})
    config = dataclasses.replace(new_config(folders, "new", liar), sync_checkpoint=f"5:{'ab' * 32}")
    try:
        assert not await snapshot_sync.begin(config)
    finally:
        await liar.stop()
    assert given == 1
