"""The state's trie as its hashes define it, and proofs that a row is or is not under a state root.

Knows bytes and hashes only: no disk, no rows' meaning. Verifiers take whatever a stranger sent and answer True or False.

The set of rows is a set of entries ``SHA256(key) || SHA256(value)``. A prefix (the first bits of hashed keys) that at most
``PAGE_ENTRIES_MAX`` entries begin with is one page of them, sorted; any other is an inner node over the prefixes one bit longer.
So the shape depends on the set alone. ``page = SHA256(0x00 || entries)``, ``inner = SHA256(0x01 || left || right)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise
from typing import Annotated, Final

from msgspec import Meta

from omnitensor.protocol.codec import Record
from omnitensor.protocol.types import Hash, HashF

HASH_BYTES: Final = 32
ENTRY_BYTES: Final = 64
PAGE_ENTRIES_MAX: Final = 16
PAGE_BYTES_MAX: Final = ENTRY_BYTES * PAGE_ENTRIES_MAX
DEPTH_MAX: Final = 256
"""Bits in a hashed key. More than ``PAGE_ENTRIES_MAX`` different ones part company a few bits earlier."""

_PAGE: Final = b"\x00"
_INNER: Final = b"\x01"


class StateProof(Record, frozen=True):
    """One page of the trie and the way from it to the root: shows that a row is in the page, or that none of its key is."""

    page: Annotated[bytes, Meta(max_length=PAGE_BYTES_MAX)]
    """Entries of 64 bytes, sorted."""
    siblings: Annotated[tuple[HashF, ...], Meta(max_length=DEPTH_MAX)]
    """Of every node on the way, the root's child first."""

    @property
    def size_bytes(self) -> int:
        """What the proof carries, without the few bytes of its encoding."""
        return len(self.page) + HASH_BYTES * len(self.siblings)


def key_hash(key: bytes) -> bytes:
    """Where a row is in the trie; the key begins with its table's prefix byte."""
    return sha256(key).digest()


def value_hash(value: bytes) -> bytes:
    """What the trie holds of a row's encoded value."""
    return sha256(value).digest()


def page_hash(entries: bytes) -> bytes:
    """The hash of a page; an empty state's root is that of the empty page."""
    return sha256(_PAGE + entries).digest()


def inner_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node of two children's hashes."""
    return sha256(_INNER + left + right).digest()


def proves_presence(root: bytes, key: bytes, value: bytes, proof: StateProof) -> bool:
    """Whether the row of this key with this encoded value is in the state under a root."""
    return _shown(root, key_hash(key), proof) == value_hash(value)


def proves_absence(root: bytes, key: bytes, proof: StateProof) -> bool:
    """Whether the state under a root has no row of this key."""
    return _shown(root, key_hash(key), proof) == _ABSENT


_ABSENT: Final = b""


def _shown(root: bytes, hashed: bytes, proof: StateProof) -> bytes | None:
    """The value's hash that a proof shows under a hashed key, ``_ABSENT`` for none; None where it shows nothing at all."""
    page, siblings = proof.page, proof.siblings
    entries = _entries(page)
    if entries is None or len(siblings) >= DEPTH_MAX or any(len(each) != HASH_BYTES for each in siblings):
        return None
    number, depth = int.from_bytes(hashed, "big"), len(siblings)
    # Honest pages hold only keys of their own prefix; one that does not is nobody's page, whatever it hashes to.
    if any((int.from_bytes(entry[:HASH_BYTES], "big") ^ number) >> (DEPTH_MAX - depth) for entry in entries):
        return None
    computed = page_hash(page)
    for level in range(depth - 1, -1, -1):
        sibling = siblings[level]
        if number >> (DEPTH_MAX - 1 - level) & 1:
            computed = inner_hash(sibling, computed)
        else:
            computed = inner_hash(computed, sibling)
    if computed != root:
        return None
    return next((entry[HASH_BYTES:] for entry in entries if entry.startswith(hashed)), _ABSENT)


def _entries(page: bytes) -> Sequence[bytes] | None:
    """A page's entries; None where it is too long, cut within one, or not sorted with each key once."""
    if len(page) % ENTRY_BYTES or len(page) > PAGE_BYTES_MAX:
        return None
    entries = [page[at : at + ENTRY_BYTES] for at in range(0, len(page), ENTRY_BYTES)]
    keys = [entry[:HASH_BYTES] for entry in entries]
    return entries if all(below < above for below, above in pairwise(keys)) else None


def empty_root() -> Hash:
    """The root of a state without rows."""
    return Hash(page_hash(b""))
