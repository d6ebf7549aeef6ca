"""A snapshot as one file: chunks, block, steps, then the manifest and where it begins. Reads pieces; believes nothing of them.

magic | 256 chunks | block | steps, each behind its length in four bytes | manifest | length of the manifest (8) | SHA-256 of it
"""

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Final

from omnitensor.protocol import limits
from omnitensor.protocol.codec import decode
from omnitensor.protocol.errors import CodecError
from state.records import StepRow
from state.snapshots.manifest import CHUNKS, Manifest, SnapshotError, read_manifest, refused

MAGIC: Final = b"omnitensor snapshot 1\n"
FOOT_BYTES: Final = 40
SUFFIX: Final = ".snapshot"


class SnapshotFile:
    """An open snapshot. Its manifest was checked for its form when it was opened; chunks are checked by whoever reads them."""

    def __init__(self, path: Path) -> None:
        """Raises SnapshotError where the file is not a whole snapshot."""
        self.path: Final = path
        try:
            self._file: Final = path.open("rb")
        except FileNotFoundError as error:
            raise SnapshotError(
                "there is no snapshot here", value=path, remedy="see: snapshot list"
            ) from error
        try:
            self.encoded: Final = self._read_encoded()
            self.manifest: Final[Manifest] = read_manifest(self.encoded)
            self._starts: Final = chunk_starts(self.manifest)
            self._check_size()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "SnapshotFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    @property
    def size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def chunk(self, index: int) -> bytes:
        """A chunk's bytes as they are in the file."""
        return self._at(self._starts[index], self.manifest.chunks[index].size)

    def piece(self, index: int, offset: int, size: int) -> bytes:
        """Some bytes of a chunk; fewer, or none, at its end."""
        size = min(size, self.manifest.chunks[index].size - offset)
        return self._at(self._starts[index] + offset, size) if size > 0 else b""

    def block(self) -> bytes:
        return self._at(self._starts[CHUNKS], self.manifest.block_size)

    def steps(self) -> Iterator[StepRow]:
        """Steps of light clients in order. Raises SnapshotError where the file has something else in their place."""
        at = self._starts[CHUNKS] + self.manifest.block_size
        yield from read_steps(self._stepwise(at), at + self.manifest.steps_size, at, self.manifest)

    def _stepwise(self, at: int) -> "_Window":
        return _Window(self, at)

    def _read_encoded(self) -> bytes:
        size = self.size
        foot = self._at(size - FOOT_BYTES, FOOT_BYTES) if size > len(MAGIC) + FOOT_BYTES else b""
        if not foot or self._at(0, len(MAGIC)) != MAGIC:
            raise refused("not a snapshot file, or only a part of one", self.path)
        length = int.from_bytes(foot[:8], "big")
        if not 0 < length <= min(limits.snapshot_manifest_bytes_max, size - FOOT_BYTES):
            raise refused("the file's end is not a snapshot's", self.path)
        encoded = self._at(size - FOOT_BYTES - length, length)
        if sha256(encoded).digest() != foot[8:]:
            raise refused("the manifest is not what was written", self.path)
        return encoded

    def _check_size(self) -> None:
        expected = end_of_rows(self.manifest) + len(self.encoded) + FOOT_BYTES
        if self.size != expected:
            raise refused("the file has another size than its parts", f"{self.size} bytes, not {expected}")

    def _at(self, start: int, size: int) -> bytes:
        data = os.pread(self._file.fileno(), size, start)
        if len(data) != size:
            raise refused("the file ends too early", self.path)
        return data


class _Window:
    """Reads a file in order, some bytes at a time."""

    def __init__(self, file: SnapshotFile, at: int) -> None:
        self._file = file
        self._at = at

    def take(self, size: int) -> bytes:
        data = self._file._at(self._at, size)
        self._at += size
        return data


def read_steps(source: _Window, end: int, at: int, manifest: Manifest) -> Iterator[StepRow]:
    """Steps in order of their epochs up to the boundary's own. Raises SnapshotError."""
    epoch = int(manifest.first_step)
    while at < end:
        length = int.from_bytes(source.take(4), "big")
        if length > limits.step_bytes_max or at + 4 + length > end:
            raise refused("a step of light clients has an impossible length", f"epoch {epoch}")
        yield read_step(source.take(length), epoch)
        at, epoch = at + 4 + length, epoch + 1
    if epoch != manifest.header.epoch + 1:
        raise refused("steps of light clients are missing or too many", f"epoch {epoch}")


def read_step(data: bytes, epoch: int) -> StepRow:
    """Raises SnapshotError where the bytes are no step over this epoch."""
    try:
        step = decode(StepRow, data)
    except CodecError as error:
        raise refused("a step of light clients can't be read", f"epoch {epoch}") from error
    if step.header.epoch != epoch:
        raise refused("a step of light clients is out of place", f"epoch {epoch}")
    return step


def chunk_starts(manifest: Manifest) -> list[int]:
    """Where each chunk begins in a file, and where the last ends."""
    starts = [len(MAGIC)]
    for chunk in manifest.chunks:
        starts.append(starts[-1] + chunk.size)
    return starts


def end_of_rows(manifest: Manifest) -> int:
    """Where the manifest begins in a file."""
    return chunk_starts(manifest)[CHUNKS] + manifest.block_size + manifest.steps_size


def name_of(height: int) -> str:
    return f"{height}{SUFFIX}"


def heights_in(folder: Path) -> list[int]:
    """Heights of the snapshots in a folder, the newest first."""
    if not folder.is_dir():
        return []
    names = [path.name.removesuffix(SUFFIX) for path in folder.iterdir() if path.name.endswith(SUFFIX)]
    return sorted((int(name) for name in names if name.isdigit()), reverse=True)
