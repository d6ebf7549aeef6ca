"""The Merkle tree over the hashes of all blocks, kept as the roots of its perfect subtrees. Knows hashes only."""

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


def root_of(history: History) -> Hash:
    """The RFC 6962 root over the hashes of the blocks."""
    if not history:
        return Hash(merkle.EMPTY_ROOT)
    computed: bytes = history[-1]
    for peak in reversed(history[:-1]):
        computed = merkle.node_hash(peak, computed)
    return Hash(computed)
