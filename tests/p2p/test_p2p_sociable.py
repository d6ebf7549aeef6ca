"""Hosts over real sockets: silence, full houses, addresses that go round, farewells, and content in pieces."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import uvloop

from deploy.devnet.ports import free_ports
from omnitensor.protocol import limits
from p2p import host as host_module
from p2p.chunks import fetch_chunk
from p2p.config import HostConfig, Seed
from p2p.errors import AskError, NetworkError
from p2p.messages import (
    Ask,
    Chunk,
    ChunkRequest,
    Goodbye,
    Have,
    Peers,
    PeersRequest,
    Ping,
    Pong,
    Reply,
    Tell,
)
from tests.p2p.network_kit import (
    RawPeer,
    hash_of,
    key_of,
    nodes,
    until,
    vote_of,
)

pytestmark = pytest.mark.usefixtures("busy_machine")


async def test_a_silent_peer_is_asked_for_a_sign_of_life_and_then_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with nodes() as net:
        node = await net.start(1)
        raw = await net.connect(2, node)
        envelope = await raw.hear()
        assert envelope is not None
        assert isinstance(envelope.message, Ping)
        raw.say(Tell(Pong(envelope.message.number)))
        await until(lambda: node.host.peers()[0].rtt_ms is not None)
        monkeypatch.setattr(limits, "silence_ms_max", 100)
        farewell = await raw.hear_goodbye()
        assert farewell is not None
        assert farewell.code == "silent"


async def test_all_places_taken_is_said_to_whom_it_concerns() -> None:
    async with nodes() as net:
        config = HostConfig(
            listen=("127.0.0.1", 0),
            peers_inbound_max=1,
            exchange=False,
            persistent=(Seed("127.0.0.1", 1, key_of(4).public),),  # type: ignore[arg-type]  # an id is a key
        )
        node = await net.start(1, config=config)
        await net.connect(2, node)
        with pytest.raises(NetworkError, match="all places for incoming peers are taken"):
            await RawPeer.connect(3, node)
        await net.connect(4, node)  # persistent peers have a place of their own
        assert len(node.host.peers()) == 2


async def test_nodes_learn_of_each_other_and_remember(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_module, "_EXCHANGE_S", 0.2)
    async with nodes() as net:
        first = await net.start(1)
        second = await net.start(2, first.seed)
        await until(lambda: len(second.host.peers()) == 1)
        path = tmp_path / "addresses.json"
        config = HostConfig(listen=("127.0.0.1", 0), bootstrap=(first.seed,), address_book=path)
        third = await net.start(3, config=config)
        await until(lambda: len(third.host.peers()) == 2)
        await third.host.stop()
        alone = HostConfig(listen=("127.0.0.1", 0), address_book=path)
        again = await net.start(3, config=alone)
        await until(lambda: len(again.host.peers()) == 2)
        raw = await net.connect(5, first)
        raw.say(Ask(1, PeersRequest()))
        while not isinstance(envelope := await raw.hear(), Reply):
            assert envelope is not None
        assert isinstance(envelope.message, Peers)
        assert {address.peer_id for address in envelope.message.addresses} >= {second.host.peer_id}


async def test_a_taken_port_is_a_clear_error() -> None:
    async with nodes() as net:
        node = await net.start(1)
        with pytest.raises(NetworkError, match="can't listen") as caught:
            await net.start(2, port=node.host.listen_port)
        assert str(node.host.listen_port) in caught.value.value
        assert "choose another" in caught.value.remedy


async def test_stop_says_goodbye_and_leaves_nothing_running() -> None:
    async with nodes() as net:
        node = await net.start(1)
        other = await net.start(2, node.seed)
        await until(lambda: len(node.host.peers()) == len(other.host.peers()) == 1)
        await other.host.stop()
        await other.host.stop()
        await until(lambda: node.recorder.downs != [])
        assert node.recorder.downs == [
            (other.host.peer_id, "the other end said goodbye: stopping: the node stops")
        ]
        assert other.host.peers() == ()
        assert other.host.broadcast(vote_of(1)) == 0
        assert not other.host.send(node.host.peer_id, vote_of(1))
    left = {task.get_coro().__qualname__ for task in asyncio.all_tasks()} - {  # type: ignore[union-attr]  # coroutines
        "test_stop_says_goodbye_and_leaves_nothing_running"
    }
    assert not {name for name in left if "Host" in name or "Connection" in name or "Dialer" in name}


async def test_a_dropped_or_charged_peer_hears_the_reason() -> None:
    async with nodes() as net:
        node = await net.start(1)
        raw = await net.connect(2, node)
        node.host.drop(raw.peer_id, "reported height 9, then 3")
        assert await raw.hear_goodbye() == Goodbye("dropped", "reported height 9, then 3")
        other = await net.connect(3, node)
        node.host.charge(other.peer_id, 99, "something")
        assert [peer.score for peer in node.host.peers()] == [-99]
        node.host.charge(other.peer_id, 1, "the last straw")
        assert await other.hear_goodbye() == Goodbye("charged", "the last straw")


async def test_a_message_that_was_missed_is_offered_and_asked_for() -> None:
    async with nodes() as net:
        node = await net.start(1)
        raw = await net.connect(2, node)
        raw.say(Tell(Have((hash_of(1),))))
        while (envelope := await raw.hear()) is not None:
            if type(envelope.message).__name__ == "Want":
                assert envelope.message.ids == (hash_of(1),)  # type: ignore[union-attr]  # it is a Want
                break
        else:
            pytest.fail("it did not ask")


def test_it_runs_on_uvloop_too() -> None:
    async def talk() -> None:
        async with nodes() as net:
            first = await net.start(1)
            second = await net.start(2, first.seed)
            await until(lambda: len(first.host.peers()) == len(second.host.peers()) == 1)
            first.recorder.answer = lambda request: Chunk(bytes(limits.piece_bytes_max))
            asked = ChunkRequest(hash_of(1), 0, 0, limits.piece_bytes_max)
            answers = await asyncio.gather(*(second.host.ask(first.host.peer_id, asked) for _ in range(8)))
            assert all(isinstance(answer, Chunk) for answer in answers)
            second.host.broadcast(vote_of(1))
            await until(lambda: first.recorder.gossip == [(second.host.peer_id, vote_of(1))])

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(talk())


async def test_a_chunk_comes_in_pieces_and_a_piece_of_the_wrong_size_is_charged() -> None:
    content = bytes(range(256)) * 4_096
    assert len(content) == limits.chunk_bytes
    async with nodes() as net:
        server = await net.start(1)
        asker = await net.start(2, server.seed)
        await until(lambda: len(asker.host.peers()) == 1)

        def serve(request: Any) -> Chunk:
            return Chunk(content[request.offset : request.offset + request.size])

        server.recorder.answer = serve
        peer_id = server.host.peer_id
        assert await fetch_chunk(asker.host, peer_id, hash_of(1), 0, len(content)) == content
        assert {request.size for request in server.recorder.requests} == {limits.piece_bytes_max}  # type: ignore[union-attr]  # ChunkRequests
        assert await fetch_chunk(asker.host, peer_id, hash_of(1), 0, 300_001) == content[:300_001]
        server.recorder.answer = lambda request: Chunk(b"short")
        with pytest.raises(AskError, match="wrong size"):
            await fetch_chunk(asker.host, peer_id, hash_of(1), 0, 300_001)
        assert [peer.score for peer in asker.host.peers()] == [-limits.wrong_answer_points]
        server.recorder.answer = lambda request: None
        with pytest.raises(AskError, match="does not hold"):
            await fetch_chunk(asker.host, peer_id, hash_of(1), 0, len(content))


async def test_an_address_without_an_id_is_not_dialled_again_while_its_node_is_connected() -> None:
    async with nodes() as net:
        smaller, larger = sorted((1, 2), key=lambda number: key_of(number).public)
        (port,) = free_ports(1)
        first = await net.start(smaller, Seed("127.0.0.1", port))
        second = await net.start(larger, Seed("127.0.0.1", first.host.listen_port), port=port)
        await until(lambda: len(first.host.peers()) == len(second.host.peers()) == 1)
        await asyncio.sleep(2.0)  # time for several tries
        assert second.host.metrics().get("p2p_dials_failed{code=duplicate}", 0) <= 1
