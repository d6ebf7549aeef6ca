"""One real validator among strangers that hold everybody's keys: lies cost, honesty does not, and nothing halts it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from node.service import Node
from omnitensor.protocol.blocks import Block
from omnitensor.protocol.transactions import transaction_id
from omnitensor.protocol.types import BlsSignature, Hash, Height, View
from omnitensor.protocol.votes import Proposal, Vote, VoteKind
from p2p.messages import (
    BlocksRequest,
    CandidateRequest,
    CandidateResponse,
    CertificatesRequest,
    CertificatesResponse,
    PeerId,
    Request,
    Response,
    StatusUpdate,
)
from tests.node.node_kit import (
    Folders,
    Stranger,
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
class Scene:
    """A running node that leads neither view 1 nor view 2, and the pens of all validators."""

    folders: Folders
    node: Node
    voters: Voters

    @property
    def me(self) -> int:
        seat = self.node.application.epoch.me
        assert seat is not None
        return seat

    @property
    def id(self) -> PeerId:
        return self.node.network.peer_id

    def score(self, who: Stranger) -> int:
        [score] = [
            peer.score for peer in self.node.network.peers() if bytes(peer.peer_id) == who.identity.public
        ]
        return score

    def votes_heard(self, who: Stranger, kind: VoteKind, view: int) -> list[Vote]:
        return [
            heard
            for heard in who.heard
            if isinstance(heard, Vote) and (heard.signer, heard.kind, heard.view) == (self.me, kind, view)
        ]

    async def lives(self, who: Stranger) -> None:
        """The node still votes for a sound proposal of view 1."""
        block = self.voters.block(1, transactions=[transfer("alice", 0)])
        candidate = self.voters.candidate(1, block)
        assert who.host.send(self.id, self.voters.proposal(candidate, block))
        await until("a vote for the sound block", lambda: self.votes_heard(who, VoteKind.NOTARIZE, 1))
        [vote] = self.votes_heard(who, VoteKind.NOTARIZE, 1)
        assert vote.candidate_id == candidate.id
        assert self.node.driver is not None
        assert self.node.driver.halted is None


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    folders = make_folders(tmp_path)
    voters = Voters(folders, tmp_path)
    idle = next(index for index in range(4) if index not in (voters.leader(1), voters.leader(2)))
    voters.quiet = idle
    home = next(
        home
        for home, keys in ((home, folders.keys(place)) for place, home in enumerate(folders.homes))
        if keys.consensus_public == voters.keys[idle].consensus_public
    )
    node = node_at(home)
    try:
        await node.start()
        yield Scene(folders, node, voters)
    finally:
        await node.stop()
        voters.close()


async def test_garbage_votes_cost_the_sender_its_place(scene: Scene) -> None:
    voters = scene.voters
    async with (
        stranger(scene.folders.genesis, scene.node) as liar,
        stranger(scene.folders.genesis, scene.node) as honest,
    ):
        other = next(index for index in range(4) if index != scene.me)
        genuine = voters.vote(other, VoteKind.SKIP, 3)
        for view in (3, 4, 5):
            forged = msgspec.structs.replace(genuine, view=view, signature=BlsSignature(b"\xc0" + bytes(95)))
            liar.host.send(scene.id, forged)
        await until("the liar is gone", lambda: not is_peer(scene.node, liar))
        assert "signature" in liar.downs[-1][1]
        assert honest.host.send(scene.id, genuine)
        await scene.lives(honest)
        assert scene.score(honest) == 0


async def test_forged_certificates_cost_the_sender_its_place(scene: Scene) -> None:
    voters = scene.voters
    async with (
        stranger(scene.folders.genesis, scene.node) as liar,
        stranger(scene.folders.genesis, scene.node) as honest,
    ):
        true = voters.certificate(VoteKind.SKIP, 1)
        for view in (7, 8, 9):
            # Right bitmap and quorum, but the signatures are over view 1.
            liar.host.send(scene.id, msgspec.structs.replace(true, view=view))
        await until("the liar is gone", lambda: not is_peer(scene.node, liar))
        await scene.lives(honest)
        assert scene.node.driver is not None
        assert scene.node.driver.core.view == 1
        thin = voters.certificate(VoteKind.SKIP, 1, signers=(0, 1))
        honest.host.send(scene.id, thin)
        await until("a certificate without a quorum is charged", lambda: scene.score(honest) < 0)


async def test_a_mutated_proposal_does_not_blacklist_the_true_one(scene: Scene) -> None:
    voters = scene.voters
    block = voters.block(1, transactions=[transfer("alice", 0)])
    candidate = voters.candidate(1, block)
    true = voters.proposal(candidate, block)
    async with (
        stranger(scene.folders.genesis, scene.node) as liar,
        stranger(scene.folders.genesis, scene.node) as honest,
    ):
        emptied = Block(block.header, ())
        swapped = Block(block.header, (transfer("bob", 0, to="alice").transaction,))
        for mutated in (emptied, swapped):
            liar.host.send(scene.id, msgspec.structs.replace(true, block=mutated))
        await until("the liar is gone", lambda: not is_peer(scene.node, liar))
        await scene.lives(honest)
        assert scene.score(honest) == 0


async def test_proposals_of_others_than_the_leader_are_refused(scene: Scene) -> None:
    voters = scene.voters
    wrong = next(index for index in range(4) if index not in (scene.me, voters.leader(1)))
    block = voters.block(1, proposer=wrong)
    candidate = voters.candidate(1, block)
    async with (
        stranger(scene.folders.genesis, scene.node) as liar,
        stranger(scene.folders.genesis, scene.node) as honest,
    ):
        liar.host.send(scene.id, voters.proposal(candidate, block, signer=wrong))
        vote = msgspec.structs.replace(
            voters.vote(wrong, VoteKind.NOTARIZE, 1, candidate.id), signer=voters.leader(1)
        )
        liar.host.send(scene.id, Proposal(candidate, block, (), vote))
        await until("the liar is gone", lambda: not is_peer(scene.node, liar))
        await scene.lives(honest)


async def test_a_leader_with_an_invalid_block_is_skipped_and_nobody_halts(scene: Scene) -> None:
    """The leader signed it, so whoever passes it on is not at fault."""
    voters = scene.voters
    block = voters.block(1)
    wrong = Block(msgspec.structs.replace(block.header, state_root=Hash(b"x" * 32)), ())
    async with stranger(scene.folders.genesis, scene.node) as peer:
        peer.host.send(scene.id, voters.proposal(voters.candidate(1, wrong), wrong))
        await until("the view is skipped", lambda: scene.votes_heard(peer, VoteKind.SKIP, 1))
        assert not scene.votes_heard(peer, VoteKind.NOTARIZE, 1)
        assert scene.score(peer) == 0
        assert scene.node.driver is not None
        assert scene.node.driver.halted is None


async def test_a_quorum_for_an_invalid_block_halts_voting_and_serving_goes_on(scene: Scene) -> None:
    """R5: somebody computes wrongly; the node says so and stays up for whoever looks into it."""
    voters = scene.voters
    block = voters.block(1)
    wrong = Block(msgspec.structs.replace(block.header, state_root=Hash(b"x" * 32)), ())
    candidate = voters.candidate(1, wrong)
    async with stranger(scene.folders.genesis, scene.node) as peer:
        peer.host.send(scene.id, voters.proposal(candidate, wrong))
        peer.host.send(scene.id, voters.certificate(VoteKind.NOTARIZE, 1, candidate.id))
        driver = scene.node.driver
        assert driver is not None
        await until("the node halts", lambda: driver.halted)
        assert "state_root" in str(driver.halted)
        status = scene.node._backend.status()
        assert not status.ready
        assert "halted" in status.not_ready_reason
        assert not scene.node.failed.is_set()
        assert is_peer(scene.node, peer)


async def test_a_leader_with_many_proposals_is_not_passed_on_for_ever(scene: Scene) -> None:
    voters = scene.voters
    async with (
        stranger(scene.folders.genesis, scene.node) as leader,
        stranger(scene.folders.genesis, scene.node) as other,
    ):
        for number in range(6):
            block = voters.block(1, at_ms=voters.genesis.time_ms + 100 + number)
            proposal = voters.proposal(voters.candidate(1, block), block)
            leader.host.send(scene.id, proposal)
            await until(
                "the proposal was judged",
                lambda n=number: sum_of(scene.node, "p2p_judged") >= n + 1,  # type: ignore[misc]
            )
        # What the node passes on after all of them says that none is still on its way.
        signer = next(index for index in range(4) if index != scene.me)
        last = voters.vote(signer, VoteKind.SKIP, 1)
        assert leader.host.send(scene.id, last)
        await until("what came last is passed on", lambda: last in other.heard)
        passed_on = [heard for heard in other.heard if isinstance(heard, Proposal)]
        assert len(passed_on) == 2, "two convict the leader; more is noise"
        assert scene.node.driver is not None
        assert scene.node.driver.halted is None


def sum_of(node: Node, name: str) -> int:
    return sum(value for title, value in node.network.metrics().items() if title.startswith(name))


async def test_an_oversized_request_ends_the_connection(scene: Scene) -> None:
    async with stranger(scene.folders.genesis, scene.node) as greedy:
        request = BlocksRequest(scene.voters.chain.head.height, 1_000_000)
        with pytest.raises(Exception, match=r"gone|no answer"):
            await greedy.host.ask(scene.id, request, 60_000)
        await until("it is dropped", lambda: greedy.downs)
        assert "malformed" in greedy.downs[-1][1]


async def test_late_and_poor_transactions_are_nobodys_fault(scene: Scene) -> None:
    voters = scene.voters
    done = transfer("alice", 0)
    block = voters.block(1, transactions=[done])
    candidate = voters.candidate(1, block)
    async with TellingStranger(scene).started() as peer:
        peer.host.send(scene.id, voters.proposal(candidate, block))
        peer.host.send(scene.id, voters.certificate(VoteKind.FINALIZE, 1, candidate.id))
        await until("the block is final", lambda: height_of(scene.node) == 1)
        late = [
            transfer("alice", 0, amount=8),  # its nonce is used up
            transfer("bob", 0, valid_until=1),  # expired
            transfer("bob", 0, max_fee=1),  # pays too little here
            transfer("bob", 0, amount=10**18),  # can't be paid, which only a block can say
            transfer("bob", 60_000),  # a nonce far ahead
        ]
        await peer.tell(*(one.encoded for one in late))
        assert scene.score(peer) == 0
        good = transfer("v0", 0).encoded
        await peer.tell(good[:-1] + bytes([good[-1] ^ 1]))
        await until("a forged signature is charged", lambda: scene.score(peer) < 0)


class TellingStranger(Stranger):
    """Announces transactions and gives them when asked."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene.folders.genesis)
        self._scene = scene
        self._held: dict[Hash, bytes] = {}

    def started(self) -> TellingStranger:
        return self

    async def __aenter__(self) -> TellingStranger:
        await self.start(self._scene.node)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def transaction(self, transaction_id: Hash) -> bytes | None:
        return self._held.get(transaction_id)

    async def tell(self, *encoded: bytes) -> None:
        """Announces transactions; returns when the node has judged them."""
        before = sum_of(self._scene.node, "p2p_judged")
        self._held |= {transaction_id(one): one for one in encoded}
        self.host.announce_transactions([transaction_id(one) for one in encoded])
        await until("all are judged", lambda: sum_of(self._scene.node, "p2p_judged") >= before + len(encoded))


async def test_a_height_taken_back_ends_the_connection_and_nothing_else(scene: Scene) -> None:
    async with (
        stranger(scene.folders.genesis, scene.node) as liar,
        stranger(scene.folders.genesis, scene.node) as honest,
    ):
        for height in (50, 10):
            liar.host.send(scene.id, StatusUpdate(Height(height), scene.folders.genesis.hash, View(0)))
        await until("the liar is dropped", lambda: liar.downs)
        await scene.lives(honest)


async def test_a_peer_that_claims_what_it_does_not_hold_is_banned_in_the_end(scene: Scene) -> None:
    """It comes back each time it is dropped; that must not keep the node from being ready for ever."""
    async with stranger(scene.folders.genesis, scene.node, height=1_000_000) as liar:
        await until("the liar is banned", lambda: len(liar.downs) >= 2 and not is_peer(scene.node, liar))
        await until("the node believes it no more", lambda: scene.node._backend.status().sync_target == 0)
        await until("it is ready", lambda: scene.node._backend.status().ready)


async def test_a_forged_certificate_in_a_true_proposal_is_not_passed_on(scene: Scene) -> None:
    """Whoever has the true certificate must look all the same: others have not, and would blame whoever passed it on."""
    voters, genesis = scene.voters, scene.folders.genesis
    skip = voters.certificate(VoteKind.SKIP, 1)
    block = voters.block(2)
    candidate = voters.candidate(2, block)
    forged = msgspec.structs.replace(skip, signature=BlsSignature(b"\xc0" + bytes(95)))
    async with (
        stranger(genesis, scene.node) as liar,
        stranger(genesis, scene.node) as honest,
    ):
        assert honest.host.send(scene.id, skip)
        driver = scene.node.driver
        assert driver is not None
        await until("the node is in view 2", lambda: driver.core.view == 2)
        assert liar.host.send(scene.id, voters.proposal(candidate, block, (forged,)))
        await until("the liar is charged", lambda: not is_peer(scene.node, liar) or scene.score(liar) < 0)
        assert not [heard for heard in honest.heard if isinstance(heard, Proposal)]
        assert honest.host.send(scene.id, voters.proposal(candidate, block, (skip,)))
        await until("a vote for it", lambda: scene.votes_heard(honest, VoteKind.NOTARIZE, 2))
        assert scene.score(honest) == 0


async def test_a_missing_block_is_fetched_past_liars_and_the_silent(scene: Scene) -> None:
    """Only certificates came by; of those asked for the block one says nothing, one lies, one mutates it, one gives it."""
    voters, genesis = scene.voters, scene.folders.genesis
    block = voters.block(1, transactions=[transfer("alice", 0)])
    candidate = voters.candidate(1, block)
    other = voters.block(1, at_ms=voters.genesis.time_ms + 101)

    def lie(_: PeerId, request: Request) -> Response:
        return CandidateResponse(voters.candidate(1, other), other, ())

    def mutate(_: PeerId, request: Request) -> Response:
        return CandidateResponse(candidate, Block(block.header, ()), ())

    def give(_: PeerId, request: Request) -> Response | None:
        assert isinstance(request, CandidateRequest)
        return CandidateResponse(candidate, block, ()) if request.candidate_id == candidate.id else None

    async with (
        stranger(genesis, scene.node),
        stranger(genesis, scene.node, answers={CandidateRequest: lie}) as liar,
        stranger(genesis, scene.node, answers={CandidateRequest: mutate}) as mutator,
        stranger(genesis, scene.node, answers={CandidateRequest: give}) as honest,
    ):
        certificate = voters.certificate(VoteKind.FINALIZE, 1, candidate.id)
        assert honest.host.send(scene.id, certificate)
        await until("the block is final here", lambda: height_of(scene.node) == 1)
        assert scene.node.application.reader().head.hash == block.hash
        for false in (liar, mutator):
            assert not false.asked or not is_peer(scene.node, false) or scene.score(false) < 0
        assert scene.score(honest) == 0


async def test_forged_answers_about_certificates_cost_their_sender(scene: Scene) -> None:
    voters, genesis = scene.voters, scene.folders.genesis
    true = voters.certificate(VoteKind.SKIP, 1)

    def forge(_: PeerId, request: Request) -> Response:
        return CertificatesResponse((msgspec.structs.replace(true, view=2),))

    def give(_: PeerId, request: Request) -> Response:
        return CertificatesResponse((true, voters.certificate(VoteKind.SKIP, 2)))

    async with (
        stranger(genesis, scene.node, answers={CertificatesRequest: forge}) as liar,
        stranger(genesis, scene.node, answers={CertificatesRequest: give}) as honest,
    ):
        # A certificate of view 3 says that views 1 and 2 were left, and the node asks how.
        assert honest.host.send(scene.id, voters.certificate(VoteKind.SKIP, 3))
        driver = scene.node.driver
        assert driver is not None
        await until("the node is in view 4", lambda: driver.core.view == 4)
        assert not liar.asked or not is_peer(scene.node, liar) or scene.score(liar) < 0
        assert scene.score(honest) == 0
