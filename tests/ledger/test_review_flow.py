"""The life of campaigns, items and seats through real blocks: how everything should go, and every way it can end otherwise."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from omnitensor.protocol.bodies import (
    CampaignSpec,
    SeatAccept,
    SeatDecline,
    StakeWithdraw,
)
from omnitensor.protocol.reviews import Flag, ItemScore
from omnitensor.protocol.types import Address, Amount, BatchId
from state.ledger.earnings import earnings
from state.ledger.prepared import prepare
from state.ledger.scoring import bar_of
from state.ledger.verdicts import Decision, find, judge
from state.records_review import (
    BatchOutcome,
    BatchPhase,
    ItemStatus,
    SeatState,
)
from state.schema import REVIEWERS, SEATS, VALIDATORS
from tests.ledger.world import BAD, GOOD, OMNIT, QUICK, SPEC, World, address_of, declaration, review


def started(world: World, items: int = 3, spec: CampaignSpec = SPEC) -> tuple[int, int]:
    """A campaign whose first batch has its seats; their numbers."""
    campaign = world.open(spec)
    world.submit("ann", campaign, *[declaration(f"a{n}") for n in range(items)])
    for _ in range(12):
        world.block()
        if world.open_batches() and world.batch(world.open_batches()[0]).phase == BatchPhase.COMMIT:
            return campaign, world.open_batches()[0]
    raise AssertionError("no seats were drawn")


def everyone_commits(world: World, number: int, score: ItemScore = GOOD) -> None:
    for name in world.seats(number, SeatState.SEATED, SeatState.ACCEPTED):
        world.send_commit(name, number, (score,) * len(world.batch(number).items))
    world.block()


def test_accepted_items_are_paid_in_two_parts() -> None:
    world = World()
    campaign, number = started(world)
    everyone_commits(world, number)
    assert world.batch(number).phase == BatchPhase.REVEAL, "the window ends when everybody has committed"
    before = world.balance("ann")
    for name in world.seats(number, SeatState.COMMITTED):
        world.send_reveal(name, number, (GOOD,) * 3)
    world.block()
    batch = world.batch(number)
    assert (batch.phase, batch.outcome) == (BatchPhase.DONE, BatchOutcome.VERDICT)
    reward = 3 * OMNIT * (5_000 + 5_000 * (85 - 60) // 40) // 10_000
    now = reward * 8_000 // 10_000
    item = world.item(1)
    assert (item.status, item.overall, item.scores, item.agreement_bps) == (
        ItemStatus.ACCEPTED,
        85,
        GOOD.criteria,
        10_000,
    )
    assert (item.reward, item.paid, item.reward_reserved) == (reward, now, reward - now)
    assert world.balance("ann") == before + 3 * now
    assert earnings(world.view, address_of("ann")).pending == 3 * (reward - now)
    world.blocks(5)
    item = world.item(1)
    assert (item.status, item.paid, item.bond) == (ItemStatus.PAID, reward, 0)
    assert world.balance("ann") == before + 3 * reward + 3 * OMNIT
    assert [change.status for change in item.history] == [
        ItemStatus.REVEALED,
        ItemStatus.QUEUED,
        ItemStatus.IN_REVIEW,
        ItemStatus.ACCEPTED,
        ItemStatus.PAID,
    ]
    heights = [change.height for change in item.history]
    assert heights == sorted(heights)
    earned = earnings(world.view, address_of("ann"))
    assert (earned.contribution, earned.pending, earned.items_accepted) == (3 * reward, 0, 3)
    assert world.campaign(campaign).counts.paid == 3


def test_reviewers_are_paid_by_standing_and_closeness() -> None:
    world = World()
    _, number = started(world)
    before = {name: world.balance(name) for name in world.validator_names}
    review(world)
    fee = 3 * OMNIT
    # Unanimous with even priors: 10,000 points; 3 items weigh 1,200 against 10,000 of prior at 2,500.
    quality = (10_000 * 1_200 + 2_500 * 10_000) // 11_200
    expected = fee * ((quality - 2_500) * 10_000 // 4_500) // 10_000
    paid = world.said("pay.reviewer")
    assert [one["amount"] for one in paid] == [expected] * 5
    for one in paid:
        name = world.name_of(Address(bytes(one["to"])))  # type: ignore[arg-type] # an address
        assert world.balance(name) - before[name] == expected - fees_of(world, name)
        assert earnings(world.view, address_of(name)).review == expected
        seat = world.view.get(SEATS, number, 1, address_of(name))
        assert seat is not None
        assert (seat.paid, seat.quality_bps, seat.closeness_bps) == (expected, quality, 10_000)


def fees_of(world: World, name: str) -> int:
    ids = {receipt.transaction_id: receipt.fee + receipt.tip for receipt in world.receipts}
    return sum(
        ids[prepare(transaction).id]
        for played in world.played
        for transaction in played.transactions
        if transaction.sender == address_of(name)
    )


def test_rejected_items_say_why_and_cost_a_part_of_the_bond() -> None:
    world = World()
    campaign, _ = started(world)
    before = world.balance("ann")
    available = world.campaign(campaign).escrow.available
    review(world, BAD)
    item = world.item(1)
    assert item.status == ItemStatus.REJECTED
    assert item.reasons == ("completeness", "accuracy", "relevance", "overall")
    cost = OMNIT * 2_500 // 10_000
    assert world.balance("ann") == before + 3 * (OMNIT - cost)
    closed = world.campaign(campaign)
    assert closed.penalties == 3 * (cost - cost // 2)
    assert closed.escrow.available == 10_000 * OMNIT - closed.paid_reviewers + closed.penalties
    assert closed.escrow.available > available
    assert world.said("item.rejected")[0]["reasons"] == "completeness,accuracy,relevance,overall"


def test_a_near_miss_costs_nothing() -> None:
    world = World()
    started(world)
    before = world.balance("ann")
    review(world, ItemScore(56, 58, 59))
    assert world.item(1).status == ItemStatus.REJECTED
    assert world.balance("ann") == before + 3 * OMNIT


def test_disagreement_leaves_an_item_undecided_and_refunds_all() -> None:
    world = World()
    campaign, number = started(world, spec=replace(SPEC, agree_min_bps=9_000, second_seats=0))
    before = world.balance("ann")
    seated = world.seats(number, SeatState.SEATED)
    review(world, {name: GOOD if place < 4 else BAD for place, name in enumerate(seated)})
    item = world.item(1)
    assert (item.status, item.reasons, item.agreement_bps) == (
        ItemStatus.UNDECIDED,
        ("disagreement",),
        8_000,
    )
    assert world.balance("ann") == before + 3 * OMNIT
    assert world.campaign(campaign).paid_reviewers > 0, "whoever reviewed is paid all the same"
    receipt = world.submit("ben", campaign, declaration("a0"))
    assert receipt.ok
    assert world.item(4).status == ItemStatus.QUEUED, "undecided content may come again"


def test_agreeing_where_everything_is_good_earns_less_and_less_and_costs_nothing() -> None:
    """Without gold nobody can tell diligence from habit there: standing sinks below break-even, and is not charged."""
    world = World(validators=5)
    campaign = world.open()
    for batch in range(14):
        world.submit("ann", campaign, *[declaration(f"{batch}/{n}") for n in range(6)])
        review(world)
    paid = [one["amount"] for one in world.said("pay.reviewer")]
    assert len(paid) == 70
    assert min(paid[:5]) > 0
    assert paid[-1] == 0
    assert not world.said("penalty")
    seat = world.view.get(SEATS, 14, 1, address_of("val0"))
    assert seat is not None
    assert seat.quality_bps < QUICK.reputation_break_even_bps


def test_disagreeing_with_everybody_is_charged() -> None:
    world = World(validators=5)
    _, number = started(world)
    odd, *_ = world.seats(number, SeatState.SEATED)
    review(world, {odd: BAD})
    seat = world.view.get(SEATS, number, 1, address_of(odd))
    row = world.view.get(VALIDATORS, address_of(odd))
    assert seat is not None
    assert row is not None
    quality = (-10_000 * 1_200 + 2_500 * 10_000) // 11_200
    penalty = 3 * OMNIT * -((quality - 2_500) * 10_000 // 4_500) // 10_000
    assert (seat.quality_bps, seat.paid, seat.penalty) == (quality, 0, penalty)
    assert row.stake == world.stake - penalty
    assert world.said("penalty")[-1]["burned"] == penalty // 2


def scores_with(flags: list[int], base: ItemScore = GOOD) -> list[ItemScore]:
    return [replace(base, flags=flag) for flag in flags]


ACCEPTED, REJECTED, UNDECIDED = ItemStatus.ACCEPTED, ItemStatus.REJECTED, ItemStatus.UNDECIDED


@pytest.mark.parametrize(
    ("scores", "decision"),
    [
        (scores_with([0, 0, 0, 0, 0]), Decision(ACCEPTED)),
        (scores_with([Flag.LICENCE, 0, 0, 0, 0]), Decision(ACCEPTED)),
        (scores_with([Flag.LICENCE, Flag.LICENCE, 0, 0, 0]), Decision(UNDECIDED, ("flagged", "licence"))),
        (scores_with([Flag.LICENCE, Flag.DUPLICATE, 0, 0, 0]), Decision(UNDECIDED, ("flagged",))),
        (
            scores_with([Flag.ILLEGAL] * 4 + [0]),
            Decision(REJECTED, ("illegal",), fraud=True, flagged=True),
        ),
        (scores_with([Flag.WRONG_TIER] * 4 + [0]), Decision(REJECTED, ("wrong_tier",), flagged=True)),
        (
            scores_with([Flag.POISONED, Flag.POISONED, 0, 0, 0], BAD),
            Decision(
                REJECTED,
                ("completeness", "accuracy", "relevance", "overall", "poisoned"),
                flagged=True,
            ),
        ),
        ([GOOD, GOOD, GOOD, BAD, BAD], Decision(UNDECIDED, ("disagreement",))),
        # Exactly a quarter of the weight, and exactly the agreement asked for.
        (scores_with([Flag.LICENCE, 0, 0, 0]), Decision(UNDECIDED, ("flagged", "licence"))),
        ([GOOD] * 7 + [BAD] * 3, Decision(ACCEPTED)),
    ],
)
def test_flags_and_agreement_decide(scores: list[ItemScore], decision: Decision) -> None:
    bar = bar_of(SPEC)
    assert judge(find(scores, [2] * len(scores), bar), bar, 7_000) == decision


def test_an_agreed_fraud_costs_the_whole_bond() -> None:
    world = World()
    campaign, _ = started(world)
    before = world.balance("ann")
    review(world, replace(BAD, flags=Flag.ILLEGAL))
    assert world.balance("ann") == before
    assert world.campaign(campaign).penalties == 3 * OMNIT // 2


# -- seats


def test_a_declined_seat_is_free_and_drawn_again() -> None:
    world = World()
    _, number = started(world)
    first = world.seats(number, SeatState.SEATED)
    stake = world.view.get(VALIDATORS, address_of(first[0]))
    assert stake is not None
    assert stake.held == 2 * 3 * OMNIT
    assert world.do(first[0], SeatDecline(BatchId(number), 1)).ok
    after = world.view.get(VALIDATORS, address_of(first[0]))
    assert after is not None
    assert (after.held, after.stake) == (0, stake.stake)
    now = world.seats(number, SeatState.SEATED)
    assert len(now) == 5
    assert first[0] not in now
    assert world.do(first[1], SeatAccept(BatchId(number), 1)).ok
    assert world.do(first[1], SeatDecline(BatchId(number), 1)).code == "seat_state"
    world.blocks(3)
    assert world.do(first[2], SeatDecline(BatchId(number), 1)).code == "seat_late"


def test_a_seat_that_commits_nothing_loses_half_its_bond() -> None:
    world = World()
    campaign, number = started(world)
    absent, *others = world.seats(number, SeatState.SEATED)
    for name in others:
        world.send_commit(name, number, (GOOD,) * 3)
    world.block()
    assert world.batch(number).phase == BatchPhase.COMMIT
    world.blocks(8)
    assert world.batch(number).phase == BatchPhase.REVEAL
    row = world.view.get(VALIDATORS, address_of(absent))
    record = world.view.get(REVIEWERS, address_of(absent))
    assert row is not None
    assert record is not None
    bond = 2 * 3 * OMNIT
    assert (row.stake, row.held, record.missed, record.seats_open) == (world.stake - bond // 2, 0, 1, 0)
    assert world.campaign(campaign).penalties == bond // 4
    assert world.said("penalty") == [
        {
            "account": address_of(absent),
            "amount": bond // 2,
            "burned": bond // 4,
            "cause": "missed",
            "batch": number,
        }
    ]
    review(world)
    assert world.item(1).status == ItemStatus.PAID
    assert world.seats(number, SeatState.MISSED) == [absent]


def test_a_seat_that_withholds_its_report_loses_all_its_bond() -> None:
    world = World()
    _, number = started(world)
    everyone_commits(world, number)
    silent, *others = world.seats(number, SeatState.COMMITTED)
    for name in others:
        world.send_reveal(name, number, (GOOD,) * 3)
    world.blocks(5)
    row = world.view.get(VALIDATORS, address_of(silent))
    assert row is not None
    assert row.stake == world.stake - 2 * 3 * OMNIT
    assert world.batch(number).outcome == BatchOutcome.VERDICT
    assert world.seats(number, SeatState.WITHHELD) == [silent]


def test_missing_reports_are_drawn_again_before_any_is_seen() -> None:
    world = World(validators=9)
    _, number = started(world)
    one, *_ = world.seats(number, SeatState.SEATED)
    world.send_commit(one, number, (GOOD,) * 3)
    world.blocks(9)
    batch = world.batch(number)
    assert (batch.phase, batch.redraws, batch.places) == (BatchPhase.COMMIT, 1, 5)
    assert len(world.seats(number, SeatState.SEATED)) == 4
    assert world.seats(number, SeatState.COMMITTED) == [one]
    review(world)
    assert world.batch(number).outcome == BatchOutcome.VERDICT
    assert world.item(1).status == ItemStatus.PAID


def test_without_a_quorum_everything_is_refunded() -> None:
    world = World(validators=5)
    campaign, number = started(world)
    one, *_ = world.seats(number, SeatState.SEATED)
    world.send_commit(one, number, (GOOD,) * 3)
    before = world.balance("ann")
    world.blocks(12)
    batch = world.batch(number)
    assert (batch.phase, batch.outcome) == (BatchPhase.DONE, BatchOutcome.NO_QUORUM)
    assert world.item(1).reasons == ("no_quorum",)
    assert world.balance("ann") == before + 3 * OMNIT
    assert world.seats(number, SeatState.RELEASED) == [one]
    row = world.campaign(campaign)
    assert row.escrow.available == 10_000 * OMNIT + row.penalties


def test_a_batch_that_nobody_may_review_waits_and_ends_undecided() -> None:
    world = World(validators=1)
    campaign = world.open(sponsor="sponsor")
    world.submit("val0", campaign, declaration("own"))
    world.blocks(5)
    number = world.open_batches()[0]
    assert world.batch(number).phase == BatchPhase.FROZEN
    world.blocks(15)
    assert world.batch(number).outcome == BatchOutcome.NOBODY
    assert world.item(1).reasons == ("no_reviewers",)


def test_everybody_sits_where_fewer_are_there_than_seats() -> None:
    world = World(validators=3)
    _, number = started(world)
    assert len(world.seats(number, SeatState.SEATED)) == 3
    review(world)
    assert world.item(1).status == ItemStatus.PAID


def test_one_reviewer_alone_decides_and_is_paid_by_standing() -> None:
    world = World(validators=1)
    _, number = started(world)
    review(world)
    assert world.item(1).status == ItemStatus.PAID
    seat = world.view.get(SEATS, number, 1, address_of("val0"))
    assert seat is not None
    assert (seat.quality_bps, seat.paid) == (2_500, 0)


def test_nobody_sits_who_is_sponsor_contributor_jailed_or_bound_elsewhere() -> None:
    world = World(validators=6)
    for name, change in (("val2", {"jailed": True}), ("val3", {"held": Amount(world.stake - OMNIT)})):
        row = world.view.get(VALIDATORS, address_of(name))
        assert row is not None
        world.view.put(VALIDATORS, replace(row, **change), address_of(name))
    world.check_every_block = False
    campaign = world.open(sponsor="val0")
    world.submit("val1", campaign, declaration("x"), declaration("y"))
    world.blocks(6)
    number = world.open_batches()[0]
    assert sorted(world.seats(number, SeatState.SEATED)) == ["val4", "val5"]


def test_held_stake_can_not_be_withdrawn() -> None:
    world = World()
    _, number = started(world)
    name = world.seats(number, SeatState.SEATED)[0]
    assert world.do(name, StakeWithdraw(Amount(world.stake))).code == "stake"
