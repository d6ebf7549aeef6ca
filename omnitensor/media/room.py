"""Runs decoders on strangers' files in a child process, with a deadline: the one place where that is done.

A room has a keeper, a small process that forks a child for each file (``keeper.py``). Whatever a file makes a child do, the
caller gets an answer or a reason in bounded time and memory. One file at a time: several threads take turns.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final

import msgspec

from omnitensor.media.errors import MediaError
from omnitensor.media.facts import Ended, Job, Seen
from omnitensor.media.previews import well_formed
from omnitensor.protocol import limits

READ_BYTES: Final = 1 << 20
ENDED_BYTES_MAX: Final = 256
LATE: Final = "it takes longer to decode than is waited for"
"""The one reason that may lie in the machine rather than in the file."""
END_S: Final = 10.0
"""How long a child that has answered may take to be gone."""
_BOOT: Final = "import sys; sys.path[:] = sys.argv[1:]; from omnitensor.media.keeper import main; main()"
_KEPT_ENVIRONMENT: Final = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZ")


class Gone(Exception):
    """The child gave no answer that can be used; the text says why, in words for a user."""


class Room:
    """Starts its keeper when the first file comes, and again after one that took it down. Safe to use from threads."""

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self._keeper: subprocess.Popen[bytes] | None = None
        self._door: socket.socket | None = None
        self._owner = 0
        self.ended: Ended | None = None
        """How the last child ended."""

    def run(self, job: Job, source: int) -> Seen:
        """What the child saw in an open file. Raises Gone where it gave no answer, MediaError where none can be started."""
        with self._lock:
            self.ended = None
            reading, writing = os.pipe()
            try:
                try:
                    door = self._send(msgspec.json.encode(job) + b"\n", [source, writing])
                finally:
                    os.close(writing)
                said = self._read(reading, job.clock_ms)
                self.ended = self._end(door)
            except BaseException:
                self._close()  # with it whatever the child still does
                raise
            finally:
                os.close(reading)
            return self._seen(said, self.ended)

    def close(self) -> None:
        """Ends the keeper; the next file starts another."""
        with self._lock:
            self._close()

    def _send(self, message: bytes, descriptors: list[int]) -> socket.socket:
        """Gives a job to the keeper, or to another one where that is gone since the last file. The way to it."""
        try:
            door = self._open_door()
            socket.send_fds(door, [message], descriptors)
            return door
        except OSError:
            self._close()  # no child of this file's was there yet
        door = self._open_door()
        try:
            socket.send_fds(door, [message], descriptors)
        except OSError as error:
            raise self._keeper_gone() from error
        return door

    def _seen(self, said: bytes, ended: Ended) -> Seen:
        if ended.status:
            raise Gone(_reason(ended.status))
        try:
            seen = msgspec.msgpack.decode(said, type=Seen)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise Gone("the decoder gave no answer") from error
        if seen.picture is not None and not well_formed(seen.picture):
            raise Gone("the decoder gave a picture that is none")
        return seen

    def _read(self, reading: int, clock_ms: int) -> bytes:
        """All that the child says, until it ends. Raises Gone where that is too much, or takes too long."""
        until = time.monotonic() + clock_ms / 1_000
        waiting, said = select.poll(), bytearray()
        waiting.register(reading, select.POLLIN | select.POLLHUP)
        while True:
            left = until - time.monotonic()
            if left <= 0 or not waiting.poll(left * 1_000):
                raise Gone(LATE)
            part = os.read(reading, READ_BYTES)
            if not part:
                return bytes(said)
            said += part
            if len(said) > limits.media_answer_bytes_max:
                raise Gone("the decoder said more than it may")

    def _end(self, door: socket.socket) -> Ended:
        """How the child ended, from the keeper."""
        door.settimeout(END_S)
        text = b""
        try:
            while not text.endswith(b"\n") and len(text) <= ENDED_BYTES_MAX:
                part = door.recv(ENDED_BYTES_MAX)
                if not part:
                    raise self._keeper_gone()
                text += part
            return msgspec.json.decode(text, type=Ended)
        except TimeoutError as error:
            raise Gone("the decoder answered and went on working") from error
        except OSError as error:  # it ended with our job unread
            raise self._keeper_gone() from error
        except msgspec.MsgspecError as error:
            raise Gone("the decoder gave no answer") from error

    def _keeper_gone(self) -> Exception:
        """What it means that the keeper is not there any more: killed it may be by a file, ended by itself it is broken."""
        assert self._keeper is not None, "its door is open"
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self._keeper.wait(END_S) > 0:
                return MediaError(
                    "the process that decodes does not run here",
                    value=sys.executable,
                    remedy="install the package anew",
                )
        return Gone("the decoder ended, and its keeper with it")

    def _open_door(self) -> socket.socket:
        """The way to a living keeper. A forked process starts its own, and leaves its parent's alone."""
        if self._owner != os.getpid():
            self._keeper = self._door = None
            self._owner = os.getpid()
        if self._keeper is not None and self._keeper.poll() is not None:
            self._close()
        if self._door is None:
            ours, theirs = socket.socketpair()
            try:
                with theirs:
                    self._keeper = _start(theirs)
            except BaseException:
                ours.close()
                raise
            self._door = ours
        return self._door

    def _close(self) -> None:
        if self._owner != os.getpid():
            return
        keeper, door = self._keeper, self._door
        self._keeper = self._door = None
        if door is not None:
            door.close()
        if keeper is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(keeper.pid, signal.SIGKILL)  # a session of its own: the child as well
            keeper.wait()


def _start(theirs: socket.socket) -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    environment |= {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1"}
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-c", _BOOT, *(place for place in sys.path if place)],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise MediaError(
            f"the process that decodes can't be started ({error.strerror})",
            value=sys.executable,
            remedy="free memory or processes on this machine",
        ) from error


def open_regular(path: Path) -> int:
    """A descriptor of a regular file. Raises OSError, also for a pipe or a device: those may never end."""
    source = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(source).st_mode):
            raise OSError(22, "not a regular file", str(path))
    except BaseException:
        os.close(source)
        raise
    return source


def _reason(status: int) -> str:
    """Why a child ended as it did, by the status of wait."""
    if not os.WIFSIGNALED(status):
        return "the decoder failed on it"
    number = os.WTERMSIG(status)
    if number in (signal.SIGXCPU, signal.SIGKILL):
        return "it takes more processor time to decode than is given to it"
    return f"the decoder crashed on it ({signal.Signals(number).name})"


ROOM: Final = Room()
"""The process's own."""
atexit.register(ROOM.close)
