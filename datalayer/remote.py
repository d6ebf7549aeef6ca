"""Content in an object store beside the disk: S3 and whatever else fsspec knows, by URL. Knows names and bytes; no ledger.

One object a content, named by its chunk root, and its leaf hashes in another, which is written last. What comes back is checked
like what comes from a peer: chunk by chunk against the chunk root. Methods block on the network, from any thread; memory is
bounded by a chunk.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import fsspec

from datalayer.upload import Stored, are_leaves_of, split_hashes
from omnitensor.protocol import limits, merkle
from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.errors import ProtocolError, StorageError
from omnitensor.protocol.types import Hash

DATA: Final = ".data"
LEAVES: Final = ".leaves"


class RemoteError(StorageError):
    """An object store that can't be reached, refuses, or gives back other bytes than were put there."""

    code = "remote"


class RemoteStore:
    """A folder of an object store, as ``s3://bucket/folder`` or ``file:///mnt/content``."""

    def __init__(self, url: str) -> None:
        """Credentials come from where the store's library looks. Raises RemoteError where no such store is installed."""
        self.url: Final = url
        try:
            self._fs, self._folder = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise RemoteError(
                f"not the URL of an object store that can be used here: {error}",
                value=url,
                remedy="write it like s3://bucket/folder, and install the store's package (for S3: omnitensor[s3])",
            ) from error

    def has(self, chunk_root: Hash) -> bool:
        """Whether content is there, whole. Raises RemoteError."""
        return bool(self._asked(lambda: self._fs.exists(self._name(chunk_root, LEAVES))))

    def put(self, content: ContentId, leaf_hashes: tuple[bytes, ...], path: Path) -> None:
        """Sends content from a file; what is there already is sent again. Raises RemoteError."""
        meta = encode(Stored(content, b"".join(leaf_hashes)))

        def send() -> None:
            self._fs.makedirs(self._name(content.chunk_root, "").rpartition("/")[0], exist_ok=True)
            self._fs.put_file(str(path), self._name(content.chunk_root, DATA))
            # The leaf hashes last: they say that the bytes are whole.
            self._fs.pipe_file(self._name(content.chunk_root, LEAVES), meta)

        self._asked(send)

    def leaf_hashes(self, content: ContentId) -> tuple[bytes, ...]:
        """Leaf hash of each chunk, checked by the chunk root. Raises RemoteError."""
        raw: bytes = self._asked(lambda: self._fs.cat_file(self._name(content.chunk_root, LEAVES)))
        try:
            meta = decode(Stored, raw)
        except ProtocolError as error:
            raise self._damaged(content) from error
        hashes = split_hashes(meta.leaf_hashes)
        if meta.content != content or not are_leaves_of(content, hashes):
            raise self._damaged(content)
        return hashes

    def read_chunk(self, content: ContentId, index: int, leaf_hash: bytes) -> bytes:
        """A chunk, checked by its leaf hash. Raises RemoteError."""
        start = index * limits.chunk_bytes
        name, end = self._name(content.chunk_root, DATA), start + content.chunk_size(index)
        data: bytes = self._asked(lambda: self._fs.cat_file(name, start=start, end=end))
        if merkle.leaf_hash(data) != leaf_hash:
            raise self._damaged(content)
        return data

    def drop(self, chunk_root: Hash) -> None:
        """Removes content; absent content is fine. Raises RemoteError."""
        for part in (LEAVES, DATA):
            name = self._name(chunk_root, part)
            self._asked(lambda name=name: self._fs.rm_file(name) if self._fs.exists(name) else None)

    def _name(self, chunk_root: Hash, part: str) -> str:
        digits = chunk_root.hex()
        return f"{self._folder}/{digits[:2]}/{digits}{part}"

    def _asked(self, work: Any) -> Any:
        """What the store's library gives, its failures as RemoteError."""
        try:
            return work()
        except RemoteError:
            raise
        except Exception as error:  # each library has failures of its own
            raise RemoteError(
                f"the object store failed ({type(error).__name__}: {error})",
                value=self.url,
                remedy="check its address, credentials and that it runs",
            ) from error

    def _damaged(self, content: ContentId) -> RemoteError:
        return RemoteError(
            "the object store gives other bytes than were put there",
            value=content.chunk_root,
            remedy="it is fetched from peers instead; remove the object",
        )
