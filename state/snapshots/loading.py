"""Makes a database of a snapshot: whole at the end or none, in the memory of one chunk, going on after a kill where it was.

Every chunk is checked before it is written. Whether the header is final, and which steps of light clients are true, the caller
has found out; what is written here follows from that.
"""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Protocol

from omnitensor.protocol.codec import Record, decode, encode
from omnitensor.protocol.errors import CodecError, ProtocolError
from omnitensor.protocol.limits import MIB
from omnitensor.protocol.types import U32, ZERO_HASH, HashF, Height
from state import history, indexing, opening, steps
from state.blocks import PreparedBlock, decode_block, root_of_transactions
from state.chain import Chain
from state.execution import history_rows
from state.genesis import Genesis
from state.records import HashRow, HeadRow, HeightRow, PageRow, StepRow
from state.schema import BLOCKS, HEAD, HEIGHTS, HISTORY, KEPT, PAGES, PROOFS
from state.snapshots.chunks import read_chunk
from state.snapshots.manifest import CHUNKS, Manifest, SnapshotError, manifest_id, refused, top_pages
from state.store import Batch, Store, move_in

PROGRESS_KEY: Final = b"\x00loading"
STEPS_PER_WRITE: Final = 256
BYTES_PER_WRITE: Final = 4 * MIB
"""Chunks are gathered up to this before they are written and synced together."""

Tell = Callable[[int, int], None]
"""Hears how many chunks are in, and of how many."""


class Source(Protocol):
    """Where a snapshot's parts come from: a file."""

    @property
    def encoded(self) -> bytes:
        """The manifest's bytes."""

    @property
    def manifest(self) -> Manifest: ...

    def chunk(self, index: int) -> bytes: ...

    def block(self) -> bytes: ...


class Progress(Record, frozen=True):
    """How far a database is that is being made."""

    snapshot: HashF
    next_chunk: U32


_NONE: Final = Progress(ZERO_HASH, 0)


def made_path(chain_path: Path) -> Path:
    """Where a database is made that is to take the place of another."""
    return chain_path.with_name(chain_path.name + ".made")


def move(chain_path: Path) -> None:
    """Puts a database that was made into the place of the chain, which is empty."""
    move_in(made_path(chain_path), chain_path)


def building_path(path: Path) -> Path:
    """Where a database is filled that belongs at a path."""
    return path.with_name(path.name + ".loading")


def load(
    source: Source,
    believed: Iterable[StepRow],
    genesis: Genesis,
    path: Path,
    tell: Tell = lambda done, all_: None,
) -> None:
    """Makes the database of a final snapshot at a path where there is none.

    ``believed`` are the steps to keep, the first with its voters. Raises SnapshotError: a part of the snapshot is not what the
    manifest says. What was made of it is left for another try with the same snapshot, and removed before one with another.
    """
    if source.manifest.genesis_hash != genesis.hash:
        raise SnapshotError(
            "the snapshot is of another chain",
            value=source.manifest.genesis_hash,
            remedy="give the snapshot of this genesis' chain, or the genesis of this snapshot's chain",
        )
    if path.exists():
        raise SnapshotError(
            "there is a database already", value=path, remedy="move it away first, or give --replace"
        )
    building = building_path(path)
    store = _begun(building, source, genesis)
    try:
        if not store.finished:
            _fill(store, source, believed, genesis, tell)
    finally:
        store.close()
    _check(building, genesis, source.manifest)
    move_in(building, path)


def is_begun(path: Path) -> bool:
    """Whether a database for this place was begun and is not finished."""
    return building_path(path).exists()


def abandon(path: Path) -> None:
    """Throws away what was begun for this place."""
    shutil.rmtree(building_path(path), ignore_errors=True)


def _begun(building: Path, source: Source, genesis: Genesis) -> Store:
    """The database under way, of this very snapshot; begun anew where what is there is another's, or damaged."""
    wanted, stamp = manifest_id(source.encoded), opening.stamp_of(genesis)
    if building.exists():
        try:
            store = Store.building(building, stamp)
        except ProtocolError:
            shutil.rmtree(building)
        else:
            if _progress(store).snapshot == wanted:
                return store
            store.close()
            shutil.rmtree(building)
    store = Store.building(building, stamp)
    store.write([_progress_row(Progress(wanted, 0))])
    return store


def _fill(store: Store, source: Source, believed: Iterable[StepRow], genesis: Genesis, tell: Tell) -> None:
    manifest = source.manifest
    block = check_block(source)
    progress = _progress(store)
    rows, size = Batch(), 0
    for index in range(progress.next_chunk, CHUNKS):
        info = manifest.chunks[index]
        chunk = read_chunk(index, info, source.chunk(index))
        rows += chunk.rows
        rows += [_page_row(place, entries) for place, entries in chunk.pages]
        size += info.size
        if size >= BYTES_PER_WRITE or index == CHUNKS - 1:
            # One synced batch with how far it has come: what it says is there is there, also after a power cut.
            store.write([*rows, _progress_row(Progress(progress.snapshot, index + 1))])
            tell(index + 1, CHUNKS)
            rows, size = [], 0
    _write_steps(store, believed)
    last: Batch = [_page_row(place, entries) for place, entries in top_pages(manifest.chunks)]
    last += opening.genesis_rows(genesis)
    last += _rows_of_block(manifest, block)
    store.write(last)
    indexing.rebuild(store)
    store.finish([])


def _rows_of_block(manifest: Manifest, block: PreparedBlock) -> Batch:
    height = Height(manifest.header.height)
    below = manifest.below
    whole = history.appended(below, height, block.hash)
    return [
        (BLOCKS.full_key(height), block.encoded),
        (HEIGHTS.full_key(block.hash), encode(HeightRow(height))),
        (PROOFS.full_key(height), encode(manifest.proof)),
        # The block itself is here, and what executing it said is not: nobody may be told that it said nothing.
        (KEPT.full_key(b""), encode(HeightRow(Height(height + 1)))),
        *[
            (HISTORY.full_key(level, index), encode(HashRow(node)))
            for level, index, node in history.peaks(below, height)
        ],
        *history_rows(below, height, block.hash),
        (HEAD.full_key(b""), encode(HeadRow(height, block.hash, whole))),
    ]


def _write_steps(store: Store, believed: Iterable[StepRow]) -> None:
    rows: Batch = []
    for step in believed:
        rows.append(steps.row_of(step))
        if len(rows) == STEPS_PER_WRITE:
            store.write(rows)
            rows = []
    store.write(rows)


def check_block(source: Source) -> PreparedBlock:
    """The boundary block, which is the header's. Raises SnapshotError."""
    return _prepared(source.block(), source.manifest)


def checked_block(encoded: bytes, manifest: Manifest) -> bytes:
    """The bytes of the boundary block, if that is what they are. Raises SnapshotError."""
    return _prepared(encoded, manifest).encoded


def _prepared(encoded: bytes, manifest: Manifest) -> PreparedBlock:
    try:
        block = decode_block(encoded)
    except ProtocolError as error:
        raise refused(f"the block can't be read: {error.reason}", manifest.height) from error
    if block.header != manifest.header:
        raise refused("the block is not the header's", block.hash)
    if root_of_transactions(block.transactions) != manifest.header.transactions_root:
        raise refused("the block's transactions are not those of its header", block.hash)
    return block


def _check(building: Path, genesis: Genesis, manifest: Manifest) -> None:
    """Opens the database as a node does before it is put into its place."""
    chain = Chain.open(building, genesis)
    found = chain.head.hash
    chain.close()
    assert found == manifest.header.hash, "the head is the boundary's block"


def _progress(store: Store) -> Progress:
    data = store.get(PROGRESS_KEY)
    try:
        return _NONE if data is None else decode(Progress, data)
    except CodecError:
        return _NONE


def _progress_row(progress: Progress) -> tuple[bytes, bytes]:
    return PROGRESS_KEY, encode(progress)


def _page_row(place: bytes, entries: bytes) -> tuple[bytes, bytes]:
    return PAGES.prefix_bytes + place, encode(PageRow(entries))
