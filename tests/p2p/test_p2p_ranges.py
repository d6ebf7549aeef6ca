"""Answers with final blocks: put together within bounds, and refused when they do not link."""

from __future__ import annotations

import msgspec
import pytest

from omnitensor.protocol import limits
from omnitensor.protocol.blocks import Block, Header
from omnitensor.protocol.codec import encode
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.types import Height
from omnitensor.protocol.votes import FinalityProof, VoteKind
from p2p.messages import BlocksRequest, BlocksResponse, Reply, encode_envelope
from p2p.ranges import assemble_blocks, read_blocks
from tests.p2p.network_kit import hash_of
from tests.p2p.network_samples import block_of, candidate_of, certificate_of, chain_of, proof_of

CHAIN_BLOCKS = chain_of(10)


def serve(
    request: BlocksRequest, proofs: set[int], blocks: list[Block] = CHAIN_BLOCKS
) -> BlocksResponse | None:
    """What a node with these blocks, and proofs for these heights, answers."""

    def at(height: int) -> Block | None:
        return blocks[height - 1] if 1 <= height <= len(blocks) else None

    def block_at(height: int) -> bytes | None:
        block = at(height)
        return encode(block) if block else None

    def header_at(height: int) -> Header | None:
        block = at(height)
        return block.header if block else None

    def proof_at(height: int) -> FinalityProof | None:
        block = at(height)
        return proof_of(block.hash) if block and height in proofs else None

    return assemble_blocks(request, block_at, header_at, proof_at)


def request(start: int, count: int) -> BlocksRequest:
    return BlocksRequest(Height(start), count)


def test_blocks_with_a_proof_of_their_own() -> None:
    asked = request(3, 4)
    response = serve(asked, {6})
    assert response is not None
    assert response.links == ()
    assert read_blocks(asked, response) == tuple(CHAIN_BLOCKS[2:6])


def test_blocks_that_a_descendant_made_final_come_with_the_headers_between() -> None:
    asked = request(3, 2)
    response = serve(asked, {7})
    assert response is not None
    assert [header.height for header in response.links] == [5, 6, 7]
    assert read_blocks(asked, response) == tuple(CHAIN_BLOCKS[2:4])


def test_without_a_proof_within_reach_fewer_blocks_come_or_none() -> None:
    asked = request(3, 8)
    response = serve(asked, {5})
    assert response is not None
    assert len(response.blocks) == 3
    assert serve(request(6, 2), {5}) is None
    assert serve(request(11, 2), {5}) is None
    tall = chain_of(limits.header_links_max + 5)
    assert serve(request(1, 1), {limits.header_links_max + 2}, tall) is None
    assert serve(request(1, 1), {limits.header_links_max + 1}, tall) is not None


def test_an_answer_fits_a_frame() -> None:
    asked = request(1, 64)
    transactions = block_of(1, hash_of(0), 1_000).transactions
    wide = [msgspec.structs.replace(block, transactions=transactions) for block in CHAIN_BLOCKS]
    response = serve(asked, set(range(1, 11)), wide)
    assert response is not None
    assert 1 <= len(response.blocks) < 10
    assert sum(map(len, response.blocks)) <= limits.blocks_response_bytes_max
    assert len(encode_envelope(Reply(1, response))) <= limits.frame_bytes_max


def test_a_long_way_to_the_proof_still_fits_a_frame() -> None:
    """As many blocks as may wait for finality, made final by one proof: whoever syncs must get past them."""
    tall = chain_of(limits.pending_blocks_max)
    transactions = block_of(1, hash_of(0), 1_400).transactions
    wide = [msgspec.structs.replace(block, transactions=transactions) for block in tall]
    for start in (1, 100, len(tall) - 1):
        for blocks in (tall, wide):
            asked = request(start, 64)
            response = serve(asked, {len(tall)}, blocks)
            assert response is not None
            assert read_blocks(asked, response) == tuple(blocks[start - 1 :][: len(response.blocks)])
            assert len(encode_envelope(Reply(1, response))) <= limits.frame_bytes_max


@pytest.mark.parametrize(
    "fault", ["height", "parent", "proof", "kind", "candidate", "count", "garbage", "link", "view"]
)
def test_what_does_not_link_is_refused_with_a_reason(fault: str) -> None:
    asked = request(3, 3)
    response = serve(asked, {6})
    assert response is not None
    blocks, links, proof = list(response.blocks), list(response.links), response.proof
    other = chain_of(3, start=4)
    if fault == "height":
        blocks[1] = blocks[0]
    elif fault == "parent":
        blocks[1] = encode(other[0])
    elif fault == "proof":
        proof = proof_of(hash_of(99))
    elif fault == "kind":
        proof = FinalityProof(proof.candidate, certificate_of(proof.candidate, VoteKind.NOTARIZE))
    elif fault == "candidate":
        proof = FinalityProof(proof.candidate, certificate_of(candidate_of(hash_of(1))))
    elif fault == "view":
        proof = FinalityProof(candidate_of(proof.candidate.block_hash, view=9), proof.certificate)
    elif fault == "count":
        blocks.append(encode(CHAIN_BLOCKS[5]))
    elif fault == "garbage":
        blocks[2] = blocks[2][:-1]
    elif fault == "link":
        links[0] = other[2].header
    with pytest.raises(ProtocolError) as caught:
        read_blocks(asked, BlocksResponse(tuple(blocks), tuple(links), proof))
    assert caught.value.reason
