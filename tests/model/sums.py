"""What the model's own rows must sum to: every pot is the sum of the rows that its money is for. Part of the model."""

from __future__ import annotations

from tests.model.chain import Model
from tests.model.ground import SUPPLY


def check_sums(model: Model) -> None:
    """No unit is where no row accounts for it."""
    pots = {name: amount for name, amount in model.pots.items() if amount}
    items, campaigns = model.items.values(), model.campaigns.values()
    submissions = [row for row in model.submissions.values() if row.status == 0]
    expected = {
        "stake": sum(row.stake + row.delegated for row in model.validators.values()),
        "unbonding": sum(model.unbonding.values()) + sum(row.leaving for row in model.validators.values()),
        "campaigns": sum(row.available + row.reward + row.review + row.escalation for row in campaigns),
        "bonds": sum(row.bond for row in items)
        + sum(row.count * row.item_bond for row in submissions)
        + sum(row.bond for row in model.appeals.values())
        + sum(model.gold_left(number) * row.bond_each for number, row in model.gold_sets.items()),
    }
    expected["seasons"] = sum(sum(row.pools) - row.paid for row in model.seasons.values())
    competitions = model.competitions.values()
    expected["competitions"] = sum(row.pool - row.paid - row.returned for row in competitions)
    expected["work"] = sum(row.escrow for row in model.jobs.values())
    expected["work bonds"] = sum(row.bond for row in model.workers.values())
    expected["work bonds"] += sum(row.bond for row in model.challenges.values())
    expected["deposits"] = sum(model.deposits.values())
    for name, amount in expected.items():
        assert pots.pop(name, 0) == amount, name
    assert pots.pop("rewards", 0) >= sum(row.owed for row in model.pools.values())
    assert set(pots) <= {"burned", "reserve"}, f"nothing says what these pots hold: {pots}"
    assert model.supply() == SUPPLY
    held: dict[bytes, int] = {}
    for (_, _, address), seat in model.seats.items():
        held[address] = held.get(address, 0) + seat.bond
    waiting: dict[bytes, list[int]] = {}
    for (_, address, _), amount in model.unbonding.items():
        waiting.setdefault(address, []).append(amount)
    for address, row in model.validators.items():
        assert row.held == held.get(address, 0) <= row.stake
        assert row.unbonding == sum(waiting.get(address, []))
        assert row.shares >= row.delegated
        assert row.shares == sum(shares for _, shares in model.delegators_of(address))
        assert row.unbonding_count == len(waiting.get(address, []))
    buckets: dict[int, list[int]] = {number: [0, 0, 0] for number in model.campaigns}
    for item in items:
        for place, name in enumerate(("reward_reserved", "review_reserved", "escalation_reserved")):
            buckets[item.campaign][place] += getattr(item, name)
    for number, row in model.campaigns.items():
        assert [row.reward, row.review, row.escalation] == buckets[number]
        spent = row.paid_contributors + row.paid_reviewers + row.refunded
        assert row.funded + row.penalties == row.available + sum(buckets[number]) + spent
