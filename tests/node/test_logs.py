"""Log lines that can't be written: they are lost and counted, and whoever logs never hears of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.devnet.process import environment

BEGIN = """
import logging, os, resource, structlog
from node import logs

def turn(path):
    place = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.dup2(place, 2)
    os.close(place)

logs.configure("info", FORMAT, "n")
log = structlog.get_logger("a")
log.info("first")
"""
FULL = Path("/dev/full")
"""Whatever is written here is refused: the disk is full."""


def run(place: Path, steps: str, fmt: str = "json") -> str:
    """What a process prints that logs to a file, and does these steps after its first line."""
    program = BEGIN.replace("FORMAT", repr(fmt)).replace("PLACE", repr(str(place))) + steps.replace(
        "PLACE", repr(str(place))
    )
    with place.open("ab") as log:
        done = subprocess.run(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment(),
            timeout=120,
        )
    assert done.returncode == 0, place.read_text(encoding="utf-8")
    return done.stdout.decode().strip()


def events(place: Path) -> list[str]:
    whole = [line for line in place.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    return [json.loads(line)["event"] for line in whole]


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_lines_that_find_no_room_are_lost_counted_and_told_of(tmp_path: Path) -> None:
    steps = """
turn("/dev/full")
for _ in range(3):
    log.error("lost")
logging.getLogger("aiohttp").error("lost as well")
turn(PLACE)
log.info("second")
log.info("third")
print(logs.lost_lines())
"""
    place = tmp_path / "log"
    assert run(place, steps) == "4"
    assert events(place) == ["first", "second", "log lines were lost", "third"]
    told = json.loads(place.read_text(encoding="utf-8").splitlines()[2])
    assert (told["lines"], told["node"], told["level"]) == (4, "n", "warning")


def test_a_reader_that_has_gone_ends_nothing(tmp_path: Path) -> None:
    steps = """
reading, writing = os.pipe()
os.dup2(writing, 2)
os.close(writing)
os.close(reading)
log.info("nobody reads this")
print(logs.lost_lines())
"""
    assert run(tmp_path / "log", steps, "text") == "1"


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path: Path) -> None:
    steps = """
most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (os.fstat(2).st_size + 10, most))
log.info("cut off after ten bytes")
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
log.info("second")
print(logs.lost_lines())
"""
    place = tmp_path / "log"
    assert run(place, steps) == "1"
    assert events(place) == ["first", "second", "log lines were lost"]
