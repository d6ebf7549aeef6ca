"""A stranger that claims to be ahead answers with ranges that nobody can have: it is banned, and the node lives."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from omnitensor.protocol import limits
from omnitensor.protocol.blocks import Block
from omnitensor.protocol.codec import encode
from omnitensor.protocol.types import U64_MAX, Epoch, View
from omnitensor.protocol.votes import FinalityProof
from p2p.errors import AskError
from p2p.messages import BlocksRequest, BlocksResponse, CertificatesRequest, PeerId, Request, Response
from tests.node.node_kit import PARAMS, is_peer, make_folders, node_at, stranger, until
from tests.node.voters import Voters


@pytest.mark.parametrize("epoch", [U64_MAX, U64_MAX // PARAMS.epoch_blocks + 1, 1, 2**40])
async def test_a_range_of_an_epoch_that_is_none_ends_nothing_but_the_connection(
    tmp_path: Path, epoch: int
) -> None:
    folders = make_folders(tmp_path)
    voters = Voters(folders, tmp_path)
    block = voters.block(1)

    def lie(_: PeerId, request: Request) -> Response:
        assert isinstance(request, BlocksRequest)
        header = msgspec.structs.replace(block.header, height=request.from_height, epoch=Epoch(epoch))
        forged = Block(header, block.transactions)
        candidate = msgspec.structs.replace(voters.candidate(1, forged), epoch=Epoch(epoch))
        proof = voters.proof(candidate)
        certificate = msgspec.structs.replace(proof.certificate, epoch=Epoch(epoch))
        return BlocksResponse((encode(forged),), (), FinalityProof(candidate, certificate))

    node = node_at(folders.homes[0])
    try:
        await node.start()
        async with stranger(
            folders.genesis, node, height=limits.sync_behind_blocks_min, answers={BlocksRequest: lie}
        ) as liar:
            await until("the liar is gone", lambda: node.failed.is_set() or not is_peer(node, liar))
            assert not node.failed.is_set(), node.failure
            assert liar.asked
    finally:
        await node.stop()
        voters.close()


async def test_certificates_of_an_epoch_that_is_none_are_not_held(tmp_path: Path) -> None:
    folders = make_folders(tmp_path)
    node = node_at(folders.homes[0])
    try:
        await node.start()
        async with stranger(folders.genesis, node) as asker:
            for epoch in (1, U64_MAX // PARAMS.epoch_blocks, U64_MAX):
                request = CertificatesRequest(Epoch(epoch), View(1), 1)
                with pytest.raises(AskError, match="does not hold"):
                    await asker.host.ask(node.network.peer_id, request)
            assert "p2p_handler_failures" not in node.network.metrics(), "no exception was behind it"
    finally:
        await node.stop()
