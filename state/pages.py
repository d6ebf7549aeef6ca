"""The trie's pages on disk: read one by one, written with their block, all read once at start. One thread has them.

Inner nodes are in memory alone: they follow from the pages, which a start reads in order and checks against the head's root.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.errors import CodecError
from omnitensor.protocol.limits import pages_cached_max
from omnitensor.protocol.state_proof import ENTRY_BYTES, key_hash, value_hash
from state import trie
from state.commitment import Commitment
from state.records import PageRow
from state.rows import read_row
from state.schema import PAGES
from state.store import HEAL, Batch, DamagedStoreError, Snapshot
from state.trie import Writes


class StoredPages:
    """Pages of the committed state. Those written lately stay in memory: what changes in this block often did in one before."""

    def __init__(self, store: Snapshot, commitment: Commitment) -> None:
        """``commitment`` is the committed state's; what its pages have in memory counts as written lately."""
        self._store: Final = store
        self._kept = {place: page for place, page in trie.pages(commitment.node) if page.entries is not None}

    def read(self, place: bytes) -> bytes:
        """The entries of the page at a place. Raises DamagedStoreError."""
        return read_page(self._store, place)

    def committed(self, writes: Writes) -> None:
        """Takes over the pages of a block, after they were written."""
        kept = self._kept
        for place, page in writes.items():
            kept.pop(place, None)
            if page is not None:
                kept[place] = page
        if len(kept) > pages_cached_max:
            # Half at once: taking the first of a dict again and again is slow.
            for place in list(islice(kept, len(kept) // 2)):
                kept.pop(place).entries = None


def read_page(store: Snapshot, place: bytes) -> bytes:
    """The entries of the page at a place. Raises DamagedStoreError where it is not there."""
    row = read_row(store, PAGES, place)
    if row is None:
        raise DamagedStoreError("a page of the state's trie is missing", value=place, remedy=HEAL)
    return row.entries


def rows_of(writes: Writes) -> Batch:
    """What a change of pages writes."""
    head = PAGES.prefix_bytes
    return [
        (head + place, None if page is None else encode(PageRow(page.entries or b"")))
        for place, page in writes.items()
    ]


def all_rows(commitment: Commitment) -> Batch:
    """Every page of a commitment that is wholly in memory."""
    return rows_of(dict(trie.pages(commitment.node)))


def hold_exactly(store: Snapshot, commitment: Commitment, rows: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a commitment is to exactly these rows, given once each; in little memory, 15 microseconds a row."""
    seen = 0
    for key, value in rows:
        entries = commitment.prove(key, lambda place: read_page(store, place)).page
        wanted = key_hash(key) + value_hash(value)
        if not any(entries.startswith(wanted, at) for at in range(0, len(entries), ENTRY_BYTES)):
            return False
        seen += 1
    return seen == commitment.count()


def load(store: Snapshot) -> Commitment:
    """The commitment that the pages on disk make: whose root it has is for the caller to ask. Raises DamagedStoreError.

    A million rows are 90,000 pages: about a second, 25 MB of nodes, and the entries of as many pages as are kept in memory.
    """
    try:
        return Commitment(trie.loaded(_stored(store), pages_cached_max))
    except CodecError as error:
        raise DamagedStoreError(
            f"the state's trie is damaged: {error.reason}", value=error.value, remedy=HEAL
        ) from error


def _stored(store: Snapshot) -> Iterator[tuple[bytes, bytes]]:
    for key, data in store.scan(PAGES.prefix_bytes, bytes([PAGES.prefix + 1])):
        yield key[1:], decode(PageRow, data).entries
