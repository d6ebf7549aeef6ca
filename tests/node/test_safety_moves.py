"""The commands about the safety store as an operator uses them, on real processes: moving a validator, and every wrong way to."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.devnet.process import environment
from node import cli
from omnitensor.protocol import limits
from tests.node.node_kit import Folders, make_folders
from tests.node.test_processes import Process, started


def safety(home: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """``omnitensor-node safety ...`` on a folder."""
    verb, *rest = map(str, arguments)
    return subprocess.run(
        [sys.executable, "-m", "node.cli", "safety", verb, "--home", str(home), *rest],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def refused(done: subprocess.CompletedProcess[str], *says: str) -> None:
    """One line on standard error, exit status 1, never a traceback."""
    assert done.returncode == 1, done
    assert done.stdout == ""
    assert_one_line(done.stderr, *says)


@pytest.fixture
def refused_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[Path, Path, str], None]:
    """The same of an import in this process: not each of many wrong records needs one of its own."""

    def imports(home: Path, given: Path, says: str) -> None:
        monkeypatch.setattr(
            sys, "argv", ["omnitensor-node", "safety", "import", "--home", str(home), "--from", str(given)]
        )
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        told = capsys.readouterr()
        assert (exit_.value.code, told.out) == (1, "")
        assert_one_line(told.err, says)

    return imports


def assert_one_line(stderr: str, *says: str) -> None:
    [line] = stderr.splitlines()
    assert line.startswith("error: ")
    for part in says:
        assert part in line, line


def stop(node: Process) -> None:
    node.signal(signal.SIGTERM)
    assert node.wait() == 0, node.text()[-2_000:]


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """A chain of one validator, which goes on by itself."""
    return make_folders(tmp_path, validators=1)


def test_a_validator_moves_to_another_folder_and_goes_on(folders: Folders, tmp_path: Path) -> None:
    home, record = folders.homes[0], tmp_path / "record.json"
    with started(home) as node:
        node.until_height(3)
        refused(safety(home, "export", "--out", record), "another process uses this safety store")
        assert not record.exists()
        reached = node.height()
        stop(node)
    done = safety(home, "export", "--out", record)
    assert done.returncode == 0, done
    assert "Do not start this validator here again" in done.stdout
    assert record.stat().st_mode & 0o077 == 0
    floor = json.loads(record.read_text(encoding="utf-8"))["floor"]
    # The new machine has keys, configuration and chain, and no record of what the key has signed.
    moved = tmp_path / "moved"
    shutil.copytree(home, moved)
    shutil.rmtree(moved / "safety")
    with started(moved) as node:
        assert node.wait() == 1
        assert "safety store is missing" in node.errors()[0]
    done = safety(moved, "import", "--from", record)
    assert done.returncode == 0, done
    assert "took over epoch 0" in done.stdout
    with started(moved) as node:
        node.until_height(reached + 4)
        assert "halted" not in node.text()
        stop(node)
    again = tmp_path / "again.json"
    assert safety(moved, "export", "--out", again).returncode == 0
    assert json.loads(again.read_text(encoding="utf-8"))["floor"] > floor
    # Back where it came from, the record of before is older than what the key has signed since.
    refused(
        safety(moved, "import", "--from", record),
        "older than the one that is here",
        "keep the one that is here",
    )


def test_a_lone_validator_moves_with_a_block_that_it_voted_for_and_that_is_not_final(
    folders: Folders, tmp_path: Path
) -> None:
    """Nobody else has that block: without it in the record the chain would stand still for ever."""
    home, record = folders.homes[0], tmp_path / "record.json"
    while True:
        with started(home) as node:
            node.until_height(1)
            stop(node)  # writes down up to where all is final: votes in the record are for what is not
        assert safety(home, "export", "--out", record).returncode == 0
        document = json.loads(record.read_text(encoding="utf-8"))
        if any(vote["kind"] == "notarize" for vote in document["votes"]):
            break
        record.unlink()
    view = max(vote["view"] for vote in document["votes"])
    moved = tmp_path / "moved"
    shutil.copytree(home, moved)
    shutil.rmtree(moved / "safety")
    done = safety(moved, "import", "--from", record)
    assert done.returncode == 0, done
    with started(moved) as node:
        node.until_height(view + 2)  # no height is above its view
        assert "halted" not in node.text()
        stop(node)


def test_wrong_records_are_refused_and_change_nothing(
    folders: Folders, tmp_path: Path, refused_here: Callable[[Path, Path, str], None]
) -> None:
    home, record = folders.homes[0], tmp_path / "record.json"
    with started(home) as node:
        node.until_height(2)
        node.kill()  # so that votes above the floor are in the record
    assert safety(home, "export", "--out", record).returncode == 0
    text = record.read_text(encoding="utf-8")
    refused(safety(home, "export", "--out", record), "there is a file already", "choose another name")
    stranger = make_folders(tmp_path / "elsewhere", validators=1)
    foreign = tmp_path / "foreign.json"
    assert safety(stranger.homes[0], "export", "--out", foreign).returncode == 0
    document = json.loads(text)
    wrong = {
        "no JSON at all": ("not a record\n", "not a safety record"),
        "cut": (text[: len(text) // 2], "not a safety record"),
        "empty": ("", "not a safety record"),
        "a list": ("[]", "not a safety record"),
        "a later floor": (text.replace(f'"floor": {document["floor"]}', '"floor": 999999'), "changed or cut"),
        "another epoch": (text.replace('"epoch": 0', '"epoch": 9'), "changed or cut"),
        "a field more": (text.replace('"floor"', '"more": 1,\n  "floor"'), "not a safety record"),
        "a name twice": (text.replace('"floor"', '"epoch": 0,\n  "floor"'), "not a safety record"),
        "a later format": (text.replace('"version": 2', '"version": 3'), "another format"),
        "another validator's": (foreign.read_text(encoding="utf-8"), "another chain or validator key"),
    }
    for name, (content, says) in wrong.items():
        given = tmp_path / f"{name}.json"
        given.write_text(content, encoding="utf-8")
        refused_here(home, given, says)
        given.unlink()
    large = tmp_path / "large.json"
    large.touch()
    os.truncate(large, limits.safety_record_bytes_max + 1)  # a hole: it takes no room
    refused(safety(home, "import", "--from", large), "too large")
    again = tmp_path / "again.json"
    assert safety(home, "export", "--out", again).returncode == 0
    assert again.read_bytes() == record.read_bytes()
    missing = safety(home, "import", "--from", tmp_path / "nowhere.json")
    assert missing.returncode == 2
    assert "does not exist" in missing.stderr
    refused(safety(tmp_path / "no node", "export", "--out", tmp_path / "x.json"), "no node")
    refused(safety(home, "export", "--out", tmp_path / "no folder" / "x.json"), "can't be written")
    refused(safety(home, "init"), "never overwritten")
    with started(home) as node:
        node.until_height(4)
        assert "halted" not in node.text()
