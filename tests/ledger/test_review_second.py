"""Second rounds through real blocks: why an item goes there, who sits, what the verdict does to everybody, and appeals."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from omnitensor.protocol.bodies import CampaignCancel, CampaignClose, CampaignSpec, ItemAppeal
from omnitensor.protocol.reviews import Flag, ItemScore
from omnitensor.protocol.types import Amount, CampaignId, ItemId
from state.ledger.accounts import Pot, pot
from state.ledger.earnings import earnings
from state.records_review import (
    AppealState,
    BatchOutcome,
    BatchPhase,
    CampaignStatus,
    Escalation,
    ItemStatus,
    SeatState,
)
from state.schema import APPEALS, SEATS
from tests.ledger.test_review_flow import started
from tests.ledger.world import BAD, GOOD, OMNIT, SPEC, World, address_of, declaration, review, salt_of

CAREFUL = replace(SPEC, second_seats=3, agree_min_bps=9_000)
"""One of five who disagrees is enough for a second round, which is small, so that small worlds can have one."""


def split(world: World, number: int, against: int, score: ItemScore = BAD) -> dict[str, ItemScore]:
    """Scores of a batch's seats: so many say otherwise."""
    seated = world.seats(number, SeatState.SEATED, SeatState.ACCEPTED)
    return {name: score if place < against else GOOD for place, name in enumerate(seated)}


def play(world: World, number: int, scores: dict[str, ItemScore] | ItemScore) -> None:
    """One batch from its seats to its verdict."""
    for _ in range(14):
        batch = world.batch(number)
        if batch.phase not in (BatchPhase.FROZEN, BatchPhase.COMMIT, BatchPhase.REVEAL):
            return
        count = len(batch.items)
        if batch.phase == BatchPhase.COMMIT:
            for name in world.seats(number, SeatState.SEATED):
                score = scores if isinstance(scores, ItemScore) else scores.get(name, GOOD)
                world.send_commit(name, number, (score,) * count)
        if batch.phase == BatchPhase.REVEAL:
            for name in world.seats(number, SeatState.COMMITTED):
                score = scores if isinstance(scores, ItemScore) else scores.get(name, GOOD)
                world.send_reveal(name, number, (score,) * count)
        world.block()
    raise AssertionError("the batch does not end")


def escalated(world: World, spec: CampaignSpec = CAREFUL) -> tuple[int, int, int]:
    """A campaign whose first batch went to a second round; the three numbers."""
    campaign, first = started(world, spec=spec)
    play(world, first, split(world, first, 1))
    second = world.batch(first).second
    assert second
    return campaign, first, second


def finish(world: World, campaign: int) -> None:
    """Closes a campaign, and everything under way ends by itself."""
    world.send("sponsor", CampaignClose(CampaignId(campaign)))
    world.blocks(60)
    assert world.campaign(campaign).status in (CampaignStatus.CLOSED, CampaignStatus.EXPIRED)
    assert pot(world.view, Pot.ESCROW) == pot(world.view, Pot.BONDS) == 0


def test_a_second_round_has_fresh_members_and_its_verdict_stands() -> None:
    world = World(validators=9)
    campaign, first, second = escalated(world)
    item = world.item(1)
    assert (item.status, item.escalation, item.first) == (
        ItemStatus.ESCALATED,
        Escalation.DISAGREEMENT,
        ItemStatus.UNDECIDED,
    )
    assert (world.batch(first).phase, world.batch(second).round) == (BatchPhase.SECOND, 2)
    assert not world.said("pay.reviewer"), "the first committee waits for what it is held against"
    assert world.campaign(campaign).counts.escalated == 3
    play(world, second, BAD)
    batch = world.batch(second)
    assert (batch.outcome, batch.asked, batch.places, batch.thin) == (BatchOutcome.VERDICT, 3, 3, False)
    assert not set(batch.seats) & set(world.batch(first).seats)
    item = world.item(1)
    assert (item.status, item.scores, item.agreement_bps) == (
        ItemStatus.REJECTED,
        BAD.criteria,
        10_000,
    )
    assert len(world.said("pay.reviewer")) == 8
    finish(world, campaign)


def test_the_first_committee_is_held_against_the_second() -> None:
    """Whoever stood alone and was right is paid, the four others are charged."""
    world = World(validators=9)
    _, first, second = escalated(world)
    right, *wrong = world.seats(first, SeatState.REVEALED)
    play(world, second, BAD)
    seats = {name: world.view.get(SEATS, first, 1, address_of(name)) for name in (right, *wrong)}
    assert seats[right].paid > 0  # type: ignore[union-attr] # it sat
    assert seats[right].peer_bps > 0  # type: ignore[union-attr] # it sat
    assert all(seats[name].peer_bps == -10_000 for name in wrong)  # type: ignore[union-attr] # they sat
    assert all(seats[name].penalty > 0 for name in wrong)  # type: ignore[union-attr] # they sat


def test_flags_by_a_quarter_of_the_weight_ask_for_a_second_round() -> None:
    world = World(validators=9)
    campaign, first = started(world, spec=replace(CAREFUL, agree_min_bps=7_000))
    play(world, first, split(world, first, 2, replace(GOOD, flags=Flag.LICENCE)))
    assert world.item(1).escalation == Escalation.FLAGS
    second = world.batch(first).second
    play(world, second, replace(GOOD, flags=Flag.LICENCE))
    assert (world.item(1).status, world.item(1).reasons) == (ItemStatus.REJECTED, ("licence",))
    finish(world, campaign)


def test_a_flag_of_less_than_half_of_the_second_round_falls() -> None:
    world = World(validators=9)
    campaign, first = started(world, spec=replace(CAREFUL, agree_min_bps=7_000))
    play(world, first, split(world, first, 2, replace(GOOD, flags=Flag.LICENCE)))
    second = world.batch(first).second
    world.blocks(3)
    play(world, second, split(world, second, 1, replace(GOOD, flags=Flag.LICENCE)))
    assert world.item(1).status == ItemStatus.ACCEPTED
    finish(world, campaign)


def test_an_audit_judges_again_what_nobody_disputed() -> None:
    world = World(validators=9)
    campaign, first = started(world, spec=replace(CAREFUL, agree_min_bps=0, audit_bps=10_000))
    play(world, first, GOOD)
    assert (world.item(1).escalation, world.item(1).first) == (Escalation.AUDIT, ItemStatus.ACCEPTED)
    assert world.item(1).paid == 0
    play(world, world.batch(first).second, GOOD)
    assert world.item(1).status == ItemStatus.ACCEPTED
    finish(world, campaign)


def test_a_second_round_nobody_comes_to_leaves_what_the_first_said() -> None:
    for spec, status in (
        (replace(CAREFUL, agree_min_bps=0, audit_bps=10_000), ItemStatus.PAID),
        (CAREFUL, ItemStatus.UNDECIDED),
    ):
        world = World(validators=9)
        campaign, first = started(world, spec=spec)
        play(world, first, split(world, first, 1))
        second = world.batch(first).second
        world.blocks(40)
        assert world.batch(second).outcome == BatchOutcome.NO_QUORUM
        assert world.item(1).status == status
        assert world.batch(first).phase == BatchPhase.DONE
        assert len(world.said("pay.reviewer")) == 5, "the first committee is paid all the same"
        finish(world, campaign)


def test_a_small_network_draws_members_of_the_first_round_again_and_says_so() -> None:
    world = World(validators=6)
    campaign, first, second = escalated(world)
    world.blocks(4)
    batch = world.batch(second)
    assert batch.thin
    assert batch.places == 3
    assert set(batch.seats) & set(world.batch(first).seats)
    play(world, second, GOOD)
    assert world.item(1).status == ItemStatus.ACCEPTED
    finish(world, campaign)


def test_a_campaign_without_second_seats_ends_items_by_the_first_round() -> None:
    world = World(validators=9)
    campaign, first = started(world, spec=replace(CAREFUL, second_seats=0))
    play(world, first, split(world, first, 1))
    assert (world.item(1).status, world.item(1).reasons) == (ItemStatus.UNDECIDED, ("disagreement",))
    finish(world, campaign)


def test_a_second_round_takes_what_money_there_is_for() -> None:
    """With nothing available, an item's own reserve gives four tenths of the seats."""
    world = World(validators=20)
    spec = replace(CAREFUL, second_seats=10)
    each = 3 * OMNIT + 5 * OMNIT + 4 * OMNIT
    campaign = world.open(spec, budget=3 * each)
    world.submit("ann", campaign, *[declaration(f"a{n}") for n in range(3)])
    assert world.campaign(campaign).escrow.available == 0
    world.blocks(7)
    (first,) = world.open_batches()
    play(world, first, split(world, first, 1))
    second = world.batch(first).second
    assert world.batch(second).asked == 4
    play(world, second, GOOD)
    finish(world, campaign)


# -- appeals


def rejected(world: World, spec: CampaignSpec = CAREFUL) -> tuple[int, int]:
    campaign, first = started(world, spec=spec)
    play(world, first, BAD)
    assert world.item(1).status == ItemStatus.REJECTED
    return campaign, first


def test_an_appeal_turns_a_rejection_and_its_bond_returns() -> None:
    world = World(validators=9)
    campaign, _ = rejected(world)
    assert world.item(1).bond == OMNIT, "a bond waits for the end of the challenge window"
    before = world.balance("ann")
    receipt = world.do("ann", ItemAppeal(ItemId(1)))
    assert receipt.ok, receipt
    bond = 3 * OMNIT
    assert world.balance("ann") == before - bond - receipt.fee - receipt.tip
    second = world.item(1).second
    assert (world.item(1).status, world.batch(second).items) == (ItemStatus.ESCALATED, (1,))
    play(world, second, GOOD)
    assert world.item(1).status == ItemStatus.ACCEPTED
    row = world.view.get(APPEALS, 1)
    assert row is not None
    assert (row.state, row.bond) == (AppealState.TURNED, 0)
    world.blocks(6)
    reward = world.item(1).reward
    assert reward > 0
    assert (
        world.balance("ann") == before + reward + OMNIT + 2 * (OMNIT - OMNIT // 4) - receipt.fee - receipt.tip
    )
    finish(world, campaign)


def test_a_lost_appeal_pays_for_the_round_that_it_cost() -> None:
    world = World(validators=9)
    campaign, _ = rejected(world)
    world.do("ann", ItemAppeal(ItemId(1)))
    before = world.campaign(campaign).paid_reviewers
    burned = pot(world.view, Pot.BURNED)
    play(world, world.item(1).second, BAD)
    paid = world.campaign(campaign).paid_reviewers - before
    assert 0 <= paid < 3 * OMNIT
    (closed,) = world.said("appeal.closed")
    assert (closed["state"], closed["amount"], closed["burned"]) == ("upheld", 0, 3 * OMNIT - paid)
    assert pot(world.view, Pot.BURNED) >= burned + 3 * OMNIT - paid
    assert world.do("ann", ItemAppeal(ItemId(1))).code == "appeal_last"
    finish(world, campaign)


def test_an_acceptance_is_anybodys_to_challenge_and_costs_the_deferred_part() -> None:
    world = World(validators=9)
    campaign, first = started(world, spec=CAREFUL)
    play(world, first, GOOD)
    assert world.do("ann", ItemAppeal(ItemId(1))).code == "appeal_whose"
    assert world.do("ben", ItemAppeal(ItemId(1))).ok
    item = world.item(1)
    paid, reward = item.paid, item.reward
    assert earnings(world.view, address_of("ann")).items_accepted == 2
    play(world, item.second, BAD)
    world.blocks(6)
    item = world.item(1)
    assert (item.status, item.paid, item.bond, item.reward_reserved) == (ItemStatus.REJECTED, paid, 0, 0)
    assert paid == reward * 8_000 // 10_000
    earned = earnings(world.view, address_of("ann"))
    assert (earned.pending, earned.items_accepted, earned.items_rejected) == (0, 2, 1)
    finish(world, campaign)


def test_a_challenged_acceptance_that_stands_is_paid_as_before() -> None:
    world = World(validators=9)
    campaign, first = started(world, spec=CAREFUL)
    play(world, first, GOOD)
    before = world.balance("ben")
    receipt = world.do("ben", ItemAppeal(ItemId(1)))
    play(world, world.item(1).second, ItemScore(70, 70, 70))
    item = world.item(1)
    assert (item.status, item.scores) == (ItemStatus.ACCEPTED, (70, 70, 70))
    world.blocks(6)
    assert world.item(1).paid == item.reward
    (closed,) = world.said("appeal.closed")
    assert (closed["state"], closed["amount"]) == ("upheld", 0)
    assert world.balance("ben") == before - 3 * OMNIT - receipt.fee - receipt.tip, (
        "it was challenged for nothing"
    )
    finish(world, campaign)


def test_an_appeal_without_a_round_returns_its_bond_and_changes_nothing() -> None:
    world = World(validators=9)
    campaign, _ = rejected(world)
    receipt = world.do("ann", ItemAppeal(ItemId(1)))
    assert receipt.ok
    world.blocks(40)
    row = world.view.get(APPEALS, 1)
    assert row is not None
    assert row.state == AppealState.VOID
    assert world.item(1).status == ItemStatus.REJECTED
    assert world.item(1).bond == 0
    finish(world, campaign)


@pytest.mark.parametrize(
    ("who", "item", "wait", "code"),
    [
        ("ben", 1, 0, "appeal_whose"),
        ("ann", 99, 0, "item_unknown"),
        ("ann", 1, 6, "appeal_closed"),
    ],
)
def test_appeals_that_are_refused(who: str, item: int, wait: int, code: str) -> None:
    world = World(validators=9)
    rejected(world)
    world.blocks(wait)
    assert world.do(who, ItemAppeal(ItemId(item))).code == code


def test_an_appeal_takes_its_bond_or_nothing() -> None:
    world = World(validators=9, balance_each=20_000 * OMNIT)
    rejected(world, replace(CAREFUL, review_fee=Amount(OMNIT)))
    assert world.do("ann", ItemAppeal(ItemId(1))).ok
    assert world.do("ann", ItemAppeal(ItemId(1))).code == "appeal_closed", "one appeal at a time"


def test_appeal_spam_pays_for_itself() -> None:
    """Whoever appeals everything loses more than it costs anybody else, and holds nothing up for good."""
    world = World(validators=12)
    campaign, _ = rejected(world)
    before = world.balance("ann")
    for number in (1, 2, 3):
        world.send("ann", ItemAppeal(ItemId(number)))
    world.block()
    fees = sum(receipt.fee + receipt.tip for receipt in world.receipts[-3:])
    left = world.campaign(campaign)
    for number in (1, 2, 3):
        play(world, world.item(number).second, BAD)
    world.blocks(6)
    after = world.campaign(campaign)
    assert world.balance("ann") == before - fees - 3 * 3 * OMNIT + 3 * (OMNIT - OMNIT // 4)
    spent = after.paid_reviewers - left.paid_reviewers
    assert after.penalties - left.penalties >= spent, "the campaign is out of nothing"
    finish(world, campaign)


def test_whoever_appeals_does_not_sit() -> None:
    world = World(validators=9)
    campaign, first = started(world, spec=CAREFUL)
    play(world, first, GOOD)
    outside = next(name for name in world.validator_names if address_of(name) not in world.batch(first).seats)
    assert world.do(outside, ItemAppeal(ItemId(1))).ok
    world.blocks(4)
    assert address_of(outside) not in world.batch(world.item(1).second).seats
    finish(world, campaign)


# -- cancelling


def test_a_cancelled_campaign_takes_nothing_in_and_judges_what_was_shown() -> None:
    world = World(validators=9)
    campaign = world.open(CAREFUL)
    world.submit("ann", campaign, declaration("shown"))
    hidden = (declaration("hidden"),)
    salt = salt_of("ben", "cancel")
    world.commit("ben", campaign, hidden, salt)
    world.block()
    assert world.do("ben", CampaignCancel(CampaignId(campaign))).code == "not_sponsor"
    assert world.do("sponsor", CampaignCancel(CampaignId(campaign))).ok
    assert world.do("sponsor", CampaignCancel(CampaignId(campaign))).code == "campaign_closed"
    world.reveal("ben", campaign, hidden, salt)
    assert world.block().result.receipts[-1].code == "campaign_cancelled"
    review(world)
    assert world.item(1).status == ItemStatus.PAID
    world.blocks(10)
    assert world.campaign(campaign).status == CampaignStatus.CANCELLED
    assert pot(world.view, Pot.ESCROW) == pot(world.view, Pot.BONDS) == 0
