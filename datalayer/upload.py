"""One upload on its way: which chunks are here, on disk and in memory. Knows a folder of its own; nothing of quotas or owners.

Its folder holds ``order`` (what is to come), ``data`` (the bytes, with holes) and ``progress``: one slot a chunk with its
leaf hash and a checksum, written after the chunk is synced. A slot torn by a crash is no slot, and the chunk comes again.
"""

from __future__ import annotations

import os
import threading
from hashlib import sha256
from pathlib import Path
from typing import Final
from zlib import crc32

from datalayer import files
from omnitensor.protocol import merkle
from omnitensor.protocol.codec import Record, decode, encode
from omnitensor.protocol.content import ContentId, chunk_count
from omnitensor.protocol.errors import ProtocolError, StorageError
from omnitensor.protocol.limits import chunk_bytes

SLOT_BYTES: Final = 36
EMPTY_SLOT: Final = bytes(SLOT_BYTES)

Range = tuple[int, int]
"""Chunks from the first to before the second."""


class ContentError(ProtocolError):
    """Content or a chunk that can't be taken or given: its code says why."""

    code = "content"


class DamagedError(StorageError):
    """Stored content of which the disk gives other bytes than were put there, or none."""

    code = "damaged"


class Order(Record, frozen=True):
    """What an upload is to bring. ``owner`` is an address, or empty for the node's own fetches."""

    content: ContentId
    owner: bytes
    leaf_hashes: bytes
    """32 bytes a chunk where the uploader said them, else empty."""


class Stored(Record, frozen=True):
    """What is beside stored bytes: the content's id and its leaf hashes, which prove themselves by the chunk root."""

    content: ContentId
    leaf_hashes: bytes


def split_hashes(joined: bytes) -> tuple[bytes, ...]:
    return tuple(joined[at : at + 32] for at in range(0, len(joined), 32))


def are_leaves_of(content: ContentId, leaf_hashes: tuple[bytes, ...]) -> bool:
    """Whether these are the content's leaf hashes."""
    return (
        len(leaf_hashes) == content.chunks
        and all(len(leaf) == 32 for leaf in leaf_hashes)
        and merkle.root(leaf_hashes) == content.chunk_root
    )


def read_meta(raw: bytes, chunk_root: bytes) -> Stored:
    """What is beside the bytes stored under a chunk root. Raises DamagedError where it is not that."""
    try:
        meta = decode(Stored, raw)
    except ProtocolError as error:
        raise _damaged(chunk_root) from error
    if meta.content.chunk_root != chunk_root or not are_leaves_of(
        meta.content, split_hashes(meta.leaf_hashes)
    ):
        raise _damaged(chunk_root)
    return meta


def _damaged(chunk_root: bytes) -> DamagedError:
    return DamagedError(
        "the leaf hashes of stored content are damaged", value=chunk_root, remedy="drop it and fetch it again"
    )


def ranges_of(indexes: list[int]) -> tuple[Range, ...]:
    """Ascending indexes as ranges."""
    ranges: list[Range] = []
    for index in indexes:
        if ranges and ranges[-1][1] == index:
            ranges[-1] = (ranges[-1][0], index + 1)
        else:
            ranges.append((index, index + 1))
    return tuple(ranges)


class Upload:
    """An upload's folder. Chunks may come in any order, again, and from several threads."""

    def __init__(self, folder: Path) -> None:
        """Opens what ``create`` made. Raises StorageError where the folder does not hold a whole order."""
        self.folder: Final = folder
        self.lock: Final = threading.Lock()
        self.finishing = False
        self.users = 0
        """Threads that are at it; while there are any it is the only object of its folder."""
        try:
            self.order: Final = decode(Order, (folder / "order").read_bytes())
            progress = (folder / "progress").read_bytes()
        except (OSError, ProtocolError) as error:
            raise StorageError("an upload's folder is damaged", value=folder) from error
        self.content: Final = self.order.content
        self._leaves: Final[list[bytes | None]] = [None] * self.content.chunks
        for index in range(self.content.chunks):
            slot = progress[index * SLOT_BYTES : (index + 1) * SLOT_BYTES]
            if slot != EMPTY_SLOT and slot == _slot(index, slot[:32]):
                self._leaves[index] = slot[:32]

    @staticmethod
    def create(folder: Path, order: Order) -> None:
        """Fills a folder that nobody sees yet."""
        folder.mkdir()
        for name, size in (("data", order.content.size), ("progress", order.content.chunks * SLOT_BYTES)):
            with (folder / name).open("wb") as file:
                file.truncate(size)
                os.fsync(file.fileno())
        files.write_new(folder / "order", encode(order))
        files.sync_folder(folder)

    @property
    def missing(self) -> tuple[Range, ...]:
        return ranges_of([index for index, leaf in enumerate(self._leaves) if leaf is None])

    def expected_leaf(self, index: int) -> bytes | None:
        """The leaf hash that chunk ``index`` must have, where it is known before the last chunk is here."""
        if self.content.chunks == 1:
            return self.content.chunk_root
        known = self.order.leaf_hashes
        return known[index * 32 : (index + 1) * 32] if known else None

    def put(self, index: int, data: bytes) -> bool:
        """Takes a chunk; False when it was here already. Raises ContentError for any but the right one (where that is known)."""
        self._check_shape(index, data)
        leaf = merkle.leaf_hash(data)
        expected = self.expected_leaf(index)
        if expected is not None and leaf != expected:
            raise ContentError(
                f"chunk {index} is not the one that was announced",
                value=leaf,
                remedy="read the file again and send this chunk again",
                code="wrong_chunk",
            )
        with self.lock:
            if self.finishing:
                raise ContentError(
                    "this upload is being finished", value=index, remedy="wait for its outcome"
                )
            if self._leaves[index] == leaf:
                return False
            # While other bytes take a chunk's place, its slot says nothing.
            if self._leaves[index] is not None:
                self._forget(index)
            files.write_at(self.folder / "data", data, index * chunk_bytes, sync=True)
            files.write_at(self.folder / "progress", _slot(index, leaf), index * SLOT_BYTES, sync=False)
            self._leaves[index] = leaf
        return True

    def verify(self) -> tuple[bytes, ...]:
        """The leaf hashes, after checking all bytes on disk by chunk root and SHA-256; the caller set ``finishing``.

        Raises ContentError: code ``incomplete`` with the missing chunks; ``wrong_content`` where the bytes are not what was
        announced. Chunks that the disk did not keep become missing again.
        """
        if self.missing:
            raise _incomplete(self.missing)
        leaves = tuple(leaf for leaf in self._leaves if leaf is not None)
        if merkle.root(leaves) != self.content.chunk_root:
            raise _wrong_content("chunk root", merkle.root(leaves))
        whole, damaged = sha256(), []
        with (self.folder / "data").open("rb") as file:
            for index, leaf in enumerate(leaves):
                data = file.read(chunk_bytes)
                whole.update(data)
                if merkle.leaf_hash(data) != leaf:
                    damaged.append(index)
        if damaged:
            for index in damaged:
                self._forget(index)
            raise _incomplete(self.missing)
        if whole.digest() != self.content.sha256:
            raise _wrong_content("SHA-256", whole.digest())
        files.sync_file(self.folder / "data")
        return leaves

    def _check_shape(self, index: int, data: bytes) -> None:
        if not 0 <= index < chunk_count(self.content.size):
            raise ContentError(
                "no such chunk",
                value=index,
                remedy=f"chunks are 0 to {self.content.chunks - 1}",
                code="wrong_chunk",
            )
        if len(data) != self.content.chunk_size(index):
            raise ContentError(
                f"chunk {index} has the wrong length",
                value=f"{len(data)} bytes",
                remedy=f"it has {self.content.chunk_size(index)} bytes",
                code="wrong_chunk",
            )

    def _forget(self, index: int) -> None:
        self._leaves[index] = None
        files.write_at(self.folder / "progress", EMPTY_SLOT, index * SLOT_BYTES, sync=True)


def _slot(index: int, leaf: bytes) -> bytes:
    return leaf + crc32(index.to_bytes(4, "big") + leaf).to_bytes(4, "big")


def _incomplete(missing: tuple[Range, ...]) -> ContentError:
    shown = ", ".join(f"{first}" if first + 1 == end else f"{first}-{end - 1}" for first, end in missing[:8])
    return ContentError(
        "chunks are missing", value=shown, remedy="send them, then finish again", code="incomplete"
    )


def _wrong_content(what: str, found: bytes) -> ContentError:
    return ContentError(
        f"the bytes do not have the {what} that was announced",
        value=found,
        remedy="begin again; the upload is dropped",
        code="wrong_content",
    )
