"""The core at a standstill, after restarts, and under floods (R8, R9): what it says again, remembers, and does not keep."""

from __future__ import annotations

import pytest

from consensus.stake.effects import (
    Broadcast,
    Build,
    Cast,
    Halt,
)
from consensus.stake.events import Tick, VoteReceived
from consensus.stake.safety import Kept, SafetyMemory, VoteRecord
from omnitensor.protocol import limits
from omnitensor.protocol.codec import encode
from omnitensor.protocol.types import View
from omnitensor.protocol.votes import SKIP_ID, Certificate, Proposal, Vote
from tests.consensus.bench_core import INTERVAL_MS, STANDSTILL_MS, Bench
from tests.consensus.test_core import LEADER, OTHER, SHOP, TIMEOUT_MS, F, N, S, follower_of_view_1
from tests.simulation.network import EPOCH_MS

# -- R8


def test_standstill_says_again_what_matters_within_the_budget() -> None:
    bench = follower_of_view_1()
    candidate, _ = bench.notarized()
    finalize = bench.only(Cast)
    bench.say(finalize)
    certificate = SHOP.certificate(N, 1, candidate.id, (0, 1, 2, 3))
    said: list[object] = []
    for ms in range(0, 3 * STANDSTILL_MS, 50):
        bench.tick(ms)
        said += [b.message for b in bench.all(Broadcast)]
        for cast in bench.all(Cast):
            bench.say(cast)
    assert any(isinstance(m, Certificate) and (m.kind, m.view) == (N, certificate.view) for m in said)
    own = [m for m in said if isinstance(m, Vote)]
    assert {m.kind for m in own if m.view == 1} == {F}, "what has its certificate is not said again"


def test_standstill_is_bounded_in_bytes_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "standstill_bytes_per_second_max", 2_000)
    bench = follower_of_view_1()
    for skipped in range(1, 60):
        bench.certificate(SHOP.certificate(S, skipped))
    sent: list[tuple[int, int]] = []
    seen: set[int] = set()
    for ms in range(0, 20_000, 10):
        bench.tick(ms)
        for broadcast in bench.all(Broadcast):
            sent.append((ms, len(encode(broadcast.message))))
            seen.add(broadcast.message.view if not isinstance(broadcast.message, Proposal) else 0)
    assert seen >= set(range(1, 60)), "every certificate has its turn"
    for second in range(0, 19_000, 250):
        assert sum(size for ms, size in sent if second <= ms < second + 1_000) <= 2 * 2_000 + 300


# -- R9


def test_a_restart_casts_again_what_was_signed_and_nothing_else_in_those_views() -> None:
    candidate, block = SHOP.child(1)
    memory = SafetyMemory(
        votes=(
            VoteRecord(N, View(1), candidate.id),
            VoteRecord(S, View(1), SKIP_ID),
            VoteRecord(S, View(40), SKIP_ID),
        ),
        kept=(Kept(candidate, block),),
    )
    bench = Bench(OTHER, SHOP)
    bench.start(memory)
    assert bench.casts() == [(N, 1), (S, 1), (S, 40)]
    for cast in bench.all(Cast):
        bench.say(cast)
    found = bench.core.find(candidate.id)
    assert found is not None
    assert found.block == block, "the block that it voted for is still there to give"
    bench.propose(*SHOP.child(1, salt=3))
    assert (N, 1) not in bench.casts()
    bench.certificate(SHOP.certificate(N, 1, candidate.id))
    bench.checked(candidate)
    assert (F, 1) not in bench.casts()


def test_a_restarted_leader_never_proposes_again_in_a_view() -> None:
    candidate, block = SHOP.child(1)
    memory = SafetyMemory(
        votes=(VoteRecord(N, View(1), candidate.id),), proposed=(View(1),), kept=(Kept(candidate, block),)
    )
    bench = Bench(LEADER, SHOP)
    bench.start(memory)
    bench.say(bench.only(Cast))
    again: list[object] = []
    for ms in range(0, 3 * STANDSTILL_MS, 50):
        bench.tick(ms)
        assert bench.all(Build) == []
        again += [b.message for b in bench.all(Broadcast) if isinstance(b.message, Proposal)]
        for cast in bench.all(Cast):
            bench.say(cast)
    assert again, "R8 sends the same proposal again"
    assert all(p == SHOP.proposal(candidate, block) for p in again)


def test_a_restarted_leader_offers_nothing_again_without_the_certificates_that_justify_it() -> None:
    """It comes to its view by Skip(1); its candidate stands on Notarization(1), which the crash took: peers would refuse it."""
    parent, below = SHOP.child(1)
    candidate, block = SHOP.child(2, parent, below.header)
    leader = SHOP.schedule.leader(View(2))
    memory = SafetyMemory(
        votes=(VoteRecord(N, View(2), candidate.id),), proposed=(View(2),), kept=(Kept(candidate, block),)
    )
    bench = Bench(leader, SHOP)
    bench.start(memory)
    bench.say(bench.only(Cast))
    bench.certificate(SHOP.certificate(S, 1))
    assert bench.core.view == 2

    def offered_again() -> list[Proposal]:
        said: list[Proposal] = []
        for _ in range(3):
            bench.tick(bench.core.now_ms - EPOCH_MS + STANDSTILL_MS)
            said += [b.message for b in bench.all(Broadcast) if isinstance(b.message, Proposal)]
            for cast in bench.all(Cast):
                bench.say(cast)
        return said

    assert offered_again() == []
    notarization = SHOP.certificate(N, 1, parent.id)
    bench.certificate(notarization)
    again = offered_again()
    assert again, "R8 sends the proposal again once it can be justified"
    assert all(p == SHOP.proposal(candidate, block, (notarization,)) for p in again)
    SHOP.verifier.verify_proposal(again[0])


def test_a_remembered_notarization_lets_the_view_be_passed() -> None:
    candidate, block = SHOP.child(1)
    memory = SafetyMemory(
        votes=(VoteRecord(N, View(1), candidate.id), VoteRecord(F, View(1), candidate.id)),
        kept=(Kept(candidate, block),),
        certificates=(SHOP.certificate(N, 1, candidate.id),),
    )
    bench = Bench(OTHER, SHOP)
    bench.start(memory)
    assert bench.core.view == 2
    assert SHOP.certificate(N, 1, candidate.id) in [b.message for b in bench.all(Broadcast)]


def test_nothing_is_signed_at_or_below_the_floor() -> None:
    bench = Bench(OTHER, SHOP)
    bench.start(SafetyMemory(floor=View(3)))
    bench.tick(60_000)
    assert bench.casts() == []
    for skipped in (1, 2, 3):
        bench.certificate(SHOP.certificate(S, skipped))
    bench.tick(120_000)
    assert bench.casts() == [(S, 4)]


def test_a_vote_of_its_own_that_it_has_not_made_halts_it() -> None:
    bench = follower_of_view_1()
    bench.vote(S, 1, SKIP_ID, OTHER)
    assert "another process" in bench.only(Halt).report.lower()


# -- bounds


def test_old_and_far_votes_leave_nothing_behind() -> None:
    bench = follower_of_view_1()
    candidate, _ = bench.notarized()
    bench.certificate(SHOP.certificate(F, 1, candidate.id))
    before = len(bench.core._slots)
    for view in (0, 1, bench.core.view + limits.views_ahead_max + 1, 2**62):
        vote = SHOP.vote(S, view, SKIP_ID, LEADER)
        assert not bench.core.wants_vote(vote)
        bench.do(VoteReceived(bench.now, "peer", vote))
    assert len(bench.core._slots) == before


def test_an_equivocating_leader_can_not_fill_memory() -> None:
    bench = follower_of_view_1()
    for salt in range(100):
        bench.propose(*SHOP.child(1, salt=salt))
    assert len(bench.core._candidates) == 1
    assert bench.core._slots.at(View(1)).book is not None
    assert len(bench.core._slots.at(View(1)).book.of_signer(LEADER)) == 2


def test_proposals_far_ahead_are_not_kept() -> None:
    bench = follower_of_view_1()
    for view in range(2, 60):
        candidate, block = SHOP.child(view)
        bench.propose(candidate, block)
    assert len(bench.core._candidates) <= limits.proposals_ahead_views_max + 1


def test_a_clock_set_back_keeps_waits_at_their_length() -> None:
    bench = follower_of_view_1()
    bench.ms = -100_000
    bench.do(Tick(bench.now))
    bench.tick(-100_000 + INTERVAL_MS + TIMEOUT_MS)
    assert bench.casts() == [(S, 1)]


def test_events_that_overtake_one_another_do_not_shorten_timers() -> None:
    bench = follower_of_view_1()
    for _ in range(1_000):
        bench.tick(100)
        bench.tick(50)
    assert bench.casts() == []
    bench.tick(INTERVAL_MS + TIMEOUT_MS - 1)
    assert bench.casts() == []
