"""The tree over all blocks: its kept nodes give the proofs that the plain tree over all leaves gives."""

from __future__ import annotations

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from omnitensor.protocol import merkle
from omnitensor.protocol.types import Hash
from state import history

HASHES = [Hash(sha256(b"block %d" % number).digest()) for number in range(80)]


@given(st.integers(1, 80))
def test_kept_nodes_prove_every_block(blocks: int) -> None:
    leaves = [merkle.leaf_hash(each) for each in HASHES[:blocks]]
    nodes: dict[tuple[int, int], Hash] = {}
    grown = history.EMPTY
    for number, block_hash in enumerate(HASHES[:blocks]):
        for level, index, node in history.completed(grown, number, block_hash):
            assert (level, index) not in nodes
            nodes[level, index] = node
        grown = history.appended(grown, number, block_hash)
    assert history.root_of(grown) == merkle.root(leaves)
    assert all(nodes[level, index] == node for level, index, node in history.peaks(grown, blocks))
    for index in range(blocks):
        path = history.path_to(index, blocks, lambda level, at: nodes[level, at])
        assert list(path) == merkle.inclusion_proof(leaves, index)
        assert merkle.verify_inclusion(leaves[index], index, blocks, path, history.root_of(grown))
    assert len(nodes) < 2 * blocks
