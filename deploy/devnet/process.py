"""Programs of the project as processes: start one with its output in a file, stop it, kill it, read the end of its log.

A process started here ends with its parent, however that ends. Knows nothing of what the programs do.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from omnitensor.protocol.errors import ProtocolError

ROOT: Final = Path(__file__).resolve().parents[2]
NODE: Final = "node.cli"
CLI: Final = "omnitensor.cli.main"

STOP_SECONDS_MAX: Final = 60.0
RUN_SECONDS_MAX: Final = 180.0
"""Seconds that a program which ends by itself may take, however busy the machine."""
LOG_TAIL_BYTES: Final = 6_000
_PR_SET_PDEATHSIG: Final = 1


class DevnetError(ProtocolError):
    """The devnet can't go on: a program failed, a port is taken, something took too long."""

    code = "devnet"


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without settings of other nodes or users, so that only what we give counts."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OMNITENSOR_")}
    path = [str(ROOT), *filter(None, [kept.get("PYTHONPATH")])]
    return kept | {"PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"} | dict(extra or {})


def command(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module of the project with this interpreter."""
    return [sys.executable, "-m", module, *arguments]


def run(
    module: str,
    *arguments: str,
    extra: Mapping[str, str] | None = None,
    given: str = "",
    timeout_s: float = RUN_SECONDS_MAX,
    folder: Path = ROOT,
) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end and returns its output and exit code. Raises DevnetError when it takes too long."""
    try:
        return subprocess.run(
            command(module, *arguments),
            input=given,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=environment(extra),
            cwd=folder,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DevnetError(
            f"{module} took longer than {timeout_s:.0f} s", value=" ".join(arguments[:3])
        ) from error


class Program:
    """A program that keeps running: at most one process of it at a time, its output appended to one log."""

    def __init__(
        self, name: str, line: Sequence[str], log: Path, extra: Mapping[str, str] | None = None
    ) -> None:
        self.name: Final = name
        self.log: Final = log
        self._line: Final = list(line)
        self._extra: Final = dict(extra or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        assert not self.running, f"{self.name} runs already"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._line,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(self._extra),
                cwd=ROOT,
                start_new_session=True,  # Ctrl-C goes to the devnet alone, which stops its programs in order
                preexec_fn=_end_with_parent(),
            )

    def signal(self, number: signal.Signals) -> None:
        if self.running:
            assert self._process is not None
            self._process.send_signal(number)

    def wait(self, timeout_s: float = STOP_SECONDS_MAX) -> int:
        """Exit code once it has ended. Raises DevnetError when that takes too long."""
        assert self._process is not None, f"{self.name} was never started"
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise DevnetError(
                f"{self.name} did not stop within {timeout_s:.0f} s",
                value=f"process {self.pid}",
                remedy=self.tail(),
            ) from error

    def stop(self) -> int | None:
        """Ends it as an operator would, with SIGTERM, and with SIGKILL where that does not help. Its exit code."""
        if self._process is None:
            return None
        self.signal(signal.SIGTERM)
        try:
            return self.wait()
        except DevnetError:
            self.kill()
            raise

    def kill(self) -> None:
        """``kill -9``: it gets no chance to write anything."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait()

    def tail(self, bytes_max: int = LOG_TAIL_BYTES) -> str:
        """The end of its log."""
        try:
            data = self.log.read_bytes()[-bytes_max:]
        except OSError:
            return ""
        return data.decode("utf-8", "replace")


def _end_with_parent() -> Callable[[], None] | None:
    """What a child does first on Linux: ask to be killed when its parent dies, so that no net is left behind."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)

    def ask() -> None:
        library.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))

    return ask
