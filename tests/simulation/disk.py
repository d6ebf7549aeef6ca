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
        self._locked = False
        self.cut_in: int | None = None
        self.torn = 0

    def lock(self) -> None:
        if self._locked:
            raise StorageError("another process uses this safety store")
        self._locked = True

    def unlock(self) -> None:
        self._locked = False

    def read(self, name: str, bytes_max: int) -> bytes | None:
        if name not in self._durable and name not in self._unsynced:
            return None
        return self._durable.get(name, b"") + self._unsynced.get(name, b"")

    def append(self, name: str, data: bytes) -> None:
        self._unsynced[name] = self._unsynced.get(name, b"") + data
        self._operation()

    def sync(self, name: str) -> None:
        self._operation()
        self._durable[name] = self._durable.get(name, b"") + self._unsynced.pop(name, b"")

    def truncate(self, name: str, size: int) -> None:
        whole = self.read(name, 0) or b""
        self._operation()
        self._durable[name] = whole[:size]
        self._unsynced.pop(name, None)

    def replace(self, name: str, data: bytes) -> None:
        self._operation()
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
        self._locked = False
        self.cut_in = None

    def _operation(self) -> None:
        if self.cut_in is not None:
            self.cut_in -= 1
            if self.cut_in <= 0:
                self.cut_in = None
                raise PowerCut
