"""Fingerprints of the content that a node stores: computed once, one at a time, and noted beside the bytes.

Blocks on disk and processor, so it is called from threads, never on the event loop. Judges nothing.
"""

from __future__ import annotations

import threading
from typing import Final

from consensus.work.fingerprint import BITS, fingerprint
from datalayer.store import ContentStore
from datalayer.upload import ContentError
from omnitensor.protocol import limits
from omnitensor.protocol.types import Hash

NOTE: Final = "fingerprint-v1"


class Fingerprints:
    """One node's. Safe to be asked from several threads; they take turns at computing, so that memory stays bounded."""

    def __init__(self, store: ContentStore) -> None:
        self._store: Final = store
        self._turn: Final = threading.Lock()

    def known(self, chunk_root: Hash) -> bytes | None:
        """The fingerprint of content that is here and has one. Raises StorageError where the disk refuses."""
        found = self._store.noted(chunk_root, NOTE)
        return found if found is not None and len(found) * 8 == BITS else None

    def compute(self, chunk_root: Hash) -> bytes | None:
        """The same, computed and noted where it was not yet; None where the content is not here."""
        with self._turn:
            found = self.known(chunk_root)
            if found is not None:
                return found
            try:
                found = fingerprint(self._beginning(chunk_root))
                self._store.note(chunk_root, NOTE, found)
            except ContentError:
                return None  # never here, or dropped meanwhile
            return found

    def _beginning(self, chunk_root: Hash) -> bytes:
        """What a fingerprint is of. Raises ContentError."""
        parts, left = list[bytes](), limits.fingerprint_bytes_max
        while left > 0:
            at = limits.fingerprint_bytes_max - left
            part = self._store.read_range(chunk_root, at, min(left, limits.chunk_bytes))
            if not part:
                break
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
