"""Babylon: votes that came late were taken in unverified, and halted the chain. Here every vote that is used was verified."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from omnitensor.protocol.evidence import ConflictingVotes
from omnitensor.protocol.types import BlsSignature, Hash, View
from omnitensor.protocol.votes import Certificate, Proposal, Vote, VoteKind
from tests.lessons.scene import Scene
from tests.node.node_kit import Stranger, is_peer, stranger, until

N, S, F = VoteKind.NOTARIZE, VoteKind.SKIP, VoteKind.FINALIZE
OTHER_ID = Hash(b"o" * 32)
INFINITY = BlsSignature(b"\xc0" + bytes(95))


def said_of(who: Stranger, kind: type) -> list[object]:
    return [heard for heard in who.heard if isinstance(heard, kind)]


@pytest.mark.parametrize("late", [True, False], ids=["late", "in time"])
async def test_babylon_a_forged_vote_is_neither_counted_nor_evidence(scene: Scene, late: bool) -> None:
    """Forged in the name of an honest validator, against what it truly said: in time for its view, or after it is final."""
    voters, genesis = scene.voters, scene.folders.genesis
    victim = scene.others[0]
    block = voters.block(1)
    candidate = voters.candidate(1, block)
    async with stranger(genesis, scene.node) as honest:
        await scene.tell(honest, voters.vote(victim, N, 1, candidate.id))
        if late:
            await scene.tell(honest, voters.proposal(candidate, block))
            for kind in (N, F):
                certificate = voters.certificate(kind, 1, candidate.id, signers=scene.others)
                await scene.tell(honest, certificate)
            await until(
                "view 1 is final", lambda: scene.node.driver and scene.node.driver.core.final.view == 1
            )
        forged = [
            replace(voters.vote(victim, N, 1, OTHER_ID), signature=INFINITY),
            replace(voters.vote(scene.others[1], N, 1, OTHER_ID), signer=victim),
            replace(voters.vote(victim, N, 1, candidate.id), candidate_id=OTHER_ID),
        ]
        for vote in forged:
            async with stranger(genesis, scene.node) as liar:
                await scene.tell(liar, vote)
                assert scene.is_charged(liar)
        assert scene.node._evidence.held() == ()
        assert said_of(honest, ConflictingVotes) == []
        assert [vote for vote in said_of(honest, Vote) if vote in forged] == []
        assert scene.halted is None
        assert is_peer(scene.node, honest)
        # The true one convicts: what was refused above was refused for its signature alone.
        await scene.tell(honest, voters.vote(victim, N, 1, OTHER_ID))
        await until("the true conflict is held", lambda: len(scene.node._evidence.held()) == 1)
        assert scene.halted is None


async def test_babylon_no_certificate_is_built_with_a_forged_vote(scene: Scene) -> None:
    """Two true votes and a forged third are no quorum, whichever message the forged one comes in."""
    voters, genesis = scene.voters, scene.folders.genesis
    first, second, third = scene.others
    block = voters.block(2)
    candidate = voters.candidate(2, block)
    driver = scene.node.driver
    assert driver is not None
    async with stranger(genesis, scene.node) as honest:
        # Of view 3, in which this node has not voted itself.
        await scene.tell(honest, voters.vote(first, S, 3), voters.vote(second, S, 3))
        async with stranger(genesis, scene.node) as liar:
            await scene.tell(liar, replace(voters.vote(third, S, 3), signature=INFINITY))
            assert scene.is_charged(liar)
        async with stranger(genesis, scene.node) as liar:
            thin = voters.certificate(S, 1, signers=(first, second))
            wide = replace(thin, signers=voters.table.bitmap(scene.others))
            await scene.tell(liar, voters.proposal(candidate, block, (wide,)))
            assert scene.is_charged(liar)
        async with stranger(genesis, scene.node) as liar:
            leader_vote = replace(voters.vote(voters.leader(2), N, 2, candidate.id), signature=INFINITY)
            skip = voters.certificate(S, 1, signers=scene.others)
            await scene.tell(liar, Proposal(candidate, block, (skip,), leader_vote))
            assert scene.is_charged(liar)
        assert driver.core.certificates(View(1), View(3)) == ()
        assert said_of(honest, Certificate) == []
        await scene.tell(honest, voters.vote(third, S, 3))
        await until("three true ones are a quorum", lambda: driver.core.certificates(View(3), View(3)))
        assert scene.halted is None
