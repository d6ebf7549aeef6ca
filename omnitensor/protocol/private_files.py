"""Files that hold secrets: written whole or not at all, read and written for their owner alone (mode 0600).

Knows bytes and paths; nothing of what the bytes mean.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from omnitensor.protocol import limits
from omnitensor.protocol.disk import disk_fault
from omnitensor.protocol.errors import StorageError


def write_private(path: Path, data: bytes, *, replace: bool = False) -> None:
    """Put `data` at `path`, durably, mode 0600; after a crash there is the old file, the new one, or none.

    Without `replace` a file that is there already stays, and StorageError is raised; as it is where the folder is
    absent or can't be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        try:
            _write_synced(temporary, data)
            if replace:
                os.replace(temporary, path)
            else:
                os.link(temporary, path)  # unlike a rename, fails where the name is taken
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except FileExistsError as error:
        raise StorageError(
            "there is a file already, and it is not overwritten",
            value=path,
            remedy="move it away or choose another name",
        ) from error
    except OSError as error:
        raise disk_fault(error, path, "a file can't be written") from error


def read_private(path: Path, bytes_max: int = limits.keystore_bytes_max) -> bytes:
    """The bytes of a file that only its owner can read. Raises StorageError where it is absent, large, or open to others."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if os.name == "posix" and stat.S_IMODE(status.st_mode) & 0o077:
                raise StorageError(
                    f"others than its owner can read this file (mode {stat.S_IMODE(status.st_mode):04o})",
                    value=path,
                    remedy=f"chmod 600 {path}",
                )
            data = file.read(bytes_max + 1)
    except OSError as error:
        raise StorageError(
            f"a file can't be read ({error.strerror})", value=path, remedy="check its name and permissions"
        ) from error
    if len(data) > bytes_max:
        raise StorageError(
            f"a file has more than {bytes_max} bytes", value=path, remedy="give the right file"
        )
    return data


def _write_synced(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
