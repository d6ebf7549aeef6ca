"""Strangers' small campaigns next to somebody's review: the end of a block counts little for little."""

from __future__ import annotations

from msgspec.structs import replace

from omnitensor.protocol.bodies import CampaignOpen
from omnitensor.protocol.types import Amount
from state.ledger import clockwork, validators
from state.ledger.accounts import next_number
from state.records_review import BatchPhase
from tests.ledger.world import OMNIT, SPEC, World, declaration, salt_of

CAMPAIGNS = 60


def test_many_campaigns_of_one_item_hold_up_no_review() -> None:
    """A batch for each of sixty campaigns in one block, and that block still reaches an entry that is due behind them."""
    world = World(check_every_block=False)
    cheap = replace(SPEC, unit_price=Amount(0), review_fee=Amount(10), item_bond=Amount(0), first_seats=1)
    first = world.open()
    for _ in range(CAMPAIGNS):
        world.send("ben", CampaignOpen(cheap, Amount(OMNIT)))
    world.block()
    numbers = range(first, first + CAMPAIGNS + 1)
    salts = {number: salt_of("ann", number) for number in numbers}
    for number in numbers:
        world.commit("ann", number, (declaration(f"item {number}"),), salts[number])
    assert {receipt.code for receipt in world.block().result.receipts} == {"ok"}
    for number in reversed(numbers):  # the honest one's comes last
        world.reveal("ann", number, (declaration(f"item {number}"),), salts[number])
    assert {receipt.code for receipt in world.block().result.receipts} == {"ok"}
    world.blocks(world.params.batch_wait_blocks)
    assert len(world.open_batches()) == CAMPAIGNS + 1


def test_work_is_counted_by_what_there_is_to_do() -> None:
    world = World()
    campaign = world.open()
    ctx = world.context(1)
    assert clockwork._work(world.view, ctx, clockwork.DueKind.QUEUE, campaign) == clockwork.ENTRY_WORK
    world.submit("ann", campaign, *(declaration(f"item {number}") for number in range(100)))
    queued = world.campaign(campaign).counts.queued
    found = clockwork._work(world.view, ctx, clockwork.DueKind.QUEUE, campaign)
    assert found == 50 + 6 * queued + 40 * world.params.batch_items
    (batch,) = world.open_batches() or (None,)
    if batch is not None:
        assert world.batch(batch).phase == BatchPhase.FROZEN
        assert clockwork._work(world.view, ctx, clockwork.DueKind.BATCH, batch) == clockwork.DRAW_WORK
        view = world.view
        for _ in range(1_000):
            next_number(view, validators.REGISTERED_COUNTER)
        many = clockwork._work(view, ctx, clockwork.DueKind.BATCH, batch)
        assert many == clockwork.DRAW_WORK + 20_000, "a draw looks at whoever ever registered"
