"""Leaders that do not vote: a worker proposes like any leader, and whatever it signs, sends or leaves out counts nowhere."""

from __future__ import annotations

from dataclasses import replace as changed

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from consensus.stake.core import Core
from consensus.stake.effects import Accuse, Broadcast, Build, Cast, Check, Commit, Halt, Keep, Propose
from consensus.stake.events import ProposalReceived, VoteReceived
from consensus.stake.knowledge import LEADER_INACTIVE_VIEWS, Rule, Settings
from consensus.stake.safety import Kept, SafetyMemory, VoteRecord
from omnitensor.protocol import limits
from omnitensor.protocol.conviction import EvidenceError, convicted
from omnitensor.protocol.errors import SignatureError
from omnitensor.protocol.types import BlsSignature, Epoch, Hash, Height, View
from omnitensor.protocol.votes import SKIP_ID, Certificate, Proposal, VoteKind
from tests.consensus.bench_core import DELTA_MS, INTERVAL_MS, STANDSTILL_MS, Bench
from tests.consensus.worlds import Workshop
from tests.simulation.application import CHAIN_ID
from tests.simulation.scheme import RealScheme

N, S, F = VoteKind.NOTARIZE, VoteKind.SKIP, VoteKind.FINALIZE
SHOP = Workshop(credit=(30, 10))
VALIDATORS, WORKER, RIVAL = 4, 4, 5
VIEW = SHOP.view_led_by(WORKER, 1)
LATER = SHOP.view_led_by(WORKER, VIEW)
ID = Hash(bytes(range(32)))
TIMEOUT_MS = 3 * DELTA_MS


def led_by(me: int | None, view: int = VIEW, kind: type[Core] | None = None) -> Bench:
    """A node in a view that a worker leads; the views below it were skipped."""
    bench = Bench(me, SHOP) if kind is None else Bench(me, SHOP, kind=kind)
    bench.start()
    for skipped in range(1, view):
        bench.certificate(SHOP.certificate(S, skipped, signers=(0, 1, 2)))
    assert bench.core.view == view
    return bench


def skips(view: int = VIEW) -> tuple[Certificate, ...]:
    return tuple(SHOP.certificate(S, skipped, signers=(0, 1, 2)) for skipped in range(1, view))


# -- what the verifier lets through


@pytest.mark.parametrize("scheme", [None, RealScheme()], ids=["cheap", "BLS"])
def test_a_proposal_of_a_worker_is_good_by_its_own_key_alone(scheme: object) -> None:
    shop = Workshop(scheme=scheme, credit=(30, 10))
    view = shop.view_led_by(WORKER)
    candidate, block = shop.child(view)
    certificates = tuple(shop.certificate(S, v, signers=(0, 1, 2)) for v in range(1, view))
    good = shop.proposal(candidate, block, certificates)
    shop.verifier.verify_proposal(good)
    for signer in (0, RIVAL):
        another = shop.vote(N, view, candidate.id, signer)
        for vote in (another, replace(another, signer=WORKER), replace(good.leader_vote, signer=signer)):
            with pytest.raises(SignatureError):
                shop.verifier.verify_proposal(replace(good, leader_vote=vote))


@pytest.mark.parametrize(
    "change",
    [
        {"view": VIEW + 1},
        {"kind": F},
        {"kind": S, "candidate_id": SKIP_ID},
        {"candidate_id": ID},
        {"epoch": Epoch(1)},
        {"signer": 6},
        {"signer": 65_535},
        {"signature": BlsSignature(bytes(96))},
    ],
    ids=str,
)
def test_every_field_of_a_workers_signature_is_bound(change: dict[str, object]) -> None:
    candidate, block = SHOP.child(VIEW)
    good = SHOP.proposal(candidate, block, skips())
    with pytest.raises(SignatureError):
        SHOP.verifier.verify_proposal(replace(good, leader_vote=replace(good.leader_vote, **change)))


@pytest.mark.parametrize("kind", [N, S, F])
def test_no_vote_of_a_worker_is_let_through(kind: VoteKind) -> None:
    named = SKIP_ID if kind == S else ID
    own = SHOP.vote(kind, VIEW, named, WORKER)
    good = SHOP.vote(kind, VIEW, named, 1)
    with pytest.raises(SignatureError):
        SHOP.verifier.verify_vote(own)
    assert SHOP.verifier.verify_votes([good, own, good], [1, 2, 3]) == [True, False, True]
    bench = led_by(0)
    assert not bench.core.wants_vote(own)
    for signer in range(VALIDATORS):  # under a validator's name it is no signature of that validator's
        with pytest.raises(SignatureError):
            SHOP.verifier.verify_vote(replace(own, signer=signer))


def test_no_certificate_holds_a_worker() -> None:
    signed = [SHOP.vote(N, VIEW, ID, signer).signature for signer in (0, 1, WORKER)]
    total = SHOP.scheme.new_sum()
    for signature in signed:
        total.add(signature)
    for bitmap in (b"\x13", b"\x17", b"\x07", b"\x13\x00"):
        forged = Certificate(N, Epoch(0), View(VIEW), ID, bitmap, total.signature())
        with pytest.raises(SignatureError):
            SHOP.verifier.verify_certificate(forged)


def test_settings_let_nobody_be_validator_and_worker() -> None:
    usual = led_by(0).core.settings
    for me, lead in ((0, WORKER), (None, 0), (None, 6)):
        with pytest.raises(AssertionError):
            Core(
                changed(usual, me=me, lead=lead),
                SHOP.table,
                SHOP.schedule,
                SHOP.scheme,
                led_by(0).core.final,
            )


def test_settings_of_an_epoch_take_a_validator_for_a_validator() -> None:
    from omnitensor.protocol.params import Params

    assert Settings.of(Params(), 2, Epoch(0), 2).lead is None
    assert Settings.of(Params(), None, Epoch(0), 7).lead == 7
    assert Settings.of(Params(), None, Epoch(0)).lead is None
    assert Settings.of(Params(), None, Epoch(0)).boundary == Height(Params().epoch_blocks)


# -- a worker's own core


def propose(bench: Bench, view: int = VIEW) -> Propose:
    bench.tick(INTERVAL_MS)
    order = bench.only(Build)
    assert order.view == view
    _, block = SHOP.child(view, timestamp_ms=order.timestamp_ms)
    bench.built(view, block)
    return bench.only(Propose)


def test_a_worker_proposes_and_casts_nothing() -> None:
    bench = led_by(WORKER)
    offered = propose(bench)
    assert (offered.vote.kind, offered.vote.signer) == (N, WORKER)
    assert offered.block is not None
    assert offered.block.header.proposer == SHOP.schedule.address(WORKER)
    assert bench.core.fired[Rule.R2_WORKER] == 1
    candidate = offered.candidate
    SHOP.verifier.verify_proposal(SHOP.proposal(candidate, offered.block, offered.justification))
    bench.say(offered.vote)
    bench.votes(N, VIEW, candidate.id, (0, 1))
    assert bench.core.view == VIEW, "its own signature and two of four validators are no quorum"
    bench.votes(N, VIEW, candidate.id, (2,))
    notarization = bench.all(Broadcast)[0].message
    assert isinstance(notarization, Certificate)
    assert SHOP.table.indexes(notarization.signers) == (0, 1, 2)
    SHOP.verifier.verify_certificate(notarization)
    assert not bench.all(Cast)
    assert not bench.all(Keep)
    bench.votes(F, VIEW, candidate.id, (0, 1, 2))
    assert bench.only(Commit).proof.candidate == candidate
    bench.tick(10 * TIMEOUT_MS)
    assert not bench.all(Cast), "no view timer makes a worker speak"


def test_a_worker_names_every_voter_of_its_parent_and_never_itself() -> None:
    bench = led_by(WORKER)
    first = propose(bench)
    bench.say(first.vote)
    bench.votes(N, VIEW, first.candidate.id, (0, 1, 2, 3))
    view = LATER
    for skipped in range(VIEW + 1, view):
        bench.certificate(SHOP.certificate(S, skipped, signers=(0, 1, 2)))
    assert bench.core.view == view
    bench.tick(2 * INTERVAL_MS)
    attendance = bench.only(Build).attendance
    assert attendance is not None
    assert SHOP.table.indexes(attendance.signers) == (0, 1, 2, 3)


def test_a_worker_that_can_build_nothing_lets_its_view_go() -> None:
    bench = led_by(WORKER)
    bench.tick(INTERVAL_MS)
    bench.built(VIEW, None)
    assert not bench.all(Cast)
    for later in range(1, 20):
        bench.tick(INTERVAL_MS + 10 * later)
        assert not bench.all(Build), "it does not build again and again"


def test_a_worker_never_proposes_again_where_it_has_a_record() -> None:
    candidate, block = SHOP.child(VIEW)
    memories = (
        SafetyMemory(proposed=(View(VIEW),)),
        SafetyMemory(votes=(VoteRecord(N, View(VIEW), candidate.id),), kept=(Kept(candidate, block),)),
        SafetyMemory(floor=View(VIEW)),
        SafetyMemory(
            votes=(VoteRecord(N, View(VIEW), candidate.id),),
            proposed=(View(VIEW),),
            kept=(Kept(candidate, block),),
        ),
    )
    for memory in memories:
        bench = Bench(WORKER, SHOP)
        bench.start(memory)
        for skipped in range(1, VIEW):
            bench.certificate(SHOP.certificate(S, skipped, signers=(0, 1, 2)))
        assert bench.core.view == VIEW
        for later in range(0, 3 * STANDSTILL_MS, 100):
            bench.tick(INTERVAL_MS + later)
            assert not any(isinstance(effect, Build | Propose | Cast) for effect in bench.out)
            assert not any(isinstance(sent.message, Proposal) for sent in bench.all(Broadcast))
        for skipped in range(VIEW, LATER):
            bench.certificate(SHOP.certificate(S, skipped, signers=(0, 1, 2)))
        assert bench.core.view == LATER
        assert bench.only(Build).view == LATER, "and goes on in its next view"


def test_a_worker_proposes_a_filler_above_the_boundary() -> None:
    shop = Workshop(credit=(0, 30))
    assert (shop.schedule.leader(View(1)), shop.schedule.leader(View(2))) == (RIVAL, RIVAL)
    bench = Bench(RIVAL, shop, boundary=1)
    bench.start()
    bench.tick(INTERVAL_MS)
    candidate, block = shop.child(1, timestamp_ms=bench.now)
    bench.built(1, block)
    bench.say(bench.only(Propose).vote)
    bench.certificate(shop.certificate(N, 1, candidate.id, (0, 1, 2)))
    filler = bench.only(Propose)
    assert (filler.block, filler.candidate.block_hash, filler.vote.signer) == (None, block.hash, RIVAL)
    assert bench.core.fired[Rule.R2_WORKER] == 2
    assert bench.core.fired[Rule.R2_FILLER] == 1


def test_a_worker_in_a_standstill_says_its_proposal_again_and_no_vote() -> None:
    bench = led_by(WORKER)
    offered = propose(bench)
    bench.say(offered.vote)
    bench.tick(2 * STANDSTILL_MS)
    sent = [broadcast.message for broadcast in bench.all(Broadcast)]
    assert {type(message) for message in sent} == {Certificate, Proposal}
    (proposal,) = [message for message in sent if isinstance(message, Proposal)]
    SHOP.verifier.verify_proposal(proposal)


def test_a_workers_key_in_a_second_process_is_noticed() -> None:
    bench = led_by(WORKER)
    candidate, block = SHOP.child(VIEW, timestamp_ms=SHOP.genesis.header.timestamp_ms + 999)
    bench.do(ProposalReceived(bench.now, "peer", SHOP.proposal(candidate, block, skips())))
    assert "another process" in bench.only(Halt).report.lower()


# -- what validators make of a worker


def test_a_validator_notarizes_what_a_worker_offers() -> None:
    bench = led_by(0)
    candidate, block = SHOP.child(VIEW)
    bench.propose(candidate, block, skips())
    assert bench.only(Check).block == block
    bench.checked(candidate)
    assert bench.casts() == [(N, VIEW)]
    bench.say(bench.only(Cast))
    bench.votes(N, VIEW, candidate.id, (1,))
    assert bench.core.view == VIEW, "two of four validators, and the worker's signature, are no quorum"
    bench.votes(N, VIEW, candidate.id, (2,))
    assert bench.core.view == VIEW + 1


@pytest.mark.parametrize("proposer", [0, RIVAL])
def test_a_block_that_pays_another_than_its_leader_is_invalid(proposer: int) -> None:
    from tests.simulation.application import make_block

    bench = led_by(0)
    block = make_block(SHOP.genesis.header, SHOP.schedule.address(proposer), bench.now + INTERVAL_MS)
    candidate = replace(SHOP.child(VIEW)[0], block_hash=block.hash)
    bench.propose(candidate, block, skips())
    assert not bench.all(Check)
    assert bench.casts() == [(S, VIEW)]


def test_two_proposals_of_a_worker_end_its_view_at_once_and_a_third_is_not_heard() -> None:
    bench = led_by(0)
    offers = [SHOP.child(VIEW, salt=salt) for salt in range(3)]
    bench.propose(*offers[0], skips())
    assert bench.casts() == []
    proposals = [SHOP.proposal(*offer, skips()) for offer in offers]
    assert not any(bench.core.is_flooded(proposal) for proposal in proposals)
    bench.propose(*offers[1], skips())
    assert bench.casts() == [(S, VIEW)]
    evidence = bench.only(Accuse).evidence
    assert (evidence.culprits, evidence.view) == ((WORKER,), VIEW)
    assert convicted(evidence, CHAIN_ID, SHOP.table, SHOP.scheme, SHOP.schedule.worker_keys) == (WORKER,)
    with pytest.raises(EvidenceError):
        convicted(evidence, CHAIN_ID, SHOP.table, SHOP.scheme)
    assert [bench.core.is_flooded(proposal) for proposal in proposals] == [False, False, True]


def test_a_silent_worker_is_waited_for_however_long_it_was_not_heard() -> None:
    bench = led_by(0, view := SHOP.view_led_by(WORKER, 2 * LEADER_INACTIVE_VIEWS))
    assert not bench.core.is_inactive(WORKER)
    assert bench.casts() == []
    for ms in range(0, 5 * TIMEOUT_MS, DELTA_MS // 2):
        bench.tick(INTERVAL_MS + ms)
        if bench.casts():
            break
    assert bench.casts() == [(S, view)]
    assert bench.ms >= TIMEOUT_MS + INTERVAL_MS


def test_every_third_view_is_a_validators_whatever_work_does() -> None:
    for view in range(3, 300, 3):
        assert SHOP.schedule.leader(View(view)) < VALIDATORS


KINDS = st.sampled_from([N, S, F])
NOISE = st.lists(st.tuples(KINDS, st.integers(0, 8), st.integers(4, 7), st.integers(0, 3)), max_size=12)


@settings(max_examples=80, deadline=None)
@given(noise=NOISE, order=st.randoms(use_true_random=False))
def test_whatever_a_worker_signs_changes_nothing_of_what_a_validator_does(
    noise: list[tuple[VoteKind, int, int, int]], order: object
) -> None:
    """Two validators, one of which is given signatures of workers besides, straight past the verifier: they do the same, but for
    a view in which the worker that leads it is seen to have signed two candidates."""
    plain, noisy = led_by(0), led_by(0)
    candidate, block = SHOP.child(VIEW)
    scripted = [
        lambda b: b.propose(candidate, block, skips()),
        lambda b: b.checked(candidate),
        lambda b: b.votes(N, VIEW, candidate.id, (1,)),
        lambda b: b.votes(N, VIEW, candidate.id, (2,)),
        lambda b: b.votes(F, VIEW, candidate.id, (1, 2)),
        lambda b: b.votes(F, VIEW, candidate.id, (3,)),
    ]
    said = {0: SKIP_ID, 1: candidate.id, 2: ID, 3: candidate.id}
    for step in scripted:
        for kind, ahead, signer, what in noise:
            view = max(1, VIEW - 2 + ahead)
            named = SKIP_ID if kind == S else said[what or 1]
            if signer > RIVAL or (signer == SHOP.schedule.leader(View(view)) and kind == N and named == ID):
                continue
            effects = noisy.do(VoteReceived(noisy.now, "w", SHOP.vote(kind, view, named, signer)))
            assert not [e for e in effects if not isinstance(e, Broadcast)], effects
            assert not effects
        assert step(plain) == step(noisy)
    assert plain.core.final == noisy.core.final
    assert plain.core.view == noisy.core.view
    assert not any(isinstance(effect, Accuse) for effect in noisy.out)


def test_memory_of_what_workers_sign_is_bounded() -> None:
    bench = led_by(0)
    for number in range(200):
        named = Hash(number.to_bytes(32, "big"))
        for view in (VIEW, LATER, VIEW + limits.views_ahead_max + 50):
            signer = SHOP.schedule.leader(View(view))
            if signer >= VALIDATORS:
                bench.do(VoteReceived(bench.now, "w", SHOP.vote(N, view, named, signer)))
    held = [len(slot.signed_by_worker) for slot in bench.core._slots.ascending()]
    assert max(held) == 2
    assert max(slot.view for slot in bench.core._slots.ascending()) <= VIEW + limits.views_ahead_max
