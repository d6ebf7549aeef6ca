"""The child's limits hold, whatever it tries; what it does to itself is a reason, and the caller goes on."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from omnitensor.media import MediaError, look, room
from omnitensor.media.facts import Job
from omnitensor.media.room import Gone, Room, open_regular
from omnitensor.protocol import limits
from tests.media.samples import picture, video_file
from tests.media.test_look import written

looking = importlib.import_module("omnitensor.media.look")
"""The module; the package has a function of this name."""

HOSTILE = """
import os, resource, signal, socket, subprocess, sys
sys.path[:] = sys.argv[1:]
from omnitensor.media import decode, keeper
from omnitensor.media.facts import Facts, Seen

def tries(what):
    try:
        what()
    except BaseException as error:
        return type(error).__name__
    return "done"

def hoard():
    kept = []
    while True:
        kept.append(bytearray(16 << 20))

def flood(answer):
    while True:
        os.write(answer, bytes(1 << 20))

def see(job, source):
    act = job.declared
    if act == "everything":
        found = {
            "file": tries(lambda: open("/etc/passwd")),
            "socket": tries(lambda: socket.socket()),
            "pipe": tries(lambda: os.pipe()),
            "program": tries(lambda: subprocess.run(["/bin/true"], check=True)),
            "more": tries(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))) if os.getuid() else "",
            "descriptors": str(sorted(int(each) for each in range(64) if tries(lambda: os.fstat(each)) == "done")),
            "environment": " ".join(sorted(os.environ)),
            "processors": str(len(os.sched_getaffinity(0))),
        }
        return Seen(Facts("text/plain", 1), text=repr(found))
    if act == "hoard":
        hoard()
    if act == "spin":
        while True:
            pass
    if act == "sleep":
        import time
        time.sleep(600)
    if act == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if act == "exit":
        os._exit(0)
    if act == "keeper":
        os.kill(os.getppid(), signal.SIGKILL)
    if act == "raise":
        raise RuntimeError("a fault of the decoder's own")
    if act == "flood":
        flood(max(int(each) for each in range(64) if tries(lambda: os.fstat(each)) == "done"))
    if act == "nonsense":
        return "nothing of the kind"
    if act == "long":
        return Seen(Facts("x" * 5_000, 1))
    return Seen(Facts("text/plain", 1), text=act)

decode.see = see
keeper.main()
"""
"""A keeper whose decoders do what a file that took them over might do."""


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    monkeypatch.setattr(room, "_BOOT", HOSTILE)
    made = Room()
    yield made
    made.close()


@pytest.fixture
def source(tmp_path: Path) -> Iterator[int]:
    opened = open_regular(written(tmp_path, "words"))
    yield opened
    os.close(opened)


def job(act: str, cpu_s: int = 20, memory: int = 1 << 30, clock_ms: int = 200_000) -> Job:
    return Job("text/plain", act, "", 5, True, False, False, cpu_s, memory, clock_ms, 1_000, 1_000)


def test_a_child_has_nothing_to_reach_out_with(hostile: Room, source: int) -> None:
    found = eval(hostile.run(job("everything"), source).text)  # a literal that our own child wrote
    assert found["file"] == found["socket"] == found["pipe"] == "OSError"
    assert found["program"] in ("OSError", "BlockingIOError")
    assert found["more"] in ("ValueError", "")
    assert found["processors"] == "1"
    # Nowhere in and out (1, 2), the file, the pipe for the answer; the keeper's door is closed.
    assert len(msgspec.json.decode(found["descriptors"])) == 4
    assert set(found["environment"].split()) <= {"PATH", "LC_ALL", "OMP_NUM_THREADS", "TZ", "LC_CTYPE"}


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        ("spin", "processor time"),
        ("crash", r"crashed on it \(SIGSEGV\)"),
        ("exit", "no answer"),
        ("keeper", "its keeper with it"),
        ("raise", "failed on it"),
        ("flood", "said more than it may"),
        ("nonsense", "no answer"),
        ("long", "no answer"),
    ],
)
def test_what_a_child_does_to_itself_is_a_reason(
    hostile: Room, source: int, act: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "media_answer_bytes_max", 4 << 20)
    with pytest.raises(Gone, match=reason):
        hostile.run(job(act, cpu_s=1), source)
    assert hostile.run(job("words"), source).text == "words", (
        "the next file is looked at as if nothing had been"
    )


def test_memory_is_bounded(hostile: Room, source: int) -> None:
    seen = hostile.run(job("hoard", memory=200 << 20), source)
    assert "more memory" in seen.facts.fault
    assert hostile.ended is not None
    assert hostile.ended.peak_kib < 220 * 1_024


def test_time_by_the_clock_is_bounded(hostile: Room, source: int) -> None:
    hostile.run(job("words"), source)
    keeper = hostile._keeper
    assert keeper is not None
    with pytest.raises(Gone, match="longer to decode than is waited for"):
        hostile.run(job("sleep", clock_ms=300), source)
    assert not psutil.pid_exists(keeper.pid), "with the keeper its child was killed"
    assert hostile.run(job("words"), source).text == "words"


def test_a_keeper_that_can_not_run_is_no_fault_of_the_file(
    monkeypatch: pytest.MonkeyPatch, source: int
) -> None:
    monkeypatch.setattr(room, "_BOOT", "raise SystemExit(3)")
    made = Room()
    with pytest.raises(MediaError) as error:
        made.run(job("words"), source)
    assert error.value.remedy
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(MediaError, match="can't be started"):
        made.run(job("words"), source)


def test_a_keeper_that_was_killed_is_started_again(tmp_path: Path) -> None:
    path = written(tmp_path, picture())
    assert look(path).facts.width == 40
    for known in (True, False):
        keeper = room.ROOM._keeper
        assert keeper is not None
        os.kill(keeper.pid, signal.SIGKILL)
        if known:
            keeper.wait()
        else:  # dead, but nobody has been told
            os.waitid(os.P_PID, keeper.pid, os.WEXITED | os.WNOWAIT)
        assert look(path).facts.width == 40
        assert room.ROOM._keeper is not keeper


def test_threads_take_turns(tmp_path: Path) -> None:
    paths = [written(tmp_path, picture("PNG", (10 + n, 20)), f"{n}.png") for n in range(24)]
    widths: dict[int, int] = {}

    def one(n: int) -> None:
        widths[n] = look(paths[n]).facts.width

    threads = [threading.Thread(target=one, args=(n,)) for n in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert widths == {n: 10 + n for n in range(24)}


def test_a_forked_process_has_a_keeper_of_its_own(tmp_path: Path) -> None:
    path = written(tmp_path, picture())
    assert look(path).facts.width == 40
    mine = room.ROOM._keeper
    child = os.fork()
    if child == 0:
        good = look(path).facts.width == 40 and room.ROOM._keeper is not mine
        room.ROOM.close()
        os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert room.ROOM._keeper is mine
    assert look(path).facts.width == 40


def test_a_keeper_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    """However that one ends: here it is killed."""
    path = written(tmp_path, picture())
    code = (
        "import sys; from pathlib import Path; from omnitensor import media; from omnitensor.media.room import ROOM\n"
        f"media.look(Path({str(path)!r})); print(ROOM._keeper.pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as user:
        assert user.stdout is not None
        keeper = psutil.Process(int(user.stdout.readline()))
        user.kill()
    with contextlib.suppress(psutil.NoSuchProcess):
        keeper.wait(timeout=240)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", tmp_path, Path("/dev/zero"), tmp_path / "nothing"):
        with pytest.raises(OSError, match=r"regular|directory|No such"):
            look(place)


def test_without_the_libraries_media_are_told_and_not_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the extras are not installed."""
    without = 'import sys\nsys.modules["av"] = sys.modules["pyarrow"] = None\n'
    monkeypatch.setattr(room, "_BOOT", without + room._BOOT)
    lonely = Room()
    monkeypatch.setattr(looking, "ROOM", lonely)
    video = look(video_file(tmp_path / "video")).facts
    assert (video.media_type, video.fault, video.width) == ("video/mp4", "", 0)
    assert "omnitensor[media]" in video.unread
    assert "omnitensor[dataset]" in look(written(tmp_path, b"PAR1" + bytes(40))).facts.unread
    assert look(written(tmp_path, picture())).facts.width == 40
    lonely.close()
