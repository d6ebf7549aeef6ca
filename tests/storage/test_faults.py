"""A few of the kills, disk faults and power cuts that ``make kills`` and ``make storage-faults`` play by the hundred."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.storage.power import compiled

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


def test_a_power_cut_takes_nothing_that_was_committed(tmp_path: Path) -> None:
    if compiled(tmp_path) is None:
        pytest.skip("the disk is simulated by a C library, and there is no C compiler")
    said = played("power", "--cuts", "12", "--seed", "2")
    assert said.startswith("12 power cuts, "), said
    assert not said.startswith("12 power cuts, 0 lost"), said
