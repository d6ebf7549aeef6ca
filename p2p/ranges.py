"""Answers to requests for final blocks: putting them together from a chain's records, and checking their form.

Judges form alone: that heights and parents link and that the proof speaks of the last link. Whether its signatures are those
of a quorum, and whether a block's effects are right, is for the node.
"""

from __future__ import annotations

from collections.abc import Callable

from omnitensor.protocol import limits
from omnitensor.protocol.blocks import Block, Header
from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.types import Hash
from omnitensor.protocol.votes import FinalityProof, VoteKind
from p2p.errors import NetworkError
from p2p.messages import BlocksRequest, BlocksResponse


class RangeError(NetworkError):
    """An answer whose blocks do not link, or are not what its proof finalizes."""

    code = "range"


def assemble_blocks(
    request: BlocksRequest,
    block_at: Callable[[int], bytes | None],
    header_at: Callable[[int], Header | None],
    proof_at: Callable[[int], FinalityProof | None],
) -> BlocksResponse | None:
    """As many of the blocks asked for as fit an answer and have a proof within reach; None when there are none.

    All are of one epoch. The three functions give a height's canonical block, its header, and its own proof, None where it has
    none.
    """
    blocks: list[bytes] = []
    size = 0
    for height in range(request.from_height, request.from_height + request.count):
        block = block_at(height)
        if block is None or (blocks and size + len(block) > limits.blocks_response_bytes_max):
            break
        blocks.append(block)
        size += len(block)
    del blocks[_of_one_epoch(request.from_height, len(blocks), header_at) :]
    for count in range(len(blocks), 0, -1):
        proof = proof_at(request.from_height + count - 1)
        if proof is not None:
            return BlocksResponse(tuple(blocks[:count]), (), proof)
    return _with_links(request.from_height, blocks, header_at, proof_at) if blocks else None


def _with_links(
    from_height: int,
    blocks: list[bytes],
    header_at: Callable[[int], Header | None],
    proof_at: Callable[[int], FinalityProof | None],
) -> BlocksResponse | None:
    """Blocks of which none has a proof of its own, with the headers up to the one that has; as many as leave room for these."""
    found = _proof_from(from_height + len(blocks) - 1, header_at, proof_at)
    if found is None:
        return None
    links, proof = list(found[0]), found[1]
    size = sum(map(len, blocks)) + sum(len(encode(header)) for header in links)
    while len(blocks) > 1 and size > limits.blocks_response_bytes_max:
        size -= len(blocks.pop())
        header = header_at(from_height + len(blocks))
        assert header is not None, "the block was there a moment ago"
        size += len(encode(header))
        links.insert(0, header)
    if len(links) > limits.header_links_max:
        return None
    return BlocksResponse(tuple(blocks), tuple(links), proof)


def _of_one_epoch(first: int, count: int, header_at: Callable[[int], Header | None]) -> int:
    """How many of ``count`` blocks from a height on are of the first one's epoch: a range's one proof is of one epoch."""

    def epoch(place: int) -> int:
        header = header_at(first + place)
        return -1 if header is None else header.epoch

    inside, outside = 0, count
    if count == 0 or epoch(count - 1) == epoch(0):
        return count
    while outside - inside > 1:
        middle = (inside + outside) // 2
        inside, outside = (middle, outside) if epoch(middle) == epoch(0) else (inside, middle)
    return outside


def _proof_from(
    height: int, header_at: Callable[[int], Header | None], proof_at: Callable[[int], FinalityProof | None]
) -> tuple[tuple[Header, ...], FinalityProof] | None:
    """The nearest proof at or above a height, and the headers between."""
    links: list[Header] = []
    for above in range(height, height + limits.header_links_max + 1):
        if above > height:
            header = header_at(above)
            if header is None:
                return None
            links.append(header)
        proof = proof_at(above)
        if proof is not None:
            return tuple(links), proof
    return None


def read_blocks(request: BlocksRequest, response: BlocksResponse) -> tuple[Block, ...]:
    """The blocks of an answer, of which the first is at the height asked for.

    Raises RangeError or CodecError unless heights and parents link from the first block to the one that the proof names.
    Milliseconds a block when blocks are large: call it in a thread.
    """
    if len(response.blocks) > request.count:
        raise RangeError("more blocks than were asked for", value=len(response.blocks))
    blocks = tuple(decode(Block, encoded, limits.block_bytes_max) for encoded in response.blocks)
    previous: Hash | None = None
    for place, header in enumerate((*(block.header for block in blocks), *response.links)):
        if header.height != request.from_height + place:
            raise RangeError(
                "a height is out of order", value=f"{header.height}, expected {request.from_height + place}"
            )
        if previous is not None and header.parent != previous:
            raise RangeError("a block does not follow the one below it", value=f"height {header.height}")
        if header.epoch != response.proof.candidate.epoch:
            raise RangeError("a block is of another epoch than its proof", value=header.epoch)
        previous = header.hash
    candidate, certificate = response.proof.candidate, response.proof.certificate
    if candidate.block_hash != previous:
        raise RangeError("the proof is of another block", value=candidate.block_hash)
    named = (certificate.kind, certificate.epoch, certificate.view, certificate.candidate_id)
    if named != (VoteKind.FINALIZE, candidate.epoch, candidate.view, candidate.id):
        raise RangeError("the proof's certificate is not a finalization of its candidate", value=named[:3])
    return blocks
