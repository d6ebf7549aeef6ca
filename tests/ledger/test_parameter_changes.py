"""Parameters that change while something is under way: what waits is neither forgotten nor stuck."""

from __future__ import annotations

from msgspec.structs import replace

from omnitensor.protocol.bodies import CampaignClose
from omnitensor.protocol.types import CampaignId
from state.records_review import BatchPhase, CampaignStatus
from tests.ledger.world import QUICK, World, declaration, review


def test_items_wait_on_when_the_wait_becomes_longer() -> None:
    """A queue is looked at when its oldest item has waited as long as was asked when it came; by then it may be longer."""
    world = World(params=replace(QUICK, batch_wait_blocks=3))
    campaign = world.open()
    assert world.submit("ann", campaign, declaration("one")).ok
    world.params = replace(world.params, batch_wait_blocks=9)
    world.blocks(8)
    assert world.campaign(campaign).counts.queued == 1
    world.blocks(2)
    assert world.batch(1).phase in (BatchPhase.FROZEN, BatchPhase.COMMIT)
    world.send("sponsor", CampaignClose(CampaignId(campaign)))
    review(world)
    assert world.campaign(campaign).status == CampaignStatus.CLOSED
