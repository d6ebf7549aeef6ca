"""RFC 6962 Merkle trees over SHA-256: roots, inclusion and consistency proofs, and their checking.

Knows bytes and hashes only; what a leaf means is its caller's business. A leaf is hashed behind 0x00 and a
node behind 0x01, so that neither can be taken for the other. The tree's shape depends on the number of leaves
alone. Verifiers take whatever a stranger sent and answer True or False; they never raise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final

from omnitensor.protocol.codec import Record
from omnitensor.protocol.types import HashF

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()

_COPIED_BYTES_MAX: Final = 4_096
"""Up to here copying a leaf behind its prefix costs less than a second call of the hash function."""

_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"
_COUNTED: Final = b"\x02"


class Inclusion(Record, frozen=True):
    """Where a leaf stands in a tree: its index, the number of leaves, and its siblings from below."""

    index: int
    size: int
    path: tuple[HashF, ...]


def leaf_hash(data: bytes | memoryview) -> bytes:
    """The 32-byte hash of one leaf's data (RFC 6962, section 2.1)."""
    if len(data) <= _COPIED_BYTES_MAX:
        return sha256(_LEAF + data).digest()
    hasher = sha256(_LEAF)
    hasher.update(data)
    return hasher.digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The 32-byte hash of an inner node of two 32-byte children."""
    return sha256(_NODE + left + right).digest()


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """The root over leaf hashes in order; an empty tree's is SHA256 of nothing."""
    if not leaf_hashes:
        return EMPTY_ROOT
    level = leaf_hashes
    while len(level) > 1:
        level = _level_above(level)
    return level[0]


def root_of(datas: Iterable[bytes]) -> bytes:
    """The root over the leaves' data in order."""
    short = _COPIED_BYTES_MAX
    return root([sha256(_LEAF + data).digest() if len(data) <= short else leaf_hash(data) for data in datas])


def counted_root(root: bytes, size: int) -> bytes:
    """Binds the number of leaves to a root. Without it one path holds good for trees of several sizes: a size shows nothing."""
    return sha256(_COUNTED + size.to_bytes(8, "big") + root).digest()


def counted_root_of(datas: Sequence[bytes]) -> bytes:
    """The counted root over the leaves' data in order."""
    return counted_root(root_of(datas), len(datas))


def inclusion_proof(leaf_hashes: Sequence[bytes], index: int) -> list[bytes]:
    """The sibling hashes from leaf `index` up to the root (RFC 6962, section 2.1.1)."""
    assert 0 <= index < len(leaf_hashes), f"no leaf {index} in a tree of {len(leaf_hashes)}"
    proof: list[bytes] = []
    level = leaf_hashes
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            proof.append(level[sibling])
        level = _level_above(level)
        index >>= 1
    return proof


def verify_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether `leaf_hash` is leaf `index` of `size` under this root (RFC 9162, section 2.1.3.2)."""
    return root_by_inclusion(leaf_hash, index, size, proof) == root


def root_by_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """The root under which the proof shows `leaf_hash` to be leaf `index` of `size`; None where it is of another shape."""
    if not 0 <= index < size or not _all_hashes(proof) or len(leaf_hash) != HASH_BYTES:
        return None
    position, last = index, size - 1
    computed = leaf_hash
    for sibling in proof:
        if last == 0:
            return None
        if position & 1 or position == last:
            computed = node_hash(sibling, computed)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            computed = node_hash(computed, sibling)
        position >>= 1
        last >>= 1
    return computed if last == 0 else None


def consistency_proof(leaf_hashes: Sequence[bytes], size1: int) -> list[bytes]:
    """The hashes that show the first `size1` leaves to be a prefix of this tree (RFC 6962, section 2.1.2)."""
    assert 0 < size1 <= len(leaf_hashes), f"no prefix of {size1} leaves in a tree of {len(leaf_hashes)}"
    proof: list[bytes] = []
    start, end, inside, known = 0, len(leaf_hashes), size1, True
    # Walk down to the subtree that ends where the prefix ends; `known` while it begins where the prefix does.
    while inside != end - start:
        split = _largest_power_below(end - start)
        if inside <= split:
            proof.append(root(leaf_hashes[start + split : end]))
            end = start + split
        else:
            proof.append(root(leaf_hashes[start : start + split]))
            start, inside, known = start + split, inside - split, False
    if not known:
        proof.append(root(leaf_hashes[start:end]))
    proof.reverse()
    return proof


def verify_consistency(size1: int, size2: int, proof: Sequence[bytes], root1: bytes, root2: bytes) -> bool:
    """Whether the tree (size1, root1) is a prefix of (size2, root2) (RFC 9162, section 2.1.4.2).

    An empty first tree says nothing of the second, and is refused.
    """
    if not 0 < size1 <= size2 or not _all_hashes(proof):
        return False
    if size1 == size2:
        return not proof and root1 == root2
    path = list(proof)
    if size1 & (size1 - 1) == 0:
        path.insert(0, root1)
    if not path:
        return False
    first, last = size1 - 1, size2 - 1
    while first & 1:
        first >>= 1
        last >>= 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if first & 1 or first == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not first & 1 and first:
                first >>= 1
                last >>= 1
        else:
            new = node_hash(new, sibling)
        first >>= 1
        last >>= 1
    return last == 0 and old == root1 and new == root2


class RootBuilder:
    """The root of a growing list of leaves, in memory logarithmic in their number."""

    __slots__ = ("_peaks", "_size")

    def __init__(self) -> None:
        self._peaks: list[bytes] = []  # roots of the perfect subtrees, the largest first
        self._size = 0

    @property
    def size(self) -> int:
        """The number of leaves so far."""
        return self._size

    def push(self, leaf_hash: bytes) -> None:
        """Append one 32-byte leaf hash."""
        assert len(leaf_hash) == HASH_BYTES, f"a leaf hash is 32 bytes, not {len(leaf_hash)}"
        carry, size = leaf_hash, self._size
        while size & 1:
            carry = node_hash(self._peaks.pop(), carry)
            size >>= 1
        self._peaks.append(carry)
        self._size += 1

    def root(self) -> bytes:
        """The root over the leaves so far; more may follow."""
        if not self._peaks:
            return EMPTY_ROOT
        computed = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            computed = node_hash(peak, computed)
        return computed


def _level_above(level: Sequence[bytes]) -> list[bytes]:
    """The level above; a last node without a sibling rises as it is."""
    above = [sha256(_NODE + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
    if len(level) & 1:
        above.append(level[-1])
    return above


def _largest_power_below(size: int) -> int:
    """The largest power of two strictly below `size` (at least 2)."""
    return 1 << ((size - 1).bit_length() - 1)


def _all_hashes(values: Sequence[bytes]) -> bool:
    return all(len(value) == HASH_BYTES for value in values)
