"""The soak, short: a key in two processes, epochs, a partition that heals, kill -9 of each, on nodes in network namespaces."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.devnet.process import ROOT, environment
from tests.soak.__main__ import EXIT_INTERRUPTED, run
from tests.soak.places import missing

pytestmark = pytest.mark.xdist_group("e2e-devnet")


def namespaces(pid: int) -> set[str]:
    """What a soak in that process has made and not removed; another may run beside it."""
    folder = Path("/run/netns")
    return {path.name for path in folder.glob(f"ot-{pid}-*")} if folder.is_dir() else set()


@pytest.mark.timeout(1_200)
def test_a_short_soak(tmp_path: Path) -> None:
    if reason := missing():
        pytest.skip(reason)
    assert run(0, tmp_path, print) == []
    assert namespaces(os.getpid()) == set()


@pytest.mark.timeout(600)
def test_an_interrupted_soak_leaves_nothing_behind(tmp_path: Path) -> None:
    if reason := missing():
        pytest.skip(reason)
    log = tmp_path / "log"
    with log.open("wb") as out:
        soak = subprocess.Popen(
            [sys.executable, "-m", "tests.soak", "--minutes", "1"],
            cwd=ROOT,
            env=environment({"TMPDIR": str(tmp_path)}),
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 240
        while not (nodes := nodes_of(tmp_path)):
            assert time.monotonic() < deadline, log.read_text()
            assert soak.poll() is None, log.read_text()
            time.sleep(0.1)
        assert namespaces(soak.pid)
        soak.send_signal(signal.SIGINT)
        assert soak.wait(240) == EXIT_INTERRUPTED, log.read_text()
        assert not namespaces(soak.pid)
        assert not nodes_of(tmp_path), nodes
        assert [path.name for path in tmp_path.iterdir()] == ["log"]
        assert "Traceback" not in log.read_text()
    finally:
        if soak.poll() is None:
            soak.kill()
            soak.wait()


def nodes_of(folder: Path) -> list[int]:
    """Processes whose command line names a folder below this one, but for those that only make keys."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(folder) in line and b"\0start\0" in line:
            found.append(int(process.name))
    return found
