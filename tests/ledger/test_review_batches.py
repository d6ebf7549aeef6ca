"""Batches, submissions and campaigns through real blocks: how items are mixed, what is refused, and how campaigns end."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from omnitensor.protocol.bodies import (
    CampaignClose,
    CampaignFund,
    CampaignOpen,
    ReportCommit,
)
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import Amount, BatchId, CampaignId, Hash, Height
from state.ledger.batches import mix
from state.ledger.clockwork import run
from state.records_review import (
    CampaignStatus,
    QueuedItem,
    SeatState,
    SubmissionStatus,
)
from state.schema import DUE, SUBMISSIONS
from tests.ledger.test_review_flow import fees_of, started
from tests.ledger.world import GOOD, OMNIT, QUICK, SPEC, World, address_of, declaration, review, salt_of

# -- batches


def queued(*whose: str) -> list[tuple[int, QueuedItem]]:
    return [(n, QueuedItem(address_of(who), Height(1))) for n, who in enumerate(whose, 1)]


def test_batches_mix_contributors() -> None:
    ctx = replace_params(batch_items=8)
    window = queued(*["ann"] * 20, *["ben"] * 4, "cyd", "dan", "eve", "eve")
    picked = mix(ctx, window, 8, waited=False)  # type: ignore[arg-type] # item ids
    assert len(picked) == 8
    assert picked[0] == 1, "the oldest is always among them"
    whose = [window[n - 1][1].contributor for n in picked]
    assert max(whose.count(one) for one in whose) <= 2


def test_a_queue_of_one_contributor_waits_and_then_goes() -> None:
    ctx = replace_params(batch_items=8)
    window = queued(*["ann"] * 20)
    assert len(mix(ctx, window, 8, waited=False)) == 2  # type: ignore[arg-type] # item ids
    assert len(mix(ctx, window, 8, waited=True)) == 8  # type: ignore[arg-type] # item ids


def replace_params(**changes: object):  # type: ignore[no-untyped-def] # a block context
    return World(params=replace(QUICK, **changes)).context(5)


def test_a_full_queue_gives_a_batch_at_once_and_the_rest_after_its_wait() -> None:
    world = World(params=replace(QUICK, batch_contributor_share_bps=10_000))
    campaign = world.open()
    world.submit("ann", campaign, *[declaration(f"a{n}") for n in range(8)])
    assert len(world.batch(1).items) == 6
    world.blocks(3)
    assert len(world.batch(2).items) == 2


# -- submissions and campaigns


def test_an_unrevealed_submission_gives_its_bond_back() -> None:
    world = World()
    campaign = world.open()
    before = world.balance("ann")
    commitment = world.commit("ann", campaign, (declaration("x"),), salt_of(1))
    world.block()
    world.blocks(6)
    row = world.view.get(SUBMISSIONS, campaign, commitment, address_of("ann"))
    assert row is not None
    assert row.status == SubmissionStatus.EXPIRED
    assert world.balance("ann") == before - fees_of(world, "ann")
    world.reveal("ann", campaign, (declaration("x"),), salt_of(1))
    assert world.block().result.receipts[0].code == "submission_done"


def test_a_closed_campaign_finishes_what_is_under_way() -> None:
    world = World()
    campaign = world.open()
    declared = (declaration("x"),)
    world.commit("ann", campaign, declared, salt_of(2))
    world.block()
    assert world.do("sponsor", CampaignClose(CampaignId(campaign))).ok
    assert world.campaign(campaign).status == CampaignStatus.CLOSING
    world.commit("ben", campaign, (declaration("y"),), salt_of(3))
    assert world.block().result.receipts[0].code == "campaign_closed"
    world.reveal("ann", campaign, declared, salt_of(2))
    assert world.block().result.receipts[0].ok, "what was committed may still be revealed"
    review(world)
    row = world.campaign(campaign)
    assert (row.status, row.escrow.total, row.counts.paid) == (CampaignStatus.CLOSED, 0, 1)
    assert row.refunded == row.funded - row.paid_contributors - row.paid_reviewers
    assert world.do("sponsor", CampaignFund(CampaignId(campaign), Amount(1))).code == "campaign_closed"


def test_a_campaign_ends_by_its_deadline() -> None:
    world = World()
    campaign = world.open(replace(SPEC, closes_at=Height(6)))
    before = world.balance("sponsor")
    world.blocks(6)
    row = world.campaign(campaign)
    assert (row.status, row.escrow.total) == (CampaignStatus.EXPIRED, 0)
    assert world.balance("sponsor") == before + 10_000 * OMNIT


def test_funding_adds_up() -> None:
    world = World()
    campaign = world.open(budget=100 * OMNIT)
    assert world.do("sponsor", CampaignFund(CampaignId(campaign), Amount(7))).ok
    assert world.campaign(campaign).escrow.available == 100 * OMNIT + 7
    assert world.do("ann", CampaignFund(CampaignId(campaign), Amount(7))).code == "not_sponsor"
    assert world.do("ann", CampaignClose(CampaignId(campaign))).code == "not_sponsor"
    assert world.do("ann", CampaignClose(CampaignId(99))).code == "campaign_unknown"


@pytest.mark.parametrize(
    ("change", "budget", "code"),
    [
        ({"criterion_weights": (1, 2, 3)}, 100, "campaign_spec"),
        ({"thresholds": (60, 101, 60)}, 100, "campaign_spec"),
        ({"tier_bps": (0,)}, 100, "campaign_spec"),
        ({"review_fee": Amount(0)}, 100, "campaign_spec"),
        ({"categories": SPEC.categories * 2}, 100, "campaign_spec"),
        ({"media": ("anything",)}, 100, "campaign_spec"),
        ({"closes_at": Height(1)}, 100, "campaign_spec"),
        ({}, 1, "budget"),
        ({}, 100_000_000, "balance"),
    ],
)
def test_a_campaign_that_can_not_work_is_refused(change: dict[str, object], budget: int, code: str) -> None:
    world = World()
    receipt = world.do("sponsor", CampaignOpen(replace(SPEC, **change), Amount(budget * OMNIT)))
    assert receipt.code == code
    assert receipt.reason


@pytest.mark.parametrize(
    ("declared", "code"),
    [
        ([declaration("x", media="video/mp4")], "media_type"),
        ([declaration("x", media="image/")], "media_type"),
        ([declaration("x", tier=3)], "tier"),
        ([declaration("x", category=2)], "category"),
        ([replace(declaration("x"), content=replace(declaration("x").content, size=0))], "item_size"),
        ([replace(declaration("x"), content=replace(declaration("x").content, size=2_000_000))], "item_size"),
        ([declaration(f"x{n}", category=1) for n in range(4)], "category_full"),
        ([declaration(f"x{n}", tier=2) for n in range(60)], "escrow"),
    ],
)
def test_items_that_the_campaign_does_not_take_are_refused_whole(declared: list, code: str) -> None:  # type: ignore[type-arg] # declarations
    world = World()
    campaign = world.open(budget=1_500 * OMNIT)
    receipt = world.submit("ann", campaign, *declared)
    assert receipt.code == code
    assert world.campaign(campaign).counts.submitted == 0
    assert world.campaign(campaign).escrow.available == 1_500 * OMNIT


def test_images_of_any_kind_match_a_wildcard() -> None:
    world = World()
    campaign = world.open()
    assert world.submit("ann", campaign, declaration("x", media="image/png")).ok


def test_one_contributor_has_at_most_its_share() -> None:
    world = World()
    campaign = world.open(replace(SPEC, contributor_share_max_bps=6_000))
    assert world.submit("ann", campaign, *[declaration(f"a{n}") for n in range(19)]).ok
    assert world.submit("ann", campaign, declaration("a19")).code == "contributor_share"
    assert world.submit("ben", campaign, *[declaration(f"b{n}") for n in range(13)]).ok
    assert world.submit("ann", campaign, declaration("a20")).code == "contributor_share"
    assert world.submit("cyd", campaign, declaration("c0")).ok


def test_what_does_not_fit_into_a_block_is_done_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step at the end of a block has a budget; entries left over come first in the next block."""
    monkeypatch.setattr("omnitensor.protocol.limits.review_work_per_block_max", 1)
    world = World()
    campaigns = [world.open(replace(SPEC, closes_at=Height(20))) for _ in range(5)]
    world.blocks(25 - world.height)
    done = [world.campaign(number).ended_at for number in campaigns]
    assert done == [20, 21, 22, 23, 24]
    assert not list(world.view.scan(DUE))
    assert run(world.view, world.context(30)) == ()


def test_a_report_of_the_wrong_length_is_refused_and_can_be_mended() -> None:
    world = World()
    _, number = started(world)
    name, *others = world.seats(number, SeatState.SEATED)
    world.send_commit(name, number, (GOOD,) * 2)
    for other in others:
        world.send_commit(other, number, (GOOD,) * 3)
    world.block()
    world.send_reveal(name, number, (GOOD,) * 2)
    assert world.block().result.receipts[0].code == "report"
    assert world.do("ann", ReportCommit(BatchId(number), 1, Hash(bytes(32)), b"")).code == "no_seat"
    assert world.do("ann", ReportCommit(BatchId(99), 1, Hash(bytes(32)), b"")).code == "batch_unknown"


def test_default_parameters_form_batches_of_twenty_with_five_of_one_contributor() -> None:
    params = Params()
    assert params.batch_items * params.batch_contributor_share_bps // 10_000 == 5
