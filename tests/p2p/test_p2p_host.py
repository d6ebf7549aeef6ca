"""Hosts over real sockets on loopback: who meets, what arrives, who is dropped and why."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from deploy.devnet.ports import free_ports
from omnitensor.protocol import limits
from omnitensor.protocol.transactions import transaction_id
from omnitensor.protocol.types import Height, View
from p2p.config import Seed
from p2p.errors import AskError, NetworkError
from p2p.interface import Charge, Verdict
from p2p.messages import (
    Ask,
    BlocksRequest,
    Chunk,
    ChunkRequest,
    ContentQuery,
    Goodbye,
    Hello,
    Lane,
    NotHeld,
    Peers,
    Ping,
    Reply,
    StatusUpdate,
    Tell,
    Transactions,
    VoteNotice,
    encode_envelope,
)
from tests.p2p.network_kit import (
    CHAIN,
    GENESIS,
    SECONDS_MAX,
    RawPeer,
    hash_of,
    key_of,
    nodes,
    transaction_of,
    until,
    vote_of,
)

pytestmark = pytest.mark.usefixtures("busy_machine")


def endings(logs: list[Any]) -> list[tuple[str, str]]:
    return [(entry["code"], entry["reason"]) for entry in logs if entry["event"] == "peer disconnected"]


async def test_several_hosts_gossip_votes_and_transactions_through_a_chain_of_peers() -> None:
    async with nodes() as net:
        first = await net.start(1)
        middle = await net.start(2, first.seed)
        last = await net.start(3, middle.seed)
        await until(lambda: len(middle.host.peers()) == 2)
        assert first.host.broadcast(vote_of(1)) == 1
        await until(lambda: bool(last.recorder.gossip))
        assert last.recorder.gossip == [(middle.host.peer_id, vote_of(1))]
        encoded = transaction_of(1)
        first.recorder.pool[transaction_id(encoded)] = encoded
        first.host.announce_transactions([transaction_id(encoded)])
        await until(lambda: bool(last.recorder.pool))
        assert last.recorder.pool == {transaction_id(encoded): encoded}
        status = StatusUpdate(Height(5), hash_of(5), View(6))
        assert first.host.broadcast_status(status) == 1
        await until(lambda: bool(middle.recorder.statuses))
        heights = {peer.peer_id: peer.head.height for peer in middle.host.peers()}
        assert heights == {first.host.peer_id: 5, last.host.peer_id: 0}
        await asyncio.sleep(0.1)
        assert first.recorder.gossip == []
        assert len(middle.recorder.gossip) == len(last.recorder.gossip) == 1
        assert middle.host.metrics()["p2p_judged{verdict=relay}"] == 2


async def test_a_transaction_taken_while_alone_reaches_the_first_peer() -> None:
    async with nodes() as net:
        node = await net.start(1)
        encoded = transaction_of(1)
        node.recorder.pool[transaction_id(encoded)] = encoded
        node.host.announce_transactions([transaction_id(encoded)])
        await asyncio.sleep(0.1)
        other = await net.start(2, node.seed)
        await until(lambda: bool(other.recorder.pool))
        assert other.recorder.pool == node.recorder.pool


async def test_what_the_node_finds_invalid_goes_no_further_and_is_charged() -> None:
    async with nodes() as net:
        first = await net.start(1)
        middle = await net.start(2, first.seed)
        last = await net.start(3, middle.seed)
        await until(lambda: len(middle.host.peers()) == 2)
        middle.recorder.judge = lambda message: Charge(30, "bad signature")
        first.host.broadcast(vote_of(1))
        await until(lambda: bool(middle.recorder.gossip))
        await asyncio.sleep(0.1)
        assert last.recorder.gossip == []
        scores = {peer.peer_id: peer.score for peer in middle.host.peers()}
        assert scores == {first.host.peer_id: -30, last.host.peer_id: 0}


async def test_questions_get_one_answer_each_or_a_typed_error() -> None:
    async with nodes() as net:
        server = await net.start(1, height=3)
        asker = await net.start(2, server.seed)
        await until(lambda: len(asker.host.peers()) == 1)
        peer_id = server.host.peer_id
        server.recorder.answer = lambda request: (
            Chunk(b"piece") if isinstance(request, ChunkRequest) else None
        )
        asked = ChunkRequest(hash_of(1), 0, 0, 5)
        answers = await asyncio.gather(*(asker.host.ask(peer_id, asked) for _ in range(40)))
        assert answers == [Chunk(b"piece")] * 40
        for ask, code in (
            (asker.host.ask(peer_id, ContentQuery(hash_of(1), False)), "not_held"),
            (asker.host.ask(key_of(9).public, asked), "gone"),  # type: ignore[arg-type]  # an id is a key
        ):
            with pytest.raises(AskError) as caught:
                await ask
            assert caught.value.code == code
        server.recorder.answer = lambda request: Peers(())
        with pytest.raises(AskError) as caught:
            await asker.host.ask(peer_id, asked)
        assert caught.value.code == "wrong_answer"
        assert [peer.score for peer in asker.host.peers()] == [-limits.wrong_answer_points]
        assert [peer.head.height for peer in asker.host.peers()] == [3]


async def test_a_question_is_given_up_in_time_and_when_the_peer_goes() -> None:
    async with nodes() as net:
        node = await net.start(1)
        raw = await net.connect(2, node)
        with pytest.raises(AskError) as caught:
            await node.host.ask(raw.peer_id, BlocksRequest(Height(1), 1), timeout_ms=50)
        assert caught.value.code == "timeout"
        raw.say(Reply(1, NotHeld()))  # too late: no fault
        asked = asyncio.create_task(node.host.ask(raw.peer_id, BlocksRequest(Height(1), 1)))
        await asyncio.sleep(0.05)
        assert [peer.score for peer in node.host.peers()] == [0]
        raw.writer.transport.abort()
        with pytest.raises(AskError) as caught:
            await asked
        assert caught.value.code == "gone"
        await until(lambda: node.recorder.downs != [])


@pytest.mark.parametrize(
    ("options", "code"),
    [({"chain": "elsewhere"}, "wrong_chain"), ({"genesis": hash_of(5)}, "wrong_genesis")],
)
async def test_a_node_of_another_chain_is_refused_at_both_ends(options: dict[str, Any], code: str) -> None:
    async with nodes() as net:
        with capture_logs() as logs:
            node = await net.start(1)
            stranger = await net.start(2, node.seed, **options)
            await until(lambda: f"p2p_handshakes_failed{{code={code}}}" in node.host.metrics())
            await until(lambda: f"p2p_dials_failed{{code={code}}}" in stranger.host.metrics())
        assert node.host.peers() == stranger.host.peers() == ()
        told = [entry["reason"] for entry in logs if entry.get("code") == code]
        values = ("elsewhere", CHAIN) if code == "wrong_chain" else (hash_of(5).hex()[:8], GENESIS.hex()[:8])
        assert len(told) >= 2
        for reason in told:
            assert all(value in reason for value in values)
        assert node.recorder.ups == []


async def test_a_slow_handshake_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "handshake_ms_max", 150)
    async with nodes() as net:
        node = await net.start(1)
        reader, writer = await asyncio.open_connection("127.0.0.1", node.host.listen_port)
        writer.write(b"\x00")
        async with asyncio.timeout(SECONDS_MAX):
            with suppress(ConnectionResetError):
                assert await reader.read(100) == b""
        await until(lambda: node.host.metrics().get("p2p_handshakes_failed{code=handshake_timeout}") == 1)
        writer.close()


async def test_too_many_handshakes_at_once_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "handshakes_in_flight_max", 4)
    async with nodes() as net:
        node = await net.start(1)
        opened = [await asyncio.open_connection("127.0.0.1", node.host.listen_port) for _ in range(6)]
        await until(lambda: node.host.metrics().get("p2p_handshakes_failed{code=busy}") == 2)
        for _, writer in opened:
            writer.close()
        await until(lambda: node.host._admission._handshakes.total() == 0)


async def test_a_flood_of_one_kind_is_thrown_away_then_ends_in_a_ban(monkeypatch: pytest.MonkeyPatch) -> None:
    burst = limits.message_rates["*"][1]
    monkeypatch.setitem(limits.message_rates, "*", (1, burst))  # what a slow machine takes may come slowly
    async with nodes() as net:
        node = await net.start(1)
        raw = await net.connect(2, node)
        with capture_logs() as logs:
            for number in range(burst + limits.peer_charge_points_max // limits.excess_message_points + 200):
                raw.say(Tell(Ping(number)))
            farewell = await raw.hear_goodbye()
            await until(lambda: node.host.peers() == ())
        assert farewell == Goodbye("charged", "too many messages Ping")
        assert endings(logs) == [("charged", "too many messages Ping")]
        metrics = node.host.metrics()
        assert metrics["p2p_disconnects{code=charged}"] == 1
        assert metrics["p2p_excess_messages{kind=Ping}"] >= 50
        assert [reason for _, reason in node.recorder.downs] == ["too many messages Ping"]
        with pytest.raises(NetworkError, match=r"declined.*banned") as caught:
            await RawPeer.connect(2, node)
        assert caught.value.code == "banned"


HELLO = Hello(CHAIN, GENESIS, Height(0), hash_of(0), View(0), 0, "again")


@pytest.mark.parametrize(
    ("speak", "reason"),
    [
        (lambda raw: raw.say_frame(b"\xc1garbage", Lane.CONTROL), "not a"),
        (lambda raw: raw.say_frame(bytes(limits.frame_bytes_max), Lane.BULK), "not a"),
        (lambda raw: raw.say_frame(encode_envelope(Tell(Ping(1))) + b"\x00", Lane.CONTROL), "not a"),
        (lambda raw: raw.say_frame(encode_envelope(Tell(Ping(1))), Lane.CONSENSUS), "wrong lane"),
        (lambda raw: raw.say(Tell(HELLO)), "a second Hello"),
        (
            lambda raw: raw.say_fragment(bytes([0x80]) + (2**31).to_bytes(4, "big") + b"x"),
            "size out of bounds",
        ),
        (lambda raw: raw.say_fragment(b"\x01no beginning"), "never begun"),
        (lambda raw: raw.writer.write(b"\x00\x00"), "length out of bounds"),
        (lambda raw: raw.writer.write(b"\x00\x20" + bytes(32)), "can't be decrypted"),
    ],
)
async def test_a_malformed_frame_drops_the_peer_with_a_reason(speak: Any, reason: str) -> None:
    async with nodes() as net:
        node = await net.start(1)
        raw = await net.connect(2, node)
        with capture_logs() as logs:
            speak(raw)
            farewell = await raw.hear_goodbye()
            await until(lambda: node.host.peers() == ())
        assert farewell is not None
        assert farewell.code == "malformed"
        assert reason in farewell.reason
        assert [code for code, _ in endings(logs)] == ["malformed"]
        assert reason in node.recorder.downs[0][1]
        assert node.host._scores.points(raw.peer_id, node.host._clock()) == limits.malformed_frame_points


async def test_answers_that_nobody_asked_for_are_charged() -> None:
    async with nodes() as net:
        node = await net.start(1)
        raw = await net.connect(2, node)
        for number in range(limits.peer_charge_points_max // limits.unasked_reply_points):  # and not one more
            raw.say(Reply(number, NotHeld()))
        assert await raw.hear_goodbye() == Goodbye("charged", "answered what was not asked")
        other = await net.connect(3, node)
        for _ in range(20):
            other.say(Tell(Transactions((transaction_of(1),))))
        assert await other.hear_goodbye() == Goodbye("charged", "sent a transaction that was not requested")
        assert node.recorder.pool == {}


async def test_a_peer_reconnects_after_it_was_killed() -> None:
    async with nodes() as net:
        (port,) = free_ports(1)
        victim = await net.start(1, port=port)
        node = await net.start(2, Seed("127.0.0.1", port))
        await until(lambda: len(node.host.peers()) == 1)
        # As a kill does it: the socket is gone without a word.
        assert victim.host._server is not None
        victim.host._server.close()
        for connection in victim.host._connections.values():
            connection._writer.transport.abort()
        await until(lambda: len(node.recorder.downs) == 1)
        await victim.host.stop()
        again = await net.start(1, port=port)
        await until(lambda: len(node.recorder.ups) == 2)
        assert node.peer_ids == [again.host.peer_id]
        node.host.broadcast(vote_of(1))
        await until(lambda: len(again.recorder.gossip) == 1)


async def test_of_two_nodes_with_one_identity_the_first_stays() -> None:
    async with nodes() as net:
        node = await net.start(1)
        twin = await net.start(2, node.seed)
        await until(lambda: len(node.host.peers()) == 1)
        before = node.host.peers()[0].port
        other = await net.start(2, node.seed)
        await until(lambda: "p2p_dials_failed{code=duplicate}" in other.host.metrics())
        assert other.host.peers() == ()
        assert [peer.port for peer in node.host.peers()] == [before]
        await twin.host.stop()
        await until(lambda: len(other.host.peers()) == 1)


async def test_a_connection_on_which_nothing_was_heard_gives_way_to_a_new_one() -> None:
    async with nodes() as net:
        node = await net.start(1)
        dead = await net.connect(2, node)
        with pytest.raises(NetworkError, match="connected already"):
            await RawPeer.connect(2, node)
        node.host._connections[dead.peer_id].heard_ms -= limits.silence_ms_max // 3 + 1_000
        net.raw.append(await RawPeer.connect(2, node))
        assert await dead.hear_goodbye() is not None
        await asyncio.sleep(0.05)
        assert node.peer_ids == [dead.peer_id]
        assert len(node.recorder.ups) == 1
        assert node.recorder.downs == []


async def test_nodes_that_dial_each_other_keep_the_one_connection_of_the_smaller_id() -> None:
    async with nodes() as net:
        ports = free_ports(2)
        seeds = [Seed("127.0.0.1", port) for port in ports]
        one, other = await asyncio.gather(
            net.start(1, seeds[1], port=ports[0]), net.start(2, seeds[0], port=ports[1])
        )
        smaller, larger = sorted((one, other), key=lambda node: node.host.peer_id)
        await until(lambda: [peer.outbound for peer in smaller.host.peers()] == [True])
        await until(lambda: [peer.outbound for peer in larger.host.peers()] == [False])
        for node in (one, other):
            await until(lambda node=node: len(node.recorder.ups) - len(node.recorder.downs) == 1)  # type: ignore[misc]
        await asyncio.sleep(1.5)  # and so it stays
        assert [peer.outbound for peer in smaller.host.peers()] == [True]
        assert [peer.outbound for peer in larger.host.peers()] == [False]
        for node in (one, other):
            assert len(node.recorder.ups) - len(node.recorder.downs) == 1
        one.host.broadcast(vote_of(1))
        await until(lambda: len(other.recorder.gossip) == 1)


async def test_a_node_does_not_befriend_itself() -> None:
    async with nodes() as net:
        (port,) = free_ports(1)
        node = await net.start(1, Seed("127.0.0.1", port), port=port)
        await until(lambda: "p2p_dials_failed{code=self_connection}" in node.host.metrics())
        await asyncio.sleep(1.5)
        assert node.host.metrics()["p2p_dials_failed{code=self_connection}"] == 1
        assert node.host.peers() == ()


async def test_a_wrong_identity_at_an_address_is_refused() -> None:
    async with nodes() as net:
        node = await net.start(1)
        other = await net.start(2, Seed("127.0.0.1", node.host.listen_port, key_of(7).public))  # type: ignore[arg-type]  # an id is a key
        await until(lambda: "p2p_dials_failed{code=identity}" in other.host.metrics())
        assert other.host.peers() == ()


async def test_a_vote_passes_bytes_that_wait_for_a_slow_peer() -> None:
    async with nodes() as net:
        node = await net.start(1)
        node.recorder.answer = lambda request: Chunk(bytes(limits.piece_bytes_max))
        raw = await net.connect(2, node, receive_buffer=16 * 1024)
        for number in range(limits.asks_in_flight_max):
            raw.say(Ask(number, ChunkRequest(hash_of(1), 0, 0, limits.piece_bytes_max)))
        await until(lambda: len(node.recorder.requests) >= limits.bulk_answers_in_flight_max)

        def waiting_bytes() -> int:
            return node.host._connections[raw.peer_id]._outbox.lane_bytes(Lane.BULK)

        await until(lambda: waiting_bytes() >= limits.piece_bytes_max)
        await asyncio.sleep(0.2)  # all of them wait behind a line that nobody reads
        waiting = waiting_bytes()
        assert waiting >= limits.piece_bytes_max
        assert waiting <= limits.outbox_bytes_max[Lane.BULK]
        assert len(node.recorder.requests) < limits.asks_in_flight_max
        assert node.host.broadcast(vote_of(1)) == 1
        heard: list[str] = []
        while heard.count("Chunk") < limits.asks_in_flight_max:
            envelope = await raw.hear()
            assert envelope is not None
            heard.append(type(envelope.message).__name__)
        # What was cut into the kernel's buffers goes before the vote, and not a whole piece more.
        assert heard.index("VoteNotice") <= heard.index("Chunk") + 2
        assert heard.index("VoteNotice") < len(heard) - 8


async def test_a_node_that_judges_slowly_is_not_flooded() -> None:
    async with nodes() as net:
        node = await net.start(1)
        node.recorder.gate = asyncio.Event()
        raw = await net.connect(2, node)
        bound = limits.handlers_in_flight_max[Lane.CONSENSUS]
        for number in range(bound + 100):
            raw.say(Tell(VoteNotice(vote_of(number))))
        await until(lambda: len(node.recorder.gossip) == bound)
        await asyncio.sleep(0.1)
        assert len(node.recorder.gossip) == bound
        node.recorder.gate.set()
        await until(lambda: len(node.recorder.gossip) == bound + 100)
        assert [peer.score for peer in node.host.peers()] == [0]


async def test_a_handler_that_fails_harms_neither_node_nor_peer() -> None:
    def fail(message: object) -> Any:
        raise RuntimeError("a bug in the node")

    async with nodes() as net:
        node = await net.start(1)
        asker = await net.start(2, node.seed)
        await until(lambda: len(asker.host.peers()) == 1)
        node.recorder.judge = fail
        node.recorder.answer = fail
        asker.host.broadcast(vote_of(1))
        with pytest.raises(AskError) as caught:
            await asker.host.ask(node.host.peer_id, ContentQuery(hash_of(1), False))
        assert caught.value.code == "not_held"
        await until(lambda: node.host.metrics().get("p2p_handler_failures") == 2)
        assert len(node.host.peers()) == 1
        node.recorder.judge = lambda message: Verdict.RELAY
        asker.host.broadcast(vote_of(2))
        await until(lambda: len(node.recorder.gossip) == 2)
