"""What peers answer, with each field at the extremes of its type, to those parts of a node that ask.

Whoever asked goes on, blames the peer or asks another; nothing but that comes of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from consensus.stake import effects as fx
from datalayer.store import ContentStore
from node.catch_up import CatchUp
from node.fetching import ContentFetcher
from node.metrics import Metrics
from node.questions import PeerQuestions
from node.relaying import Lookout
from omnitensor.protocol import limits
from omnitensor.protocol.bodies import BODY_KINDS
from omnitensor.protocol.codec import encode
from omnitensor.protocol.content import content_id_of
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.merkle import leaf_hash
from omnitensor.protocol.transactions import signed
from omnitensor.protocol.types import Hash, Height, Signature, View
from omnitensor.protocol.votes import VoteKind
from p2p.errors import AskError
from p2p.interface import Head, PeerInfo
from p2p.messages import (
    CandidateResponse,
    CertificatesResponse,
    Chunk,
    ChunkRequest,
    ContentComing,
    ContentOffer,
    ContentQuery,
    Envelope,
    Goodbye,
    Have,
    Hello,
    Leaves,
    LeavesRequest,
    PeerAddress,
    PeerId,
    Peers,
    Ping,
    Pong,
    Pruned,
    Reply,
    Request,
    Response,
    StatusUpdate,
    Tell,
    TransactionAnnounce,
    TransactionRequest,
    Transactions,
    Want,
    decode_envelope,
    encode_envelope,
    lane_of,
)
from tests.extremes import is_decodable, least_of, walk
from tests.node.node_kit import account_key, make_folders, node_at, stranger, transfer, until
from tests.node.voters import Voters

PEER = PeerId(b"p" * 32)
MANY = 50


class Answering:
    """A network with one peer, which answers what a test says."""

    def __init__(self) -> None:
        self.answers: Callable[[Request], Response | None] = lambda _: None
        self.charges: list[str] = []

    def peers(self) -> tuple[PeerInfo, ...]:
        head = Head(Height(2**64 - 1), Hash(bytes(32)), View(2**64 - 1))
        return (PeerInfo(PEER, "", "127.0.0.1", 1, 1, True, head, 0, 0, None, 0, 0),)

    async def ask(self, peer_id: PeerId, request: Request, timeout_ms: int | None = None) -> Response:
        found = self.answers(request)
        if found is None:
            raise AskError("the peer does not hold what was asked for", value=peer_id, code="not_held")
        return found

    def charge(self, peer_id: PeerId, points: int, reason: str) -> None:
        self.charges.append(reason)

    def drop(self, peer_id: PeerId, reason: str) -> None:
        self.charges.append(reason)


def decodable(record: Any, near: tuple[int, ...] = ()) -> Iterator[Any]:
    yield record
    for _, variant in walk(record, near):
        if is_decodable(variant):
            yield variant


async def test_answers_to_questions_of_consensus(tmp_path: Path) -> None:
    folders = make_folders(tmp_path)
    voters = Voters(folders, tmp_path)
    node = node_at(folders.extra("follows"))
    network, faults = Answering(), list[str]()
    try:
        await node.start()
        await until("the node has a core", lambda: node.driver is not None)
        questions = PeerQuestions(network, node._crypto, lambda: None)  # type: ignore[arg-type]  # all that is used
        questions.driver = node.driver
        block = voters.block(1, transactions=[transfer("alice", 0)])
        candidate = voters.candidate(1, block)
        certificates = (voters.certificate(VoteKind.SKIP, 1, signers=(0,)),)
        for variant in decodable(CandidateResponse(candidate, block, certificates)):
            for answer in (variant, named(variant)):
                network.answers = lambda _, given=answer: given  # type: ignore[misc]
                fetch = fx.Fetch(answer.candidate.id, View(1), 0)
                await noted(faults, answer, questions._candidate(PEER, fetch))
        for variant in decodable(CertificatesResponse(certificates)):
            network.answers = lambda _, given=variant: given  # type: ignore[misc]
            ask = fx.FetchCertificates(View(1), View(3), 0)
            await noted(faults, variant, questions._certificates(PEER, ask))
        await questions.stop()
        assert not faults, faults
        assert not node.failed.is_set()
    finally:
        await node.stop()
        voters.close()


def named(answer: CandidateResponse) -> CandidateResponse:
    """The same with a candidate that names its block."""
    if answer.block is None:
        return answer
    return replace(answer, candidate=replace(answer.candidate, block_hash=answer.block.hash))


async def noted(faults: list[str], what: Any, call: Any) -> Any:
    try:
        async with asyncio.timeout(20):
            return await call
    except Exception as error:  # whatever it is, it is what is looked for
        faults.append(f"{type(what).__name__} {str(what)[:300]}: {error!r}")
        return None


async def test_answers_about_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "content_stall_ms_max", 200)
    monkeypatch.setattr("node.fetching.POLL_SECONDS", 0.01)
    monkeypatch.setattr("node.relaying.ASK_AGAIN_SECONDS", 0.01)
    data = bytes(limits.chunk_bytes) + b"content"
    content, faults, network = content_id_of(data), list[str](), Answering()
    parts = (data[: limits.chunk_bytes], data[limits.chunk_bytes :])
    leaves = Leaves(tuple(Hash(leaf_hash(part)) for part in parts))
    disk = ThreadPoolExecutor(2)
    store = ContentStore(tmp_path / "content", 1 << 22)
    fetcher = ContentFetcher(network, store, disk, Metrics())  # type: ignore[arg-type]  # all that is used
    usual: dict[type, Response] = {ContentQuery: ContentOffer(content), LeavesRequest: leaves}
    instead = {ContentQuery: (ContentOffer(content), ContentComing(1)), LeavesRequest: (leaves,)}
    instead[ChunkRequest] = (Chunk(b"\1" * 7), Chunk(b"\1" * limits.piece_bytes_max))
    try:
        for asked, records in instead.items():
            for record in records:
                for answer in decodable(record):
                    network.answers = answering(usual | {asked: answer})
                    await noted(faults, answer, fetcher.fetch(content, further=False))
                    if asked is ContentQuery:
                        lookout = Lookout(network, content, lambda _: None, frozenset())  # type: ignore[arg-type]
                        await noted(faults, answer, lookout.find())
        for changed in decodable(content):
            network.answers = answering({ContentQuery: ContentOffer(changed), LeavesRequest: leaves})
            try:
                await asyncio.wait_for(fetcher.fetch(changed, further=False), 20)
            except ProtocolError:
                continue
            except Exception as error:
                faults.append(f"{changed}: {error!r}")
        assert not store.has(content.chunk_root), "no answer was the content"
        assert network.charges
    finally:
        await fetcher.stop()
        store.close()
        disk.shutdown()
    assert not faults, faults


def answering(answers: dict[type, Response]) -> Callable[[Request], Response | None]:
    return lambda request: answers.get(type(request))


async def test_heights_and_ranges_that_peers_claim() -> None:
    faults = list[str]()
    for height in (0, 1, 10, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1):
        catch_up = CatchUp(0, 0)
        now = 0
        for claimed in (height, height, max(0, height - 1)):
            catch_up.peer_status(PEER, claimed)
            for first in (0, 1, 2, 2**63, 2**64 - 1, height):
                now += 60_000
                step = catch_up.step(0, now)
                for fetch in step.fetches:
                    assert is_decodable(fetch.request)
                    catch_up.answered(fetch, Pruned(Height(first)))
                assert catch_up.progress.target >= 0
                assert catch_up.unheld is None or catch_up.unheld >= 0
    assert not faults


async def test_what_a_connection_says(tmp_path: Path) -> None:
    """Every message of the wire through a real connection's own reading; who is at fault loses its place, and nobody else."""
    folders = make_folders(tmp_path)
    node = node_at(folders.extra("follows"))
    try:
        await node.start()
        async with stranger(folders.genesis, node) as peer:
            [connection] = node.network._connections.values()
            let_everything_through(connection)
            for message in messages(folders):
                for variant in decodable(message):
                    frame = encode_envelope(variant)
                    envelope = decode_envelope(frame)
                    try:
                        await connection._on_frame(lane_of(envelope.message), frame)
                    except ProtocolError:
                        continue
            assert peer.host
        assert not node.failed.is_set()
        assert "p2p_handler_failures" not in node.network.metrics()
    finally:
        await node.stop()


def let_everything_through(connection: Any) -> None:
    """No message is too many, and no charge ends the connection."""
    connection._rates.allow = lambda *_: True
    connection._owner._charge = lambda *_: None
    connection.end = lambda *_, **__: None


def messages(folders: Any) -> Iterator[Envelope]:
    address = PeerAddress(PeerId(b"q" * 32), "10.1.2.3", 1)
    genesis = folders.genesis
    yield Tell(Hello(genesis.chain_id, genesis.hash, Height(1), genesis.hash, View(1), 1, "name"))
    yield Tell(Have((Hash(b"a" * 32),)))
    yield Tell(Want((Hash(b"a" * 32),)))
    yield Tell(TransactionAnnounce((Hash(b"a" * 32),)))
    yield Tell(TransactionRequest((Hash(b"a" * 32),)))
    yield Tell(Transactions((transfer("alice", 0).encoded,)))
    yield Tell(StatusUpdate(Height(1), genesis.hash, View(1)))
    yield Tell(Ping(1))
    yield Tell(Pong(1))
    yield Tell(Goodbye("code", "reason"))
    yield Reply(1, Peers((address,)))
    yield Reply(1, Pruned(Height(1)))


async def test_addresses(tmp_path: Path) -> None:
    """What is heard of where nodes are is kept, dialled and saved, whatever it is."""
    folders = make_folders(tmp_path)
    node = node_at(folders.extra("follows"))
    try:
        await node.start()
        book = node.network._book
        heard = PeerAddress(PeerId(b"q" * 32), "127.0.0.1", 1)
        hosts = ("127.0.0.1%\0", "::1%" + "\U0010ffff" * 20, "::1%..", "::1%\n", "::ffff:127.0.0.1", "::1%1")
        for number, variant in enumerate((*decodable(heard), *(replace(heard, host=host) for host in hosts))):
            spread = replace(variant, peer_id=PeerId(number.to_bytes(32, "big")))
            book.hear([variant, spread], "127.0.0.1", number * 3_600_000 * 2)
        assert len(book)
        before = len(book)
        await until("some were dialled", lambda: any(entry.failures for entry in book), 20)
        assert len(book) <= before
        assert not any(loop.done() for loop in node.network._loops)
        await node.network._save_book()
        type(book).load(node.config.home / "peers.json", node.network.peer_id)
    finally:
        await node.stop()


async def test_transactions(tmp_path: Path) -> None:
    """Transactions of every kind with every field at its extremes, signed, to the mempool of a node."""
    folders = make_folders(tmp_path)
    node = node_at(folders.extra("follows"))
    usual = transfer("alice", 0).transaction
    key = account_key("alice")
    bodies = [usual.body]
    for kind in BODY_KINDS:
        try:
            bodies.append(least_of(kind))
        except ValueError:
            continue
    try:
        await node.start()
        for body in bodies:
            made = []
            for variant in decodable(replace(usual, body=body) if body is not usual.body else usual):
                plain = replace(variant, signature=Signature(bytes(64)))
                made.append(encode(signed(plain, key.sign(plain.id))))
            for start in range(0, len(made), MANY):
                await node._handler.on_transactions(PEER, tuple(made[start : start + MANY]))
        assert not node.failed.is_set()
    finally:
        await node.stop()
