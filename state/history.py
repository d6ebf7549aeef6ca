"""The Merkle tree over the hashes of all blocks, kept as the roots of its perfect subtrees. Knows hashes only.

The roots of all perfect subtrees there ever were are kept as well, by level and index: they prove any block in a few reads.
"""

from collections.abc import Callable

from omnitensor.protocol import merkle
from omnitensor.protocol.types import Hash

History = tuple[Hash, ...]
"""Roots of the perfect subtrees, the largest first. With the number of blocks it says everything about the root."""

EMPTY: History = ()


def appended(history: History, blocks: int, block_hash: Hash) -> History:
    """The history with one more block; ``blocks`` is their number before."""
    assert len(history) == blocks.bit_count()
    peaks, carry = list(history), merkle.leaf_hash(block_hash)
    while blocks & 1:
        carry = merkle.node_hash(peaks.pop(), carry)
        blocks >>= 1
    return (*peaks, Hash(carry))


def completed(history: History, blocks: int, block_hash: Hash) -> list[tuple[int, int, Hash]]:
    """Perfect subtrees that one more block completes, as (level, index, root): the block's leaf first, then those above it."""
    level, carry = 0, merkle.leaf_hash(block_hash)
    found = [(level, blocks, Hash(carry))]
    while blocks >> level & 1:
        carry = merkle.node_hash(history[-1 - level], carry)
        level += 1
        found.append((level, blocks >> level, Hash(carry)))
    return found


def peaks(history: History, blocks: int) -> list[tuple[int, int, Hash]]:
    """The roots of a history as (level, index, root), the largest first."""
    levels = [level for level in reversed(range(blocks.bit_length())) if blocks >> level & 1]
    return [(level, (blocks >> level) - 1, node) for level, node in zip(levels, history, strict=True)]


def kept_peaks(blocks: int, node: Callable[[int, int], Hash]) -> History:
    """The history over the first ``blocks`` blocks, from the roots of all perfect subtrees; see ``path_to``."""
    levels = [level for level in reversed(range(blocks.bit_length())) if blocks >> level & 1]
    return tuple([node(level, (blocks >> level) - 1) for level in levels])


def path_to(index: int, blocks: int, node: Callable[[int, int], Hash]) -> tuple[Hash, ...]:
    """The inclusion proof (RFC 6962) of block ``index`` under the root over the first ``blocks`` blocks.

    ``node`` gives the root of the perfect subtree at a level and index.
    """
    assert 0 <= index < blocks
    path: list[Hash] = []
    start, size = 0, blocks
    # Down from the root: at each split the other side's root is a sibling.
    while size > 1:
        left = 1 << ((size - 1).bit_length() - 1)
        if index < start + left:
            path.append(_range_root(start + left, size - left, node))
            size = left
        else:
            path.append(_range_root(start, left, node))
            start, size = start + left, size - left
    return tuple(reversed(path))


def _range_root(start: int, size: int, node: Callable[[int, int], Hash]) -> Hash:
    """The root over ``size`` blocks from ``start``, a multiple of a power of two that is not below ``size``."""
    peaks: list[Hash] = []
    while size:
        level = size.bit_length() - 1
        peaks.append(node(level, start >> level))
        start, size = start + (1 << level), size - (1 << level)
    return root_of(tuple(peaks))


def root_of(history: History) -> Hash:
    """The RFC 6962 root over the hashes of the blocks."""
    if not history:
        return Hash(merkle.EMPTY_ROOT)
    computed: bytes = history[-1]
    for peak in reversed(history[:-1]):
        computed = merkle.node_hash(peak, computed)
    return Hash(computed)
