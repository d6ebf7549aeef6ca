"""Facts of the content that a node stores: read from the bytes once, in a child process, and noted beside them.

Blocks on disk and on that process, so it is called from threads, never on the event loop. Decides nothing.
"""

from __future__ import annotations

from typing import Final

import msgspec

from datalayer.store import ContentStore
from datalayer.upload import ContentError
from omnitensor import media
from omnitensor.media import LATE, Facts, MediaError
from omnitensor.protocol import limits
from omnitensor.protocol.types import Hash

NOTE: Final = "media-v1"
_KINDS_OF_TEXT: Final = {
    "text/csv": "-csv",
    "text/tab-separated-values": "-tsv",
    "application/json": "-json",
}
"""What bytes alone do not tell apart: facts of these are taken, and noted, for the type that was declared."""


class MediaFacts:
    """One node's. Safe to be asked from several threads."""

    def __init__(self, store: ContentStore) -> None:
        self._store: Final = store

    def known(self, chunk_root: Hash, declared: str = "") -> Facts | None:
        """The facts of content that is here and has been looked at. Raises StorageError where the disk refuses."""
        found = self._store.noted(chunk_root, _note(declared))
        try:
            return None if found is None else msgspec.msgpack.decode(found, type=Facts)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None  # torn: it is taken anew

    def compute(self, chunk_root: Hash, declared: str = "") -> Facts | None:
        """The same, taken and noted where it was not yet; None where the content is not here, or nothing can be run."""
        found = self.known(chunk_root, declared)
        if found is not None:
            return found
        try:
            found = media.inspect(self._store.path(chunk_root), declared if _note(declared) != NOTE else "")
        except (OSError, MediaError):
            return None  # never here, dropped meanwhile, or no process to be had
        note = msgspec.msgpack.encode(found)
        if found.unread or found.fault == LATE or len(note) > limits.content_note_bytes_max:
            return found  # with the missing library, or more time, there will be more to say
        try:
            self._store.note(chunk_root, _note(declared), note)
        except ContentError:
            return None
        return found


def _note(declared: str) -> str:
    return NOTE + _KINDS_OF_TEXT.get(declared.partition(";")[0].strip().lower(), "")
