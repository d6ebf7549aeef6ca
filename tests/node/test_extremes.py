"""All that a peer can say, with each field at the extremes of its type, to the handlers of a node with a chain of some blocks.

What comes out is an answer, a judgement or an error that blames the peer; the node goes on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from node.service import Node
from omnitensor.protocol.blocks import Block
from omnitensor.protocol.codec import encode
from omnitensor.protocol.content import content_id_of
from omnitensor.protocol.evidence import ConflictingVotes
from omnitensor.protocol.types import Epoch, Hash, Height, View
from omnitensor.protocol.votes import Candidate, FinalityProof, Proposal, Vote, VoteKind
from p2p.interface import Charge, Verdict
from p2p.messages import (
    BlocksRequest,
    BlocksResponse,
    CandidateRequest,
    CertificatesRequest,
    ChunkRequest,
    ContentQuery,
    Gossip,
    LeavesRequest,
    PeerId,
    Request,
    SnapshotPieceRequest,
    SnapshotQuery,
    StepsRequest,
)
from p2p.sync import Range
from tests.extremes import is_decodable, walk
from tests.node.node_kit import (
    Folders,
    height_of,
    make_folders,
    node_at,
    transfer,
    until,
)
from tests.node.voters import Voters

BLOCKS = 3
PEER = PeerId(b"p" * 32)
NEAR = (BLOCKS, BLOCKS + 1, BLOCKS + 2)


@dataclass
class Scene:
    folders: Folders
    node: Node
    voters: Voters
    chain: list[tuple[Candidate, Block, FinalityProof]]

    @property
    def handler(self) -> Any:
        return self.node._handler

    async def judged(self, message: Gossip) -> None:
        assert isinstance(await self.handler.on_gossip(PEER, message), Verdict | Charge)

    async def lives(self) -> None:
        """The next block becomes final here."""
        assert not self.node.failed.is_set(), self.node.failure
        above, block, _ = self.chain[-1]
        await self.give(BLOCKS + 1, self.voters.block(BLOCKS + 1, block), above)
        await until("the next block is final", lambda: height_of(self.node) == BLOCKS + 1)
        assert not self.node.failed.is_set(), self.node.failure
        assert self.node.driver is not None
        assert self.node.driver.halted is None
        assert "p2p_handler_failures" not in self.node.network.metrics()

    async def give(self, view: int, block: Block, above: Candidate | None) -> None:
        voters = self.voters
        candidate = voters.candidate(view, block, above)
        because = () if above is None else (voters.certificate(VoteKind.NOTARIZE, above.view, above.id),)
        assert await self.handler.on_gossip(PEER, voters.proposal(candidate, block, because)) is Verdict.RELAY
        await self.handler.on_gossip(
            PEER, voters.certificate(VoteKind.FINALIZE, candidate.view, candidate.id)
        )


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    folders = make_folders(tmp_path)
    voters = Voters(folders, tmp_path)
    node = node_at(folders.extra("follows"))
    try:
        await node.start()
        await until("the node has a core", lambda: node.driver is not None)
        made = Scene(folders, node, voters, voters.final_chain(BLOCKS))
        above = None
        for view, (candidate, block, _) in enumerate(made.chain, 1):
            await made.give(view, block, above)
            above = candidate
        await until("the blocks are final here", lambda: height_of(node) == BLOCKS)
        yield made
    finally:
        await node.stop()
        voters.close()


def decodable(record: Any, near: tuple[int, ...] = NEAR) -> Iterator[Any]:
    yield record
    for _, variant in walk(record, near):
        if is_decodable(variant):
            yield variant


async def without(faults: list[str], what: Any, call: Any) -> Any:
    """Carries out; whatever it raises is noted."""
    try:
        return await call
    except Exception as error:  # whatever it is, it is what is looked for
        faults.append(f"{type(what).__name__} {str(what)[:300]}: {error!r}")
        return None


async def test_votes(scene: Scene) -> None:
    voters, faults = scene.voters, list[str]()
    # Not the next leader: two proposals of one are all that anybody looks at.
    who = next(index for index in range(4) if index != voters.leader(BLOCKS + 1))
    for vote in (
        voters.vote(who, VoteKind.NOTARIZE, BLOCKS + 1, Hash(b"c" * 32)),
        voters.vote(who, VoteKind.SKIP, BLOCKS + 1),
        voters.vote(who, VoteKind.FINALIZE, BLOCKS + 1, Hash(b"d" * 32)),
    ):
        for variant in decodable(vote):
            await without(faults, variant, scene.judged(variant))
            signature = voters.keys[who].sign(variant.message(voters.genesis.chain_id))
            await without(faults, variant, scene.judged(replace(variant, signature=signature)))
    assert not faults, faults
    await scene.lives()


async def test_certificates(scene: Scene) -> None:
    faults = list[str]()
    for kind, named in ((VoteKind.NOTARIZE, b"c"), (VoteKind.SKIP, b"\0"), (VoteKind.FINALIZE, b"d")):
        for variant in decodable(scene.voters.certificate(kind, BLOCKS + 1, Hash(named * 32), (0,))):
            await without(faults, variant, scene.judged(variant))
    assert not faults, faults
    await scene.lives()


def meant(scene: Scene, proposal: Proposal) -> Proposal:
    """The same as its leader would have signed it, with a candidate that names its block."""
    voters, named = scene.voters, proposal.candidate
    if proposal.block is not None:
        named = replace(named, block_hash=proposal.block.hash)
    leader = voters.leader(named.view)
    vote = Vote(VoteKind.NOTARIZE, named.epoch, named.view, named.id, leader, proposal.leader_vote.signature)
    signature = voters.keys[leader].sign(vote.message(voters.genesis.chain_id))
    return replace(proposal, candidate=named, leader_vote=replace(vote, signature=signature))


async def test_proposals(scene: Scene) -> None:
    voters, (above, below, _), faults = scene.voters, scene.chain[-1], list[str]()
    block = voters.block(BLOCKS + 1, below, [transfer("alice", 0)])
    candidate = voters.candidate(BLOCKS + 1, block, above)
    because = (voters.certificate(VoteKind.NOTARIZE, above.view, above.id),)
    application = scene.node.application
    for variant in decodable(voters.proposal(candidate, block, because)):
        await without(faults, variant, scene.judged(variant))
        proposal = meant(scene, variant)
        await without(faults, proposal, scene.judged(proposal))
        if proposal.block is not None and proposal.block != block:
            # Whatever its turn was: a leader's block is executed by all, and explained where a quorum stands behind it.
            checked = await without(
                faults, proposal, application.check(proposal.candidate, proposal.block, lambda: ())
            )
            if checked is not None and checked.fault is not None:
                explained = partial(application.chain.explain, proposal.block)
                await without(faults, proposal, application.call(explained))
    assert not faults, faults
    assert not scene.node.failed.is_set()


async def test_evidence(scene: Scene) -> None:
    voters, faults = scene.voters, list[str]()
    who = next(index for index in range(4) if index != voters.leader(BLOCKS + 1))
    one = voters.vote(who, VoteKind.NOTARIZE, BLOCKS + 1, Hash(b"c" * 32))
    other = voters.vote(who, VoteKind.NOTARIZE, BLOCKS + 1, Hash(b"d" * 32))
    for variant in decodable(one):
        for second in (other, replace(variant, candidate_id=Hash(b"d" * 32))):
            try:
                evidence = ConflictingVotes.of(variant, second)
            except ValueError:
                continue
            await without(faults, evidence, scene.judged(evidence))
    assert not faults, faults
    await scene.lives()


async def test_requests(scene: Scene) -> None:
    faults = list[str]()
    root = content_id_of(b"content").chunk_root
    requests: tuple[Request, ...] = (
        BlocksRequest(Height(1), 2),
        CandidateRequest(scene.chain[-1][0].id),
        CertificatesRequest(Epoch(0), View(1), 3),
        SnapshotQuery(),
        SnapshotPieceRequest(Height(1), 1, 0, 1),
        StepsRequest(Epoch(0), 1),
        ContentQuery(root, True),
        LeavesRequest(root, 0, 1),
        ChunkRequest(root, 0, 0, 1),
    )
    for request in requests:
        for variant in decodable(request):
            answer = await without(faults, variant, scene.handler.on_request(PEER, variant))
            encode(answer)
    assert not faults, faults
    await scene.lives()


async def test_ranges(scene: Scene) -> None:
    voters, faults = scene.voters, list[str]()
    above, below, _ = scene.chain[-1]
    block = voters.block(BLOCKS + 1, below)
    candidate = voters.candidate(BLOCKS + 1, block, above)
    honest = BlocksResponse((encode(block),), (block.header,), voters.proof(candidate))
    responses = [*decodable(honest)]
    for changed in decodable(block):
        named = replace(candidate, block_hash=changed.hash, epoch=changed.header.epoch)
        certificate = replace(
            honest.proof.certificate, candidate_id=named.id, epoch=named.epoch, view=named.view
        )
        responses.append(BlocksResponse((encode(changed),), (), FinalityProof(named, certificate)))
    for response in responses:
        if response.proof == honest.proof:
            continue
        for from_height in (BLOCKS + 1, 2**64 - 1):
            ready = Range(0, PEER, from_height, response)
            await without(faults, response, scene.node._sync._apply(ready))
        await without(faults, response.proof, scene.node.application.verify_proof(response.proof))
    assert not faults, faults
    await scene.lives()
