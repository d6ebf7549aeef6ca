"""Content ids and chunk roots: the name of a file is its bytes. Knows no store, no media type and no network.

A file is cut into chunks of `limits.chunk_bytes`; the chunk root is the RFC 6962 root over them (one leaf a chunk,
none for an empty file), so that a chunk is verifiable alone. As text a file has the CIDv1 that IPFS gives its bytes
as one raw block.
"""

from __future__ import annotations

from base64 import b32encode
from hashlib import sha256
from typing import Annotated, Final

from msgspec import Meta

from omnitensor.protocol import limits, merkle
from omnitensor.protocol.codec import Record
from omnitensor.protocol.errors import KeyFormatError
from omnitensor.protocol.types import Hash, HashF

CID_CHARS: Final = 59
"""Length of every CIDv1 of a raw block hashed by sha2-256, in base32."""

# The binary form of such a CID before the digest: version 1, raw (0x55), sha2-256 (0x12), 32 bytes of digest.
_CID_PREFIX: Final = bytes([0x01, 0x55, 0x12, 0x20])


class ContentId(Record, frozen=True):
    """What a file is, apart from its meaning: 32-byte SHA-256, size in bytes, RFC 6962 root over its chunks."""

    sha256: HashF
    size: Annotated[int, Meta(ge=0, le=limits.content_bytes_max)]
    chunk_root: HashF

    @property
    def chunks(self) -> int:
        """The number of chunks."""
        return chunk_count(self.size)

    @property
    def cid(self) -> str:
        """The CIDv1 of the whole bytes."""
        return cid_v1(self.sha256)

    def chunk_size(self, index: int) -> int:
        """Bytes in chunk `index`: a full chunk, but for the last."""
        assert 0 <= index < self.chunks, f"no chunk {index} in {self.chunks}"
        return min(limits.chunk_bytes, self.size - index * limits.chunk_bytes)


class ContentHasher:
    """The content id of bytes that arrive in pieces of any size, in one pass."""

    __slots__ = ("_chunk", "_chunk_filled", "_leaf_hashes", "_size", "_whole")

    def __init__(self) -> None:
        self._whole = sha256()
        self._size = 0
        self._leaf_hashes: list[bytes] = []
        self._chunk = sha256(b"\x00")
        self._chunk_filled = 0

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._size

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the file."""
        view = memoryview(data).cast("B")
        self._whole.update(view)
        self._size += len(view)
        while len(view):
            part = view[: limits.chunk_bytes - self._chunk_filled]
            self._chunk.update(part)
            self._chunk_filled += len(part)
            view = view[len(part) :]
            if self._chunk_filled == limits.chunk_bytes:
                self._close_chunk()

    def finish(self) -> tuple[ContentId, tuple[bytes, ...]]:
        """The content id and the leaf hash of each chunk. Call it once, after the last `update`."""
        if self._chunk_filled:
            self._close_chunk()
        leaf_hashes = tuple(self._leaf_hashes)
        found = ContentId(Hash(self._whole.digest()), self._size, Hash(merkle.root(leaf_hashes)))
        return found, leaf_hashes

    def _close_chunk(self) -> None:
        self._leaf_hashes.append(self._chunk.digest())
        self._chunk = sha256(b"\x00")
        self._chunk_filled = 0


def content_id_of(data: bytes) -> ContentId:
    """The content id of bytes at hand."""
    hasher = ContentHasher()
    hasher.update(data)
    return hasher.finish()[0]


def chunk_count(size: int) -> int:
    """Chunks of a file of `size` bytes."""
    return -(-size // limits.chunk_bytes)


def verify_chunk(content: ContentId, index: int, data: bytes, proof: list[bytes] | tuple[bytes, ...]) -> bool:
    """Whether `data` is chunk `index` of `content`, by its Merkle path to the chunk root."""
    if not 0 <= index < content.chunks or len(data) != content.chunk_size(index):
        return False
    return merkle.verify_inclusion(merkle.leaf_hash(data), index, content.chunks, proof, content.chunk_root)


def cid_v1(digest: bytes) -> str:
    """The CIDv1 text (raw, sha2-256, base32) of a 32-byte SHA-256."""
    assert len(digest) == 32, f"a SHA-256 has 32 bytes, not {len(digest)}"
    # Multibase's base32 (RFC 4648, lower case, no padding) behind its "b". Lists show many: the library takes 400 µs for one.
    return "b" + b32encode(_CID_PREFIX + digest).decode("ascii").lower().rstrip("=")


def parse_cid(text: str) -> Hash:
    """The SHA-256 that a CIDv1 text names. Raises KeyFormatError for any other text, other CIDs included."""
    from multiformats import CID

    text = text.strip()
    try:
        # Length first: the library is not given texts of any size.
        found = bytes(CID.decode(text)) if len(text) == CID_CHARS else b""
    except (ValueError, KeyError, TypeError) as error:
        raise _not_a_cid(text) from error
    if len(found) != 36 or found[:4] != _CID_PREFIX or cid_v1(found[4:]) != text:
        raise _not_a_cid(text)
    return Hash(found[4:])


def _not_a_cid(text: str) -> KeyFormatError:
    return KeyFormatError(
        "not the CID of a file",
        value=text,
        remedy=f"a CID has {CID_CHARS} characters and begins with bafkrei",
    )
