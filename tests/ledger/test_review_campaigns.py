"""Several hundred whole campaigns, lived through at random by people who do all, some or none of what they should.

Each is driven to its end: no escrow, no bond and no held stake is left, whatever happened on the way.
"""

from __future__ import annotations

from random import Random

import pytest
from msgspec.structs import replace

from omnitensor.protocol.bodies import CampaignClose, CampaignSpec, Category, SeatDecline
from omnitensor.protocol.reviews import ItemScore
from omnitensor.protocol.types import Amount, BatchId, CampaignId, Height
from state.ledger.accounts import Pot, pot
from state.records_review import SEATS_LIVE, BatchOutcome, BatchPhase, CampaignStatus, ItemStatus, SeatState
from state.schema import BATCHES, DUE, EARNINGS, ITEMS, QUEUE, REVIEWERS, SEATS, VALIDATORS
from tests.ledger.world import OMNIT, QUICK, SPEC, World, check_books, declaration, salt_of

CAMPAIGNS = 400
GROUPS = 8


def a_spec(chance: Random) -> CampaignSpec:
    """Prices that don't divide evenly, thresholds and committees of all kinds."""
    return replace(
        SPEC,
        tier_bps=(chance.randint(1_000, 30_000), 10_000),
        categories=(Category("any", chance.randint(1, 20_000), 0), Category("few", 10_000, 2)),
        unit_price=Amount(chance.randint(0, 5 * OMNIT)),
        review_fee=Amount(chance.randint(10, 2 * OMNIT)),
        item_bond=Amount(chance.choice([0, 1, 3, chance.randint(1, OMNIT)])),
        first_seats=chance.randint(1, 7),
        second_seats=chance.choice([0, 3, 11]),
        agree_min_bps=chance.choice([0, 5_000, 7_000, 10_000]),
        thresholds=(chance.choice([0, 60, 90]), 60, 60),
        closes_at=Height(chance.randint(8, 30)),
    )


def a_score(chance: Random, good: bool, honest: bool) -> ItemScore:
    if not honest:
        return ItemScore(*(chance.randint(0, 100) for _ in range(3)), chance.choice([0, 0, 1, 4, 8, 32]))
    low, high = (65, 100) if good else (10, 55)
    return ItemScore(
        *(chance.randint(low, high) for _ in range(3)), 0 if good or chance.random() < 0.7 else 1
    )


def live(seed: int) -> World:
    """One campaign from its opening to its end."""
    chance = Random(seed)
    world = World(
        validators=chance.randint(1, 8),
        params=replace(
            QUICK,
            batch_items=chance.choice([1, 3, 6, 20]),
            batch_wait_blocks=chance.randint(0, 4),
            seed_delay_blocks=chance.randint(0, 3),
            seat_redraws_max=chance.randint(0, 2),
        ),
        check_every_block=False,
    )
    campaign = world.open(a_spec(chance), budget=chance.randint(400, 3_000) * OMNIT)
    diligence = chance.choice([1.0, 0.95, 0.8, 0.4, 0.0])
    honest = {name: chance.random() < 0.8 for name in world.validator_names}
    waiting: list[tuple[str, tuple, object]] = []  # type: ignore[type-arg] # submissions to reveal
    scores: dict[tuple[str, int], tuple[ItemScore, ...]] = {}
    while world.campaign(campaign).status in (CampaignStatus.OPEN, CampaignStatus.CLOSING):
        assert world.height < 250, f"campaign of seed {seed} never ends"
        if world.height < 30:
            for who, declared, salt in waiting:
                if chance.random() < 0.8:
                    world.reveal(who, campaign, declared, salt)  # type: ignore[arg-type] # a salt
            waiting = []
            if chance.random() < 0.5:
                who = chance.choice(["ann", "ben", "cyd", *world.validator_names[:1]])
                some = [
                    declaration(
                        f"{chance.randint(0, 40)}",
                        tier=chance.randint(0, 1),
                        category=chance.choice([0, 0, 0, 1]),
                    )
                    for _ in range(chance.randint(1, 4))
                ]
                salt = salt_of(seed, world.height)
                world.commit(who, campaign, tuple(some), salt)
                waiting.append((who, tuple(some), salt))
            if chance.random() < 0.02:
                world.send("sponsor", CampaignClose(CampaignId(campaign)))
        for number in world.open_batches():
            review_some(world, chance, number, diligence, honest, scores)
        world.block()
    return world


def review_some(
    world: World,
    chance: Random,
    number: int,
    diligence: float,
    honest: dict[str, bool],
    scores: dict[tuple[str, int], tuple[ItemScore, ...]],
) -> None:
    """Everyone who sits does their part by now, or doesn't."""
    batch = world.batch(number)
    if batch.phase == BatchPhase.COMMIT:
        for name in world.seats(number, SeatState.SEATED):
            if chance.random() < 0.1:
                world.send(name, SeatDecline(BatchId(number), batch.round))
            elif chance.random() < diligence:
                scores[name, number] = tuple(
                    a_score(chance, item % 4 != 0, honest[name]) for item in batch.items
                )
                world.send_commit(name, number, scores[name, number])
    elif batch.phase == BatchPhase.REVEAL:
        for name in world.seats(number, SeatState.COMMITTED):
            if chance.random() < diligence:
                world.send_reveal(name, number, scores[name, number])


@pytest.mark.parametrize("group", range(GROUPS))
def test_every_campaign_ends_at_exactly_zero(group: int) -> None:
    seen: dict[str, int] = {}
    for seed in range(group, CAMPAIGNS, GROUPS):
        world = live(seed)
        check_books(world)
        campaign = world.campaign(1)
        assert campaign.escrow.total == 0, seed
        assert pot(world.view, Pot.ESCROW) == 0
        assert pot(world.view, Pot.BONDS) == 0
        assert all(row.held == 0 for _, row in world.view.scan(VALIDATORS))
        assert all(row.state not in SEATS_LIVE[:3] for _, row in world.view.scan(SEATS))
        assert not list(world.view.scan(QUEUE))
        assert all(row.seats_open == 0 for _, row in world.view.scan(REVIEWERS))
        assert all(row.pending == 0 for _, row in world.view.scan(EARNINGS))
        for _, item in world.view.scan(ITEMS):
            assert item.status in (ItemStatus.PAID, ItemStatus.REJECTED, ItemStatus.UNDECIDED)
            assert item.bond == item.reward_reserved == item.review_reserved == 0
            seen[ItemStatus(item.status).label] = seen.get(ItemStatus(item.status).label, 0) + 1
        for _, batch in world.view.scan(BATCHES):
            label = BatchOutcome(batch.outcome).label
            seen[label] = seen.get(label, 0) + 1
        seen[CampaignStatus(campaign.status).label] = seen.get(CampaignStatus(campaign.status).label, 0) + 1
        if seed % 10 == 0:
            assert world.replayed() == world.base.encoded, "the same blocks from genesis give the same rows"
        world.blocks(60)  # entries that no longer mean anything pass without a word
        assert not [
            row for key, row in world.view.scan(DUE) if int.from_bytes(key[:8], "big") <= world.height
        ]
        assert pot(world.view, Pot.ESCROW) == 0
    every_way = {"paid", "rejected", "undecided", "verdict", "no_quorum", "closed", "expired"}
    assert every_way <= set(seen), f"some way out was never taken: {every_way - set(seen)}"
