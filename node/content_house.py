"""Keeps the house of contributed content: drops what is not wanted any more or not what it was, takes fingerprints, sends what
was accepted elsewhere, makes room.

Blocks on disk and network: it runs on the content threads, now and then. Decides by the state; judges no bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from datalayer.remote import RemoteError, RemoteStore
from datalayer.scrub import Scrub
from datalayer.store import ContentStore
from datalayer.upload import ContentError
from node.fingerprints import Fingerprints
from node.named_content import is_accepted, is_encrypted, is_named, is_wanted
from omnitensor.protocol import limits
from omnitensor.protocol.types import Hash
from state.reader import Reader

FULL_PERCENT: Final = 80
"""Above this share of its quota a node with an object store drops what that store has, the oldest first, ..."""
ROOM_PERCENT: Final = 70
"""... until this share is taken."""

log = structlog.get_logger("content")


@dataclass(frozen=True, slots=True)
class Round:
    """What one round of housekeeping did: numbers of contents."""

    uploads_dropped: int
    ended_dropped: int
    fingerprinted: int
    sent: int
    room_made: int
    damaged: int = 0


class ContentHouse:
    """One node's. ``keep_ms``: for how long after a campaign's end its data are kept; 0: for good."""

    def __init__(
        self, store: ContentStore, fingerprints: Fingerprints, remote: RemoteStore | None, keep_ms: int
    ) -> None:
        self._store: Final = store
        self._scrub: Final = Scrub(store)
        self._damaged = 0
        self._fingerprints: Final = fingerprints
        self._remote: Final = remote
        self._keep_ms: Final = keep_ms

    def wants(self, reader: Reader, chunk_root: Hash) -> bool:
        """Whether content that the chain names is kept, and fetched when somebody asks for it."""
        # Rounded up; by the interval in force, which a vote may have changed.
        keep_blocks = -(-self._keep_ms // reader.params().block_interval_ms)
        return is_wanted(reader, chunk_root, keep_blocks)

    def numbers(self) -> dict[str, int]:
        """What is here, for an operator who watches quota and disk."""
        usage = self._store.usage()
        return {
            "stored_bytes": usage.total,
            "unreferenced_bytes": usage.unreferenced,
            "quota_bytes": usage.quota,
            "objects": usage.objects,
            "uploads": usage.uploads,
            "received_bytes": usage.received,
            "damaged": self._damaged,
        }

    def round(self, reader: Reader) -> Round:
        """Does what is due. Raises StorageError where the disk refuses; an object store that fails is tried again next time."""
        uploads = self._store.expire(partial(is_named, reader))
        ended = self._store.sweep(partial(self.wants, reader))
        damaged = self._scrub.round(limits.content_checked_bytes_per_round_max)
        self._damaged += len(damaged)
        for root in damaged:
            log.error(
                "stored content was not what it was, and is dropped",
                chunk_root=root.hex(),
                remedy="check the disk",
            )
        fingerprinted = self._fingerprint(reader)
        sent = room = 0
        if self._remote is not None:
            try:
                sent = self._send(self._remote, reader)
            except RemoteError as error:
                log.error("content can't be sent to the object store", error=str(error))
            room = self._make_room()
        return Round(len(uploads), len(ended), fingerprinted, sent, room, len(damaged))

    def _fingerprint(self, reader: Reader) -> int:
        """Takes the fingerprints of content that the chain names and that has none, as much as one round may take."""
        taken, left = 0, limits.fingerprinted_bytes_per_round_max
        for root in self._store.roots():
            if left <= 0:
                break
            size = self._store.size(root)
            if size < limits.near_duplicate_bytes_min or self._fingerprints.known(root) is not None:
                continue
            if not is_named(reader, root) or is_encrypted(reader, root):
                continue
            if self._fingerprints.compute(root) is not None:
                left -= min(size, limits.fingerprint_bytes_max)
                taken += 1
        return taken

    def _send(self, remote: RemoteStore, reader: Reader) -> int:
        """Accepted content that the object store has not, as much as one round may take."""
        sent, left = 0, limits.content_sent_bytes_per_round_max
        for root in self._store.roots():
            if left <= 0:
                break
            if self._store.is_marked(root) or not is_accepted(reader, root):
                continue
            try:
                content = self._store.stat(root)
                if content is None:
                    continue
                if not remote.has(root):
                    remote.put(content, self._store.leaf_hashes(root), self._store.path(root))
                    left -= content.size
                    sent += 1
                self._store.mark(root)
            except ContentError:
                continue  # dropped meanwhile
        return sent

    def _make_room(self) -> int:
        """Drops what the object store has as well, the oldest first, when the disk's quota is nearly taken."""
        usage = self._store.usage()
        if usage.total * 100 <= usage.quota * FULL_PERCENT:
            return 0
        marked = [root for root in self._store.roots() if self._store.is_marked(root)]
        dropped = 0
        for root in sorted(marked, key=lambda root: (self._store.since_ms(root), root)):
            if self._store.usage().total * 100 <= usage.quota * ROOM_PERCENT:
                break
            self._store.drop(Hash(root))
            dropped += 1
        return dropped
