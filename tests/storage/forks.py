"""Work in forked processes that are killed: the parent opens no database, since a library's threads do not outlive a fork."""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

Say = Callable[[str], None]
"""Tells the parent a line at once."""


class Child:
    """A forked process that works until it ends or is killed; what it said is read after that."""

    def __init__(self, work: Callable[[Say], object]) -> None:
        self._out, into = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                os.close(self._out)
                work(lambda line: _write(into, line.encode() + b"\n"))
                status = 0
            except BaseException:
                _write(into, b"failed " + traceback.format_exc().replace("\n", "\r").encode() + b"\n")
            finally:
                os._exit(status)
        os.close(into)
        self._said = b""

    def wait_for_word(self, seconds: float = 60.0) -> None:
        """Until it has said something, or has ended."""
        ready, _, _ = select.select([self._out], [], [], seconds)
        assert ready, "the child says nothing"
        self._said += os.read(self._out, 1 << 16)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def end(self) -> tuple[list[str], bool]:
        """All that it said, and whether it ended by itself. A child that failed by itself fails whoever asks."""
        while data := os.read(self._out, 1 << 16):
            self._said += data
        os.close(self._out)
        _, status = os.waitpid(self.pid, 0)
        lines = self._said.decode().split("\n")[:-1]  # a last line without its end was cut by the kill
        failed = [line for line in lines if line.startswith("failed ")]
        assert not failed, failed[0].replace("\r", "\n")
        return lines, os.WIFEXITED(status)


def killed_after(seconds: float, work: Callable[[Say], object]) -> tuple[list[str], bool]:
    """Runs work in a process that is killed so long after its first word; what it said, and whether it had ended before."""
    child = Child(work)
    child.wait_for_word()
    time.sleep(seconds)
    child.kill()
    return child.end()


def in_a_child(work: Callable[[], T]) -> T:
    """What a function returns, called in a process of its own."""
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(out)
            result: Any = (True, work())
        except BaseException:
            result = (False, traceback.format_exc())
        with os.fdopen(into, "wb") as file:
            pickle.dump(result, file)
        os._exit(0)
    os.close(into)
    with os.fdopen(out, "rb") as file:
        good, value = pickle.load(file)
    os.waitpid(pid, 0)
    assert good, value
    found: T = value
    return found


def _write(descriptor: int, data: bytes) -> None:
    os.write(descriptor, data)


def fresh_process() -> None:
    """What is printed before a fork must not be printed twice."""
    sys.stdout.flush()
    sys.stderr.flush()
