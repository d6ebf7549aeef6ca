"""The process that decodes: forks a child for each file, which gives up what it does not need before it looks at a byte.

Started by ``room.py`` as a fresh program, so that no secret is in its memory or environment; speaks over its standard input, a
socket: a job in JSON with two descriptors (the file, a pipe for the answer), answered by how the child ended. A child can
open nothing (no file, no socket), start nothing, write no file, and has so much memory and processor time.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import socket
import sys
from typing import Any, Final

import msgspec

from omnitensor.media import decode
from omnitensor.media.facts import Ended, Facts, Job, Seen

JOB_BYTES_MAX: Final = 4_096
NICENESS: Final = 5
"""What a stranger's file costs comes after a node's own work."""
TOO_MUCH_MEMORY: Final = "it takes more memory to decode than is given to it"


def main() -> None:
    """Serves jobs until the other end of standard input is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    door = socket.socket(fileno=os.dup(0))
    while (found := _next_job(door)) is not None:
        job, descriptors = found
        decode.prepare(job)
        child = os.fork()
        if child == 0:
            door.close()
            os.close(0)
            _work(job, *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        _, status, usage = os.wait4(child, 0)
        cpu_ms = int((usage.ru_utime + usage.ru_stime) * 1_000)
        door.sendall(msgspec.json.encode(Ended(status, _kib(usage.ru_maxrss), cpu_ms)) + b"\n")


def _next_job(door: socket.socket) -> tuple[Job, list[int]] | None:
    """A job and its descriptors; None where the other end is closed."""
    text, descriptors = b"", list[int]()
    while not text.endswith(b"\n"):
        part, passed, _, _ = socket.recv_fds(door, JOB_BYTES_MAX, 2)
        descriptors += passed
        text += part
        if not part or len(text) > JOB_BYTES_MAX:
            return None
    assert len(descriptors) == 2, "a job comes with a file and a pipe"
    return msgspec.json.decode(text, type=Job), descriptors


def _work(job: Job, source: int, answer: int) -> None:
    """The child: looks at the file, says what it saw, ends. Never returns."""
    try:
        decode.load(job)
        confine(job)
        try:
            seen = decode.see(job, source)
        except MemoryError:
            seen = Seen(Facts(job.media_type, job.size, fault=TOO_MUCH_MEMORY))
        left = memoryview(msgspec.msgpack.encode(seen))
        while left:
            left = left[os.write(answer, left) :]
    except BaseException:  # the parent learns of it by the missing answer; nothing may go on from here
        os._exit(1)
    os._exit(0)


def confine(job: Job) -> None:
    """Gives up this process's rights for good. Where a system lacks a limit (macOS knows none of memory), the others hold."""
    limits: tuple[tuple[int, int, int], ...] = (
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_FSIZE, 0, 0),
        (resource.RLIMIT_NPROC, 0, 0),
        (resource.RLIMIT_CPU, job.cpu_s, job.cpu_s + 1),
        (resource.RLIMIT_AS, job.memory_bytes, job.memory_bytes),
        (resource.RLIMIT_NOFILE, 0, 0),
    )
    for kind, soft, hard in limits:
        try:
            resource.setrlimit(kind, (soft, hard))
        except (OSError, ValueError):
            if sys.platform == "linux":
                raise
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    if sys.platform == "linux":
        # One processor: libraries that would start a thread for each find that there is one.
        os.sched_setaffinity(0, {random.choice(sorted(os.sched_getaffinity(0)))})  # no secret
    _never_gain_rights()


def _never_gain_rights() -> None:
    """On Linux: no program started from here could have more rights, and the child ends with the keeper."""
    if sys.platform != "linux" or _LIBC is None:
        return
    _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38


def _libc() -> Any:
    import ctypes

    try:
        return ctypes.CDLL(None, use_errno=True)
    except OSError:
        return None


_LIBC: Final = _libc() if sys.platform == "linux" else None


def _kib(maximum: int) -> int:
    return maximum // 1_024 if sys.platform == "darwin" else maximum
