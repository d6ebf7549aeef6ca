"""A snapshot on its way here, on disk: the chunks that were verified, where they belong, and which they are. Survives a kill.

Whole once every chunk is there: then it becomes a snapshot file like any other.
"""

import os
import threading
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from datalayer.files import disk_errors
from omnitensor.protocol.codec import encode
from omnitensor.protocol.types import Epoch
from state.snapshots.files import MAGIC, chunk_starts, name_of
from state.snapshots.manifest import CHUNKS, Manifest, SnapshotError, read_manifest
from state.store import sync_folder

MANIFEST_SUFFIX: Final = ".manifest"


class Part:
    """One snapshot under way. One owner."""

    def __init__(self, folder: Path, encoded: bytes) -> None:
        """Goes on with what is there of this snapshot; forgets what is there of others."""
        self.manifest: Final[Manifest] = read_manifest(encoded)
        self.encoded: Final = encoded
        self._folder: Final = folder
        self._starts: Final = chunk_starts(self.manifest)
        height = self.manifest.height
        self._rows_path: Final = folder / f"{height}.part"
        self._have_path: Final = folder / f"{height}.have"
        self._manifest_path: Final = folder / f"{height}{MANIFEST_SUFFIX}"
        folder.mkdir(parents=True, exist_ok=True)
        if not self._manifest_path.exists() or self._manifest_path.read_bytes() != encoded:
            discard_all(folder)
            self._manifest_path.write_bytes(encoded)
        self._lock: Final = threading.Lock()
        self._closed = False
        self._rows = os.open(self._rows_path, os.O_RDWR | os.O_CREAT, 0o644)
        self._have = os.open(self._have_path, os.O_RDWR | os.O_CREAT, 0o644)

    def missing(self) -> list[int]:
        """Chunks that are not here yet."""
        have = os.pread(self._have, CHUNKS, 0).ljust(CHUNKS, b"\x00")
        return [
            index for index, chunk in enumerate(self.manifest.chunks) if not have[index] and chunk.size > 0
        ]

    def put(self, index: int, data: bytes) -> None:
        """Keeps a chunk that was verified. On disk when this returns, and only then said to be here.

        May be called from a thread whose caller was cancelled meanwhile: after ``close`` it does nothing.
        """
        with self._lock:
            if self._closed:
                return
            with disk_errors(self._rows_path):
                _write_all(self._rows, data, self._starts[index])
                os.fdatasync(self._rows)
                _write_all(self._have, b"\x01", index)
                os.fdatasync(self._have)

    def finish(self, block: bytes, steps: Sequence[bytes], first_step: Epoch) -> Path:
        """Makes the file of it, with block and steps that were verified, and forgets the rest."""
        assert not self.missing(), "every chunk is here"
        end = self._starts[CHUNKS]
        rest = block + b"".join(len(step).to_bytes(4, "big") + step for step in steps)
        manifest = encode(
            replace(
                self.manifest,
                block_size=len(block),
                first_step=first_step,
                steps_size=len(rest) - len(block),
            )
        )
        foot = len(manifest).to_bytes(8, "big") + sha256(manifest).digest()
        with disk_errors(self._rows_path):
            _write_all(self._rows, MAGIC, 0)
            _write_all(self._rows, rest + manifest + foot, end)
            os.ftruncate(self._rows, end + len(rest) + len(manifest) + len(foot))
            os.fsync(self._rows)
        path = self._folder / name_of(self.manifest.height)
        self._rows_path.rename(path)
        sync_folder(self._folder)
        self.close()
        discard_all(self._folder)
        return path

    def close(self) -> None:
        """Lets the files go once nobody writes to them. Closing twice does nothing."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._rows)
                os.close(self._have)


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    """A disk with little room takes the beginning of a write, and says so by a number alone; the next one raises OSError."""
    view = memoryview(data)
    while len(view):
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def begun(folder: Path) -> bytes | None:
    """The manifest of what is under way in a folder; None where nothing is, or it can't be read."""
    for path in sorted(folder.glob(f"*{MANIFEST_SUFFIX}")):
        data = path.read_bytes()
        try:
            read_manifest(data)
        except SnapshotError:
            continue
        return data
    return None


def discard_all(folder: Path) -> None:
    """Removes whatever is under way."""
    for suffix in (MANIFEST_SUFFIX, ".part", ".have"):
        for path in folder.glob(f"*{suffix}"):
            path.unlink(missing_ok=True)
