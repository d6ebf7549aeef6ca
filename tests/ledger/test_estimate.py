"""What an estimate calls sure, in the real ledger: so many items of the dearest kind, each judged twice and paid in full."""

from __future__ import annotations

from msgspec.structs import replace

from omnitensor.protocol.reviews import ItemScore
from omnitensor.protocol.types import Amount
from omnitensor.sdk.estimates import estimate
from state.records_review import ItemStatus
from tests.ledger.world import OMNIT, QUICK, SPEC, World, declaration, review

FULL = ItemScore(100, 100, 100)
TIER, CATEGORY = 2, 1


def test_a_budget_covers_what_is_sure_even_when_everything_goes_as_dear_as_it_can() -> None:
    """Every item of the dearest tier and category, audited, accepted with full marks: the last one is admitted, too."""
    spec = replace(
        SPEC,
        first_seats=3,
        second_seats=3,
        audit_bps=10_000,
        review_fee=Amount(OMNIT + 7),
        categories=(SPEC.categories[0], replace(SPEC.categories[1], target=0)),
    )
    dearest = max(estimate(spec, 10**18, QUICK).kinds, key=lambda kind: kind.most)
    assert (dearest.tier, dearest.category) == (TIER, "rare")
    world = World(validators=9)
    budget = 4 * dearest.most
    assert estimate(spec, budget, QUICK).items_sure == 4
    campaign = world.open(spec, budget)
    for number in range(4):
        receipt = world.submit("ann", campaign, declaration(f"text {number}", tier=TIER, category=CATEGORY))
        assert receipt.ok, (number, receipt)
        review(world, FULL, blocks=80)
        assert world.item(number + 1).status == ItemStatus.PAID
    row = world.campaign(campaign)
    assert row.paid_contributors == 4 * dearest.reward_most
    assert row.paid_reviewers <= 4 * (dearest.first_round + dearest.second_round)
    assert row.escrow.total == budget - row.paid_contributors - row.paid_reviewers
