"""One chunk of a snapshot: its rows as bytes, and whether they are exactly those that the manifest names. Knows no file."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Final

import msgspec

from omnitensor.protocol.codec import encode
from omnitensor.protocol.state_proof import HASH_BYTES, PAGE_ENTRIES_MAX
from state import trie
from state.snapshots.manifest import DEPTH, ChunkInfo, Pages, refused

Row = tuple[bytes, bytes]
"""Key with its table's prefix byte, and encoded value."""

_ROWS: Final = msgspec.msgpack.Decoder(tuple[Row, ...])


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk that was checked: rows to write, and the trie's pages over them; none where they are in the manifest."""

    rows: Sequence[Row]
    pages: Pages


def encode_chunk(rows: Sequence[tuple[bytes, Row]]) -> tuple[bytes, ChunkInfo]:
    """The bytes of a chunk, and what a manifest says of it; ``rows`` by their hashed keys, in order."""
    entries = [hashed + sha256(value).digest() for hashed, (_, value) in rows]
    data = encode(tuple([row for _, row in rows]))
    if len(entries) <= PAGE_ENTRIES_MAX:
        node = b"".join(entries)
    else:
        node = trie.built_below(entries, DEPTH)[0].hash
    return data, ChunkInfo(len(entries), len(data), node)


def read_chunk(index: int, info: ChunkInfo, data: bytes) -> Chunk:
    """The rows in a chunk's bytes. Raises SnapshotError where they are not all of those under the node, and no others."""
    where = f"chunk {index}"
    if len(data) != info.size:
        raise refused("a chunk has another size than the manifest says", f"{where}, {len(data)} bytes")
    try:
        rows = _ROWS.decode(data)
    except (msgspec.MsgspecError, RecursionError, OverflowError) as error:
        raise refused("a chunk can't be read", where) from error
    if len(rows) != info.rows:
        raise refused("rows of a chunk are missing or too many", f"{where}, {len(rows)} of {info.rows}")
    if encode(rows) != data:
        raise refused("a chunk is not in its one encoding", where)
    entries = [sha256(key).digest() + sha256(value).digest() for key, value in rows]
    if any(entry[0] != index for entry in entries):
        raise refused("a row is in another chunk than its key's", where)
    if any(below[:HASH_BYTES] >= above[:HASH_BYTES] for below, above in pairwise(entries)):
        raise refused("rows of a chunk are out of order", where)
    if len(entries) <= PAGE_ENTRIES_MAX:
        if b"".join(entries) != info.node:
            raise refused("a chunk's rows are not those under the state root", where)
        return Chunk(rows, [])
    node, pages = trie.built_below(entries, DEPTH)
    if node.hash != info.node:
        raise refused("a chunk's rows are not those under the state root", where)
    return Chunk(rows, [(place, page.entries or b"") for place, page in pages.items() if page is not None])
