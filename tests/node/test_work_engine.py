"""Engines that compute units: real processes, killed while they compute, left behind by a killed parent; a GPU's arithmetic."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from distributed import LocalCluster

from consensus.work.programs import Program
from consensus.work.prover import Prover, UnitPlace
from node.work.engine import EngineError, engine_of, on_processors
from node.work.task import FINGERPRINT, SYNTHETIC, Done, Task, run_task
from omnitensor.protocol.types import Address, Hash
from tests.work.samples import model_of, rows_of

BEACON, ANCHOR, JOB, WORKER = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32, bytes([0]) + bytes([4]) * 32
ROOT = Path(__file__).resolve().parents[2]


MODEL = model_of((48, 32, 20), 16)


def small_task(unit: int = 0) -> Task:
    rows = rows_of(40, 48).tobytes()
    return Task(JOB, unit, WORKER, ANCHOR, BEACON, MODEL.encoded(), rows, 2)


def plainly(task: Task) -> Done:
    """Without any process of an engine."""
    model = Program.of(MODEL)
    rows = np.frombuffer(task.rows, np.int8).reshape(-1, model.inputs)
    place = UnitPlace(Hash(task.job), task.unit, Address(task.worker), Hash(task.anchor))
    run = Prover(model, Hash(task.beacon)).run(place, rows, task.bits)
    tickets = tuple((w.ticket.layer, w.ticket.row, w.ticket.column, w.ticket.piece) for w in run.won)
    return Done(run.outputs.tobytes(), tickets, model.macs(len(rows)), 0.0, "cpu")


def same(one: Done, two: Done) -> bool:
    return (one.outputs, one.tickets, one.macs) == (two.outputs, two.tickets, two.macs)


async def test_processes_compute_what_is_computed_here() -> None:
    engine = on_processors(2)
    try:
        tasks = [small_task(unit) for unit in range(5)]
        done = await asyncio.gather(*(engine.run(task) for task in tasks))
        assert all(same(one, plainly(task)) for one, task in zip(done, tasks, strict=True))
        assert len({one.tickets for one in done}) > 1, "each unit has noise of its own"
    finally:
        engine.close()


def children_of(pid: int) -> list[psutil.Process]:
    """Processes that compute, without the one that hands out shared names."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has ended since
            found += [child] if "spawn_main" in " ".join(child.cmdline()) else []
    return found


def kill_children(pid: int) -> int:
    """Kills the processes that compute; how many there were."""
    found = children_of(pid)
    for child in found:
        with suppress(psutil.NoSuchProcess):
            child.send_signal(signal.SIGKILL)
    return len(found)


def runs(child: psutil.Process) -> bool:
    try:
        return bool(child.is_running() and child.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def test_a_unit_is_computed_again_when_its_process_is_killed() -> None:
    engine = on_processors(1)
    try:
        assert same(await engine.run(small_task()), plainly(small_task()))
        slow = Task(JOB, 0, WORKER, ANCHOR, BEACON, SYNTHETIC, b"", 6)
        running = asyncio.create_task(engine.run(slow))
        await asyncio.sleep(0.05)
        assert kill_children(os.getpid())
        assert len((await running).outputs) == 1024 * 1024
    finally:
        engine.close()


async def test_a_process_that_always_dies_is_given_up() -> None:
    engine = on_processors(1)
    try:
        assert same(await engine.run(small_task()), plainly(small_task()))

        begun = asyncio.Event()

        async def kill_all() -> None:
            while True:
                if kill_children(os.getpid()):
                    begun.set()
                await asyncio.sleep(0.01)

        killing = asyncio.create_task(kill_all())
        await (
            begun.wait()
        )  # from here on each dies while it starts, which takes it far longer than a look around
        with pytest.raises(EngineError, match="died 3 times"):
            await engine.run(Task(JOB, 0, WORKER, ANCHOR, BEACON, SYNTHETIC, b"", 6))
        assert not killing.done()
        killing.cancel()
    finally:
        engine.close()


PARENT = """
import asyncio, sys
from node.work.engine import on_processors
from tests.node.test_work_engine import small_task

async def main():
    engine = on_processors(2)
    await asyncio.gather(*(engine.run(small_task(unit)) for unit in range(4)))
    print("computed", flush=True)
    await asyncio.sleep(600)

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_processes_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"computed\n"
    children = children_of(parent.pid)
    assert children
    parent.kill()
    parent.wait()
    end = time.monotonic() + 120
    while any(map(runs, children)):
        assert time.monotonic() < end, "a process that computes outlived the one that started it"
        time.sleep(0.05)


def test_fingerprints_and_synthetic_work_need_no_model_file() -> None:
    rows = np.zeros((3, 1024), np.int8)
    rows[:, :5] = 9
    done = run_task(Task(JOB, 0, WORKER, ANCHOR, BEACON, FINGERPRINT, rows.tobytes(), 0))
    assert len(done.outputs) == 3 * 256
    assert done.macs == 3 * 1024 * 256


@pytest.mark.parametrize("text", ["cuda", "dask:host", "", "gpu "])
def test_an_engine_that_there_is_not_is_named(text: str) -> None:
    with pytest.raises(EngineError, match="no such engine"):
        engine_of(text, 1)


async def test_a_dask_cluster_computes_the_same() -> None:
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=True, dashboard_address=None) as cluster:
        engine = engine_of("dask://" + cluster.scheduler_address.removeprefix("tcp://"), 0)
        try:
            assert engine.places == 2
            tasks = [small_task(unit) for unit in range(3)]
            done = await asyncio.gather(*(engine.run(task) for task in tasks))
            assert all(same(one, plainly(task)) for one, task in zip(done, tasks, strict=True))
        finally:
            engine.close()


def test_a_dask_scheduler_that_is_not_there_is_named() -> None:
    with pytest.raises(EngineError, match="can't be reached"):
        engine_of("dask://127.0.0.1:1", 1)


def test_the_arithmetic_of_pytorch_is_that_of_numpy() -> None:
    pytest.importorskip("torch")
    from node.work import gpu

    assert gpu.gives_known_answers("cpu")
