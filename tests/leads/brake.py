"""Makes a machine slow: the processes in which a worker computes run a part of the time only. Its node is left alone."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path
from typing import Final


class Brake:
    """Lets what computes for a node run for ``run_s`` of every ``every_s`` seconds, until it is let go."""

    def __init__(self, pid: int, run_s: float, every_s: float) -> None:
        self._pid: Final = pid
        self._run_s: Final = run_s
        self._stopped_s: Final = every_s - run_s
        self._over: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._turn, name="brake", daemon=True)
        self._thread.start()

    def let_go(self) -> None:
        """Everything runs again. A process that is stopped could not end with its parent."""
        self._over.set()
        self._thread.join()

    def _turn(self) -> None:
        while not self._over.is_set():
            held = children_of(self._pid)
            _send(held, signal.SIGSTOP)
            try:
                self._over.wait(self._stopped_s)
            finally:
                _send(held, signal.SIGCONT)
            self._over.wait(self._run_s)


def children_of(pid: int) -> list[int]:
    """Processes that a process has started; none where it is gone."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
