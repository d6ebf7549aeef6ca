"""The database: LevelDB, opened so that damage is refused instead of served. The only file that imports plyvel.

Knows bytes; what they mean is on the page of ``schema``. LevelDB trusts its files by default: a flipped byte in the middle of its
log drops what follows, a flipped bit in a table is read as it is, a lost ``CURRENT`` opens as an empty database. So: paranoid
checks at open, checksums verified at every read, created only by ``create``, and stamped with schema version, chain and genesis.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import plyvel

from omnitensor.protocol.codec import Record, decode, encode
from omnitensor.protocol.disk import make_room
from omnitensor.protocol.errors import CodecError, StorageError
from omnitensor.protocol.limits import MIB
from omnitensor.protocol.types import U32, HashF
from state.torn_log import cut_torn_end

STAMP_KEY: Final = b"\x00stamp"
"""Outside every table: prefixes begin at 1."""
LOCK_NAME: Final = "OWNER"
WRITE_BUFFER_BYTES: Final = 32 * MIB
"""Rows in memory before LevelDB writes a table; also the most of its log that an open after a crash reads again."""
BUILDING_BUFFER_BYTES: Final = 32 * MIB
"""The same while a database is filled: fewer tables to merge."""
CACHE_BYTES: Final = 8 * MIB

HEAL: Final = "omnitensor-node doctor says what is damaged, and makes the database anew from what is whole or from peers"
"""What to do about a damaged database."""

Batch = list[tuple[bytes, bytes | None]]
"""Rows to write as (key, value), None to remove; written all or none."""


class DamagedStoreError(StorageError):
    """The database's files are not what was written."""

    code = "storage_damaged"


class LockedStoreError(StorageError):
    """Another process has the database open."""

    code = "storage_locked"


class ForeignStoreError(StorageError):
    """The database belongs to another chain or to another version of this software."""

    code = "storage_foreign"


class Stamp(Record, frozen=True):
    """What a database is: version of the schema, chain, and hash of the genesis block."""

    schema_version: U32
    chain_id: str
    genesis_hash: HashF


class Snapshot:
    """The rows as they were at one moment. Safe to read from any thread; every read verifies checksums."""

    def __init__(self, raw: Any) -> None:
        self._raw: Final = raw

    def get(self, key: bytes) -> bytes | None:
        """The value, or None. Raises DamagedStoreError."""
        try:
            value: bytes | None = self._raw.get(key, verify_checksums=True)
        except (plyvel.Error, RuntimeError) as error:
            raise _refusal(error, None) from error
        return value

    def scan(
        self, low: bytes, high: bytes | None, *, include_high: bool = False, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows from ``low`` (included) to ``high``, in key order or the reverse. Raises DamagedStoreError."""
        with _refusals():
            yield from self._raw.iterator(
                start=low,
                stop=high,
                include_stop=include_high,
                reverse=reverse,
                verify_checksums=True,
                fill_cache=False,
            )

    def close(self) -> None:
        """Frees it; reading it afterwards raises StorageError."""
        self._raw.close()


class Store(Snapshot):
    """An open database. One process has it; reads see the latest write."""

    def __init__(self, raw: Any, path: Path, stamp: Stamp, lock: int | None) -> None:
        super().__init__(raw)
        self.path: Final = path
        self.stamp: Final = stamp
        self._lock: Final = lock

    @classmethod
    def create(cls, path: Path, stamp: Stamp, rows: Batch) -> "Store":
        """Makes a database with its first rows, in one synced batch with the stamp.

        Raises StorageError where something is there already. It is built beside ``path`` and moved there whole.
        """
        if path.exists():
            raise StorageError(
                "there is something at the database's place already",
                value=path,
                remedy="start the node on it, or remove it first",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        building = path.with_name(path.name + ".new")
        shutil.rmtree(building, ignore_errors=True)
        with _refusals(building):
            raw = plyvel.DB(str(building), create_if_missing=True, error_if_exists=True)
            try:
                _begin(raw, stamp, rows)
            finally:
                raw.close()
        move_in(building, path)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> "Store":
        """Opens a database that ``create`` made. Raises a StorageError that says what is wrong and what to do."""
        if not path.is_dir():
            raise StorageError(
                "there is no database here", value=path, remedy="make one with: omnitensor-node init"
            )
        lock = _lock(path)
        try:
            try:
                raw = _open_raw(path)
            except DamagedStoreError:
                if not cut_torn_end(path):
                    raise
                raw = _open_raw(path)
            try:
                return cls(raw, path, _read_stamp(raw, path), lock)
            except BaseException:
                raw.close()
                raise
        except BaseException:
            os.close(lock)
            raise

    @classmethod
    def building(cls, path: Path, stamp: Stamp) -> "Store":
        """A database that is being filled, begun now or gone on with after a kill. Nobody else opens it before ``finish``."""
        path.mkdir(parents=True, exist_ok=True)
        lock = _lock(path)
        try:
            with _refusals(path):
                raw = plyvel.DB(
                    str(path),
                    create_if_missing=True,
                    paranoid_checks=True,
                    write_buffer_size=BUILDING_BUFFER_BYTES,
                    compression=None,
                    lru_cache_size=CACHE_BYTES,
                    bloom_filter_bits=10,
                )
            return cls(raw, path, stamp, lock)
        except BaseException:
            os.close(lock)
            raise

    def finish(self, batch: Batch) -> None:
        """Writes the last rows of a database that was being filled, and its stamp: from now on it is one."""
        self.write([*batch, (STAMP_KEY, encode(self.stamp))])

    @property
    def finished(self) -> bool:
        """Whether it has its stamp."""
        return self.get(STAMP_KEY) is not None

    @classmethod
    def over(cls, raw: Any, first: tuple[Stamp, Batch] | None = None) -> "Store":
        """A database that somebody else has opened and keeps to this process: anything with LevelDB's face.

        ``first``: the stamp and rows that a new one begins with, in one synced batch.
        """
        place = Path(str(raw))
        if first is not None:
            _begin(raw, *first)
        return cls(raw, place, _read_stamp(raw, place), None)

    def close(self) -> None:
        """Closes the files and lets another process have them. Closing twice does nothing."""
        if not self._raw.closed:
            self._raw.close()
            if self._lock is not None:
                os.close(self._lock)

    def write(self, batch: Batch) -> None:
        """Writes all or nothing, and returns when it is on disk."""
        with _refusals(self.path):
            raw_batch = self._raw.write_batch(sync=True)
            put = raw_batch.put
            for key, value in batch:
                if value is None:
                    raw_batch.delete(key)
                else:
                    put(key, value)
            raw_batch.write()

    def snapshot(self) -> Snapshot:
        """The rows as they are now, whatever is written later."""
        with _refusals(self.path):
            return Snapshot(self._raw.snapshot())


def _begin(raw: Any, stamp: Stamp, rows: Batch) -> None:
    """The first rows of a new database, and its stamp."""
    with raw.write_batch(sync=True) as batch:
        for key, value in rows:
            assert value is not None, "a new database has nothing to remove"
            batch.put(key, value)
        batch.put(STAMP_KEY, encode(stamp))


def _lock(path: Path) -> int:
    """Takes the folder for this process; the file descriptor holds it. Raises LockedStoreError.

    LevelDB's own lock is not enough: a second open in the same process fails, and in failing drops the first one's lock.
    """
    held = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(held)
        raise LockedStoreError(
            "another process has the database open", value=path, remedy="stop the other node first"
        ) from error
    return held


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keeps other processes from a closed database, also while its folder is moved. Raises LockedStoreError."""
    lock = _lock(path)
    try:
        yield
    finally:
        os.close(lock)


def move_in(building: Path, path: Path) -> None:
    """Puts a closed database into its place, for good when this returns."""
    sync_folder(building)
    building.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes a rename in the folder outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_raw(path: Path) -> Any:
    """The library's database. Raises StorageError."""
    with _refusals(path):
        return plyvel.DB(
            str(path),
            create_if_missing=False,
            paranoid_checks=True,
            write_buffer_size=WRITE_BUFFER_BYTES,
            # Most bytes here are hashes and signatures, which no compression makes smaller.
            compression=None,
            lru_cache_size=CACHE_BYTES,
            bloom_filter_bits=10,
        )


def _read_stamp(raw: Any, path: Path) -> Stamp:
    with _refusals(path):
        data: bytes | None = raw.get(STAMP_KEY, verify_checksums=True)
    if data is None:
        raise DamagedStoreError("the database has no stamp", value=path, remedy=HEAL)
    try:
        return decode(Stamp, data)
    except CodecError as error:
        raise DamagedStoreError("the database's stamp can't be read", value=path, remedy=HEAL) from error


@contextmanager
def _refusals(path: Path | None = None) -> Iterator[None]:
    """Turns the library's errors into typed ones."""
    try:
        yield
    except (plyvel.Error, RuntimeError) as error:
        raise _refusal(error, path) from error


def _refusal(error: Exception, path: Path | None) -> StorageError:
    told = error.args[0] if error.args else ""
    text = (
        told.decode(errors="replace") if isinstance(told, bytes) else str(told)
    )  # the library tells it in bytes
    if isinstance(error, RuntimeError):
        return StorageError("the database is closed", value=path, remedy="open it again")
    if "lock" in text.lower() and "LOCK" in text:
        return LockedStoreError(
            "another process has the database open", value=path, remedy="stop the other node first"
        )
    if isinstance(error, plyvel.CorruptionError) or "No such file" in text or "does not exist" in text:
        return DamagedStoreError(f"the database is damaged: {text}", value=path, remedy=HEAL)
    return StorageError(f"the database can't be used: {text}", value=path, remedy=_way_out(text, path))


def _way_out(text: str, path: Path | None) -> str:
    """What to do about a fault of the disk, by what the system says of it."""
    if "No space left" in text or "File too large" in text or "Disk quota" in text:
        room = "make room on its disk" if path is None else make_room(path)
        return f"{room}; then start again: nothing that was written is lost"
    if "Read-only" in text or "ermission denied" in text:
        return "see who owns its files, their permissions, and whether the disk is mounted for reading alone"
    return "see that its disk has room and works"
