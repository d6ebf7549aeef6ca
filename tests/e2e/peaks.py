"""The most memory that each process ever took, as the kernel counts it; also of processes that were killed since."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from deploy.devnet.process import Program

LOOK_SECONDS: Final = 0.2
_PEAK: Final = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


class Peaks:
    """Looks at the peak of resident memory (``VmHWM``) of every process of some programs, until it is stopped."""

    def __init__(self, programs: Iterable[Program] = ()) -> None:
        self._programs = list(programs)
        self._found: dict[str, int] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="peaks", daemon=True)

    def __enter__(self) -> Peaks:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def watch(self, program: Program) -> None:
        """From now on this one, too."""
        with self._lock:
            self._programs.append(program)

    def look(self) -> None:
        """Notes all peaks now: a process that is killed next says no more."""
        with self._lock:
            for program in self._programs:
                if program.running:
                    self._note(program.name, program.pid)

    def _note(self, name: str, pid: int) -> None:
        """Notes a process, and those that it has started, under its own name."""
        self._found[name] = max(peak_of(pid), self._found.get(name, 0))
        for child in children_of(pid):
            self._note(f"{name}, a process of its own", child)

    def bytes(self) -> Mapping[str, int]:
        """Peak by program's name, the largest first."""
        self.look()
        return dict(sorted(self._found.items(), key=lambda pair: -pair[1]))

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            self.look()


def children_of(pid: int) -> list[int]:
    """Processes that a process has started and that have not ended."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(text) for text in path.read_text(encoding="ascii").split()]
        except OSError:
            continue  # it has ended
    return found


def peak_of(pid: int) -> int:
    """Peak of a process's resident memory in bytes; 0 where it has ended."""
    try:
        found = _PEAK.search(Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace"))
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0
