"""Competitions: pools split by value and by place against fractions of the test's own, rests returned, and to the last unit."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from omnitensor.protocol.bodies import CampaignClose, CompetitionOpen, Transfer
from omnitensor.protocol.limits import competition_places_max
from omnitensor.protocol.seasons import BadgeKind, PrizeRule
from omnitensor.protocol.types import Address, Amount, CampaignId
from state.ledger import prizes, standings
from state.ledger.accounts import Pot, account, pot
from state.ledger.supply import check_everything
from state.schema import BADGES, COMPETITIONS, PAYOUTS, number
from tests.ledger.test_seasons import drained, people, ranked, split
from tests.ledger.world import GOOD, OMNIT, World, address_of, declaration, review

BY_VALUE = PrizeRule.PROPORTIONAL
BY_PLACE = PrizeRule.RANKS


def contest(campaign: int, pool: int, rule: int = BY_VALUE, shares: tuple[int, ...] = ()) -> CompetitionOpen:
    return CompetitionOpen(CampaignId(campaign), Amount(pool), rule, shares)


def expected(row: CompetitionOpen, values: dict[Address, int]) -> dict[Address, int]:
    """Who gets what of a pool."""
    order = ranked(values)
    if row.rule == BY_VALUE:
        first = order[:competition_places_max]
        return split(row.pool, [(who, values[who]) for who in first]) if first else {}  # type: ignore[return-value]
    by_place = split(row.pool, [(bytes([place]), share) for place, share in enumerate(row.shares_bps)])
    return {who: by_place[bytes([place])] for place, who in enumerate(order[: len(row.shares_bps)])}


def test_a_real_campaigns_contributors_share_two_pools() -> None:
    world = World()
    campaign = world.open()
    one, two = (
        contest(campaign, 1_000 * OMNIT),
        contest(campaign, 100 * OMNIT, BY_PLACE, (6_000, 3_000, 1_000)),
    )
    for who, body in (("dan", one), ("sponsor", two)):
        assert world.do(who, body).ok
    assert pot(world.view, Pot.COMPETITIONS) == 1_100 * OMNIT
    for who, count in (("ann", 3), ("ben", 1)):
        world.submit(who, campaign, *(declaration(f"{who}{n}") for n in range(count)))
    review(world, GOOD)
    assert not world.said("competition.paid"), "while the campaign is open nobody is paid"
    before = {who: world.balance(who) for who in ("ann", "ben", "dan")}
    assert world.do("sponsor", CampaignClose(CampaignId(campaign))).ok
    drained(world)
    values: Counter[Address] = Counter()
    for paid in world.said("pay.contributor"):
        values[Address(paid["to"])] += paid["amount"]  # type: ignore[arg-type, operator] # an address, an amount
    gains: Counter[Address] = Counter(expected(one, values))
    gains.update(expected(two, values))
    assert gains[address_of("ben")] + gains[address_of("ann")] == 1_090 * OMNIT
    for who in ("ann", "ben"):
        assert world.balance(who) - before[who] == gains[address_of(who)]
    rows = {number(key): row for key, row in world.view.scan(COMPETITIONS)}
    assert {n: (row.paid, row.returned) for n, row in rows.items()} == {
        1: (1_000 * OMNIT, 0),
        2: (90 * OMNIT, 10 * OMNIT),
    }
    winners = [key[:33] for key, _ in world.view.scan(BADGES) if number(key[33:41]) == BadgeKind.WINNER]
    assert winners == [address_of("ann")] * 2
    assert pot(world.view, Pot.COMPETITIONS) == 0
    assert world.replayed() == world.base.encoded


def test_without_contributors_the_pool_returns() -> None:
    world = World()
    campaign = world.open()
    before = world.balance("dan")
    receipts = [world.do("dan", contest(campaign, 500 * OMNIT, BY_PLACE, (10_000,)))]
    world.do("sponsor", CampaignClose(CampaignId(campaign)))
    drained(world)
    assert world.balance("dan") == before - sum(receipt.fee + receipt.tip for receipt in receipts)
    assert world.said("competition.ended")[0]["amount"] == 500 * OMNIT


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (contest(9, 100 * OMNIT), "campaign_unknown"),
        (contest(1, 100 * OMNIT - 1), "competition_pool"),
        (contest(1, 10**9 * OMNIT), "balance"),
        (contest(1, 100 * OMNIT, 2), "competition_rule"),
        (contest(1, 100 * OMNIT, BY_VALUE, (10_000,)), "competition_rule"),
        (contest(1, 100 * OMNIT, BY_PLACE, ()), "competition_rule"),
        (contest(1, 100 * OMNIT, BY_PLACE, (9_999,)), "competition_rule"),
        (contest(1, 100 * OMNIT, BY_PLACE, (10_000, 0)), "competition_rule"),
        (contest(1, 100 * OMNIT, BY_PLACE, (10_000, 10_000)), "competition_rule"),
    ],
)
def test_wrong_competitions_are_refused(body: CompetitionOpen, code: str) -> None:
    world = World(check_every_transaction=True)
    world.open()
    assert world.do("dan", body).code == code
    assert not list(world.view.scan(COMPETITIONS))


def test_none_is_opened_for_a_campaign_that_closes() -> None:
    world = World()
    campaign = world.open()
    world.submit("ann", campaign, declaration("a"))
    assert world.do("sponsor", CampaignClose(CampaignId(campaign))).ok
    assert world.do("dan", contest(campaign, 100 * OMNIT)).code == "campaign_closed"


@pytest.mark.parametrize("seed", range(10))
def test_random_pools_are_split_to_the_unit(seed: int) -> None:
    """Random values, ties among them, random rules and pools, several competitions at once; paid in many small steps."""
    chance, world = random.Random(seed), World()
    campaign, accounts = world.open(), people(chance.choice([0, 1, 2, 30, 90]))
    values = {who: chance.choice([0, 1, 1, 7, 10**9 + 1]) for who in accounts}
    for who, value in values.items():
        standings.score(world.view, standings.campaign_board(CampaignId(campaign)), who, value)
    made = []
    for _ in range(chance.randrange(1, 5)):
        pool = 100 * OMNIT + chance.choice([0, 1, 999_999_937])
        shares = chance.choice([(), (10_000,), (5_000, 3_000, 2_000), (312,) * 31 + (328,)])
        made.append(contest(campaign, pool, BY_PLACE if shares else BY_VALUE, shares))
        assert world.do("dan", made[-1]).ok
    gains: Counter[Address] = Counter()
    for body in made:
        gains.update(expected(body, values))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prizes.limits, "prize_work_per_block_max", chance.choice([1, 500, 20_000]))
        before = world.balance("dan")
        world.do("sponsor", CampaignClose(CampaignId(campaign)))
        drained(world)
    assert {who: account(world.view, who).balance for who in accounts} == {
        who: gains[who] for who in accounts
    }
    assert world.balance("dan") - before == sum(body.pool for body in made) - sum(gains.values())
    assert pot(world.view, Pot.COMPETITIONS) == 0
    assert sum(row.paid + row.returned for _, row in world.view.scan(COMPETITIONS)) == sum(
        b.pool for b in made
    )


def test_thousands_of_contributors_and_a_hundred_pools_are_bounded_work() -> None:
    world = World(check_every_block=False)
    campaign, accounts = world.open(), people(2_000)
    values = {who: 1 + place % 5 for place, who in enumerate(accounts)}
    for who, value in values.items():
        standings.score(world.view, standings.campaign_board(CampaignId(campaign)), who, value)
    for _ in range(100):
        world.send("dan", contest(campaign, 100 * OMNIT, BY_PLACE, (5_000, 5_000)))
    world.send("dan", contest(campaign, 100 * OMNIT + 7))
    world.block()
    before = len(world.events)
    world.do("sponsor", CampaignClose(CampaignId(campaign)))
    blocks = 0
    while list(world.view.scan(PAYOUTS)):
        said = [event for _, event in world.events[before:] if event.kind == "competition.paid"]
        assert len(said) <= 200 + 32
        before = len(world.events)
        world.block()
        blocks += 1
    assert blocks > 1
    paid = expected(contest(campaign, 100 * OMNIT + 7), values)
    assert len(paid) == competition_places_max
    first, second = ranked(values)[:2]
    for who in (first, second):
        paid[who] += 100 * 50 * OMNIT
    assert {who: account(world.view, who).balance for who in accounts} == {
        who: paid.get(who, 0) for who in accounts
    }
    check_everything(world.view)


def test_money_sent_to_a_sponsor_of_a_competition_is_its_own() -> None:
    """Two competitions of two sponsors: each gets its own rest, and no more."""
    world = World()
    campaign = world.open()
    for who, pool in (("dan", 100 * OMNIT), ("ann", 300 * OMNIT)):
        assert world.do(who, contest(campaign, pool, BY_PLACE, (7_000, 3_000))).ok
    standings.score(world.view, standings.campaign_board(CampaignId(campaign)), address_of("ben"), 5)
    assert world.do("cyd", Transfer(address_of("dan"), Amount(1))).ok
    before = {who: world.balance(who) for who in ("dan", "ann", "ben")}
    world.do("sponsor", CampaignClose(CampaignId(campaign)))
    drained(world)
    gained = {who: world.balance(who) - before[who] for who in before}
    assert gained == {"dan": 30 * OMNIT, "ann": 90 * OMNIT, "ben": 280 * OMNIT}
