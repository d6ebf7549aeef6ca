"""A simulated disk for the safety store: what is not synced can be lost, in part, or torn, when the power goes."""

from __future__ import annotations

from random import Random

from omnitensor.protocol.errors import StorageError


class PowerCut(Exception):
    """The machine went down in the middle of a disk operation."""


class SimDisk:
    """One folder (``node.safety_files.Files``). ``cut_in`` counts down disk operations until the power goes, when set."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._durable: dict[str, bytes] = {}
        self._unsynced: dict[str, bytes] = {}
        self._locked: set[str] = set()
        self.cut_in: int | None = None
        self.torn = 0

    def folder(self, name: str) -> SimFolder:
        """A folder of the disk, which has locks and files of its own."""
        return SimFolder(self, f"{name}/" if name else "")

    def lock(self, folder: str = "") -> None:
        if folder in self._locked:
            raise StorageError("another process uses this safety store")
        self._locked.add(folder)

    def unlock(self, folder: str = "") -> None:
        self._locked.discard(folder)

    def read(self, name: str, bytes_max: int) -> bytes | None:
        if name not in self._durable and name not in self._unsynced:
            return None
        return self._durable.get(name, b"") + self._unsynced.get(name, b"")

    def append(self, name: str, data: bytes) -> None:
        self._unsynced[name] = self._unsynced.get(name, b"") + data
        self.operation()

    def sync(self, name: str) -> None:
        self.operation()
        self._durable[name] = self._durable.get(name, b"") + self._unsynced.pop(name, b"")

    def truncate(self, name: str, size: int) -> None:
        whole = self.read(name, 0) or b""
        self.operation()
        self._durable[name] = whole[:size]
        self._unsynced.pop(name, None)

    def replace(self, name: str, data: bytes) -> None:
        self.operation()
        self._durable[name] = data
        self._unsynced.pop(name, None)

    def power_off(self) -> None:
        """The machine is down: of what was not synced a part may be left, and its end may be nonsense."""
        for name, data in sorted(self._unsynced.items()):
            if not data:
                continue
            left = data[: self._random.randrange(len(data) + 1)]
            if left and self._random.random() < 0.3:
                garbage = self._random.randrange(1, len(left) + 1)
                left = left[:-garbage] + self._random.randbytes(garbage)
            if left != data:
                self.torn += 1
            self._durable[name] = self._durable.get(name, b"") + left
        self._unsynced.clear()
        self._locked.clear()
        self.cut_in = None

    def operation(self) -> None:
        """One thing that the disk does, in the middle of which the power may go."""
        if self.cut_in is not None:
            self.cut_in -= 1
            if self.cut_in <= 0:
                self.cut_in = None
                raise PowerCut


class SimFolder:
    """One folder of a disk (``node.safety_files.Files``)."""

    def __init__(self, disk: SimDisk, prefix: str) -> None:
        self._disk = disk
        self._prefix = prefix

    def lock(self) -> None:
        self._disk.lock(self._prefix)

    def unlock(self) -> None:
        self._disk.unlock(self._prefix)

    def read(self, name: str, bytes_max: int) -> bytes | None:
        return self._disk.read(self._prefix + name, bytes_max)

    def append(self, name: str, data: bytes) -> None:
        self._disk.append(self._prefix + name, data)

    def sync(self, name: str) -> None:
        self._disk.sync(self._prefix + name)

    def truncate(self, name: str, size: int) -> None:
        self._disk.truncate(self._prefix + name, size)

    def replace(self, name: str, data: bytes) -> None:
        self._disk.replace(self._prefix + name, data)
