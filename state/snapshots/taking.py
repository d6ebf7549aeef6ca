"""Makes a snapshot of a chain that goes on: reads the rows as they were at a boundary, in bounded memory, on a thread of its own.

The rows come in order of their keys and belong in order of their hashes: they are sorted into 256 heaps on disk on the way.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from omnitensor.protocol import limits
from omnitensor.protocol.codec import encode
from omnitensor.protocol.epochs import is_boundary
from omnitensor.protocol.errors import StorageError
from omnitensor.protocol.limits import MIB
from omnitensor.protocol.types import Epoch, Hash
from state.reader import Reader
from state.snapshots.chunks import Row, encode_chunk
from state.snapshots.files import MAGIC, SUFFIX, name_of
from state.snapshots.manifest import CHUNKS, VERSION, ChunkInfo, Manifest, SnapshotError, state_root
from state.store import DamagedStoreError, sync_folder

HEAPED_BYTES_MAX: Final = 32 * MIB
"""Rows in memory before they go to their heaps on disk."""
ROWS_PER_PAUSE: Final = 500

_PAIRS: Final = msgspec.msgpack.Decoder(list[Row])

Pause = Callable[[], None]
"""Called every few hundred rows: lets the node's own work pass, and raises to stop."""


def take(reader: Reader, genesis_hash: Hash, folder: Path, pause: Pause = lambda: None) -> Path:
    """Writes the snapshot of a reader's state into a folder, whole or not at all; returns its path.

    Raises SnapshotError where the head is no boundary with a proof, DamagedStoreError where rows and root do not agree.
    """
    head = reader.head
    if not is_boundary(head.height, reader.params()) or head.proof is None:
        raise SnapshotError(
            "a snapshot is of an epoch's last block, with its proof",
            value=f"height {head.height}",
            remedy="let the node run over the next boundary: it takes snapshots by itself (snapshots.every)",
        )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name_of(head.height)
    if path.exists():
        return path
    building, heaps = path.with_suffix(".new"), folder / f"{head.height}.heaps"
    shutil.rmtree(heaps, ignore_errors=True)
    heaps.mkdir()
    try:
        sorter = _Heaps(heaps)
        for place, row in enumerate(reader.state_rows()):
            if place % ROWS_PER_PAUSE == 0:
                pause()
            sorter.add(row)
        _write(building, reader, genesis_hash, sorter, pause)
        building.rename(path)
        sync_folder(folder)
    finally:
        shutil.rmtree(heaps, ignore_errors=True)
        building.unlink(missing_ok=True)
    return path


def clean(folder: Path) -> None:
    """Removes what a kill has left half made."""
    if folder.is_dir():
        for path in folder.iterdir():
            if path.suffix == ".heaps":
                shutil.rmtree(path, ignore_errors=True)
            elif path.suffix == ".new":
                path.unlink(missing_ok=True)


def keep_newest(folder: Path, count: int) -> list[int]:
    """Removes all but the newest snapshots in a folder; which heights went."""
    heights = sorted(
        (int(p.name.removesuffix(SUFFIX)) for p in folder.glob(f"*{SUFFIX}") if p.stem.isdigit()),
        reverse=True,
    )
    for height in heights[count:]:
        (folder / name_of(height)).unlink(missing_ok=True)
    return heights[count:]


class _Heaps:
    """Rows by the first byte of their hashed keys: the latest in memory, the others in a file a chunk."""

    def __init__(self, folder: Path) -> None:
        self._folder: Final = folder
        self._rows: list[list[Row]] = [[] for _ in range(CHUNKS)]
        self._bytes = 0

    def add(self, row: Row) -> None:
        self._rows[sha256(row[0]).digest()[0]].append(row)
        self._bytes += len(row[0]) + len(row[1]) + 150
        if self._bytes > HEAPED_BYTES_MAX:
            self._spill()

    def chunk(self, index: int) -> list[tuple[bytes, Row]]:
        """A chunk's rows behind their hashed keys, in order; forgets them."""
        rows = [row for part in self._spilled(index) for row in part]
        rows += self._rows[index]
        self._rows[index] = []
        return sorted([(sha256(row[0]).digest(), row) for row in rows])

    def _spill(self) -> None:
        for index, rows in enumerate(self._rows):
            if rows:
                data = encode(rows)
                with (self._folder / str(index)).open("ab") as heap:
                    heap.write(len(data).to_bytes(8, "big") + data)
        self._rows = [[] for _ in range(CHUNKS)]
        self._bytes = 0

    def _spilled(self, index: int) -> Iterator[list[Row]]:
        path = self._folder / str(index)
        if not path.exists():
            return
        with path.open("rb") as heap:
            while head := heap.read(8):
                yield _PAIRS.decode(heap.read(int.from_bytes(head, "big")))
        path.unlink()


def _write(path: Path, reader: Reader, genesis_hash: Hash, heaps: _Heaps, pause: Pause) -> None:
    head = reader.head
    block, proof = reader.encoded_block(head.height), head.proof
    assert block is not None and proof is not None, "the head has a block, and a boundary's a proof"
    infos: list[ChunkInfo] = []
    with path.open("wb") as file:
        file.write(MAGIC)
        for index in range(CHUNKS):
            pause()
            data, info = encode_chunk(heaps.chunk(index))
            if len(data) > limits.snapshot_chunk_bytes_max:
                raise StorageError(
                    "the state is too large for a snapshot", value=f"{len(data)} bytes a chunk"
                )
            file.write(data)
            infos.append(info)
        if state_root(infos) != head.header.state_root:
            raise DamagedStoreError(
                "the rows of the state are not those that the head commits to",
                value=head.height,
                remedy="see: omnitensor-node doctor",
            )
        file.write(block)
        steps_size = 0
        for epoch in range(reader.first_step, head.header.epoch + 1):
            step = reader.step(Epoch(epoch))
            if step is None:
                raise SnapshotError("a step of light clients is missing", value=epoch)
            data = encode(step)
            file.write(len(data).to_bytes(4, "big") + data)
            steps_size += 4 + len(data)
        manifest = encode(
            Manifest(
                version=VERSION,
                genesis_hash=genesis_hash,
                header=head.header,
                proof=proof,
                below=reader.history_below(),
                block_size=len(block),
                first_step=reader.first_step,
                steps_size=steps_size,
                chunks=tuple(infos),
            )
        )
        file.write(manifest + len(manifest).to_bytes(8, "big") + sha256(manifest).digest())
        file.flush()
        os.fsync(file.fileno())
