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

pytestmark = pytest.mark.xdist_group("e2e")


def namespaces() -> set[str]:
    folder = Path("/run/netns")
    return {path.name for path in folder.glob("ot-*")} if folder.is_dir() else set()


@pytest.mark.timeout(400)
def test_a_short_soak(tmp_path: Path) -> None:
    if reason := missing():
        pytest.skip(reason)
    before = namespaces()
    assert run(0, tmp_path, print) == []
    assert namespaces() <= before


@pytest.mark.timeout(120)
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
    mine = f"ot-{soak.pid}-"
    try:
        deadline = time.monotonic() + 60
        while not (nodes := nodes_of(tmp_path)):
            assert time.monotonic() < deadline, log.read_text()
            assert soak.poll() is None, log.read_text()
            time.sleep(0.1)
        assert [name for name in namespaces() if name.startswith(mine)]
        soak.send_signal(signal.SIGINT)
        assert soak.wait(60) == EXIT_INTERRUPTED, log.read_text()
        assert not [name for name in namespaces() if name.startswith(mine)]
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
