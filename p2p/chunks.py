"""A chunk of content over the network: asked for in pieces, several under way at once. Verifies nothing: the caller holds
the chunk's leaf hash."""

from __future__ import annotations

import asyncio

from omnitensor.protocol import limits
from omnitensor.protocol.types import Hash
from p2p.errors import AskError
from p2p.interface import Network
from p2p.messages import Chunk, ChunkRequest, PeerId


def piece_requests(chunk_root: Hash, index: int, size: int) -> tuple[ChunkRequest, ...]:
    """The requests that together bring chunk `index`, which has `size` bytes."""
    assert 0 < size <= limits.chunk_bytes
    step = limits.piece_bytes_max
    return tuple(
        ChunkRequest(chunk_root, index, offset, min(step, size - offset)) for offset in range(0, size, step)
    )


async def fetch_chunk(
    network: Network, peer_id: PeerId, chunk_root: Hash, index: int, size: int, timeout_ms: int | None = None
) -> bytes:
    """Chunk `index` of a content from one peer, `size` bytes, not verified. Raises AskError when any piece fails to come."""
    requests = piece_requests(chunk_root, index, size)
    tasks = [asyncio.ensure_future(network.ask(peer_id, request, timeout_ms)) for request in requests]
    try:
        answers = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    pieces = []
    for request, answer in zip(requests, answers, strict=True):
        assert isinstance(answer, Chunk), "ask gives an answer of the request's kind"
        if len(answer.data) != request.size:
            network.charge(peer_id, limits.wrong_answer_points, "sent a piece of the wrong size")
            raise AskError(
                "a piece of the wrong size",
                value=f"{len(answer.data)} bytes, asked for {request.size}",
                code="wrong_answer",
            )
        pieces.append(answer.data)
    return b"".join(pieces)
