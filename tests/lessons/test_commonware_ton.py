"""Commonware and TON: certificates that split the honest, skip certificates that grew without end, resending without bound."""

from __future__ import annotations

import pytest

from consensus.stake.effects import Broadcast, Cast, FetchCertificates
from omnitensor.protocol import limits
from omnitensor.protocol.codec import encode
from omnitensor.protocol.types import View
from omnitensor.protocol.votes import Certificate, Proposal, VoteKind
from tests.consensus.bench_core import STANDSTILL_MS, Bench
from tests.consensus.worlds import Workshop

N, S, F = VoteKind.NOTARIZE, VoteKind.SKIP, VoteKind.FINALIZE
SHOP = Workshop()
LEADER = SHOP.schedule.leader(View(1))
ME = (LEADER + 1) % 4


def follower() -> Bench:
    bench = Bench(ME, SHOP)
    bench.start()
    return bench


# -- splits


def view_of_another(after: int) -> int:
    view = after + 1
    while SHOP.schedule.leader(View(view)) == ME:
        view += 1
    return view


@pytest.mark.parametrize("here", ["skip", "notarization"])
def test_commonware_two_who_left_a_view_by_different_certificates_agree(here: str) -> None:
    """View 1 has a notarization and a skip certificate; this node left it by one, the next leader by the other.

    The leader's proposal brings along what justifies it (R2), and is voted for.
    """
    bench = follower()
    first, block = SHOP.child(1)
    notarization, skip = SHOP.certificate(N, 1, first.id), SHOP.certificate(S, 1)
    bench.propose(first, block)
    bench.checked(first)
    bench.certificate(skip if here == "skip" else notarization)
    assert bench.core.view == 2
    view = view_of_another(1)
    later = tuple(SHOP.certificate(S, crossed) for crossed in range(2, view))
    for certificate in later:
        bench.certificate(certificate)
    assert bench.core.view == view
    if here == "skip":
        candidate, child = SHOP.child(view, first, block.header)
        justification = (notarization, *later)
    else:
        candidate, child = SHOP.child(view)
        justification = (skip, *later)
    SHOP.verifier.verify_proposal(SHOP.proposal(candidate, child, justification))
    bench.ms = 600  # its leader waited for the pace
    bench.propose(candidate, child, justification)
    bench.checked(candidate)
    assert (N, view) in [(cast.kind, cast.view) for cast in bench.all(Cast)]


def test_commonware_what_justifies_a_proposal_is_asked_for_when_it_does_not_come_along() -> None:
    """A leader crossed more views than fit inline; whoever lacks the older certificates asks, and votes once they are here."""
    bench = follower()
    crossed = 3 * limits.justification_certificates_max
    view = view_of_another(crossed)
    skips = [SHOP.certificate(S, each) for each in range(1, view)]
    inline = tuple(skips[-limits.justification_certificates_max :])
    candidate, block = SHOP.child(view)
    SHOP.verifier.verify_proposal(SHOP.proposal(candidate, block, inline))
    bench.certificate(SHOP.certificate(S, 1))
    bench.propose(candidate, block, inline)
    asked: list[FetchCertificates] = []
    for ms in range(0, 2_000, 50):
        bench.tick(ms)
        asked += bench.all(FetchCertificates)
    assert asked
    assert all(each.last_view - each.first_view < limits.certificates_per_message_max for each in asked)
    for certificate in skips:
        bench.certificate(certificate)
    bench.propose(candidate, block, inline)
    bench.checked(candidate)
    assert (N, view) in [(cast.kind, cast.view) for cast in bench.all(Cast)]


# -- growth


def test_commonware_skip_certificates_do_not_grow_messages_or_what_is_kept_of_votes() -> None:
    """A thousand views without a block: answers and proposals are no larger than after a hundred, votes are forgotten."""
    bench = follower()
    sizes = {}
    for view in range(1, 1_001):
        for signer in (i for i in range(4) if i != ME):
            bench.vote(S, view, SHOP.vote(S, view).candidate_id, signer)
        if view in (100, 1_000):
            answer = bench.core.certificates(View(1), View(10**6))
            candidate, _ = SHOP.child(view + 1)
            justification = bench.core._justification(candidate)
            assert justification is not None
            assert len(answer) <= limits.certificates_per_message_max
            assert len(justification) <= limits.justification_certificates_max
            books = sum(slot.book is not None for slot in bench.core._slots.ascending())
            sizes[view] = (len(answer), len(justification), books)
    assert bench.core.view == 1_001
    assert sizes[100] == sizes[1_000]
    assert sizes[1_000][2] <= limits.views_ahead_max + 1


def test_commonware_a_bitmap_can_not_grow() -> None:
    """A certificate's size is that of its table, whoever signed: a hundred validators take 13 bytes, and no more are decoded."""
    crowd = Workshop((1,) * limits.validators_max)
    quorum = crowd.certificate(S, 1, signers=range(67))
    everybody = crowd.certificate(S, 1)
    assert len(encode(quorum)) == len(encode(everybody)) < 200
    assert len(everybody.signers) == 13


# -- resending


@pytest.mark.parametrize("views", [50, 2_000])
def test_ton_resending_is_bounded_however_long_nothing_is_final(
    views: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten minutes of standstill: so many bytes a second and no more, and every certificate has its turn."""
    budget = 4_000
    monkeypatch.setattr(limits, "standstill_bytes_per_second_max", budget)
    bench = follower()
    for view in range(1, views + 1):
        bench.certificate(SHOP.certificate(S, view))
    per_second: dict[int, int] = {}
    seen: set[int] = set()
    for ms in range(STANDSTILL_MS, 600_000, 100):
        bench.tick(ms)
        for broadcast in bench.all(Broadcast):
            message = broadcast.message
            per_second[ms // 1_000] = per_second.get(ms // 1_000, 0) + len(encode(message))
            if isinstance(message, Certificate):
                seen.add(message.view)
            assert not isinstance(message, Proposal)
    largest = max(per_second.values())
    assert largest <= 2 * budget, largest
    assert sum(per_second.values()) <= 600 * budget * 1.1
    assert seen >= set(range(1, views + 1))


def test_ton_the_same_question_again_costs_the_same_again() -> None:
    """Whoever asks for the same certificates over and over gets no more each time, and nothing here grows."""
    bench = follower()
    for view in range(1, 300):
        bench.certificate(SHOP.certificate(S, view))
    before = len(bench.core._slots)
    answers = {encode(bench.core.certificates(View(1), View(2**62))) for _ in range(50)}
    assert len(answers) == 1
    assert len(answers.pop()) <= 64 * 1_024
    assert len(bench.core._slots) == before
