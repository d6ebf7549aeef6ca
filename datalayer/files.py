"""Durable steps on files: write whole or not at all, rename, remove. Knows bytes and paths; nothing of content."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omnitensor.protocol.disk import disk_fault
from omnitensor.protocol.errors import StorageError


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns what the disk refuses into StorageError naming the path and what to do."""
    try:
        yield
    except OSError as error:
        raise disk_fault(error, path) from error


def sync_folder(folder: Path) -> None:
    """Makes names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_new(path: Path, data: bytes) -> None:
    """A new synced file in a folder that nobody reads yet."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, data: bytes) -> None:
    """Puts ``data`` at ``path``: after a crash there is the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        write_new(temporary, data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_at(path: Path, data: bytes, offset: int, *, sync: bool) -> None:
    """Overwrites bytes of a file that is there; with ``sync`` they are on disk afterwards."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        view, at = memoryview(data), offset
        while len(view):
            written = os.pwrite(descriptor, view, at)
            view, at = view[written:], at + written
        if sync:
            os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def read_at(path: Path, offset: int, length: int) -> bytes:
    """Up to ``length`` bytes from ``offset``; fewer only at the end of the file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        parts: list[bytes] = []
        while length > 0:
            part = os.pread(descriptor, length, offset)
            if not part:
                break
            parts.append(part)
            offset, length = offset + len(part), length - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_folder(folder: Path, trash: Path) -> None:
    """Removes a folder so that it is never seen half-removed: it first leaves its place in one step."""
    gone = trash / secrets.token_hex(8)
    try:
        os.rename(folder, gone)
    except FileNotFoundError:
        return
    sync_folder(folder.parent)
    shutil.rmtree(gone, ignore_errors=True)


def lock_folder(folder: Path) -> int:
    """Takes a folder for this process; the lock goes with the process. Raises StorageError where another has it."""
    descriptor = os.open(folder / "LOCK", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StorageError(
            "another process uses this folder", value=folder, remedy="stop the other node first"
        ) from error
    return descriptor
