"""Where units are computed: processes of this machine, its GPU, or a Dask cluster. Decides nothing about which units, or why.

An engine takes a task and gives what came of it. A unit whose process died is computed again, a few times.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from multiprocessing.connection import wait as wait_for_any
from typing import Final, Protocol

import structlog

from node.work.task import Done, Task, run_task
from omnitensor.protocol.errors import ProtocolError

PROCESSES_MAX: Final = 256
TRIES: Final = 3
"""Times a task is given to an engine whose processes die under it."""
TASKS_PER_PROCESS: Final = 2_000
"""Then a process makes way for a fresh one: what leaks in a library ends with it."""
ONE_THREAD: Final = (
    "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"
)  # fmt: skip

log = structlog.get_logger("engine")


class EngineError(ProtocolError):
    """An engine that can't be had, or that keeps failing."""

    code = "engine"


class Engine(Protocol):
    """What a worker asks of an engine."""

    @property
    def places(self) -> int:
        """Units that it computes at the same time."""

    @property
    def name(self) -> str:
        """As people read it."""

    async def run(self, task: Task) -> Done:
        """Computes a unit. Raises EngineError when that fails again and again."""

    def close(self) -> None:
        """Ends it, and what it computes."""


class PoolEngine:
    """An executor of this machine's processes; made anew when they died."""

    def __init__(
        self,
        name: str,
        places: int,
        make: Callable[[], ProcessPoolExecutor],
        work: Callable[[Task], Done] = run_task,
    ) -> None:
        self.name: Final = name
        self.places: Final = places
        self._make: Final = make
        self._work: Final = work
        self._pool = make()

    async def run(self, task: Task) -> Done:
        loop = asyncio.get_running_loop()
        for _ in range(TRIES):
            pool = self._pool
            try:
                return await loop.run_in_executor(pool, self._work, task)
            except BrokenExecutor:
                if pool is self._pool:  # of several tasks that fail with it, the first renews it
                    log.warning("a process that computed has died; it is started again")
                    self._pool = self._make()
                    pool.shutdown(wait=False, cancel_futures=True)
        raise EngineError(
            f"the processes that compute died {TRIES} times at one unit",
            value=task.job,
            remedy="see whether the machine has the memory; fewer --processes need less",
        )

    def close(self) -> None:
        processes = list((self._pool._processes or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:  # what they compute now is of no use any more
            process.terminate()


def _begin_process() -> None:
    """In a process that computes: it ends with the one that started it, also when that is killed, and it gives way to a node."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "this runs in a process that was started for it"
    os.nice(5)

    def watch() -> None:
        wait_for_any([parent.sentinel])
        os._exit(0)

    threading.Thread(target=watch, daemon=True, name="parent").start()


def on_processors(processes: int) -> Engine:
    """So many processes of this machine, each with one thread: units don't depend on one another."""
    for (
        name
    ) in ONE_THREAD:  # read by numerical libraries when they are loaded, in processes that start from here
        os.environ.setdefault(name, "1")
    context = multiprocessing.get_context("spawn")

    def make() -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            processes,
            mp_context=context,
            initializer=_begin_process,
            max_tasks_per_child=TASKS_PER_PROCESS,
        )

    return PoolEngine(f"{processes} processes", processes, make)


def _run_on_gpu(task: Task) -> Done:
    return run_task(task, gpu=True)


def on_gpu() -> Engine:
    """One process that holds the GPU. Raises EngineError where PyTorch sees none, or one whose products are not exact."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_begin_process) as probe:
        try:
            name = probe.submit(_gpu_name).result()
        except BrokenExecutor as error:
            raise EngineError("the process that asks for a GPU died", value="gpu") from error
    if not name:
        raise EngineError(
            "there is no GPU that PyTorch sees and that multiplies exactly",
            value="gpu",
            remedy="install PyTorch for your GPU, or use --engine processes",
        )

    def make() -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, mp_context=context, initializer=_begin_process)

    # A second unit waits in the process, so that the GPU need not wait for the next.
    return PoolEngine(name, 2, make, _run_on_gpu)


def _gpu_name() -> str:
    """In a process of its own, which is over when it has said so: a node must not hold a GPU. Empty where there is none."""
    from node.work import gpu

    return gpu.usable_device() or ""


def on_dask(address: str) -> Engine:
    """A Dask cluster by its scheduler's address. Raises EngineError where it can't be reached."""
    try:
        from node.work.dask import DaskEngine, connect
    except ImportError as error:
        raise EngineError(
            "Dask is not installed", value=address, remedy='pip install "omnitensor[dask]"'
        ) from error
    where = address.removeprefix("dask://")
    try:
        client = connect(where)
    except (OSError, TimeoutError, ValueError) as error:
        raise EngineError(
            "the Dask scheduler can't be reached",
            value=address,
            remedy="write dask://HOST:PORT, and see that it runs",
        ) from error
    engine = DaskEngine(where, client)
    if not engine.places:
        engine.close()
        raise EngineError("the Dask cluster has no workers", value=address, remedy="start some")
    return engine


def engine_of(text: str, processes: int) -> Engine:
    """From the command line: ``auto``, ``processes``, ``gpu`` or ``dask://HOST:PORT``. Raises EngineError."""
    count = processes or max(1, (os.cpu_count() or 1) - 1)
    if not 1 <= count <= PROCESSES_MAX:
        raise EngineError("there can't be so many processes", value=count, remedy=f"1 to {PROCESSES_MAX}")
    if text.startswith("dask://"):
        return on_dask(text)
    if text in ("gpu", "auto"):
        try:
            return on_gpu()
        except EngineError:
            if text == "gpu":
                raise
        return on_processors(count)
    if text == "processes":
        return on_processors(count)
    raise EngineError(
        "there is no such engine", value=text, remedy="auto, processes, gpu or dask://HOST:PORT"
    )
