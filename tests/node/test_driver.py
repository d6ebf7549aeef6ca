"""The driver's promises to the core: one effect after the other, answers for what was asked, and no failure that vanishes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from consensus.stake import effects as fx
from consensus.stake import events as ev
from consensus.stake.safety import SafetyMemory
from node import driver as driver_module
from node.driver import Below, Checked, Driver, now_ms
from node.tasks import Tasks
from omnitensor.protocol import limits
from omnitensor.protocol.blocks import Block
from omnitensor.protocol.errors import StorageError
from omnitensor.protocol.types import View
from omnitensor.protocol.votes import Candidate, VoteKind
from tests.node.node_kit import make_folders, node_at, until
from tests.node.voters import Voters


class ScriptedCore:
    """Gives the effects that a test wants for each event, and remembers the events."""

    def __init__(self, answer: Callable[[ev.Event], tuple[fx.Effect, ...]]) -> None:
        self.view = View(1)
        self.over = False
        self.final = ev.FinalPoint(View(0), b"", b"", 0, 0, None)  # type: ignore[arg-type]  # only its view is read
        self.events: list[ev.Event] = []
        self._answer = answer

    def handle(self, event: ev.Event) -> tuple[fx.Effect, ...]:
        self.events.append(event)
        return self._answer(event)

    def find(self, _: object) -> None:
        return None


class Recorder:
    """The chain, the network, the questions and the safety store; writes down what is called, in order."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.memory = SafetyMemory()
        self.verdicts: list[Checked | Exception | None] = []
        self.broken: Exception | None = None

    def __getattr__(self, name: str) -> Callable[..., None]:
        def record(*_: object) -> None:
            self.calls.append(name)
            if name == "record" and self.broken is not None:
                raise self.broken

        return record

    def enter(self, *_: object) -> SafetyMemory:
        return self.memory

    async def check(self, candidate: Candidate, block: Block, below: Below) -> Checked | None:
        self.calls.append("check")
        verdict = self.verdicts.pop(0)
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    async def commit(self, commit: fx.Commit) -> None:
        self.calls.append("commit begins")
        await asyncio.sleep(0.05)
        self.calls.append("commit ends")


class Stage:
    """A driver between a scripted core and a recorder."""

    def __init__(self, voters: Voters, folder: Path) -> None:
        self.voters = voters
        self.recorder = Recorder()
        self.node = node_at(folder)

    def drive(self, *effects: fx.Effect) -> Driver:
        def answer(event: ev.Event) -> tuple[fx.Effect, ...]:
            return effects if isinstance(event, ev.Start) else ()

        anything: Any = self.recorder
        core: Any = ScriptedCore(answer)
        return Driver(
            chain_id=self.voters.genesis.chain_id,
            epoch=self.node.application.epoch,
            core=core,
            safety=anything,
            keys=self.voters.keys[0],
            application=anything,
            network=anything,
            questions=anything,
            metrics=self.node.metrics,
            accuse=anything,
        )

    def check(self) -> fx.Check:
        block = self.voters.block(1)
        return fx.Check(self.voters.candidate(1, block), block)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    folders = make_folders(tmp_path)
    voters = Voters(folders, tmp_path)
    made = Stage(voters, folders.homes[0])
    yield made
    await made.node.stop()
    voters.close()


async def run_for_a_moment(work: Coroutine[Any, Any, None], condition: Callable[[], object]) -> None:
    task = asyncio.create_task(work)
    try:
        await until("the scene is over", lambda: condition() or task.done())
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def vote(view: int = 1) -> fx.Cast:
    return fx.Cast(VoteKind.SKIP, 0, View(view), bytes(32), 0)  # type: ignore[arg-type]  # plain values


async def test_a_vote_is_recorded_before_it_leaves_and_counted_after(stage: Stage) -> None:
    driver = stage.drive(vote())
    core: Any = driver.core
    await run_for_a_moment(driver.run(), lambda: len(core.events) >= 2)
    assert stage.recorder.calls[:2] == ["record", "broadcast"]
    assert isinstance(core.events[1], ev.VoteReceived)
    assert core.events[1].peer is None


async def test_a_store_that_fails_ends_the_node_and_nothing_leaves(stage: Stage) -> None:
    stage.recorder.broken = StorageError("the disk is full")
    driver = stage.drive(vote(), vote(2))
    with pytest.raises(StorageError):
        await driver.run()
    assert "broadcast" not in stage.recorder.calls


async def test_what_follows_a_commit_waits_for_it(stage: Stage) -> None:
    block = stage.voters.block(1)
    candidate = stage.voters.candidate(1, block)
    commit = fx.Commit((fx.Finalized(candidate, block),), stage.voters.proof(candidate), (), View(1))
    driver = stage.drive(commit, vote(2))
    await run_for_a_moment(driver.run(), lambda: "broadcast" in stage.recorder.calls)
    assert stage.recorder.calls == ["commit begins", "commit ends", "raise_floor", "record", "broadcast"]


async def test_a_check_that_can_not_be_made_now_is_made_later(stage: Stage) -> None:
    stage.recorder.verdicts = [None, Checked("broken")]
    driver = stage.drive(stage.check())
    core: Any = driver.core
    await run_for_a_moment(driver.run(), lambda: len(core.events) >= 2)
    assert [type(event) for event in core.events] == [ev.Start, ev.BlockChecked]
    assert core.events[1].fault == "broken"


async def test_a_check_of_a_view_that_is_over_is_given_up(stage: Stage) -> None:
    stage.recorder.verdicts = [None] * 100
    driver = stage.drive(stage.check())
    core: Any = driver.core

    def over() -> bool:
        if "check" in stage.recorder.calls:
            core.final = ev.FinalPoint(View(9), b"", b"", 0, 0, None)  # type: ignore[arg-type]
        return not driver._tasks

    task = asyncio.create_task(driver.run())
    await until("the check begins", lambda: driver._tasks)
    await until("it is given up", over)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not any(isinstance(event, ev.BlockChecked) for event in core.events)


async def test_a_check_that_fails_ends_the_driver(stage: Stage) -> None:
    stage.recorder.verdicts = [StorageError("the database is damaged")]
    driver = stage.drive(stage.check())
    with pytest.raises(StorageError, match="damaged"):
        await driver.run()


async def test_after_halt_nothing_is_done(stage: Stage) -> None:
    driver = stage.drive(fx.Halt("enough"), vote())
    await driver.run()
    assert driver.halted == "enough"
    assert "broadcast" not in stage.recorder.calls


async def test_peers_wait_while_the_core_is_busy(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "driver_events_max", 4)
    driver = stage.drive()
    senders = [asyncio.create_task(driver.submit(ev.Tick(0))) for _ in range(10)]
    await asyncio.sleep(0.01)
    assert sum(sender.done() for sender in senders) == 4
    core: Any = driver.core
    await run_for_a_moment(driver.run(), lambda: len(core.events) >= 11)
    stamps = [event.now_ms for event in core.events]
    assert stamps == sorted(stamps), "who waited is stamped when its turn comes"


async def test_a_clock_that_is_set_back_sets_the_core_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A core that was told the instant at which it began until the clock had caught up stood still for as long."""
    clock = [10_000_000]
    monkeypatch.setattr(driver_module, "now_ms", lambda: clock[0])
    driver = stage.drive()
    core: Any = driver.core
    await driver.submit(ev.Tick(0))  # a peer's, before the core has begun
    clock[0] += 500

    def said() -> bool:
        if len(core.events) == 2:
            clock[0] -= 3_600_000
            driver.post(ev.Tick(clock[0]))
        return len(core.events) >= 3

    await run_for_a_moment(driver.run(), said)
    assert [event.now_ms for event in core.events[:3]] == [10_000_500, 10_000_500, 6_400_500]


async def test_background_work_is_bounded_and_its_failures_are_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tasks = Tasks("test", 1)

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("seen")

    assert tasks.start(fail())
    assert not tasks.start(fail())
    await until("it has failed", lambda: not len(tasks))
    assert "seen" in capsys.readouterr().out
    assert tasks.start(asyncio.sleep(100))
    await tasks.stop()
    assert now_ms() > 0
