"""CometBFT 2025: sync never ended after a peer lowered its height; an index was not its proof's; a bad bit array stopped all."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from datalayer.transfer import Ask, Blame, Fetch, HoldsQuery, Keep, LeavesQuery, PieceQuery
from omnitensor.protocol import limits, merkle
from omnitensor.protocol.blocks import Header
from omnitensor.protocol.content import content_id_of
from omnitensor.protocol.evidence import ConflictingCertificates
from omnitensor.protocol.types import Hash, Height, View
from omnitensor.protocol.votes import Certificate, Proposal, VoteKind
from p2p.interface import Charge
from p2p.messages import BlocksRequest, BlocksResponse, PeerId, Request, Response, StatusUpdate
from p2p.ranges import RangeError, assemble_blocks, read_blocks
from tests.lessons.scene import Scene
from tests.node.node_kit import Answer, Stranger, height_of, is_peer, make_folders, node_at, stranger, until
from tests.node.voters import Voters

N, S, F = VoteKind.NOTARIZE, VoteKind.SKIP, VoteKind.FINALIZE
TRUE_HEIGHT = 40


def answers_of(voters: Voters, request: Request) -> BlocksResponse | None:
    assert isinstance(request, BlocksRequest)
    reader = voters.chain.reader()

    def header_at(height: int) -> Header | None:
        block = reader.block(Height(height))
        return None if block is None else block.header

    return assemble_blocks(
        request,
        lambda height: reader.encoded_block(Height(height)),
        header_at,
        lambda height: reader.proof(Height(height)),
    )


class Silent(Stranger):
    """Answers no request; a peer that said that it has nothing would be found out sooner."""

    async def on_request(self, peer_id: PeerId, request: Request) -> Response | Charge | None:
        await asyncio.sleep(3_600)
        return None


async def test_cometbft_2025_a_peer_lowers_its_height(tmp_path: Path) -> None:
    """It says a million, then ten. Sync finishes at the height of the honest peer, and the liar is dropped."""
    folders = make_folders(tmp_path)
    voters = Voters(folders, tmp_path)
    voters.final_chain(TRUE_HEIGHT)
    node = node_at(folders.extra("follower"))
    await node.start()
    genesis = folders.genesis
    try:
        liar = Silent(genesis, 1_000_000)
        try:
            await liar.start(node)
            await until("it believes the liar so far", lambda: node._sync.syncing)
            assert node._sync.progress.target == 1_000_000
            await until("it is not ready, its head being old too", lambda: not node._backend.status().ready)
            honest: dict[type, Answer] = {BlocksRequest: lambda _, request: answers_of(voters, request)}
            async with stranger(genesis, node, height=TRUE_HEIGHT, answers=honest) as peer:
                liar.height = 10  # and when it comes back after it was dropped
                liar.host.send(node.network.peer_id, StatusUpdate(Height(10), genesis.hash, View(0)))
                await until("all blocks are here", lambda: height_of(node) == TRUE_HEIGHT)
                await until("sync is over", lambda: not node._sync.syncing)
                await until("the liar is dropped", lambda: liar.downs)
                assert node._sync.progress.target == TRUE_HEIGHT
                await until("the node is ready", lambda: node._backend.status().ready)
                assert is_peer(node, peer)
        finally:
            await liar.stop()
    finally:
        await node.stop()
        voters.close()


# -- an index that is not the proof's


def test_cometbft_2025_blocks_at_another_index_than_asked_for_are_refused(tmp_path: Path) -> None:
    """A range is held against the heights that were asked for, whatever its own headers say."""
    voters = Voters(make_folders(tmp_path), tmp_path)
    try:
        voters.final_chain(6)
        asked = BlocksRequest(Height(2), 3)
        good = answers_of(voters, asked)
        assert good is not None
        assert [block.header.height for block in read_blocks(asked, good)] == [2, 3, 4]
        for wrong in (
            answers_of(voters, BlocksRequest(Height(3), 3)),
            replace(good, blocks=good.blocks[1:]),
            replace(good, blocks=(good.blocks[0], good.blocks[2])),
            replace(good, blocks=(good.blocks[1], good.blocks[0], good.blocks[2])),
            replace(good, blocks=(good.blocks[0], good.blocks[0], good.blocks[2])),
        ):
            assert wrong is not None
            with pytest.raises(RangeError):
                read_blocks(asked, wrong)
    finally:
        voters.close()


def test_cometbft_2025_a_chunk_under_another_index_is_refused() -> None:
    """A peer answers a request for one chunk with the true bytes of another: it is blamed, and nothing of it is kept."""
    parts = [bytes([number]) * limits.chunk_bytes for number in range(3)]
    content = content_id_of(b"".join(parts))
    leaves = tuple(merkle.leaf_hash(part) for part in parts)
    fetch = Fetch(content, ((0, 3),))
    asks = [each for each in fetch.add_peer(b"peer", 0) if isinstance(each, Ask)]
    kept: list[int] = []
    blamed: list[str] = []
    for _ in range(200):
        if not asks:
            break
        ask = asks.pop(0)
        match ask.query:
            case HoldsQuery():
                said = fetch.on_offer(ask.number, content, 0)
            case LeavesQuery():
                said = fetch.on_leaves(ask.number, leaves, 0)
            case PieceQuery(index, offset, size):
                other = parts[0] if index == 0 else parts[3 - index]  # 1 and 2 change places
                said = fetch.on_piece(ask.number, other[offset : offset + size], 0)
        asks += [each for each in said if isinstance(each, Ask)]
        kept += [each.index for each in said if isinstance(each, Keep)]
        blamed += [each.reason for each in said if isinstance(each, Blame)]
    assert kept == [0]
    assert blamed == ["a wrong chunk"]
    assert not fetch.done


@pytest.mark.parametrize("size", [2, 3, 5, 8])
def test_cometbft_2025_a_proof_of_another_index_proves_nothing(size: int) -> None:
    leaves = [merkle.leaf_hash(b"part %d" % index) for index in range(size)]
    root = merkle.root(leaves)
    for index in range(size):
        proof = merkle.inclusion_proof(leaves, index)
        for claimed in range(size + 2):
            good = merkle.verify_inclusion(leaves[index], claimed, size, proof, root)
            assert good == (claimed == index)


# -- bitmaps


def bad_bitmaps(voters: Voters, certificate: Certificate) -> list[Certificate]:
    """Bitmaps of another length, with a bit beyond the table, of nobody; the aggregate is genuine for the true one."""
    bits = certificate.signers
    wrong = [
        bits + b"\x00",
        bits + b"\x07",
        b"\x00" + bits,
        bytes([bits[0] | 0x10]),
        b"\xff",
        b"\x00",
        bits * 13,
    ]
    return [replace(certificate, signers=one) for one in wrong]


async def test_cometbft_2025_a_bad_bitmap_is_refused_and_not_passed_on(scene: Scene) -> None:
    """In a certificate, in a proposal and in evidence. Each liar pays, nobody else hears of it, and the chain goes on."""
    voters, genesis = scene.voters, scene.folders.genesis
    skip = voters.certificate(S, 1, signers=scene.others)
    block = voters.block(2)
    candidate = voters.candidate(2, block)
    one = voters.certificate(F, 3, Hash(b"a" * 32), signers=scene.others)
    other = voters.certificate(F, 3, Hash(b"b" * 32), signers=scene.others)
    lies: list[Certificate | Proposal | ConflictingCertificates] = []
    for bad, bad_one, bad_other in zip(*(bad_bitmaps(voters, c) for c in (skip, one, other)), strict=True):
        lies += [bad, voters.proposal(candidate, block, (bad,))]
        if any(bad.signers):  # certificates that share nobody are no evidence by their type
            lies.append(ConflictingCertificates.of(bad_one, bad_other))
    async with stranger(genesis, scene.node) as honest:
        for lie in lies:
            async with stranger(genesis, scene.node) as liar:
                await scene.tell(liar, lie)
                # Evidence against nobody in the table is not looked at at all: it costs nothing, and is not passed on.
                assert scene.is_charged(liar) or isinstance(lie, ConflictingCertificates)
            assert scene.halted is None
        passed_on = [
            heard
            for heard in honest.heard
            if isinstance(heard, Certificate | Proposal | ConflictingCertificates)
        ]
        assert passed_on == []
        assert scene.node._evidence.held() == ()
        await scene.make_final(honest)
