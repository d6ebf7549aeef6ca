"""What a snapshot holds, and how its 256 chunks make the state root of the boundary that it is of. Knows bytes and hashes.

A chunk is every row whose hashed key begins with one byte. Its node is the trie's at depth 8; where a chunk has no more rows than
a page has room for, the trie may have a page above that depth, so the manifest holds the chunk's entries themselves.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated, Final

from msgspec import Meta

from omnitensor.protocol import limits
from omnitensor.protocol.blocks import Header
from omnitensor.protocol.codec import Record, decode
from omnitensor.protocol.errors import CodecError, LimitError, StorageError
from omnitensor.protocol.state_proof import (
    DEPTH_MAX,
    ENTRY_BYTES,
    HASH_BYTES,
    PAGE_BYTES_MAX,
    PAGE_ENTRIES_MAX,
    inner_hash,
    page_hash,
)
from omnitensor.protocol.types import U16, U32, U64, EpochF, Hash, HashF
from omnitensor.protocol.votes import FinalityProof
from state import history, trie

VERSION: Final = 1
CHUNKS: Final = 256
DEPTH: Final = 8
"""Bits of a hashed key that name a chunk."""

Pages = list[tuple[bytes, bytes]]
"""Pages of the trie as place and entries."""


class SnapshotError(StorageError):
    """A snapshot that is not what it should be, or can't be had."""

    code = "snapshot"


class ChunkInfo(Record, frozen=True):
    """What a chunk must be."""

    rows: U64
    size: U32
    """Bytes of the chunk in the file."""
    node: Annotated[bytes, Meta(max_length=PAGE_BYTES_MAX)]
    """With more rows than a page has: the hash of the trie's node. Else the entries, 64 bytes a row."""


class Manifest(Record, frozen=True):
    """A snapshot but for its bytes."""

    version: U16
    genesis_hash: HashF
    header: Header
    """Of the boundary block, whose ``state_root`` all chunks are under."""
    proof: FinalityProof
    below: Annotated[tuple[HashF, ...], Meta(max_length=64)]
    """Roots of the perfect subtrees over the hashes of all blocks below, the largest first: the tree goes on from there."""
    block_size: U32
    first_step: EpochF
    """The first epoch over which the snapshot has the step of light clients; the last is the boundary's own."""
    steps_size: U64
    chunks: Annotated[tuple[ChunkInfo, ...], Meta(min_length=CHUNKS, max_length=CHUNKS)]

    @property
    def height(self) -> int:
        return self.header.height

    @property
    def rows(self) -> int:
        return sum(chunk.rows for chunk in self.chunks)


def refused(reason: str, value: object = None) -> SnapshotError:
    """The error for a snapshot that was changed, or never was one."""
    return SnapshotError(reason, value=value, remedy="take the snapshot from somebody else")


def read_manifest(data: bytes) -> Manifest:
    """A manifest in good form, whose chunks are under its own header's root. Whether that header is final it does not say.

    Raises SnapshotError naming what is wrong.
    """
    try:
        manifest = decode(Manifest, data, limits.snapshot_manifest_bytes_max)
    except (CodecError, LimitError) as error:
        raise refused(f"the manifest can't be read: {error.reason}", error.value) from error
    if manifest.version != VERSION:
        raise SnapshotError(
            "the snapshot is of another version",
            value=manifest.version,
            remedy=f"this version of the software reads version {VERSION}",
        )
    header = manifest.header
    if header.next_validators_hash == header.validators_hash:
        raise refused("the header is not of an epoch's last block", header.height)
    if manifest.proof.candidate.block_hash != header.hash:
        raise refused("the proof of finality is another block's", manifest.proof.candidate.block_hash)
    if (
        len(manifest.below) != header.height.bit_count()
        or history.root_of(manifest.below) != header.history_root
    ):
        raise refused("the tree over all blocks below is not the header's", header.height)
    if not 0 < manifest.block_size <= limits.block_bytes_max:
        raise refused("the block's size is impossible", manifest.block_size)
    for index, chunk in enumerate(manifest.chunks):
        _check_form(index, chunk)
    root = state_root(manifest.chunks)
    if root != header.state_root:
        raise refused("the chunks do not make the state root of the header", root)
    return manifest


def _check_form(index: int, chunk: ChunkInfo) -> None:
    small = chunk.rows <= PAGE_ENTRIES_MAX
    if len(chunk.node) != (ENTRY_BYTES * chunk.rows if small else HASH_BYTES):
        raise refused("a chunk's node has the wrong length", f"chunk {index}")
    if chunk.size > limits.snapshot_chunk_bytes_max:
        raise refused("a chunk is too large", f"chunk {index}, {chunk.size} bytes")
    entries = trie.split(chunk.node) if small else []
    if any(entry[0] != index for entry in entries) or sorted(entries) != entries:
        raise refused("entries of a chunk are out of place", f"chunk {index}")


def state_root(chunks: Sequence[ChunkInfo]) -> Hash:
    """The root of the trie that has these chunks."""
    return _walk(chunks, 0, CHUNKS, 0, [])


def top_pages(chunks: Sequence[ChunkInfo]) -> Pages:
    """The trie's pages that are whole in the manifest: those of chunks that are small enough, several of them in one perhaps."""
    found: Pages = []
    _walk(chunks, 0, CHUNKS, 0, found)
    return found


def _walk(chunks: Sequence[ChunkInfo], low: int, high: int, depth: int, pages: Pages) -> Hash:
    if sum(chunk.rows for chunk in chunks[low:high]) <= PAGE_ENTRIES_MAX:
        entries = b"".join(chunk.node for chunk in chunks[low:high])
        if entries:
            pages.append((trie.place_of(low << (DEPTH_MAX - DEPTH), depth), entries))
        return Hash(page_hash(entries))
    if high - low == 1:
        return Hash(chunks[low].node)
    middle = (low + high) // 2
    left = _walk(chunks, low, middle, depth + 1, pages)
    return Hash(inner_hash(left, _walk(chunks, middle, high, depth + 1, pages)))


def manifest_id(encoded: bytes) -> Hash:
    """What names one snapshot and no other."""
    return Hash(sha256(b"snapshot" + encoded).digest())
