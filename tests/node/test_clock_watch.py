"""A node whose clock is wrong finds out by its peers, says it once, and does nothing else; a minority that lies moves nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from structlog.testing import capture_logs

from node import clock_watch
from node.clock_watch import ClockWatch, median
from node.driver import now_ms
from omnitensor.protocol import limits
from omnitensor.protocol.types import Hash, Height, View
from p2p.interface import Head, PeerInfo
from p2p.messages import PeerId
from tests.node.node_kit import PARAMS, Folders, Stranger, height_of, make_folders, running, until

DRIFT_MS = 2_000
WALL_MS = 1_800_000_000_000
HEAD = Head(Height(0), Hash(bytes(32)), View(0))


class World:
    """A machine whose clocks are what the test says, and its peers."""

    def __init__(self) -> None:
        self.monotonic_ms = 5_000
        self.off_ms = 0
        """How far its clock is ahead of the true time."""
        self.peers: list[PeerInfo] = []
        self.watch = ClockWatch(lambda: self.peers, lambda: DRIFT_MS)

    def add(
        self,
        off_ms: int | None,
        *,
        dialled: bool = True,
        host: str = "",
        late_ms: int = 0,
        rtt_ms: int | None = 0,
    ) -> None:
        """A peer whose clock is so far ahead of the true time, and what it said of it took so long to come."""
        number = len(self.peers)
        said = None if off_ms is None else WALL_MS - 5_000 + off_ms - late_ms
        self.peers.append(
            PeerInfo(
                PeerId(number.to_bytes(32, "big")),
                "",
                host or f"{10 + number}.1.1.1",
                1,
                1,
                dialled,
                HEAD,
                number,
                0,
                rtt_ms,
                0,
                0,
                said,
            )
        )

    def look(self, seconds: int = 0) -> None:
        """So many seconds pass, and it looks every five."""
        for _ in range(max(1, seconds // 5)):
            self.monotonic_ms += 5_000 if seconds else 0
            self.watch.look(WALL_MS + self.monotonic_ms - 5_000 + self.off_ms, self.monotonic_ms)

    @property
    def ahead_ms(self) -> int | None:
        self.look()
        return self.watch.status.ahead_ms


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def said() -> Iterator[list[Any]]:
    with capture_logs() as logs:
        yield logs


@pytest.mark.parametrize("off_ms", [60_000, -60_000, 2_500, -2_500])
def test_a_wrong_clock_is_said_once_and_so_is_its_end(world: World, said: list[Any], off_ms: int) -> None:
    for _ in range(5):
        world.add(0)
    world.look(seconds=300)
    assert (world.watch.status.ahead_ms, world.watch.status.peers, said) == (0, 5, [])
    world.off_ms = off_ms
    world.look(seconds=300)
    assert (world.watch.status.ahead_ms, world.watch.status.wrong) == (off_ms, True)
    [begins] = said
    assert begins["event"] == f"this machine's clock is {'ahead of' if off_ms > 0 else 'behind'} its peers'"
    assert (begins["log_level"], begins["ahead_ms"], begins["peers"]) == ("warning", off_ms, 5)
    assert "time service" in begins["remedy"]
    world.off_ms = 0
    world.look(seconds=300)
    assert not world.watch.status.wrong
    assert [each["event"] for each in said[1:]] == ["this machine's clock agrees with its peers' again"]
    assert said[1]["log_level"] == "warning"


def test_a_moment_is_not_said(world: World, said: list[Any]) -> None:
    for _ in range(3):
        world.add(0)
    for _ in range(20):
        world.off_ms = 10_000
        world.look(seconds=limits.clock_wrong_ms_min // 1_000 - 5)
        world.off_ms = 0
        world.look(seconds=5)
    assert said == []


def test_a_clock_at_the_bound_is_not_said_over_and_over(world: World, said: list[Any]) -> None:
    for _ in range(3):
        world.add(0)
    for off_ms in (DRIFT_MS, DRIFT_MS + 1, DRIFT_MS - 1, DRIFT_MS // 2 + 1, DRIFT_MS + 1):
        world.off_ms = off_ms
        world.look(seconds=300)
    assert len(said) == 1
    world.off_ms = DRIFT_MS // 2
    world.look(seconds=300)
    assert len(said) == 2


def test_fewer_than_half_of_the_peers_move_nothing(world: World) -> None:
    for _ in range(4):
        world.add(0)
    for _ in range(4):
        world.add(10**9)
    assert world.ahead_ms == 0, "half is not enough"
    world.add(10**9)
    assert world.ahead_ms == -(10**9), "most of them are believed: it is a warning"


def test_strangers_who_dial_a_node_do_not_outvote_those_that_it_dialled(world: World) -> None:
    for _ in range(limits.clock_dialled_min):
        world.add(0)
    for _ in range(60):
        world.add(10**6, dialled=False)
    assert world.ahead_ms == 0
    world.peers.pop(0)
    assert world.ahead_ms == -(10**6), "with fewer that it dialled, all count"


def test_those_of_one_network_have_one_voice(world: World) -> None:
    world.add(0, dialled=False, host="10.0.0.1")
    world.add(0, dialled=False, host="10.0.0.2")
    for number in range(8):
        world.add(10**6, dialled=False, host=f"99.1.{number}.1")
    assert world.ahead_ms == 0
    assert world.watch.status.peers == 3, "in a private network each speaks for itself"
    world.add(0, dialled=False, host="2001:db8::1")
    world.add(0, dialled=False, host="a.name.of.somebody")
    assert world.ahead_ms == 0


def test_who_says_nothing_has_no_voice_and_one_voice_is_none(world: World) -> None:
    assert world.ahead_ms is None
    world.add(None)
    world.add(5_000, rtt_ms=None)
    world.add(5_000)
    assert (world.ahead_ms, world.watch.status.peers) == (None, 1)
    world.add(5_000)
    assert world.ahead_ms == -5_000


def test_what_is_not_known_changes_nothing(world: World, said: list[Any]) -> None:
    world.add(10_000)
    world.add(10_000)
    world.look(seconds=300)
    world.peers.clear()
    world.look(seconds=300)
    assert (world.watch.status.wrong, world.watch.status.ahead_ms, len(said)) == (True, None, 1)


def test_slow_lines_are_no_wrong_clock(world: World) -> None:
    """What a peer says is late by up to the time there and back, in which its clock seems to be behind."""
    for late_ms in (3_000, 4_000, 5_000):
        world.add(0, late_ms=late_ms, rtt_ms=5_000)
    assert world.ahead_ms == 0
    world.peers.clear()
    for _ in range(3):
        world.add(-9_000, late_ms=1_000, rtt_ms=2_000)
    assert world.ahead_ms == 8_000


@given(st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=20), st.lists(st.integers(), max_size=20))
def test_the_median_is_no_further_off_than_some_honest_clock(honest: list[int], liars: list[int]) -> None:
    """As long as there are more of them than liars, or as many."""
    found = median([*honest, *liars[: len(honest)]])
    assert abs(found) <= max(map(abs, honest))


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Of a chain that bears minutes, so that no busy machine's moment is one."""
    return make_folders(tmp_path / "net", 1, replace(PARAMS, clock_drift_ms=240_000))


async def test_a_running_node_hears_it_of_real_peers_and_goes_on_as_before(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By pings; every one that is due now and then says it anew. Blocks are made and voted for as if nothing were."""
    hour = 3_600_000
    monkeypatch.setattr(clock_watch, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(limits, "clock_wrong_ms_min", 0)
    monkeypatch.setattr(limits, "clock_ping_ms", 0)
    monkeypatch.setattr(limits, "clock_stale_ms", 10**9)
    off = [hour]
    async with running(folders.homes) as (node,):
        assert node._backend.status().clock_ahead_ms is None
        strangers = [Stranger(folders.genesis, wall=lambda: now_ms() + off[0]) for _ in range(2)]
        try:
            with capture_logs() as logs:
                for stranger in strangers:
                    await stranger.start(node)
                await until("the node notices", lambda: node._backend.status().clock_wrong)
                height = height_of(node)
                await until("it goes on", lambda: height_of(node) > height + 3)
                status = node._backend.status()
                assert status.ready
                assert status.clock_peers == 2
                assert (status.clock_ahead_ms or 0) < -hour // 2
                text = node._backend.metrics().decode()
                assert "omnitensor_clock_wrong 1.0" in text
                assert "omnitensor_clock_ahead_seconds -3" in text
                off[0] = 0
                await until("and that it is over", lambda: not node._backend.status().clock_wrong)
            events = [each["event"] for each in logs if "this machine's clock" in each["event"]]
            assert events == [
                "this machine's clock is behind its peers'",
                "this machine's clock agrees with its peers' again",
            ]
            assert {peer.score for peer in node.network.peers()} == {0}, "it costs nobody anything"
        finally:
            await asyncio.gather(*(stranger.stop() for stranger in strangers))
