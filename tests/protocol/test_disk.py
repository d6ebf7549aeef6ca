"""What is told of a disk that refuses: the folder and how much is free there, whatever the system leaves out."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from omnitensor.protocol.disk import disk_fault, make_room, told
from omnitensor.protocol.errors import StorageError


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_names_the_folder_and_what_is_free(tmp_path: Path, number: int) -> None:
    text = str(disk_fault(OSError(number, "No space left on device"), tmp_path / "not" / "yet"))
    assert text.startswith(
        f"the disk is full (No space left on device): {tmp_path / 'not' / 'yet'} (make room"
    )
    assert f"make room on the disk of {tmp_path}: " in text
    assert text.endswith(" are free)")


def test_other_refusals_are_no_want_of_room(tmp_path: Path) -> None:
    fault = disk_fault(
        PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "file")), tmp_path, "can't be read"
    )
    assert (fault.reason, fault.value) == ("can't be read (Permission denied)", str(tmp_path / "file"))
    assert "permissions" in fault.remedy
    assert "room" not in fault.remedy


def test_a_typed_fault_speaks_for_itself(tmp_path: Path) -> None:
    assert told(StorageError("damaged", value="x", remedy="mend it"), tmp_path) == "damaged: x (mend it)"
    assert "make room on the disk of /" in make_room(Path("/nowhere/at/all"))
