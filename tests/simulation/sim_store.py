"""A simulated database with LevelDB's face, on a simulated disk.

A batch is there whole or not at all, and stays when it was synced. What was not synced is lost when the power goes, but for a
prefix of it; the power may go before a write or after it. Stands where plyvel stands (``state.store.Store.over``).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from random import Random
from types import TracebackType

from tests.simulation.disk import SimDisk

Rows = list[tuple[bytes, bytes | None]]


class Image:
    """The rows at one moment, which never change."""

    def __init__(self, rows: dict[bytes, bytes], keys: list[bytes]) -> None:
        self.rows = rows
        self.keys = keys

    closed = False

    def close(self) -> None:
        """There is nothing to free."""

    def get(self, key: bytes, *, verify_checksums: bool) -> bytes | None:
        return self.rows.get(key)

    def iterator(
        self,
        *,
        start: bytes,
        stop: bytes | None,
        include_stop: bool,
        reverse: bool,
        verify_checksums: bool,
        fill_cache: bool,
    ) -> Iterator[tuple[bytes, bytes]]:
        first = bisect_left(self.keys, start)
        if stop is None:
            last = len(self.keys)
        else:
            last = (bisect_right if include_stop else bisect_left)(self.keys, stop)
        keys = self.keys[first:last]
        for key in reversed(keys) if reverse else keys:
            yield key, self.rows[key]

    def after(self, batch: Rows) -> Image:
        rows, keys = dict(self.rows), list(self.keys)
        for key, value in batch:
            if value is None:
                if rows.pop(key, None) is not None:
                    del keys[bisect_left(keys, key)]
            else:
                if key not in rows:
                    insort(keys, key)
                rows[key] = value
        return Image(rows, keys)


class SimDb:
    """An open database, and what of it would outlive the power."""

    def __init__(self, disk: SimDisk) -> None:
        self._disk = disk
        self._now = self._durable = Image({}, [])
        self._unsynced: list[Rows] = []
        self.closed = False

    def __str__(self) -> str:
        return "simulated"

    @property
    def image(self) -> Image:
        """All rows as they are now."""
        return self._now

    def close(self) -> None:
        self.closed = True

    def get(self, key: bytes, *, verify_checksums: bool) -> bytes | None:
        return self._now.get(key, verify_checksums=verify_checksums)

    def iterator(self, **bounds: object) -> Iterator[tuple[bytes, bytes]]:
        return self._now.iterator(**bounds)  # type: ignore[arg-type]  # as the image's

    def snapshot(self) -> Image:
        return self._now

    def write_batch(self, *, sync: bool) -> SimBatch:
        return SimBatch(self, sync)

    def write(self, batch: Rows, sync: bool) -> None:
        """The power may go before it is durable, and just after, before anybody hears of it."""
        if sync:
            self._disk.operation()
        self._now = self._now.after(batch)
        self._unsynced.append(batch)
        if sync:
            self._durable, self._unsynced = self._now, []
            self._disk.operation()

    def power_off(self, random: Random) -> None:
        """The machine is down: of what was not synced some first batches may be left."""
        left = random.randrange(len(self._unsynced) + 1) if self._unsynced else 0
        for batch in self._unsynced[:left]:
            self._durable = self._durable.after(batch)
        self._now, self._unsynced = self._durable, []
        self.closed = False


class SimBatch:
    """Rows to be written together."""

    def __init__(self, db: SimDb, sync: bool) -> None:
        self._db = db
        self._sync = sync
        self._rows: Rows = []

    def put(self, key: bytes, value: bytes) -> None:
        self._rows.append((key, value))

    def delete(self, key: bytes) -> None:
        self._rows.append((key, None))

    def write(self) -> None:
        self._db.write(self._rows, self._sync)

    def __enter__(self) -> SimBatch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.write()
