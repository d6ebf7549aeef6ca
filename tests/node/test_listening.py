"""A validator that starts signs nothing before it has heard from its peers, and goes on alone when nobody is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from node import hearing
from node.hearing import Heard, listen
from tests.node.node_kit import make_folders, node_at, until


async def test_a_validator_hears_its_peers_before_consensus_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes = make_folders(tmp_path).homes
    monkeypatch.setattr(hearing, "LISTEN_SECONDS", 1_000.0)
    first = node_at(homes[0])
    await first.start()
    second = node_at(homes[1], [first])
    try:
        await until("without peers to hear nobody is waited for", lambda: first.driver)
        await second.start()
        await until("with its peer heard it begins", lambda: second.driver)
    finally:
        await second.stop()
        await first.stop()


async def test_with_nobody_there_it_waits_and_then_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes = make_folders(tmp_path).homes
    gone = node_at(homes[0])
    await gone.start()
    patient, other = node_at(homes[1], [gone]), node_at(homes[2], [gone])
    await gone.stop()
    monkeypatch.setattr(hearing, "LISTEN_SECONDS", 1_000.0)
    await patient.start()
    try:
        await asyncio.sleep(0.5)
        assert patient.driver is None
    finally:
        await patient.stop()
    monkeypatch.setattr(hearing, "LISTEN_SECONDS", 0.5)
    await other.start()
    try:
        await until("it goes on alone", lambda: other.driver)
    finally:
        await other.stop()


INTERVAL = 0.5
PATIENCE = hearing.LISTEN_SECONDS + (hearing.LISTEN_BLOCKS + 1) * INTERVAL


class Machine:
    """A clock of its own, on which a pause takes so many times as long as was asked for."""

    def __init__(self, busy: float = 1.0) -> None:
        self.busy = busy
        self.now = 0.0
        self.pauses = 0

    async def pause(self, seconds: float) -> None:
        self.now += seconds * self.busy
        self.pauses += 1

    async def listens(self, others: Callable[[float], Heard], wanted: int = 2) -> bool:
        return await listen(
            lambda: others(self.now), wanted, INTERVAL, pause=self.pause, clock=lambda: self.now
        )


async def test_whoever_is_alone_waits_for_so_many_pauses_however_busy_the_machine() -> None:
    counts = set()
    for busy in (1.0, 2.0, 3.9):
        machine = Machine(busy)
        assert not await machine.listens(lambda now: Heard(0, 0, 0))
        counts.add(machine.pauses)
    assert counts == {round(PATIENCE / hearing.LISTEN_PAUSE_SECONDS)}


async def test_others_who_are_slow_are_waited_for_as_long_as_they_go_on() -> None:
    """A peer after six seconds, and another, and then a block each six seconds: less than the wait each time."""
    slow, machine = 6.0, Machine()
    assert slow < PATIENCE

    def others(now: float) -> Heard:
        rounds = int(now / slow)
        height = 10 + max(0, rounds - 2)
        return Heard(min(rounds, 2), height if rounds else 0, height)

    assert await machine.listens(others)
    assert machine.now >= 4 * slow


async def test_others_who_stand_still_are_not_waited_for() -> None:
    machine = Machine()
    assert not await machine.listens(lambda now: Heard(3, 10, 10))
    assert machine.now < PATIENCE + 1


@pytest.mark.parametrize("busy", [1.0, 50.0])
async def test_nobody_keeps_a_validator_from_signing_for_ever(busy: float) -> None:
    """Neither by ever higher claims, which this node can't follow, nor by keeping it busy."""
    machine = Machine(busy)
    assert not await machine.listens(lambda now: Heard(3, 10 + int(now * 100), 10))
    most = hearing.LISTEN_TIMES_MAX * PATIENCE
    assert most <= machine.now <= most + hearing.LISTEN_PAUSE_SECONDS * busy + 0.001


async def test_it_begins_once_they_have_gone_on_and_it_has_followed() -> None:
    machine = Machine()
    assert await machine.listens(lambda now: Heard(2, 10 + int(now), 10 + int(now) - (now < 4) * 3))
    assert 4 <= machine.now < 4 + 2 * hearing.LISTEN_PAUSE_SECONDS
    assert await Machine().listens(lambda now: Heard(0, 0, 0), wanted=0), (
        "without peers to hear nobody is waited for"
    )
    assert await Machine().listens(lambda now: Heard(2, 0, 0)), "of an empty chain nobody has signed anything"
