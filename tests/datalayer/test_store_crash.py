"""Kills a process with SIGKILL in the middle of uploads, and finds the store whole; takes a large file in constant memory."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datalayer.store import ContentStore
from omnitensor.protocol.content import ContentHasher

MIB = 1024 * 1024
ROOT = Path(__file__).resolve().parents[2]

CHILD = """
import hashlib, sys
from pathlib import Path
from datalayer.store import ContentStore
from omnitensor.protocol.content import ContentHasher

folder, chunks, finish = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "finish"

def chunk(index):
    return hashlib.shake_256(index.to_bytes(8, "big")).digest(4096) * 256

hasher = ContentHasher()
for index in range(chunks):
    hasher.update(chunk(index))
content, leaves = hasher.finish()
store = ContentStore(folder, 2**40)
begun = store.begin(content, b"owner")
print("begun", len(begun.missing), flush=True)
for first, end in begun.missing:
    for index in range(first, end):
        store.put_chunk(begun.upload_id, index, chunk(index))
        print("put", index, flush=True)
if finish:
    print("finishing", flush=True)
    store.finish(begun.upload_id)
    print("stored", flush=True)
    import resource
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)
"""


def chunk_of(index: int) -> bytes:
    return hashlib.shake_256(index.to_bytes(8, "big")).digest(4096) * 256


def start(folder: Path, chunks: int, what: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), str(chunks), what],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def kill_after(process: subprocess.Popen[str], line: str, delay_s: float = 0.0) -> list[str]:
    """Kills the process at once when it has printed a line; returns what it printed."""
    assert process.stdout is not None
    seen: list[str] = []
    for printed in process.stdout:
        seen.append(printed.strip())
        if seen[-1] == line:
            time.sleep(delay_s)
            break
    process.send_signal(signal.SIGKILL)
    seen += [rest.strip() for rest in process.stdout]
    process.stdout.close()
    process.wait()
    assert process.returncode in (-signal.SIGKILL, 0)
    return seen


@pytest.mark.parametrize("delay_s", [0.0, 0.001, 0.003, 0.007])
def test_killed_half_way_goes_on(tmp_path: Path, delay_s: float) -> None:
    seen = kill_after(start(tmp_path, 40, "stop"), "put 12", delay_s)
    acknowledged = {int(line.split()[1]) for line in seen if line.startswith("put ") and line.count(" ") == 1}
    hasher = ContentHasher()
    for index in range(40):
        hasher.update(chunk_of(index))
    content, _ = hasher.finish()
    store = ContentStore(tmp_path, 2**40)
    begun = store.begin(content, b"owner")
    missing = {index for first, end in begun.missing for index in range(first, end)}
    assert not missing & acknowledged, "a chunk that was acknowledged is asked for again"
    for index in sorted(missing):
        store.put_chunk(begun.upload_id, index, chunk_of(index))
    assert store.finish(begun.upload_id) == content
    assert all(store.read_chunk(content.chunk_root, index) == chunk_of(index) for index in range(40))
    store.close()


@pytest.mark.parametrize("delay_s", [0.0, 0.01, 0.03, 0.08])
def test_killed_while_finishing_leaves_all_or_an_upload(tmp_path: Path, delay_s: float) -> None:
    kill_after(start(tmp_path, 12, "finish"), "finishing", delay_s)
    hasher = ContentHasher()
    for index in range(12):
        hasher.update(chunk_of(index))
    content, _ = hasher.finish()
    store = ContentStore(tmp_path, 2**40)
    begun = store.begin(content, b"owner")
    assert begun.missing == (), "every chunk was acknowledged"
    if not begun.stored:
        assert store.finish(begun.upload_id) == content
    assert b"".join(store.read_chunk(content.chunk_root, i) for i in range(12)) == b"".join(
        map(chunk_of, range(12))
    )
    assert store.usage().total == 12 * MIB
    store.close()


def test_large_file_in_constant_memory(tmp_path: Path) -> None:
    """200 MiB through a process whose memory peaks far below that."""
    peaks = {}
    for chunks in (2, 200):
        process = start(tmp_path / str(chunks), chunks, "finish")
        printed, _ = process.communicate(timeout=600)
        assert process.returncode == 0
        lines = printed.splitlines()
        assert "stored" in lines
        peaks[chunks] = int(lines[-1].split()[1])
    assert peaks[200] - peaks[2] < 16 * 1024, f"KiB at the peak by chunks: {peaks}"
