"""What connections carry beside blocks: what peers say of their clocks, and content, which leaves room for everything else."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest

from omnitensor.protocol import limits
from omnitensor.protocol.types import Height
from p2p.errors import AskError
from p2p.interface import Charge
from p2p.messages import (
    Ask,
    BlocksRequest,
    CandidateRequest,
    ChunkRequest,
    NotHeld,
    PeerId,
    Ping,
    Pong,
    Reply,
    Request,
    Response,
    Tell,
)
from tests.p2p.network_kit import (
    hash_of,
    nodes,
    until,
)

pytestmark = pytest.mark.usefixtures("busy_machine")


async def test_peers_tell_one_another_their_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the number of a Ping, now and then; what was said long ago counts no more."""
    monkeypatch.setattr(limits, "clock_ping_ms", 0)
    monkeypatch.setattr(limits, "clock_stale_ms", 10**9)
    theirs = 1_800_000_000_000
    async with nodes() as net:
        before = time.monotonic_ns() // 1_000_000
        node = await net.start(1, wall=lambda: theirs - 5)
        other = await net.start(2, node.seed, wall=lambda: theirs)
        await until(lambda: [peer.clock_ms for peer in node.host.peers()] not in ([], [None]))
        [told] = node.host.peers()
        after = time.monotonic_ns() // 1_000_000
        assert told.clock_ms is not None
        assert theirs - after <= told.clock_ms <= theirs - before
        assert len(other.host.peers()) == 1
        monkeypatch.setattr(limits, "clock_stale_ms", -1)
        assert [peer.clock_ms for peer in node.host.peers()] == [None]


async def test_a_clock_is_said_again_and_older_software_says_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "clock_ping_ms", 0)
    monkeypatch.setattr(limits, "clock_stale_ms", 10**9)
    async with nodes() as net:
        clock = itertools.count(1_800_000_000_000)
        node = await net.start(1, wall=lambda: next(clock))
        raw = await net.connect(2, node)
        for number in range(3):
            envelope = await raw.hear()
            assert envelope == Tell(Ping(1_800_000_000_000 + number))
            assert isinstance(envelope.message, Ping)
            raw.say(Tell(Pong(envelope.message.number)))
        for number in (1, limits.clock_said_ms_min - 1, limits.clock_said_ms_max + 1, 2**64 - 1):
            raw.say(Tell(Ping(number)))
            while (envelope := await raw.hear()) != Tell(Pong(number)):
                assert envelope is not None
                assert isinstance(envelope.message, Ping)
                raw.say(Tell(Pong(envelope.message.number)))
            assert [peer.clock_ms for peer in node.host.peers()] == [None]
        raw.say(Tell(Ping(limits.clock_said_ms_max)))
        await until(lambda: node.host.peers()[0].clock_ms is not None)


async def test_content_leaves_questions_for_what_consensus_lacks() -> None:
    """As many pieces as several contents ask of one peer, which gives none for now; and blocks that everything waits for."""
    async with nodes() as net:
        node = await net.start(1)
        raw = await net.connect(2, node)
        piece = ChunkRequest(hash_of(1), 0, 0, limits.piece_bytes_max)
        pieces = [asyncio.create_task(node.host.ask(raw.peer_id, piece)) for _ in range(32)]
        others = [
            asyncio.create_task(node.host.ask(raw.peer_id, request))
            for request in (CandidateRequest(hash_of(2)), BlocksRequest(Height(1), 4))
        ]
        asked: list[str] = []
        while not {"CandidateRequest", "BlocksRequest"} <= set(asked):
            envelope = await raw.hear()
            assert envelope is not None
            asked.append(type(envelope.message).__name__)
            if isinstance(envelope, Ask) and not isinstance(envelope.message, ChunkRequest):
                raw.say(Reply(envelope.number, NotHeld()))
        assert asked.count("ChunkRequest") <= limits.content_asks_in_flight_max
        for refused in await asyncio.gather(*others, return_exceptions=True):
            assert isinstance(refused, AskError)
            assert refused.code == "not_held"
        for task in pieces:
            task.cancel()
        await asyncio.gather(*pieces, return_exceptions=True)


async def test_a_slow_disk_of_content_holds_up_no_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    async with nodes() as net:
        node = await net.start(1)
        raw, gate = await net.connect(2, node), asyncio.Event()
        real = node.recorder.on_request

        async def slow(peer_id: PeerId, request: Request) -> Response | Charge | None:
            if isinstance(request, ChunkRequest):
                await gate.wait()
            return await real(peer_id, request)

        monkeypatch.setattr(node.recorder, "on_request", slow)
        for number in range(4):
            raw.say(Ask(number, ChunkRequest(hash_of(1), 0, 0, limits.piece_bytes_max)))
        raw.say(Ask(9, BlocksRequest(Height(1), 4)))
        while (envelope := await raw.hear()) != Reply(9, NotHeld()):
            assert envelope is not None
            assert isinstance(envelope.message, Ping), "no piece can be there"
        gate.set()
        answered: set[int] = set()
        while answered != {0, 1, 2, 3}:
            envelope = await raw.hear()
            assert envelope is not None
            if isinstance(envelope, Reply):
                answered.add(envelope.number)
