"""The few file operations that the safety store needs, as a seam: a folder on disk here, a simulated disk in the simulation.

Knows names and bytes; nothing of votes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from omnitensor.protocol.disk import disk_fault
from omnitensor.protocol.errors import StorageError

try:
    import fcntl
except ImportError:  # not a POSIX system: there is no flock, and the store says so when it is opened
    fcntl = None  # type: ignore[assignment]  # a module or nothing


class Files(Protocol):
    """One folder with a lock. All raise StorageError when the folder can't be read or written."""

    def lock(self) -> None:
        """Take the folder for this process, until ``unlock`` or the process's end. Raises when another has it."""

    def unlock(self) -> None: ...

    def read(self, name: str, bytes_max: int) -> bytes | None:
        """A file's bytes; None when it is absent. Raises when it is larger than ``bytes_max``."""

    def append(self, name: str, data: bytes) -> None:
        """Add to a file's end; may be lost in a crash until ``sync``."""

    def sync(self, name: str) -> None:
        """When it returns, all that was appended to the file survives a crash."""

    def truncate(self, name: str, size: int) -> None:
        """Cut a file to its first ``size`` bytes, durably."""

    def replace(self, name: str, data: bytes) -> None:
        """Give a file new content, durably and at once: after a crash it is the old or the new."""


class DiskFiles:
    """A folder on disk, made with mode 0700 when absent; files are 0600."""

    LOCK_NAME = "lock"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock: int | None = None
        self._open: dict[str, int] = {}

    def lock(self) -> None:
        assert self._lock is None, "locked already"
        if fcntl is None:
            raise StorageError("this system has no file locks", remedy="run the validator on Linux or macOS")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._folder / self.LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._failed("opened", self._folder, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise StorageError(
                "another process uses this safety store",
                value=self._folder,
                remedy="stop the other node first; two processes with one key would be slashed",
            ) from error
        self._lock = descriptor

    def unlock(self) -> None:
        for descriptor in (*self._open.values(), *(() if self._lock is None else (self._lock,))):
            os.close(descriptor)
        self._open.clear()
        self._lock = None

    def read(self, name: str, bytes_max: int) -> bytes | None:
        path = self._folder / name
        try:
            with path.open("rb") as file:
                data = file.read(bytes_max + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failed("read", path, error) from error
        if len(data) > bytes_max:
            raise StorageError(f"larger than {bytes_max} bytes: not a safety store's file", value=path)
        return data

    def append(self, name: str, data: bytes) -> None:
        try:
            descriptor = self._descriptor(name)
            while data:
                data = data[os.write(descriptor, data) :]
        except OSError as error:
            raise self._failed("written", self._folder / name, error) from error

    def sync(self, name: str) -> None:
        try:
            os.fsync(self._descriptor(name))
        except OSError as error:
            raise self._failed("synced", self._folder / name, error) from error

    def truncate(self, name: str, size: int) -> None:
        try:
            descriptor = self._descriptor(name)
            os.ftruncate(descriptor, size)
            os.fsync(descriptor)
        except OSError as error:
            raise self._failed("cut", self._folder / name, error) from error

    def replace(self, name: str, data: bytes) -> None:
        path, temporary = self._folder / name, self._folder / f".{name}.new"
        try:
            descriptor = os.open(
                temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600
            )
            try:
                rest = data
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
                os.fsync(descriptor)
                os.replace(temporary, path)
            except BaseException:
                os.close(descriptor)
                raise
            previous = self._open.pop(name, None)
            if previous is not None:
                os.close(previous)
            self._open[name] = descriptor
            self._sync_folder()
        except OSError as error:
            raise self._failed("replaced", path, error) from error

    def _descriptor(self, name: str) -> int:
        if name not in self._open:
            self._open[name] = os.open(
                self._folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        return self._open[name]

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @staticmethod
    def _failed(what: str, path: Path, error: OSError) -> StorageError:
        return disk_fault(error, path, f"can't be {what}")
