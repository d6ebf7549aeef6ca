"""Secrets on disk: mode, no overwriting by accident, nothing half written, refusal where others can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from omnitensor.protocol.errors import StorageError
from omnitensor.protocol.private_files import read_private, write_private


def test_written_for_the_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    before = os.umask(0)
    try:
        write_private(path, b"secret")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_private(path) == b"secret"
    assert os.listdir(tmp_path) == ["key.json"]


def test_a_file_that_is_there_stays_unless_replaced(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    write_private(path, b"first")
    with pytest.raises(StorageError, match="already") as caught:
        write_private(path, b"second")
    assert str(path) in str(caught.value)
    assert read_private(path) == b"first"
    write_private(path, b"third", replace=True)
    assert read_private(path) == b"third"
    assert os.listdir(tmp_path) == ["key.json"]


def test_replacing_tightens_the_mode(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.write_bytes(b"open to all")
    path.chmod(0o644)
    write_private(path, b"closed", replace=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_file_open_to_others_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.json"
    write_private(path, b"secret")
    path.chmod(mode)
    with pytest.raises(StorageError, match="chmod 600") as caught:
        read_private(path)
    assert f"{mode:04o}" in str(caught.value)


def test_absent_large_and_odd_files(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        read_private(tmp_path / "absent")
    with pytest.raises(StorageError, match="can't be read"):
        read_private(tmp_path)
    with pytest.raises(StorageError, match="can't be written"):
        write_private(tmp_path / "absent" / "key.json", b"secret")
    path = tmp_path / "large"
    write_private(path, bytes(11))
    assert read_private(path, bytes_max=11) == bytes(11)
    with pytest.raises(StorageError, match="more than 10 bytes"):
        read_private(path, bytes_max=10)


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    path = tmp_path / "key.json"
    write_private(path, b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, broken, fail)
        with pytest.raises(StorageError, match="No space left"):
            write_private(path, b"new", replace=True)
    assert read_private(path) == b"old"
    assert os.listdir(tmp_path) == ["key.json"]
