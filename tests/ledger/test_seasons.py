"""Seasons: scores against what events say was paid, pools against a split in fractions, badges, and rewards that nobody can farm.

The oracles here sum events and fractions of their own; they share no code with the ledger.
"""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction
from hashlib import sha256

import pytest
from msgspec.structs import replace

from omnitensor.protocol.params import Params
from omnitensor.protocol.seasons import BadgeKind, Role
from omnitensor.protocol.types import U64_MAX, Address, Amount, CampaignId, ItemId
from state.ledger import badges, participation, prizes, standings
from state.ledger.accounts import Pot, account, pot
from state.ledger.standings import Board
from state.ledger.supply import check_everything
from state.overlay import DictBase, Overlay
from state.records import PotTotal
from state.schema import BADGES, CAREERS, LEADERBOARDS, PAYOUTS, POTS, SEASONS, STANDINGS, number
from tests.ledger.world import BAD, GOOD, OMNIT, QUICK, SPEC, World, address_of, declaration, review

SHORT = replace(
    QUICK,
    epoch_blocks=10,
    season_epochs=2,
    season_pool=Amount(1_000 * OMNIT),
    season_places=5,
    reward_base_bps=0,  # nothing else leaves the reserve here
    reward_votes_bps=0,
    reward_reviews_bps=0,
)
POOLS = (500 * OMNIT, 300 * OMNIT, 200 * OMNIT)


def people(count: int) -> list[Address]:
    return [Address(b"\0" + sha256(b"person%d" % n).digest()) for n in range(count)]


def split(total: int, weights: list[tuple[bytes, int]]) -> dict[bytes, int]:
    """The largest-remainder split, in fractions and without a thought for speed."""
    whole = sum(weight for _, weight in weights)
    exact = {key: Fraction(total * weight, whole) for key, weight in weights}
    shares = {key: int(share) for key, share in exact.items()}
    left = total - sum(shares.values())
    while left:
        key = min(shares, key=lambda one: (shares[one] - exact[one], one))
        shares[key] += 1
        left -= 1
    return shares


def ranked(values: dict[Address, int]) -> list[Address]:
    return sorted((who for who in values if values[who]), key=lambda who: (-values[who], who))


def on_board(world: World, board: Board) -> list[tuple[bytes, int]]:
    return [(placed.account, placed.value) for placed in standings.placed_from(world.view, board)]


def season_prizes(pool: int, values: dict[Address, int], places: int) -> dict[bytes, int]:
    """What each gets: the first of n has weight n, the last one."""
    first = ranked(values)[:places]
    return split(pool, [(who, len(first) - place) for place, who in enumerate(first)]) if first else {}


# -- scores


def test_scores_are_what_was_paid_for_accepted_work() -> None:
    world = World(params=SHORT)
    campaign = world.open()
    for who, text in (("ann", "a"), ("ben", "b"), ("cyd", "c")):
        world.submit(who, campaign, declaration(f"{text}1"), declaration(f"{text}2", tier=2))
    for _ in range(40):
        review(world, GOOD, 1)
    paid: dict[tuple[int, Role], Counter[bytes]] = {}
    for height, event in world.events:
        season = (height - 1) // 20
        for kind, role in (("pay.contributor", Role.CONTRIBUTOR), ("pay.reviewer", Role.VALIDATOR)):
            if event.kind == kind:
                fields = dict(event.fields)
                paid.setdefault((season, role), Counter())[fields["to"]] += fields["amount"]
    assert len(paid) >= 2
    for (season, role), sums in paid.items():
        expected = [(who, sums[who]) for who in ranked(sums)]  # type: ignore[arg-type] # addresses
        assert on_board(world, Board(role, season)) == expected
    sums = sum((each for (_, role), each in paid.items() if role is Role.CONTRIBUTOR), Counter())
    assert on_board(world, standings.campaign_board(CampaignId(campaign))) == [
        (who, sums[who])
        for who in ranked(sums)  # type: ignore[arg-type] # addresses
    ]
    careers = {key: row.items for key, row in world.view.scan(CAREERS) if row.items}
    assert careers == {address_of(who): 2 for who in ("ann", "ben", "cyd")}
    assert world.replayed() == world.base.encoded


def test_whoever_pays_itself_pays_its_reviewers_for_its_place() -> None:
    """A sponsor gets back what it pays an account of its own: a place, and a reward, must cost what does not return."""
    world = World(params=replace(SHORT, participation_reward=Amount(OMNIT)))
    hostile = replace(SPEC, unit_price=Amount(100_000 * OMNIT), review_fee=Amount(2), item_bond=Amount(0))
    campaigns = world.open(hostile, 1_000_000 * OMNIT, "dan"), world.open()
    world.submit("ann", campaigns[0], declaration("mine", tier=0))
    world.submit("ben", campaigns[1], declaration("honest"))
    for _ in range(40):
        review(world, GOOD, 1)
    paid: Counter[bytes] = Counter()
    for said in world.said("pay.contributor"):
        paid[said["to"]] += said["amount"]  # type: ignore[index,operator] # an address, an amount
    assert paid[address_of("ann")] > 1_000 * paid[address_of("ben")] > 0
    values: Counter[bytes] = Counter()
    for season in range(3):
        values.update(dict(on_board(world, Board(Role.CONTRIBUTOR, season))))
    assert values == {address_of("ann"): 5, address_of("ben"): paid[address_of("ben")]}
    rewards = {said["to"]: said["amount"] for said in world.said("pay.participation")}
    assert rewards == {address_of("ann"): 5, address_of("ben"): OMNIT}
    for who, campaign in zip(("ann", "ben"), campaigns, strict=True):
        board = standings.campaign_board(CampaignId(campaign))
        assert on_board(world, board) == [(address_of(who), paid[address_of(who)])], (
            "its sponsor's own prizes go by pay"
        )


def test_rejected_items_score_nothing() -> None:
    world = World(params=SHORT)
    campaign = world.open()
    world.submit("ann", campaign, declaration("bad"))
    for _ in range(30):
        review(world, BAD, 1)
    assert all(not on_board(world, Board(Role.CONTRIBUTOR, season)) for season in range(3))
    assert not any(row.items for _, row in world.view.scan(CAREERS))


def test_boards_stay_sorted_whatever_comes() -> None:
    chance, view = random.Random(3), Overlay(DictBase())
    boards = [Board(0, 0), Board(1, 0), Board(0, 1), Board(3, 7)]
    accounts, oracle = people(12), {board: dict[Address, int]() for board in boards}
    for _ in range(2_000):
        board, who = chance.choice(boards), chance.choice(accounts)
        amount = chance.choice([0, 1, 1, 5, 10**17, U64_MAX])
        standings.score(view, board, who, amount)
        oracle[board][who] = min(U64_MAX, oracle[board].get(who, 0) + amount)
    for board, values in oracle.items():
        found = [(one.account, one.value) for one in standings.placed_from(view, board)]
        assert found == [(who, values[who]) for who in ranked(values)]
        assert [one.account for one in standings.first(view, board, 3)] == ranked(values)[:3]
    assert len(list(view.scan(LEADERBOARDS))) == sum(len(ranked(values)) for values in oracle.values())


# -- the end of a season


def scored(world: World, values: dict[Role, dict[Address, int]]) -> None:
    for role, by_account in values.items():
        for who, value in by_account.items():
            standings.score(world.view, standings.board_of(world.view, role), who, value)


def drained(world: World, blocks: int = 400) -> int:
    """Blocks until nothing is owed any more."""
    for count in range(blocks):
        if not list(world.view.scan(PAYOUTS)):
            return count
        world.block()
    raise AssertionError("payment does not end")


@pytest.mark.parametrize("seed", range(12))
def test_a_season_pays_its_pool_to_the_unit(seed: int) -> None:
    chance = random.Random(seed)
    pool, places = chance.choice([0, 1, 7, 999_999_937, 1_000 * OMNIT]), chance.choice([1, 2, 5, 100])
    shares = chance.choice([(5_000, 3_000, 2_000), (0, 10_000, 0), (1, 1, 1)])
    params = replace(
        SHORT,
        season_pool=Amount(pool),
        season_places=places,
        season_contributors_bps=shares[0],
        season_validators_bps=shares[1],
        season_workers_bps=shares[2],
    )
    world, accounts = World(params=params), people(150)
    values = {
        role: {
            who: chance.choice([0, 1, 2, 3, 10**15])
            for who in chance.sample(accounts, chance.choice([0, 1, 3, 120]))
        }
        for role in Role
    }
    scored(world, values)
    reserve = pot(world.view, Pot.RESERVE)
    world.blocks(20)
    drained(world)
    expected: Counter[bytes] = Counter()
    for role in Role:
        expected.update(season_prizes(pool * shares[role] // 10_000, values[role], places))
    assert {who: account(world.view, who).balance for who in accounts} == {
        who: expected[who] for who in accounts
    }
    assert pot(world.view, Pot.SEASONS) == 0
    assert reserve - pot(world.view, Pot.RESERVE) == sum(expected.values())
    row = world.view.get(SEASONS, 0)
    assert row is not None
    assert (row.paid, row.closed_at) == (sum(row.pools), 20)
    assert {key: row.prizes for key, row in world.view.scan(CAREERS)} == {
        k: v for k, v in expected.items() if v
    }
    said = Counter({one["to"]: 0 for one in world.said("season.paid")})
    for one in world.said("season.paid"):
        said[one["to"]] += one["amount"]  # type: ignore[operator] # an amount
    assert said == Counter({k: v for k, v in expected.items() if v})


def test_nothing_leaves_the_reserve_where_nobody_scored() -> None:
    world = World(params=SHORT)
    reserve = pot(world.view, Pot.RESERVE)
    world.blocks(95)
    assert pot(world.view, Pot.RESERVE) == reserve
    assert [number(key) for key, _ in world.view.scan(SEASONS)] == [0, 1, 2, 3, 4]
    assert [row.first_epoch for _, row in world.view.scan(SEASONS)] == [0, 2, 4, 6, 8]


def test_a_poor_reserve_pays_what_it_has() -> None:
    world = World(params=SHORT)
    there = pot(world.view, Pot.RESERVE)
    world.view.put(POTS, PotTotal(Amount(13)), Pot.RESERVE.value)
    world.view.put(POTS, PotTotal(Amount(there - 13 + pot(world.view, Pot.BURNED))), Pot.BURNED.value)
    (who,) = people(1)
    scored(world, {Role.CONTRIBUTOR: {who: 5}})
    world.blocks(22)
    assert account(world.view, who).balance == 13 * 5_000 // 10_000
    assert pot(world.view, Pot.RESERVE) == 13 - 6


def test_ties_go_by_address_and_everybody_knows_their_place() -> None:
    world, accounts = World(params=SHORT), people(40)
    scored(world, {Role.CONTRIBUTOR: dict.fromkeys(accounts, 77)})
    world.blocks(21)
    paid = world.said("season.paid")
    assert [(one["rank"], one["to"]) for one in paid] == list(enumerate(sorted(accounts)[:5], 1))
    weights = [5, 4, 3, 2, 1]
    assert [one["amount"] for one in paid] == [
        POOLS[0] * weight // 15 + (POOLS[0] * weight % 15 > 7) for weight in weights
    ]


def test_thousands_of_scorers_at_an_epochs_turn_are_paid_in_bounded_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The boundary block itself only closes the season, however many scored; each block after it pays a bounded number."""
    params = replace(SHORT, season_places=100)
    world, accounts = World(params=params, check_every_block=False), people(3_000)
    scored(world, {role: {who: 1 + place % 3 for place, who in enumerate(accounts)} for role in Role})
    monkeypatch.setattr(prizes.limits, "prize_work_per_block_max", 3_000)
    world.blocks(20)
    assert not world.said("season.paid"), "the boundary block pays nobody"
    before = len(world.events)
    blocks = 0
    while list(world.view.scan(PAYOUTS)):
        world.block()
        blocks += 1
        said = [event for _, event in world.events[before:] if event.kind == "season.paid"]
        assert len(said) <= 32 + 3_000 // 100, "a step more than the bound at the most"
        before = len(world.events)
    assert 5 < blocks < 40
    expected: Counter[bytes] = Counter()
    for role in Role:
        expected.update(
            season_prizes(POOLS[role], {who: 1 + place % 3 for place, who in enumerate(accounts)}, 100)
        )
    assert {who: account(world.view, who).balance for who in accounts} == {
        who: expected[who] for who in accounts
    }
    check_everything(world.view)


def test_seasons_that_end_faster_than_they_are_paid() -> None:
    params = replace(SHORT, epoch_blocks=2, season_epochs=1, season_places=100)
    world, accounts = World(params=params), people(60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prizes.limits, "prize_work_per_block_max", 1)
        for season in range(5):
            scored(world, {role: dict.fromkeys(accounts, 10 + season) for role in Role})
            world.blocks(2)
        assert len(list(world.view.scan(PAYOUTS))) > 2
    assert drained(world) < 20, "what had piled up is paid as soon as the work allows"
    assert [row.paid for _, row in world.view.scan(SEASONS)][:5] == [sum(POOLS)] * 5


def test_a_change_of_parameters_while_a_season_is_paid_changes_no_prize() -> None:
    world, accounts = World(params=replace(SHORT, season_places=100)), people(90)
    scored(world, {Role.CONTRIBUTOR: dict.fromkeys(accounts, 1)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prizes.limits, "prize_work_per_block_max", 1)
        world.blocks(22)
        world.params = replace(SHORT, season_places=1, season_pool=Amount(1), season_contributors_bps=0)
        drained(world)
    expected = season_prizes(POOLS[0], dict.fromkeys(accounts, 1), 100)
    assert {who: account(world.view, who).balance for who in accounts} == expected


# -- badges


def test_badges_of_a_season() -> None:
    world, accounts = World(params=SHORT), sorted(people(30))
    scored(world, {Role.CONTRIBUTOR: dict.fromkeys(accounts[:12], 5)})
    board = standings.board_of(world.view, Role.VALIDATOR)
    reports = dict(zip(accounts[12:17], (9, 10, 11, 10, 200), strict=True))
    for who, count in reports.items():
        for _ in range(count):
            standings.reviewed(world.view, who, 1)
    standings.missed(world.view, accounts[15])
    standings.missed(world.view, accounts[20])
    world.blocks(20)
    drained(world)
    held = {
        (key[:33], BadgeKind(number(key[33:41])), number(key[41:])): row.rank
        for key, row in world.view.scan(BADGES)
    }
    top = {(who, BadgeKind.TOP_CONTRIBUTOR, 0): rank for rank, who in enumerate(accounts[:10], 1)}
    by_reports = sorted(reports, key=lambda who: (-reports[who], who))
    top |= {(who, BadgeKind.TOP_VALIDATOR, 0): rank for rank, who in enumerate(by_reports, 1)}
    steadfast = {(accounts[place], BadgeKind.STEADFAST, 0): 0 for place in (13, 14, 16)}
    assert held == top | steadfast
    assert standings.standing(world.view, board, accounts[15]).missed == 1


def test_a_thousand_validators_are_looked_at_for_their_badge() -> None:
    """More rows than one step looks at, and none is passed over."""
    world, accounts = World(params=SHORT, check_every_block=False), people(400)
    for who in accounts:
        for _ in range(10):
            standings.reviewed(world.view, who, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prizes.limits, "prize_work_per_block_max", 8_000)
        world.blocks(20)
        while list(world.view.scan(PAYOUTS)):
            before = len(world.events)
            world.block()
            given = [event for _, event in world.events[before:] if event.kind == "badge.given"]
            assert len(given) <= 64 + 8_000 // 100
    steadfast = [key[:33] for key, _ in world.view.scan(BADGES) if number(key[33:41]) == BadgeKind.STEADFAST]
    assert steadfast == sorted(accounts)


def test_badges_are_given_once() -> None:
    world = World()
    ctx, who = world.context(5), people(1)[0]
    assert len(badges.give(world.view, ctx, who, BadgeKind.FIRST_ITEM)) == 1
    assert badges.give(world.view, world.context(9), who, BadgeKind.FIRST_ITEM) == ()
    row = world.view.get(BADGES, who, BadgeKind.FIRST_ITEM, 0)
    assert row is not None
    assert row.height == 5


# -- taking part

GENEROUS: Params = replace(
    SHORT,
    participation_reward=Amount(100),
    participation_account_max=Amount(1_050),
    participation_pool=Amount(3_000),
)


def settled_item(world: World, who: Address, reward: int) -> list[str]:
    """One more accepted item of somebody, settled for good."""
    sample = SAMPLE.item(1)
    item = replace(sample, contributor=who, reward=Amount(reward))
    said = participation.settled(world.view, world.context(world.height + 1), SPEC, ItemId(1), item)
    return [event.kind for event in said]


def sample_world() -> World:
    world = World()
    world.submit("ann", world.open(), declaration("one"))
    return world


SAMPLE = sample_world()


def test_rewards_for_taking_part_are_bounded_on_every_side() -> None:
    chance, world, accounts = random.Random(5), World(params=GENEROUS), people(6)
    reserve = pot(world.view, Pot.RESERVE)
    for season in range(3):
        by_account: Counter[bytes] = Counter()
        for _ in range(120):
            who, pay = chance.choice(accounts), chance.choice([0, 1, 60, 100, 10**12])
            room = min(100, pay, 1_050 - by_account[who], 3_000 - sum(by_account.values()))
            before = account(world.view, who).balance
            settled_item(world, who, pay)
            assert account(world.view, who).balance - before == room
            by_account[who] += room
        assert sum(by_account.values()) == 3_000
        assert max(by_account.values()) <= 1_050
        board = Board(Role.CONTRIBUTOR, season)
        rows = {key: row.participation for key, row in world.view.scan(STANDINGS, *board)}
        assert rows == {who: by_account[who] for who in rows}
        assert pot(world.view, Pot.RESERVE) == reserve - 3_000 * (season + 1)
        world.blocks(20)
    assert pot(world.view, Pot.RESERVE) == reserve - 9_000, "taking part alone gives no place"


def test_an_empty_reserve_rewards_nobody() -> None:
    world = World(params=GENEROUS)
    there = pot(world.view, Pot.RESERVE)
    world.view.put(POTS, PotTotal(Amount(0)), Pot.RESERVE.value)
    world.view.put(POTS, PotTotal(Amount(there)), Pot.BURNED.value)
    (who,) = people(1)
    assert settled_item(world, who, 100) == ["badge.given"]
    assert account(world.view, who).balance == 0


def test_badges_for_items_come_at_their_numbers() -> None:
    world, (who, other) = World(params=GENEROUS), people(2)
    given = {}
    for count in range(1, 1_002):
        if "badge.given" in settled_item(world, who, 0):
            given[count] = sorted(number(key[:8]) for key, _ in world.view.scan(BADGES, who))
    first, hundred, thousand = BadgeKind.FIRST_ITEM, BadgeKind.HUNDRED_ITEMS, BadgeKind.THOUSAND_ITEMS
    assert given == {1: [first], 100: [first, hundred], 1_000: [first, hundred, thousand]}
    assert not list(world.view.scan(BADGES, other))


def test_an_accepted_item_of_a_real_campaign_is_rewarded() -> None:
    world = World(params=replace(SHORT, participation_reward=Amount(7), participation_account_max=Amount(10)))
    campaign = world.open()
    world.submit("ann", campaign, declaration("a"), declaration("b"), declaration("c"))
    for _ in range(30):
        review(world, GOOD, 1)
    assert [one["amount"] for one in world.said("pay.participation")] == [7, 3]
    assert world.replayed() == world.base.encoded
