"""What a disk refuses, told to whoever looks after it: which file, and where to make room. Reads how full the disk is."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from omnitensor.protocol.errors import ProtocolError, StorageError
from omnitensor.protocol.limits import MIB


def is_full(error: OSError) -> bool:
    """Whether a disk, or a share of one, has no room left."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def disk_fault(error: OSError, place: Path, what: str = "the disk refuses") -> StorageError:
    """The system's refusal as a typed error. ``place`` is what was being written, where the system does not name it."""
    reason = error.strerror or str(error)
    if is_full(error):
        what = "the disk is full" if what == "the disk refuses" else f"{what}: the disk is full"
        return StorageError(f"{what} ({reason})", value=_named(error, place), remedy=make_room(place))
    return StorageError(
        f"{what} ({reason})",
        value=_named(error, place),
        remedy="check the folder, its permissions and the disk",
    )


def told(error: ProtocolError | OSError, place: Path) -> str:
    """A fault in a line for the log, with what to do; the system's own names no folder where it writes to an open file."""
    return str(disk_fault(error, place) if isinstance(error, OSError) else error)


def make_room(place: Path) -> str:
    """What to do about a full disk: the folder that lies on it, and how much is free there now."""
    folder = place.absolute()
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return f"make room on the disk of {folder}"
    return f"make room on the disk of {folder}: {usage.free // MIB} MiB of {usage.total // MIB} MiB are free"


def _named(error: OSError, place: Path) -> object:
    name = error.filename
    return os.fsdecode(name) if isinstance(name, str | bytes) else place
