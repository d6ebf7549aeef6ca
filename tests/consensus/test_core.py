"""The stake core event by event: what each rule asks for, in what order, and what it never does."""

from __future__ import annotations

import pytest

from consensus.stake.effects import (
    Accuse,
    Broadcast,
    Build,
    Cast,
    Check,
    Commit,
    Fetch,
    FetchCertificates,
    Halt,
    Keep,
    Propose,
    SetTimer,
)
from consensus.stake.events import CandidateReceived, FinalPoint, Synced
from consensus.stake.knowledge import LEADER_INACTIVE_VIEWS
from consensus.stake.timing import view_timeout_ms
from omnitensor.protocol.types import Hash, Height, TimeMs, View
from omnitensor.protocol.votes import SKIP_ID, Certificate, FinalityProof, VoteKind
from tests.consensus.bench_core import DELTA_MS, DRIFT_MS, INTERVAL_MS, Bench
from tests.consensus.worlds import Workshop
from tests.simulation.network import EPOCH_MS

N, S, F = VoteKind.NOTARIZE, VoteKind.SKIP, VoteKind.FINALIZE
SHOP = Workshop()
LEADER = SHOP.schedule.leader(View(1))
OTHER = next(i for i in range(4) if i not in (LEADER, SHOP.schedule.leader(View(2))))
TIMEOUT_MS = 3 * DELTA_MS


def follower_of_view_1() -> Bench:
    """A validator that does not lead view 1, started."""
    bench = Bench(OTHER, SHOP)
    bench.start()
    return bench


# -- R0, R1, R2


def test_leader_waits_for_the_pace_builds_proposes_and_finalizes() -> None:
    bench = Bench(LEADER, SHOP)
    bench.start()
    assert bench.core.view == 1
    assert bench.only(SetTimer).at_ms == EPOCH_MS + INTERVAL_MS, (
        "R2: the block interval after the parent's timestamp"
    )
    bench.tick(INTERVAL_MS - 1)
    assert not bench.all(Build)
    bench.tick(INTERVAL_MS)
    order = bench.only(Build)
    assert (order.view, order.parent_hash, order.timestamp_ms) == (
        1,
        SHOP.genesis.hash,
        EPOCH_MS + INTERVAL_MS,
    )
    candidate, block = SHOP.child(1)
    bench.built(1, block)
    propose = bench.only(Propose)
    assert (propose.candidate, propose.justification) == (candidate, ())
    assert (propose.vote.kind, propose.vote.candidate_id) == (N, candidate.id)
    bench.say(propose.vote)
    rest = tuple(i for i in range(4) if i != LEADER)
    bench.votes(N, 1, candidate.id, rest[:2])
    notarization = bench.all(Broadcast)[0].message
    assert isinstance(notarization, Certificate)
    SHOP.verifier.verify_certificate(notarization)
    finalize = bench.all(Cast)[0]
    assert (finalize.kind, finalize.view, finalize.basis) == (F, 1, notarization)
    assert bench.core.view == 2, "R1: on with the notarization"
    bench.say(finalize)
    bench.votes(F, 1, candidate.id, rest[:2])
    commit = bench.only(Commit)
    assert [final.candidate for final in commit.chain] == [candidate]
    assert commit.prune_below == 1
    SHOP.verifier.verify_finality(commit.proof)
    assert set(commit.certificates) == {commit.proof.certificate, notarization}
    assert bench.core.final.height == 1


def test_the_view_timer_runs_from_the_instant_of_the_pace() -> None:
    bench = follower_of_view_1()
    bench.tick(INTERVAL_MS + TIMEOUT_MS - 1)
    assert bench.casts() == []
    bench.tick(INTERVAL_MS + TIMEOUT_MS)
    assert bench.casts() == [(S, 1)]


@pytest.mark.parametrize("idle", range(12))
def test_timeout_grows_as_the_specification_says(idle: int) -> None:
    exact = 3 * 700 * min(1.25**idle, 4)
    assert exact - 3 <= view_timeout_ms(700, idle) <= exact


def test_leader_that_has_nothing_to_offer_skips_itself_at_once() -> None:
    bench = Bench(LEADER, SHOP)
    bench.start()
    bench.tick(INTERVAL_MS)
    bench.built(1, None)
    assert bench.casts() == [(S, 1)]


def test_leader_crosses_skipped_views_with_their_certificates() -> None:
    view = SHOP.view_led_by(LEADER, after=3)
    bench = Bench(LEADER, SHOP)
    bench.start()
    for skipped in range(1, view):
        bench.certificate(SHOP.certificate(S, skipped, signers=(0, 1, 2)))
    assert bench.core.view == view
    bench.tick(INTERVAL_MS)
    order = bench.only(Build)
    assert order.parent_hash == SHOP.genesis.hash
    candidate, block = SHOP.child(view, timestamp_ms=order.timestamp_ms)
    bench.built(view, block)
    propose = bench.only(Propose)
    assert [c.view for c in propose.justification] == list(range(1, view))
    SHOP.verifier.verify_proposal(SHOP.proposal(candidate, block, propose.justification))


# -- R3


def test_notarizes_after_check_and_keeps_the_block_first() -> None:
    bench = follower_of_view_1()
    candidate, block = SHOP.child(1)
    bench.propose(candidate, block)
    assert (bench.only(Check).candidate, bench.only(Check).block) == (candidate, block)
    assert bench.casts() == []
    bench.checked(candidate)
    assert [type(effect) for effect in bench.out[:2]] == [Keep, Cast], "durable before it is voted for"
    assert bench.casts() == [(N, 1)]
    bench.propose(candidate, block)
    assert bench.casts() == [], "once a view"


def test_an_invalid_block_is_skipped_at_once_and_a_quorum_for_it_halts() -> None:
    bench = follower_of_view_1()
    candidate, block = SHOP.child(1, poison=True)
    bench.propose(candidate, block)
    bench.checked(candidate, "poisoned")
    assert bench.casts() == [(S, 1)]
    bench.certificate(SHOP.certificate(N, 1, candidate.id))
    report = bench.only(Halt).report
    assert "poisoned" in report
    assert candidate.block_hash.hex() in report
    assert bench.tick(10_000) == (), "nothing after a halt"


def test_a_timestamp_ahead_of_the_clock_is_waited_for_and_not_called_invalid() -> None:
    bench = follower_of_view_1()
    candidate, block = SHOP.child(1, timestamp_ms=EPOCH_MS + DRIFT_MS + 200)
    bench.propose(candidate, block)
    bench.checked(candidate)
    assert bench.casts() == []
    assert bench.only(SetTimer).at_ms == EPOCH_MS + 200
    bench.tick(200)
    assert bench.casts() == [(N, 1)]


@pytest.mark.parametrize(
    "break_it",
    [
        {"timestamp_ms": EPOCH_MS - 1},
        {"timestamp_ms": EPOCH_MS + INTERVAL_MS - 1},
        {"header_height": 5},
        {"proposer": True},
    ],
    ids=["before its parent", "before its pace", "wrong height", "not the leader"],
)
def test_what_ties_a_block_to_its_place_is_checked_without_executing(break_it: dict[str, int]) -> None:
    from msgspec.structs import replace

    bench = follower_of_view_1()
    candidate, block = SHOP.child(1, timestamp_ms=break_it.get("timestamp_ms", EPOCH_MS + 300))
    if "header_height" in break_it:
        block = replace(block, header=replace(block.header, height=Height(5)))
    if "proposer" in break_it:
        block = replace(block, header=replace(block.header, proposer=SHOP.table.entries[OTHER].address))
    candidate = replace(candidate, block_hash=block.hash)
    bench.propose(candidate, block)
    assert bench.all(Check) == []
    assert bench.casts() == [(S, 1)]


def test_skip_certificates_that_do_not_fit_inline_are_asked_for() -> None:
    """R2: 16 inline, the rest on request; R3: all of them in hand before the vote."""
    first, first_block = SHOP.child(1)
    view = next(v for v in range(20, 80) if SHOP.schedule.leader(View(v)) != OTHER)
    candidate, block = SHOP.child(view, first, first_block.header)
    skips = {v: SHOP.certificate(S, v) for v in range(2, view)}
    bench = follower_of_view_1()
    bench.propose(first, first_block)
    bench.checked(first)
    bench.certificate(SHOP.certificate(N, 1, first.id))
    for skipped in range(2, view):
        # This node passed these views by notarizations of something else than what the leader builds on.
        if skipped == 3:
            bench.certificate(SHOP.certificate(N, 3, Hash(b"\7" * 32)))
        else:
            bench.certificate(skips[skipped])
    assert bench.core.view == view
    inline = (SHOP.certificate(N, 1, first.id), *[skips[v] for v in range(view - 15, view)])
    bench.propose(candidate, block, inline)
    asked = bench.only(FetchCertificates)
    assert asked.first_view == 3
    assert bench.casts() == []
    bench.ms = INTERVAL_MS
    bench.certificate(skips[3])
    bench.checked(candidate)
    assert (N, view) in bench.casts()


def test_a_candidate_beside_what_a_quorum_chose_is_hopeless() -> None:
    bench = follower_of_view_1()
    bench.notarized()
    view = 2
    fork, fork_block = SHOP.child(view)
    bench.propose(fork, fork_block, (SHOP.certificate(S, 1),))
    assert (N, 2) not in bench.casts()
    bench.checked(fork)
    # Skip(1) and Notarization(1) may both exist: then the fork below is sound, and only finality forbids it.
    assert (N, 2) in bench.casts()
    other = follower_of_view_1()
    candidate, _ = other.notarized()
    other.certificate(SHOP.certificate(F, 1, candidate.id))
    other.propose(fork, fork_block)
    assert (S, 2) in other.casts(), "its parent lies below the final view"


# -- R4, R5


def test_no_finalize_after_skip_but_notarize_after_skip() -> None:
    bench = follower_of_view_1()
    bench.tick(INTERVAL_MS + TIMEOUT_MS)
    assert bench.casts() == [(S, 1)]
    candidate, block = SHOP.child(1)
    bench.propose(candidate, block)
    bench.checked(candidate)
    assert bench.casts() == [(N, 1)], "R3 allows it after SKIP"
    bench.certificate(SHOP.certificate(N, 1, candidate.id))
    assert bench.casts() == [], "R5 forbids FINALIZE after SKIP"
    assert bench.core.view == 2


def test_finalizes_a_view_after_leaving_it() -> None:
    bench = follower_of_view_1()
    candidate, block = SHOP.child(1)
    bench.certificate(SHOP.certificate(N, 1, candidate.id))
    assert bench.core.view == 2
    bench.propose(candidate, block)
    bench.checked(candidate)
    assert bench.casts() == [(F, 1)]


def test_an_equivocating_leader_is_skipped_and_accused() -> None:
    bench = follower_of_view_1()
    for salt in (0, 1):
        bench.propose(*SHOP.child(1, salt=salt))
    assert bench.casts() == [(S, 1)]
    evidence = bench.only(Accuse).evidence
    assert evidence.culprits == (LEADER,)


def test_a_leader_that_skips_itself_is_not_waited_for() -> None:
    bench = follower_of_view_1()
    bench.vote(S, 1, SKIP_ID, LEADER)
    assert bench.casts() == [(S, 1)]


def test_an_inactive_leader_is_not_waited_for() -> None:
    silent = LEADER
    view = SHOP.view_led_by(silent, after=LEADER_INACTIVE_VIEWS + 2)
    others = tuple(i for i in range(4) if i != silent)
    bench = follower_of_view_1()
    for skipped in range(1, view):
        bench.certificate(SHOP.certificate(S, skipped, signers=others))
    assert (S, view) in bench.casts()
    bench = follower_of_view_1()
    for skipped in range(1, view):
        bench.certificate(SHOP.certificate(S, skipped, signers=range(4)))
    assert (S, view) not in bench.casts()


# -- R6, R7: certificates, fetching, committing


def test_certificates_are_passed_on_once() -> None:
    bench = follower_of_view_1()
    certificate = SHOP.certificate(S, 1, signers=(0, 1, 2))
    bench.certificate(certificate)
    assert [b.message for b in bench.all(Broadcast)] == [certificate]
    bench.certificate(SHOP.certificate(S, 1, signers=(1, 2, 3)))
    assert bench.all(Broadcast) == []
    bench.votes(S, 1, SKIP_ID, (0, 1, 2, 3))
    assert bench.all(Broadcast) == []


def test_a_missing_final_candidate_is_fetched_until_it_comes_and_then_committed() -> None:
    bench = follower_of_view_1()
    first, first_block = SHOP.child(1)
    second, second_block = SHOP.child(2, first, first_block.header)
    bench.certificate(SHOP.certificate(F, 2, second.id))
    assert bench.core.view == 3, "R1: one above a finalization"
    attempts = []
    for ms in range(0, 2_000, 25):
        bench.tick(ms)
        attempts += [fetch.attempt for fetch in bench.all(Fetch) if fetch.candidate_id == second.id]
    assert attempts == list(range(len(attempts)))
    assert len(attempts) > 5
    bench.do(CandidateReceived(bench.now, "peer", second, second_block))
    bench.tick(2_100)
    assert [fetch.candidate_id for fetch in bench.all(Fetch)] == [first.id]
    bench.do(CandidateReceived(bench.now, "peer", first, first_block))
    assert bench.only(Check).candidate == first, "parents first"
    bench.checked(first)
    assert bench.only(Check).candidate == second
    bench.checked(second)
    assert [final.candidate for final in bench.only(Commit).chain] == [first, second]


def test_unasked_candidates_are_not_taken() -> None:
    bench = follower_of_view_1()
    candidate, block = SHOP.child(1)
    bench.do(CandidateReceived(bench.now, "peer", candidate, block))
    assert bench.core.find(candidate.id) is None


def test_a_follower_votes_for_nothing_and_commits_all_the_same() -> None:
    bench = Bench(None, SHOP)
    bench.start()
    candidate, _ = bench.notarized()
    assert bench.all(Cast) == []
    bench.certificate(SHOP.certificate(F, 1, candidate.id, (0, 1, 2)))
    assert bench.only(Commit).proof.candidate == candidate
    bench.tick(60_000)
    assert bench.all(Cast) == []


def test_synced_moves_on_and_is_ignored_when_old() -> None:
    bench = follower_of_view_1()
    candidate, _ = SHOP.child(7)
    proof = FinalityProof(candidate, SHOP.certificate(F, 7, candidate.id))
    point = FinalPoint(View(7), candidate.id, Hash(candidate.block_hash), Height(6), TimeMs(EPOCH_MS), proof)
    bench.do(Synced(bench.now, point))
    assert (bench.core.view, bench.core.final) == (8, point)
    older = FinalPoint(View(3), candidate.id, Hash(candidate.block_hash), Height(2), TimeMs(EPOCH_MS), proof)
    bench.do(Synced(bench.now, older))
    assert bench.core.final == point
