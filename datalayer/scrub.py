"""Reads what a store holds again, a part at a time, and drops what is not what it was. Knows no network and no ledger.

What a node says that it has, its peers and reviewers rely on: whoever gives them other bytes is taken for a liar.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Final

from datalayer.store import ContentStore
from datalayer.upload import ContentError, DamagedError
from omnitensor.protocol.errors import StorageError
from omnitensor.protocol.types import Hash


class Scrub:
    """Goes through a store again and again. Blocks on the disk; for one thread at a time."""

    def __init__(self, store: ContentStore) -> None:
        self._store: Final = store
        self._steps: Iterator[tuple[Hash, int]] | None = None
        self.is_between = True
        """Whether everything was looked at as often."""

    def round(self, bytes_max: int) -> tuple[Hash, ...]:
        """Checks the next so many bytes, or what is left until all was looked at once; chunk roots of what was dropped.

        Raises StorageError where the disk refuses altogether.
        """
        dropped: list[Hash] = []
        if self._steps is None:
            self._steps = self._all()
        self.is_between = False
        try:
            while bytes_max > 0:
                step = next(self._steps, None)
                if step is None:
                    self._steps, self.is_between = None, True
                    break
                root, read = step
                bytes_max -= read
                if read == 0 and self._store.has(root):  # else it went meanwhile
                    self._store.drop(root)
                    dropped.append(root)
        except StorageError:
            self._steps = None  # from the beginning, when the disk is well again
            raise
        return tuple(dropped)

    def _all(self) -> Iterator[tuple[Hash, int]]:
        """Everything, chunk by chunk: the bytes read, or 0 of a content that is not what it was."""
        for root in self._store.roots():
            try:
                content, whole = self._store.stat(root), sha256()
                for index in range(0 if content is None else content.chunks):
                    data = self._store.read_chunk(root, index)
                    whole.update(data)
                    yield root, len(data)
                sound = content is None or whole.digest() == content.sha256
            except (DamagedError, ContentError):
                sound = False
            if not sound:
                yield root, 0
