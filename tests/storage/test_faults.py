"""A few of the kills, disk faults and power cuts that ``make kills`` and ``make storage-faults`` play by the hundred."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.storage import power

ROOT = Path(__file__).resolve().parents[2]


def played(module: str, *arguments: str) -> str:
    """In a process of its own, which forks and has opened no database before."""
    result = subprocess.run(
        [sys.executable, "-m", f"tests.storage.{module}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3_000:]
    return result.stdout.splitlines()[-1]


def test_kills_leave_a_database_that_opens_whole() -> None:
    said = played("kills", "--kills", "10", "--seed", "7")
    # What was done before its kill came is killed at something else: how many of each depends on the machine.
    assert re.match(r"10 kills \(.*\), \d+ openings, every one at a whole block with the right root", said), (
        said
    )


def test_faults_of_the_disk_are_refused_or_change_nothing() -> None:
    said = played("faults", "--faults", "44", "--seed", "3")
    refused = int(said.split(": ")[1].split(" ")[0])
    assert 25 <= refused <= 44, said
    assert "none was served wrongly" in said


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """What writes down the syncs of the processes before which it is loaded."""
    made = power.compiled(tmp_path)
    if made is None:
        pytest.skip("the disk is simulated by a C library, and there is no C compiler")
    return made


WRITER = """
import os, sys
file = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
os.write(file, b"s" * 1000)
os.fsync(file)
os.write(file, b"u" * 1000)
"""


def test_a_power_cut_takes_what_was_not_synced_and_nothing_else(library: Path, tmp_path: Path) -> None:
    report, folder = tmp_path / "report", tmp_path / "disk"
    report.touch()
    folder.mkdir()
    file = folder / "file"
    subprocess.run(
        [sys.executable, "-c", WRITER, str(file)],
        env=os.environ | {"LD_PRELOAD": str(library), power.REPORT: str(report)},
        check=True,
    )
    before = file.read_bytes()
    assert before == b"s" * 1000 + b"u" * 1000
    sizes = power.synced_sizes(report)
    taken = set()
    for seed in range(20):
        file.write_bytes(before)  # the same file: its inode stays
        taken.add(power.cut_power(folder, sizes, random.Random(seed)))
        assert file.read_bytes()[:1000] == before[:1000]
    assert len(taken) > 5, "some of the rest is gone, now more, now less of it"
    assert max(taken) <= 1000


@pytest.mark.usefixtures("library")
def test_a_power_cut_takes_nothing_that_was_committed() -> None:
    # Whether a cut meets a write between its bytes and its sync depends on the machine: that it can is the test above.
    assert played("power", "--cuts", "12", "--seed", "2").startswith("12 power cuts, ")
