"""Evidence in the ledger: who is convicted, what it costs, who gets what, and that nothing else ever convicts anybody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from omnitensor.protocol import conviction
from omnitensor.protocol.ballots import SKIP_ID, VoteKind
from omnitensor.protocol.bodies import (
    Delegate,
    EvidenceSubmit,
    ItemDeclaration,
    StakeAdd,
    StakeWithdraw,
    ValidatorRegister,
)
from omnitensor.protocol.codec import encode
from omnitensor.protocol.errors import CodecError
from omnitensor.protocol.evidence import ConflictingVotes, Evidence, NoConflict, decode_evidence
from omnitensor.protocol.parameter_rules import check_params
from omnitensor.protocol.types import SUPPLY_MAX, Amount
from state.ledger import evidence as ledger_evidence
from state.ledger import removal, slashing, transition
from state.ledger.accounts import Pot
from state.ledger.registry import END_OF_BLOCK
from state.ledger.supply import SupplyError
from state.records_review import BatchOutcome, BatchPhase, SeatState
from state.schema import CONVICTIONS, EARNINGS, OPEN_SEATS, POTS, REMOVALS, UNBONDING, VALIDATORS
from tests.ledger.convicts import A, B, Court, F, N, S
from tests.ledger.world import GOOD, OMNIT, QUICK, address_of, declaration, review

UNBOND = 6
PARAMS = replace(QUICK, unbonding_blocks=UNBOND)


def declared(text: str, count: int) -> tuple[ItemDeclaration, ...]:
    return tuple(declaration(f"{text}{number}") for number in range(count))


def pot(court: Court, which: Pot) -> int:
    row = court.view.get(POTS, which.value)
    return row.amount if row else 0


def row_of(court: Court, name: str) -> Any:
    row = court.view.get(VALIDATORS, address_of(name))
    assert row is not None
    return row


def report(court: Court, evidence: Evidence, who: str = "ann") -> str:
    return court.do(who, EvidenceSubmit(evidence)).code


# -- what it costs


def story(court: Court) -> None:
    """A validator with stake, a withdrawal that waits and one that was paid before is convicted, reported by ``ann``."""
    name = court.table_names[1]
    assert court.do(name, StakeWithdraw(Amount(10_000 * OMNIT))).ok
    court.blocks(UNBOND)
    assert row_of(court, name).unbonding == 0, "paid before: it is out of reach"
    assert court.do(name, StakeWithdraw(Amount(7 * OMNIT + 9))).ok
    assert court.do(name, StakeWithdraw(Amount(20_000 * OMNIT))).ok
    stake, first, second = 100_000 * OMNIT - 30_007 * OMNIT - 9, 7 * OMNIT + 9, 20_000 * OMNIT
    cut = stake * 5 // 100 + first * 5 // 100 + second * 5 // 100
    burned = cut // 2
    reward = (cut - burned) // 5
    before = {which: pot(court, which) for which in (Pot.RESERVE, Pot.BURNED)}
    balance, other = court.balance("ann"), row_of(court, court.table_names[0])
    receipt = court.do("ann", EvidenceSubmit(court.double_vote(1)))
    assert receipt.code == "ok"
    assert court.balance("ann") == balance - receipt.fee - receipt.tip + reward
    assert pot(court, Pot.BURNED) == before[Pot.BURNED] + burned + receipt.fee
    assert pot(court, Pot.RESERVE) == before[Pot.RESERVE] + cut - burned - reward
    assert sum(row.amount for _, row in court.view.scan(POTS)) == SUPPLY_MAX
    assert row_of(court, court.table_names[0]) == other, "nobody else loses anything"
    row = row_of(court, name)
    assert (row.removed, row.jailed, row.stake, row.held) == (True, True, 0, 0)
    assert row.unbonding == 100_000 * OMNIT - 10_000 * OMNIT - cut, "the rest is on its way back"
    known = court.view.get(CONVICTIONS, address_of(name))
    assert known is not None
    assert (known.slashed, known.burned, known.reward) == (cut, burned, reward)
    assert (known.fault, known.view, known.reporter) == (1, 3, address_of("ann"))
    (said,) = court.said("validator.slashed")
    assert (said["amount"], said["fault"], said["validator"]) == (cut, "notarize_twice", address_of(name))
    mine = court.balance(name)
    # Once: neither the same again, nor what it did in another view.
    assert report(court, court.double_vote(1)) == "evidence_known"
    assert report(court, court.double_vote(1, view=9)) == "evidence_known"
    court.blocks(UNBOND + 1)
    assert court.balance(name) == mine + row.unbonding, "and what was not slashed is paid"
    assert not list(court.view.scan(UNBONDING))
    # For good.
    assert court.do(name, StakeAdd(Amount(OMNIT))).code == "validator_removed"
    assert court.do(name, StakeWithdraw(Amount(OMNIT))).code == "validator_removed"
    again = ValidatorRegister(Amount(40_000 * OMNIT), bytes(48), bytes(96), 0, "again")  # type: ignore[arg-type]  # no key
    assert court.do(name, again).code == "validator_removed"


def seats_story(court: Court) -> None:
    """Seats are let go at no cost: replaced while reports are committed, done without afterwards."""
    campaign = court.open()
    court.submit("ann", campaign, *declared("x", 6))
    court.blocks(6)
    (number,) = court.open_batches()
    assert court.batch(number).phase == BatchPhase.COMMIT
    sitting = court.seats(number, SeatState.SEATED)
    court.send_commit(sitting[1], number, (GOOD,) * 6)
    court.block()
    for name in sitting[:2]:  # one that is waited for, one whose report is committed
        assert report(court, court.double_vote(court.table_names.index(name)), "ben") == "ok"
        assert row_of(court, name).held == 0
        assert not list(court.view.scan(OPEN_SEATS, address_of(name)))
        assert name not in court.seats(number, SeatState.SEATED, SeatState.ACCEPTED, SeatState.COMMITTED)
    assert len(court.seats(number, SeatState.RELEASED)) == 2
    assert court.batch(number).places == 5, "others were drawn for them"
    for name in court.seats(number, SeatState.SEATED, SeatState.ACCEPTED):
        court.send_commit(name, number, (GOOD,) * 6)
    court.block()
    assert court.batch(number).phase == BatchPhase.REVEAL
    third, *rest = court.seats(number, SeatState.COMMITTED)
    court.send_reveal(third, number, (GOOD,) * 6)
    court.block()
    assert report(court, court.double_vote(court.table_names.index(third)), "ben") == "ok"
    review(court)
    assert court.batch(number).outcome == BatchOutcome.VERDICT
    assert set(court.seats(number, SeatState.REVEALED)) == set(rest)
    later = court.open()
    court.submit("ann", later, *declared("y", 6))
    court.blocks(8)
    assert not set(court.batch(court.open_batches()[0]).seats) & {
        address_of(n) for n in (*sitting[:2], third)
    }
    assert not list(court.view.scan(REMOVALS))


def certificates_story(court: Court) -> None:
    """Two certificates convict who signed both, each once; one that was convicted before costs nothing again."""
    assert report(court, court.double_vote(2)) == "ok"
    assert report(court, court.double_certificate((0, 1, 2), (1, 2, 3))) == "ok"
    assert {bytes(key) for key, _ in court.view.scan(CONVICTIONS)} == {court.address(1), court.address(2)}
    assert report(court, court.double_certificate((0, 1, 2), (1, 2, 3))) == "evidence_known"


def refusals_story(court: Court) -> None:
    """What convicts nobody costs its fee, says why, and changes nothing else."""
    good = court.double_vote(1)
    forged = court.vote(1, N, A, by=0)
    foreign = ConflictingVotes.of(court.vote(1, N, A, chain="other"), court.vote(1, N, B, chain="other"))
    future = court.double_vote(1, epoch=1)
    cases: dict[str, tuple[Evidence, str]] = {
        "first forged": (ConflictingVotes.of(forged, good.second), "evidence_signature"),
        "second forged": (ConflictingVotes.of(good.first, court.vote(1, N, B, by=2)), "evidence_signature"),
        "another validator's votes": (
            ConflictingVotes(replace(good.first, signer=2), replace(good.second, signer=2)),
            "evidence_signature",
        ),
        "another view": (
            ConflictingVotes(replace(good.first, view=4), replace(good.second, view=4)),
            "evidence_signature",
        ),
        "another chain": (foreign, "evidence_signature"),
        "another epoch": (future, "evidence_epoch"),
        "no such validator": (
            ConflictingVotes(replace(good.first, signer=44), replace(good.second, signer=44)),
            "evidence_known",
        ),
        "view 0": (court.double_vote(1, view=0), "evidence_form"),
        "below the quorum": (court.double_certificate((0, 1), (1, 2)), "evidence_quorum"),
        "a bitmap of another length": (
            replace_bitmaps(court, b"\x07\x00", b"\x0e\x00"),
            "evidence_bitmap",
        ),
        "a bit beyond the table": (replace_bitmaps(court, b"\x17", b"\x1e"), "evidence_bitmap"),
        "a wider bitmap than signed": (replace_bitmaps(court, b"\x0f", b"\x0e"), "evidence_signature"),
    }
    for name, (evidence, code) in cases.items():
        balance = court.balance("ann")
        receipt = court.do("ann", EvidenceSubmit(evidence))
        assert receipt.code == code, (name, receipt)
        assert receipt.reason
        assert court.balance("ann") == balance - receipt.fee - receipt.tip, name
        assert not list(court.view.scan(CONVICTIONS)), name


def replace_bitmaps(court: Court, one: bytes, other: bytes) -> Evidence:
    good = court.double_certificate((0, 1, 2), (1, 2, 3))
    return type(good)(replace(good.first, signers=one), replace(good.second, signers=other))


STORIES: dict[str, tuple[Callable[[Court], None], int]] = {
    "cost": (story, 4),
    "seats": (seats_story, 9),
    "certificates": (certificates_story, 4),
    "refusals": (refusals_story, 4),
}


@pytest.mark.parametrize("name", STORIES)
def test_evidence_in_the_ledger(name: str) -> None:
    told, validators = STORIES[name]
    court = Court(validators, PARAMS, check_every_transaction=True)
    told(court)
    assert court.replayed() == court.base.encoded


def test_nobody_is_paid_for_its_own_fault() -> None:
    court = Court(4, PARAMS)
    name = court.table_names[1]
    before = court.balance(name)
    receipt = court.do(name, EvidenceSubmit(court.double_vote(1)))
    assert receipt.ok
    assert court.balance(name) == before - receipt.fee - receipt.tip


def test_many_seats_are_let_go_over_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal.limits, "seats_released_per_block_max", 1)
    court = Court(5, PARAMS)
    for text in ("x", "y", "z"):
        court.submit("ann", court.open(), *declared(text, 6))
    court.blocks(5)
    name = court.table_names[0]
    held = len(list(court.view.scan(OPEN_SEATS, address_of(name))))
    assert held == 3
    court.send("ben", EvidenceSubmit(court.double_vote(0)))
    for left in (2, 1, 0):
        court.block()
        assert len(list(court.view.scan(OPEN_SEATS, address_of(name)))) == left
        assert bool(list(court.view.scan(REMOVALS))) == bool(left)
    assert row_of(court, name).stake == 0


def test_a_withdrawal_is_in_reach_for_as_long_as_its_epoch_is_judged() -> None:
    """The shortest unbonding that a genesis may set: withdrawn at the first block, slashed at the last."""
    params = replace(QUICK, epoch_blocks=2, evidence_epochs=2, unbonding_blocks=6)
    check_params(params)
    last_kept = 6  # the boundary at whose end the set of epoch 0 is forgotten
    court = Court(4, params)
    name = court.table_names[1]
    assert court.do(name, StakeWithdraw(Amount(60_000 * OMNIT))).ok
    assert court.height == 1
    court.blocks(last_kept - 2)
    assert row_of(court, name).unbonding == 60_000 * OMNIT
    assert report(court, court.double_vote(1)) == "ok"
    assert court.height == last_kept
    assert row_of(court, name).unbonding == 57_000 * OMNIT + 38_000 * OMNIT
    assert report(court, court.double_vote(2)) == "evidence_old"


# -- types that can't be built without the conflict


def test_bytes_without_a_conflict_are_no_evidence() -> None:
    court = Court(4)
    good = court.double_vote(1)
    assert decode_evidence(encode(good)) == good
    assert len(encode(good)) < 400
    one, two = good.first, good.second
    for first, second in (
        (two, one),
        (one, one),
        (one, replace(two, signer=2)),
        (one, replace(two, view=9)),
        (one, replace(two, epoch=9)),
        (court.vote(1, N, A), court.vote(1, F, B)),
        (court.vote(1, N, A), court.vote(1, S)),
    ):
        with pytest.raises(CodecError):
            decode_evidence(encode((1, tuple_of(first), tuple_of(second))))
        with pytest.raises(NoConflict):
            ConflictingVotes(first, second)
    certificates = court.double_certificate((0, 1, 2), (1, 2, 3))
    short = replace(certificates.first, signers=b"\x07\x00")
    for first, second in (
        (short, certificates.second),
        (certificates.second, certificates.first),
        (replace(certificates.first, signers=b"\x01"), certificates.second),
    ):
        with pytest.raises(CodecError):
            decode_evidence(encode((2, tuple_of(first), tuple_of(second))))


def tuple_of(message: Any) -> tuple[Any, ...]:
    return tuple(getattr(message, name) for name in message.__struct_fields__)


# -- an oracle of its own

KINDS = {1: "notarize", 2: "skip", 3: "finalize"}


@st.composite
def pairs(draw: st.DrawFn) -> dict[str, Any]:
    """Two votes, mostly close to a conflict."""
    mostly = lambda common, rare: draw(st.sampled_from([common] * 5 + rare))  # noqa: E731  # reads as what it is
    signer = draw(st.integers(0, 4))
    made = []
    for _ in range(2):
        kind = draw(st.sampled_from([1, 1, 2, 3, 3]))
        candidate = bytes(32) if (kind == 2) != (mostly(0, [1]) == 1) else draw(st.sampled_from([A, B]))
        made.append(
            {
                "kind": kind,
                "candidate": bytes(candidate),
                "view": mostly(3, [0, 4]),
                "epoch": mostly(0, [1]),
                "chain": mostly("test-1", ["test-2"]),
                "signer": mostly(signer, [(signer + 1) % 5]),
                "by": mostly(signer, [(signer + 1) % 4]),
            }
        )
    return {"votes": made, "known": mostly(False, [True]), "reporter": draw(st.sampled_from(["ann", "val0"]))}


def expected(case: dict[str, Any]) -> str:
    """What the specification says of a case: ``none`` where it can't even be written down, else the receipt's code."""
    one, two = case["votes"]
    conflict = (
        one["signer"] == two["signer"]
        and one["view"] == two["view"]
        and one["epoch"] == two["epoch"]
        and (
            (one["kind"] == two["kind"] != 2 and one["candidate"] != two["candidate"])
            or {one["kind"], two["kind"]} == {2, 3}
        )
    )
    if not conflict:
        return "none"
    if one["epoch"] != 0:
        return "evidence_epoch"
    if one["signer"] > 3 or case["known"]:
        return "evidence_known"
    for vote in (one, two):
        if vote["view"] == 0 or (vote["candidate"] == bytes(32)) != (vote["kind"] == 2):
            return "evidence_form"
    for vote in (one, two):
        if vote["by"] != vote["signer"] or vote["chain"] != "test-1":
            return "evidence_signature"
    return "ok"


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(pairs())
def test_only_what_the_specification_names_convicts(case: dict[str, Any]) -> None:
    court = Court(4, PARAMS)
    votes = [
        court.vote(
            vote["signer"], VoteKind(vote["kind"]), vote["candidate"], view=vote["view"], epoch=vote["epoch"],
            chain=vote["chain"], by=vote["by"],
        )
        for vote in case["votes"]
    ]  # fmt: skip
    wanted = expected(case)
    try:
        evidence = ConflictingVotes.of(*votes)
    except NoConflict:
        assert wanted == "none"
        return
    if case["known"]:
        assert report(court, court.double_vote(evidence.first.signer % 4), "ben") == "ok"
    stakes = [row_of(court, name).stake + row_of(court, name).unbonding for name in court.table_names]
    burned, reserve = pot(court, Pot.BURNED), pot(court, Pot.RESERVE)
    receipt = court.do(case["reporter"], EvidenceSubmit(evidence))
    assert receipt.code == wanted, (case, receipt)
    lost = [
        before - row_of(court, name).stake - row_of(court, name).unbonding
        for before, name in zip(stakes, court.table_names, strict=True)
    ]
    guilty = case["votes"][0]["signer"]
    cut = 5_000 * OMNIT if wanted == "ok" else 0
    assert lost == [cut if wanted == "ok" and index == guilty else 0 for index in range(4)]
    assert pot(court, Pot.BURNED) - burned == cut // 2 + receipt.fee
    own = wanted == "ok" and case["reporter"] == court.table_names[guilty]
    assert pot(court, Pot.RESERVE) - reserve == (2_500 * OMNIT if own else 2_000 * OMNIT if cut else 0)


# -- planted faults


def test_a_report_of_ones_own_fault_never_pays_by_what_others_delegated() -> None:
    """By a second account; whoever had little stake and much delegated could else rob its delegators."""
    court = Court(4, PARAMS)
    name = court.table_names[0]
    court.do("ann", Delegate(address_of(name), Amount(9_000_000 * OMNIT)))
    before = court.view.get(VALIDATORS, address_of(name))
    balance = court.balance("ben")
    receipt = court.do("ben", EvidenceSubmit(court.double_vote(0)))
    assert receipt.ok
    row, conviction = (court.view.get(table, address_of(name)) for table in (VALIDATORS, CONVICTIONS))
    assert before is not None
    own = before.stake // 20
    assert conviction.slashed == own + before.delegated // 20
    assert conviction.burned == conviction.slashed // 2
    assert conviction.reward == own // 2 // 5
    assert court.balance("ben") - balance == conviction.reward - receipt.fee - receipt.tip
    assert row.delegated == before.delegated - before.delegated // 20
    penalty = court.view.get(EARNINGS, address_of(name))
    assert penalty is not None
    assert penalty.penalties == own, "what others lost is not its own penalty"


def slash_stake_alone(view: Any, ctx: Any, address: Any, share_bps: int) -> int:
    row = view.get(VALIDATORS, address)
    taken: int = row.stake * share_bps // 10_000
    view.put(VALIDATORS, row.with_stake(row.stake - taken), address)
    return taken


def jailed_only(view: Any, address: Any) -> None:
    row = view.get(VALIDATORS, address)
    view.put(VALIDATORS, replace(row, jailed=True), address)


def forget_seats(view: Any, ctx: Any) -> tuple[Any, ...]:
    return ()


MUTANTS: dict[str, tuple[Any, str, Any]] = {
    "unbonding stake is spared": (slashing, "slash", slash_stake_alone),
    "nothing burns": (
        slashing,
        "split",
        lambda amount, params: (0, amount // 10, amount - amount // 10),
    ),
    "the reporter takes all": (
        slashing,
        "split",
        lambda amount, params: (amount // 2, amount - amount // 2, 0),
    ),
    "money is lost": (slashing, "split", lambda amount, params: (amount // 2, amount // 10, 0)),
    "signatures are not looked at": (
        ledger_evidence,
        "convicted",
        lambda evidence, chain, table, scheme, workers: evidence.culprits,
    ),
    "any chain will do": (
        ledger_evidence,
        "convicted",
        lambda evidence, chain, *rest: conviction.convicted(evidence, "other", *rest),
    ),
    "convicted again and again": (
        ledger_evidence,
        "open_culprits",
        lambda view, evidence, leaders: tuple(
            leaders.address(i) for i in evidence.culprits if i < len(leaders.table)
        ),
    ),
    "removed only until it is let out": (removal, "begin", jailed_only),
    "a minority's certificate": (conviction.ValidatorTable, "quorum_weight", 1),
    "seats are kept": (removal, "carry_out", forget_seats),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_planted_faults_are_seen(name: str) -> None:
    target, attribute, wrong = MUTANTS[name]
    steps = tuple(
        wrong if attribute == "carry_out" and each is removal.carry_out else each for each in END_OF_BLOCK
    )
    with (
        mock.patch.object(target, attribute, wrong),
        mock.patch.object(transition, "END_OF_BLOCK", steps),
        pytest.raises((AssertionError, SupplyError)),
    ):
        for told, validators in STORIES.values():
            told(Court(validators, PARAMS, check_every_transaction=True))


def test_skip_names_no_candidate() -> None:
    assert bytes(32) == SKIP_ID
    assert B != A
