"""A node that only follows: hundreds of blocks from peers that are honest, wrong or slow, then block by block with the others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from node.service import Node
from omnitensor.protocol.blocks import Block, Header
from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.errors import StorageError
from omnitensor.protocol.types import BlsSignature, Hash, Height
from omnitensor.protocol.votes import VoteKind
from p2p.messages import BlocksRequest, BlocksResponse, PeerId, Request
from p2p.ranges import assemble_blocks
from tests.node.node_kit import (
    Answer,
    Folders,
    height_of,
    is_peer,
    make_folders,
    node_at,
    stranger,
    transfer,
    until,
)
from tests.node.voters import Voters


@dataclass
class History:
    """Final blocks of a chain that a test may lie about."""

    folders: Folders
    voters: Voters

    def honest(self, _: PeerId, request: Request) -> BlocksResponse | None:
        assert isinstance(request, BlocksRequest)
        reader = self.voters.chain.reader()

        def header_at(height: int) -> Header | None:
            block = reader.block(Height(height))
            return None if block is None else block.header

        return assemble_blocks(
            request,
            lambda height: reader.encoded_block(Height(height)),
            header_at,
            lambda height: reader.proof(Height(height)),
        )

    @property
    def height(self) -> int:
        return self.voters.chain.head.height


@pytest.fixture
async def history(tmp_path: Path) -> AsyncIterator[History]:
    folders = make_folders(tmp_path)
    voters = Voters(folders, tmp_path)
    yield History(folders, voters)
    voters.close()


async def follower(history: History, name: str = "follower") -> Node:
    node = node_at(history.folders.extra(name))
    await node.start()
    return node


async def test_two_hundred_blocks_and_then_block_by_block(history: History) -> None:
    voters = history.voters
    chain = voters.final_chain(210)
    node = await follower(history)
    try:
        async with stranger(
            history.folders.genesis, node, height=210, answers={BlocksRequest: history.honest}
        ) as peer:
            await until("all blocks are here", lambda: height_of(node) == 210)
            assert node.application.reader().head.hash == chain[-1][1].hash
            assert node.driver is not None
            assert node.application.epoch.me is None
            # From here on the stranger only gossips, as validators do.
            block = voters.block(211, transactions=[transfer("alice", 0)])
            candidate = voters.candidate(211, block, chain[-1][0])
            peer.host.broadcast(voters.proposal(candidate, block, (chain[-1][2].certificate,)))
            peer.host.broadcast(voters.certificate(VoteKind.NOTARIZE, 211, candidate.id))
            peer.host.broadcast(voters.certificate(VoteKind.FINALIZE, 211, candidate.id))
            await until("the next block by consensus", lambda: height_of(node) == 211)
            assert not [one for one in peer.heard if getattr(one, "signer", None) is not None]
            await until("it is ready", lambda: node._backend.status().ready)
    finally:
        await node.stop()


async def test_what_was_synced_can_be_served(history: History) -> None:
    """The second follower only knows the first, which has its blocks from ranges that ended between proofs."""
    history.voters.final_chain(100)

    def odd(peer: PeerId, request: Request) -> BlocksResponse | None:
        """At most 31 blocks, and a proof only at heights that 50 divides."""
        assert isinstance(request, BlocksRequest)
        reader = history.voters.chain.reader()

        def header_at(height: int) -> Header | None:
            block = reader.block(Height(height))
            return None if block is None else block.header

        return assemble_blocks(
            BlocksRequest(request.from_height, min(request.count, 31)),
            lambda height: reader.encoded_block(Height(height)),
            header_at,
            lambda height: reader.proof(Height(height)) if height % 50 == 0 else None,
        )

    first = await follower(history)
    try:
        async with stranger(history.folders.genesis, first, height=100, answers={BlocksRequest: odd}):
            await until("the first is there", lambda: height_of(first) == 100)
        second = node_at(history.folders.extra("second"), [first])
        try:
            await second.start()
            await until("the second is there", lambda: height_of(second) == 100)
            assert second.application.final_point() is not None
        finally:
            await second.stop()
    finally:
        await first.stop()


def shifted(history: History) -> Answer:
    """Blocks of the right form, from another height than asked for."""

    def answer(peer: PeerId, request: Request) -> BlocksResponse | None:
        assert isinstance(request, BlocksRequest)
        return history.honest(peer, BlocksRequest(Height(request.from_height + 1), request.count))

    return answer


def emptied(history: History) -> Answer:
    """True headers with a true proof, and the transactions taken out."""

    def answer(peer: PeerId, request: Request) -> BlocksResponse | None:
        given = history.honest(peer, request)
        assert given is not None
        blocks = [Block(decode(Block, one).header, ()) for one in given.blocks]
        return BlocksResponse(tuple(map(encode, blocks)), given.links, given.proof)

    return answer


def unsigned_proof(history: History) -> Answer:
    """True blocks up to a proof that nobody signed."""

    def answer(peer: PeerId, request: Request) -> BlocksResponse | None:
        given = history.honest(peer, request)
        assert given is not None
        certificate = msgspec.structs.replace(
            given.proof.certificate, signature=BlsSignature(b"\xc0" + bytes(95))
        )
        return msgspec.structs.replace(
            given, proof=msgspec.structs.replace(given.proof, certificate=certificate)
        )

    return answer


def rewritten(history: History) -> Answer:
    """A chain of its own under the proof of the true one."""

    def answer(peer: PeerId, request: Request) -> BlocksResponse | None:
        given = history.honest(peer, request)
        assert given is not None
        blocks = [decode(Block, one) for one in given.blocks]
        forged = [
            Block(msgspec.structs.replace(block.header, state_root=Hash(b"s" * 32)), block.transactions)
            for block in blocks
        ]
        return BlocksResponse(tuple(map(encode, forged)), given.links, given.proof)

    return answer


@pytest.mark.parametrize("lie", [shifted, emptied, unsigned_proof, rewritten])
async def test_a_liar_is_banned_at_once_and_the_sync_goes_on(
    history: History, lie: Callable[[History], Answer]
) -> None:
    voters = history.voters
    above = None
    for view in range(1, 9):
        block = voters.block(view, transactions=[transfer("alice", view - 1)])
        above = voters.candidate(view, block, above)
        voters.chain.commit(block.hash, voters.proof(above))
    node = await follower(history)
    try:
        answers: dict[type, Answer] = {BlocksRequest: lie(history)}
        async with stranger(history.folders.genesis, node, height=8, answers=answers) as liar:
            await until("the liar is gone", lambda: liar.asked and not is_peer(node, liar))
            assert height_of(node) == 0
            async with stranger(
                history.folders.genesis, node, height=8, answers={BlocksRequest: history.honest}
            ) as honest:
                await until("all blocks are here", lambda: height_of(node) == 8)
                assert is_peer(node, honest)
            assert not is_peer(node, liar), "it stays away for a while"
            assert not node.failed.is_set()
    finally:
        await node.stop()


async def test_a_final_block_that_is_invalid_here_stops_the_node_and_blames_nobody(history: History) -> None:
    """A quorum's proof leads to it: every peer would send the same."""
    voters = history.voters
    block = voters.block(1)
    wrong = Block(msgspec.structs.replace(block.header, weight_used=7), ())
    proof = voters.proof(voters.candidate(1, wrong))

    def answer(_: PeerId, request: Request) -> BlocksResponse | None:
        return BlocksResponse((encode(wrong),), (), proof)

    node = await follower(history)
    try:
        async with stranger(history.folders.genesis, node, height=1, answers={BlocksRequest: answer}) as peer:
            await until("the node gives up", node.failed.is_set)
            assert "invalid here" in str(node.failure)
            assert is_peer(node, peer)
            assert height_of(node) == 0
    finally:
        await node.stop()


async def test_a_full_disk_in_the_middle_of_a_sync_blames_nobody(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.voters.final_chain(5)
    node = await follower(history)

    def full(*_: object) -> None:
        raise StorageError("the database can't be used: No space left on device")

    monkeypatch.setattr(node.application.chain, "commit_path", full)
    try:
        async with stranger(
            history.folders.genesis, node, height=5, answers={BlocksRequest: history.honest}
        ) as peer:
            await until("the node gives up", node.failed.is_set)
            assert "No space left" in str(node.failure)
            assert is_peer(node, peer)
    finally:
        await node.stop()


async def test_a_start_between_two_proofs_waits_for_the_next_one(history: History) -> None:
    """Killed in the middle of a range, the head is final only by a block that is not here yet."""
    chain = history.voters.final_chain(6)
    home = history.folders.extra("killed")
    before = node_at(home)
    blocks = tuple(block for _, block, _ in chain[:3])
    await before.application.commit_range(blocks, chain[4][2])
    assert before.application.final_point() is None
    await before.stop()
    node = node_at(home)
    await node.start()
    try:
        assert node.driver is None
        assert "consensus has not started" in node._backend.status().not_ready_reason
        async with stranger(history.folders.genesis, node, height=6, answers={BlocksRequest: history.honest}):
            await until("consensus goes on", lambda: node.driver is not None)
            await until("all blocks are here", lambda: height_of(node) == 6)
    finally:
        await node.stop()
