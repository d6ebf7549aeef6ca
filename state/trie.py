"""The page-leaf trie over the state's rows: nodes, and the change of many entries at once.

Knows hashes; no rows, no disk: whoever calls gives a way to read a page. What the hashes mean is on the page of
``omnitensor.protocol.state_proof``. Nodes are never changed but for one thing: a page may drop its bytes from memory once they
are on disk. A changed trie shares all that was not touched with the one before, so that a candidate's trie costs what its block
touched, and a rival's is simply let go.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Final, TypeAlias, final

import msgspec

from omnitensor.protocol.errors import CodecError
from omnitensor.protocol.state_proof import (
    DEPTH_MAX,
    ENTRY_BYTES,
    HASH_BYTES,
    PAGE_BYTES_MAX,
    PAGE_ENTRIES_MAX,
    StateProof,
    inner_hash,
    page_hash,
)
from omnitensor.protocol.types import Hash

PLACE_BYTES: Final = HASH_BYTES + 1
"""A page's place: its prefix padded with zeros, and the prefix's length in bits. In their order pages stand as in the trie."""


@final
class Page(msgspec.Struct, gc=False):
    """A leaf: all entries under a prefix, sorted."""

    hash: bytes
    count: int
    entries: bytes | None
    """None while they are on disk alone."""


@final
class Inner(msgspec.Struct, frozen=True, gc=False):
    """A node over the two prefixes that are one bit longer; more than a page's entries are below it."""

    hash: bytes
    left: "Node"
    right: "Node"


Node: TypeAlias = Page | Inner
Changes: TypeAlias = dict[bytes, bytes | None]
"""By hashed key the hash of the value that now is, or None."""
Writes: TypeAlias = dict[bytes, Page | None]
"""By place the page that now is there, or None where there is none any more."""
ReadPage: TypeAlias = Callable[[bytes], bytes]
"""The entries of the page at a place. Raises DamagedStoreError where it is not there."""

EMPTY: Final = Page(page_hash(b""), 0, b"")

_BITS: Final = tuple(1 << (DEPTH_MAX - 1 - depth) for depth in range(DEPTH_MAX))
"""The bit that parts the prefixes below a depth."""
_PREFIXES: Final = tuple((1 << DEPTH_MAX) - (1 << (DEPTH_MAX - depth)) for depth in range(DEPTH_MAX))
"""The first ``depth`` bits."""
_INNER: Final = b"\x01"
_PAGE: Final = b"\x00"


def place_of(number: int, depth: int) -> bytes:
    """The place of the page at a depth on the way to a hashed key."""
    return (number & _PREFIXES[depth]).to_bytes(HASH_BYTES, "big") + depth.to_bytes(1, "big")


def changed(root: Node, changes: Changes, read: ReadPage) -> tuple[Node, Writes]:
    """The trie with entries set and removed, and what that changes among the pages on disk."""
    work = _Work(changes, read)
    return work.updated(root, 0, 0, len(work.keys)), work.writes


def built(entries: list[bytes]) -> Node:
    """The trie of a whole set of entries, sorted."""
    return _Work({}, _no_page).built(entries, 0, len(entries), 0)


def built_below(entries: list[bytes], depth: int) -> tuple[Node, Writes]:
    """The trie of a whole set of entries, sorted, that have their first ``depth`` bits in common, and its pages by place."""
    work = _Work({}, _no_page)
    return work.built(entries, 0, len(entries), depth), work.writes


def prove(root: Node, hashed: bytes, read: ReadPage) -> StateProof:
    """The page where a hashed key is or would be, and the siblings on the way to it."""
    number, depth, node = int.from_bytes(hashed, "big"), 0, root
    siblings: list[Hash] = []
    while isinstance(node, Inner):
        if number & _BITS[depth]:
            siblings.append(Hash(node.left.hash))
            node = node.right
        else:
            siblings.append(Hash(node.right.hash))
            node = node.left
        depth += 1
    entries = node.entries  # once: another thread may drop them from memory between two looks
    return StateProof(read(place_of(number, depth)) if entries is None else entries, tuple(siblings))


def pages(root: Node) -> Iterator[tuple[bytes, Page]]:
    """Every page that has entries, by place, in order."""
    waiting: list[tuple[Node, int, int]] = [(root, 0, 0)]
    while waiting:
        node, prefix, depth = waiting.pop()
        if isinstance(node, Inner):
            waiting.append((node.right, prefix | _BITS[depth], depth + 1))
            waiting.append((node.left, prefix, depth + 1))
        elif node.count:
            yield place_of(prefix, depth), node


def loaded(stored: Iterator[tuple[bytes, bytes]], kept: int = 0) -> Node:
    """The trie over pages as (place, entries) in order of their places; entries of the first ``kept`` stay in memory.

    Takes any bytes: what is no page of a trie gives a root that is not the expected one, or raises CodecError.
    """
    reading = _Loading(stored, kept)
    root = reading.node(0, 0)
    if reading.next is not None:
        raise CodecError("a page is out of place", value=reading.next[0])
    return root


class _Loading:
    """Builds nodes from below, from pages in order."""

    def __init__(self, stored: Iterator[tuple[bytes, bytes]], kept: int) -> None:
        self._stored: Final = stored
        self._kept = kept
        self.next: tuple[bytes, bytes] | None = None
        self._prefix = self._depth = 0
        self._advance()

    def node(self, prefix: int, depth: int) -> Node:
        """The node of a prefix: what pages there are under it."""
        if self.next is None or (self._prefix ^ prefix) & _PREFIXES[depth]:
            return EMPTY
        if self._depth == depth:
            entries = self.next[1]
            self._advance()
            self._kept -= 1
            return Page(page_hash(entries), len(entries) // ENTRY_BYTES, entries if self._kept >= 0 else None)
        if self._depth < depth:
            raise CodecError("a page is inside another", value=self.next[0])
        left = self.node(prefix, depth + 1)
        right = self.node(prefix | _BITS[depth], depth + 1)
        return Inner(inner_hash(left.hash, right.hash), left, right)

    def _advance(self) -> None:
        self.next = next(self._stored, None)
        if self.next is not None:
            place, entries = self.next
            if len(place) != PLACE_BYTES or not 0 < len(entries) <= PAGE_BYTES_MAX:
                raise CodecError("not a page", value=place)
            self._prefix, self._depth = int.from_bytes(place[:HASH_BYTES], "big"), place[HASH_BYTES]


class _Work:
    """One change of many entries. Changes are sorted, so that a node's are a range of them."""

    def __init__(self, changes: Changes, read: ReadPage) -> None:
        self.keys: Final = sorted(changes)
        self._values: Final = [changes[key] for key in self.keys]
        self._numbers: Final = [int.from_bytes(key, "big") for key in self.keys]
        self._read: Final = read
        self.writes: Final[Writes] = {}

    def updated(self, node: Node, depth: int, low: int, high: int) -> Node:
        """The node with the changes of a range, which all lie under it."""
        if low == high:
            return node
        if type(node) is Page:
            return self._updated_page(node, depth, low, high)
        if high - low == 1:
            return self._updated_way(node, depth, low)
        numbers = self._numbers
        middle = bisect_left(numbers, numbers[low] & _PREFIXES[depth] | _BITS[depth], low, high)
        left = self.updated(node.left, depth + 1, low, middle)
        right = self.updated(node.right, depth + 1, middle, high)
        if left is node.left and right is node.right:
            return node
        return self._joined(left, right, depth, numbers[low])

    def _updated_way(self, top: Inner, depth: int, at: int) -> Node:
        """The same for one change: down to its page and up again, without a call for every level."""
        number, bits = self._numbers[at], _BITS
        way: list[Inner] = []
        node: Node = top
        while type(node) is Inner:
            way.append(node)
            node = node.right if number & bits[depth] else node.left
            depth += 1
        fresh: Node = self._updated_page(node, depth, at, at + 1)
        if fresh is node:
            return top
        while way and type(fresh) is Page:
            found, depth = way.pop(), depth - 1
            left, right = (found.left, fresh) if number & bits[depth] else (fresh, found.right)
            fresh = self._joined(left, right, depth, number)
        digest = fresh.hash
        while way:
            found, depth = way.pop(), depth - 1
            if number & bits[depth]:
                left = found.left
                digest = sha256(b"\x01" + left.hash + digest).digest()
                fresh = Inner(digest, left, fresh)
            else:
                right = found.right
                digest = sha256(b"\x01" + digest + right.hash).digest()
                fresh = Inner(digest, fresh, right)
        return fresh

    def _joined(self, left: Node, right: Node, depth: int, number: int) -> Node:
        """The node over two, or one page where all that is left in both fits one."""
        if type(left) is Page and type(right) is Page and left.count + right.count <= PAGE_ENTRIES_MAX:
            prefix = number & _PREFIXES[depth]
            left_place, right_place = place_of(prefix, depth + 1), place_of(prefix | _BITS[depth], depth + 1)
            entries = self._entries(left, left_place) + self._entries(right, right_place)
            self.writes[left_place] = self.writes[right_place] = None
            return self._page(entries, place_of(prefix, depth))
        return Inner(sha256(_INNER + left.hash + right.hash).digest(), left, right)

    def _updated_page(self, page: Page, depth: int, low: int, high: int) -> Node:
        place = place_of(self._numbers[low], depth)
        before = self._entries(page, place)
        if high - low > PAGE_ENTRIES_MAX:
            return self._replaced(page, before, self._merged(before, low, high), depth, place)
        entries = before
        for at in range(low, high):
            entries = _with(entries, self.keys[at], self._values[at])
        if entries == before:
            return page
        if len(entries) > PAGE_BYTES_MAX:
            return self._replaced(page, before, split(entries), depth, place)
        return self._page(entries, place)

    def _merged(self, entries: bytes, low: int, high: int) -> list[bytes]:
        """Entries with many changes, sorted."""
        rows = {entry[:HASH_BYTES]: entry for entry in split(entries)}
        for key, value in zip(self.keys[low:high], self._values[low:high], strict=True):
            if value is None:
                rows.pop(key, None)
            else:
                rows[key] = key + value
        return [rows[key] for key in sorted(rows)]

    def _replaced(self, page: Page, before: bytes, entries: list[bytes], depth: int, place: bytes) -> Node:
        """What stands for a page whose entries are now these, however many."""
        if len(entries) > PAGE_ENTRIES_MAX:
            self.writes[place] = None
            return self.built(entries, 0, len(entries), depth)
        joined = b"".join(entries)
        return page if joined == before else self._page(joined, place)

    def built(self, entries: list[bytes], low: int, high: int, depth: int) -> Node:
        """A trie of a range of sorted entries, all under one prefix."""
        if low == high:
            return EMPTY
        number = int.from_bytes(entries[low][:HASH_BYTES], "big")
        if high - low <= PAGE_ENTRIES_MAX:
            return self._page(b"".join(entries[low:high]), place_of(number, depth))
        parting = (number & _PREFIXES[depth] | _BITS[depth]).to_bytes(HASH_BYTES, "big")
        middle = bisect_left(entries, parting, low, high)
        left = self.built(entries, low, middle, depth + 1)
        right = self.built(entries, middle, high, depth + 1)
        return Inner(inner_hash(left.hash, right.hash), left, right)

    def _page(self, entries: bytes, place: bytes) -> Page:
        if not entries:
            self.writes[place] = None
            return EMPTY
        page = Page(sha256(_PAGE + entries).digest(), len(entries) // ENTRY_BYTES, entries)
        self.writes[place] = page
        return page

    def _entries(self, page: Page, place: bytes) -> bytes:
        if page.entries is not None:
            return page.entries
        return self._read(place)


def _with(entries: bytes, key: bytes, value: bytes | None) -> bytes:
    """Sorted entries with one set or removed."""
    at = entries.find(key)
    while at >= 0 and at % ENTRY_BYTES:  # the same bytes across two entries' border are no key
        at = entries.find(key, at + 1)
    if at >= 0:
        end = at + ENTRY_BYTES
        return entries[:at] + entries[end:] if value is None else entries[:at] + key + value + entries[end:]
    if value is None:
        return entries
    at = 0
    while at < len(entries) and entries[at : at + HASH_BYTES] < key:
        at += ENTRY_BYTES
    return entries[:at] + key + value + entries[at:]


def split(entries: bytes) -> list[bytes]:
    """A page's entries one by one."""
    return [entries[at : at + ENTRY_BYTES] for at in range(0, len(entries), ENTRY_BYTES)]


def _no_page(place: bytes) -> bytes:
    raise AssertionError("a trie built from nothing reads no page")
