"""The end of an epoch: fillers above the boundary, what is none, the last commit, and the root of the next epoch."""

from __future__ import annotations

import pytest

from consensus.stake.core import Core
from consensus.stake.effects import Accuse, Broadcast, Build, Cast, Check, Commit, Fetch, Halt, Propose
from consensus.stake.events import CandidateReceived, FinalPoint, ProposalReceived
from consensus.stake.knowledge import Rule
from omnitensor.protocol.blocks import Block
from omnitensor.protocol.types import Hash, Height, TimeMs, View
from omnitensor.protocol.votes import Candidate, FinalityProof, Proposal, VoteKind
from tests.consensus.bench_core import Bench
from tests.consensus.worlds import Workshop
from tests.simulation.application import make_block
from tests.simulation.network import EPOCH_MS

N, S, F = VoteKind.NOTARIZE, VoteKind.SKIP, VoteKind.FINALIZE
SHOP = Workshop()
BOUNDARY = 1


def leader(view: int) -> int:
    return SHOP.schedule.leader(View(view))


def other_than(*busy: int) -> int:
    return next(index for index in range(4) if index not in busy)


def at_boundary(me: int | None, boundary: int = BOUNDARY) -> tuple[Bench, Candidate, Block]:
    """A core with the candidate of height 1 notarized in view 1, in view 2."""
    bench = Bench(me, SHOP, boundary=boundary)
    bench.start()
    candidate, block = bench.notarized(1)
    assert bench.core.view == 2
    return bench, candidate, block


def filler_on(parent: Candidate, view: int) -> Candidate:
    return Candidate(parent.epoch, View(view), parent.view, parent.id, parent.block_hash)


def offered(bench: Bench, candidate: Candidate, block: Block | None, parent: Candidate) -> None:
    justification = (SHOP.certificate(N, parent.view, parent.id, signers_without(bench.me)),)
    vote = SHOP.vote(N, candidate.view, candidate.id, leader(candidate.view))
    bench.do(ProposalReceived(bench.now, "peer", Proposal(candidate, block, justification, vote)))


def signers_without(me: int | None) -> tuple[int, ...]:
    return tuple(index for index in range(4) if index != me)


def test_a_leader_above_the_boundary_offers_a_filler_at_once() -> None:
    bench, boundary, _ = at_boundary(leader(2))
    propose = bench.only(Propose)
    assert propose.candidate == filler_on(boundary, 2)
    assert propose.block is None
    assert not bench.all(Build)
    assert bench.core.fired[Rule.R2_FILLER] == 1


@pytest.mark.parametrize("attached", [False, True])
def test_a_filler_is_notarized_without_executing_whatever_came_along(attached: bool) -> None:
    bench, boundary, block = at_boundary(other_than(leader(1), leader(2)))
    filler = filler_on(boundary, 2)
    offered(bench, filler, block if attached else None, boundary)
    assert bench.casts() == [(N, 2)]
    assert not bench.all(Check)
    kept = bench.core.find(filler.id)
    assert kept is not None
    assert kept.block is None


def test_a_filler_below_the_boundary_is_skipped() -> None:
    bench, parent, _ = at_boundary(other_than(leader(1), leader(2)), boundary=5)
    offered(bench, filler_on(parent, 2), None, parent)
    assert bench.casts() == [(S, 2)]


def test_a_block_above_the_boundary_is_skipped() -> None:
    bench, boundary, block = at_boundary(other_than(leader(1), leader(2)))
    above, above_block = SHOP.child(2, boundary, block.header)
    offered(bench, above, above_block, boundary)
    assert bench.casts() == [(S, 2)]
    assert not bench.all(Check)


def test_a_block_that_was_held_back_is_asked_for_and_never_called_invalid() -> None:
    """A leader sends its candidate alone to one, whole to the others: the one must not halt when these notarize it."""
    bench, parent, block = at_boundary(other_than(leader(1), leader(2)), boundary=5)
    child, child_block = SHOP.child(2, parent, block.header)
    offered(bench, child, None, parent)
    assert bench.casts() == []
    bench.certificate(SHOP.certificate(N, 2, child.id, signers_without(bench.me)))
    assert not bench.all(Halt)
    bench.tick(bench.ms + 1_000)
    assert bench.only(Fetch).candidate_id == child.id
    bench.do(CandidateReceived(bench.now, "peer", child, child_block))
    assert bench.only(Check).block == child_block
    bench.checked(child)
    assert (F, 2) in bench.casts()


def test_fillers_that_come_before_their_parents_are_settled_in_one_go() -> None:
    """A thousand deep, so that nothing may recurse."""
    bench = Bench(None, SHOP, boundary=BOUNDARY)
    bench.start()
    boundary, block = SHOP.child(1)
    chain = [boundary]
    for view in range(2, 1_002):
        chain.append(filler_on(chain[-1], view))
    bench.certificate(SHOP.certificate(F, chain[-1].view, chain[-1].id))
    for filler in reversed(chain[1:]):
        bench.tick(bench.ms + 2_000)
        bench.do(CandidateReceived(bench.now, "peer", filler, None))
    bench.tick(bench.ms + 2_000)
    bench.do(CandidateReceived(bench.now, "peer", boundary, block))
    bench.checked(boundary)
    commit = bench.only(Commit)
    assert [final.block for final in commit.chain] == [block], "fillers are no blocks"
    assert commit.proof.candidate == chain[-1]


def test_a_final_filler_makes_the_boundary_final_and_ends_the_core() -> None:
    bench, boundary, block = at_boundary(other_than(leader(1), leader(2)))
    filler = filler_on(boundary, 2)
    offered(bench, filler, None, boundary)
    bench.say(bench.only(Cast))
    others = signers_without(bench.me)
    bench.certificate(SHOP.certificate(F, 2, filler.id, others))
    commit = bench.only(Commit)
    assert [final.block for final in commit.chain] == [block]
    SHOP.verifier.verify_finality(commit.proof)
    assert commit.proof.candidate.block_hash == block.hash
    assert bench.core.over
    assert bench.core.fired[Rule.R6_BOUNDARY] == 1
    # It answers, and does nothing more.
    assert bench.tick(bench.ms + 60_000) == ()
    assert bench.vote(N, 3, filler.id, others[0]) == ()
    assert not bench.core.wants_vote(SHOP.vote(N, 3, filler.id, others[0]))
    assert bench.core.certificates(View(50), View(50)) == (commit.proof.certificate,)
    assert bench.core.find(filler.id) is not None


def test_the_next_epoch_says_in_a_standstill_how_the_last_one_ended() -> None:
    candidate, block = SHOP.child(1)
    inherited = FinalityProof(candidate, SHOP.certificate(F, 1, candidate.id))
    root = FinalPoint.root(block.hash, Height(1), TimeMs(EPOCH_MS), inherited)
    bench = Bench(other_than(leader(1)), SHOP, root, boundary=9)
    bench.start()
    bench.tick(60_000)
    assert inherited.certificate in [said.message for said in bench.all(Broadcast)]
    # R0: the first proposal stands on the root and needs no certificate.
    child = make_block(block.header, SHOP.table.entries[leader(1)].address, EPOCH_MS + 300)
    first = Candidate(candidate.epoch, View(1), View(0), block.hash, child.hash)
    SHOP.verifier.verify_proposal(Proposal(first, child, (), SHOP.vote(N, 1, first.id, leader(1))))


@pytest.mark.parametrize("kind", [N, S, F])
def test_a_certificate_that_names_this_validator_for_what_it_does_not_remember_halts_it(
    kind: VoteKind,
) -> None:
    """R9: a restored old copy of the store, or the key in use elsewhere, shows in what others have counted."""
    me = other_than(leader(1))
    bench = Bench(me, SHOP, kind=Core)
    bench.start()
    candidate, _ = SHOP.child(1)
    named: Hash = Hash(bytes(32)) if kind == S else candidate.id
    bench.certificate(SHOP.certificate(kind, 1, named, signers_without(me)))
    assert not bench.all(Halt)
    again = Bench(me, SHOP, kind=Core)
    again.start()
    again.certificate(SHOP.certificate(kind, 1, named, (me, *signers_without(me)[:2])))
    assert "safety store" in again.only(Halt).report
    assert not again.all(Accuse)
