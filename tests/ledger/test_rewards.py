"""Rewards of single epochs: the formula by hand, attendance, reviews, commission, who earns and who not, claims, the books."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from omnitensor.protocol.bodies import StakeAdd, StakeWithdraw
from omnitensor.protocol.types import Amount, Epoch
from state.ledger import removal, rewards
from state.ledger.accounts import Pot, burn
from state.ledger.supply import SupplyError, check_everything
from state.overlay import Overlay
from state.records_attendance import EpochAttendance
from state.records_stake import EpochReviews
from state.schema import (
    ATTENDANCE,
    DELEGATIONS,
    EPOCH_REVIEWS,
    MATURITIES,
    REWARD_INDEXES,
    STAKE_POOLS,
    UNDELEGATIONS,
    VALIDATORS,
)
from tests.ledger.stakes import SLOW, Stakes, whole
from tests.ledger.world import BAD, GOOD, OMNIT, World, address_of, declaration

YEAR_DAYS = 36_525
"""Times 100."""


def of_a_day(stake: int, bps: int) -> int:
    """What a stake earns in an epoch of a day."""
    return stake * bps * 100 // (10_000 * YEAR_DAYS)


def test_an_epoch_by_hand() -> None:
    """100,000 OMNIT at 5 % and 1 % for votes are 6,000 a year, 16.427 a day."""
    chain = Stakes()
    paid = chain.to_boundary()
    assert [each["amount"] for each in paid] == [of_a_day(whole(100_000), 600)] * 3
    assert paid[0]["amount"] // 10**6 == 16_427
    assert chain.pot(Pot.REWARDS) == sum(each["amount"] for each in paid)
    assert [each["validator"] for each in paid] == sorted(map(address_of, chain.validator_names))


@pytest.mark.parametrize(
    ("attendance", "points", "due", "expected"),
    [
        (10_000, 0, 0, 600_000),
        (0, 0, 0, 500_000),
        (2_500, 0, 0, 525_000),
        (10_000, 200_000, 20, 700_000),
        (10_000, 50_000, 20, 625_000),
        (0, 0, 20, 500_000),
        (9_999, 199_999, 20, 699_989),
    ],
)
def test_votes_and_reviews_weigh_a_hundredth_each(
    attendance: int, points: int, due: int, expected: int
) -> None:
    """``expected`` in ten-millionths of a stake that is there for a year; rounded down, once."""
    params = replace(SLOW, epoch_blocks=31_557_600_000 // 60_000)
    found = rewards.reward(10**15, attendance, points, due, params)
    assert found * 10**7 // 10**15 == expected


def test_attendance_is_what_was_counted() -> None:
    chain = Stakes()
    votes = {0: 10, 1: 5, 2: 0}
    chain.view.put(ATTENDANCE, EpochAttendance(10, tuple(votes.values())), Epoch(0))
    paid = [each["amount"] for each in chain.to_boundary()]
    assert paid == [of_a_day(whole(100_000), bps) for bps in (600, 550, 500)]


def test_reviews_are_measured() -> None:
    """A good report counts by its closeness, a bad one with nothing, a missing one with nothing."""
    world = World()
    campaign = world.open()
    world.submit("ann", campaign, *(declaration(f"x{place}") for place in range(6)))
    world.blocks(5)
    sitting = [world.name_of(each) for each in world.batch(world.open_batches()[0]).seats]
    wrong, absent = sitting[0], sitting[1]
    scores = dict.fromkeys(sitting, GOOD) | {wrong: BAD}
    number = world.open_batches()[0]
    items = len(world.batch(number).items)
    for name in sitting:
        if name != absent:
            world.send_commit(name, number, (scores[name],) * items)
    world.blocks(9)
    for name in sitting:
        if name != absent:
            world.send_reveal(name, number, (scores[name],) * items)
    world.blocks(6)
    rows = {name: world.view.get(EPOCH_REVIEWS, address_of(name)) for name in sitting}
    assert rows[absent] == EpochReviews(Epoch(0), items, 0)
    assert rows[wrong] == EpochReviews(Epoch(0), items, 0)
    for name in sitting[2:]:
        assert rows[name] == EpochReviews(Epoch(0), items, items * 10_000)


def test_who_comes_just_before_a_boundary_has_nothing_of_it() -> None:
    chain = Stakes()
    chain.delegate("ann", "val0", whole(1_000))
    chain.to_boundary()
    chain.height = 2 * SLOW.epoch_blocks - 2
    chain.delegate("ben", "val0", whole(9_000_000))
    paid = chain.to_boundary()
    whole_reward = of_a_day(whole(101_000), 600)
    ours = next(each for each in paid if each["validator"] == address_of("val0"))
    assert ours["amount"] == whole_reward
    assert chain.owed("ben", "val0") == 0
    assert chain.owed("ann", "val0") in (ours["delegators"], ours["delegators"] - 1)
    chain.to_boundary()
    assert chain.owed("ben", "val0") > 0


def test_who_leaves_or_is_slashed_within_an_epoch_earns_for_what_stayed() -> None:
    chain = Stakes()
    chain.delegate("ann", "val0", whole(1_000))
    chain.to_boundary()
    chain.undelegate("ann", "val0", whole(400))
    chain.do("val0", StakeWithdraw(Amount(whole(20_000))))
    chain.do("val1", StakeAdd(Amount(whole(20_000))))
    chain.slash("val2", 5_000)
    paid = {chain.name_of(each["validator"]): each["amount"] for each in chain.to_boundary()}
    assert paid == {
        "val0": of_a_day(whole(80_600), 600),
        "val1": of_a_day(whole(100_000), 600),
        "val2": of_a_day(whole(50_000), 600),
    }


def test_a_removed_validator_has_earned_nothing() -> None:
    chain = Stakes()
    chain.delegate("ann", "val0", whole(1_000))
    chain.to_boundary()
    removal.begin(chain.view, address_of("val0"))
    paid = chain.to_boundary()
    assert address_of("val0") not in {each["validator"] for each in paid}
    assert chain.claim("val0", "val0") == "ok", "what it had earned before is its own"


def test_an_epoch_is_paid_at_the_commission_that_it_began_with() -> None:
    chain = Stakes()
    chain.pass_epochs(SLOW.commission_wait_blocks // SLOW.epoch_blocks)
    chain.delegate("ann", "val0", whole(100_000))
    chain.to_boundary()
    chain.set_commission("val0", 100)
    first = next(each for each in chain.to_boundary() if each["validator"] == address_of("val0"))
    second = next(each for each in chain.to_boundary() if each["validator"] == address_of("val0"))
    assert first["commission"] == 0
    assert second["commission"] == (second["amount"] // 2) * 100 // 10_000
    assert second["delegators"] == second["amount"] // 2 - second["commission"]


def test_claims() -> None:
    chain = Stakes()
    chain.delegate("ann", "val0", whole(1_000))
    chain.delegate("ann", "val1", whole(1_000))
    chain.pass_epochs(2)
    owed = chain.owed("ann", "val0") + chain.owed("ann", "val1")
    before = chain.balance("ann")
    receipt = chain.do("ann", rewards.RewardsClaim(tuple(map(address_of, ("val0", "val1", "val0")))))
    assert receipt.ok
    assert [event.kind for event in receipt.events] == ["reward.claimed"] * 2, "a second time is nothing"
    assert chain.balance("ann") == before + owed - receipt.fee - receipt.tip
    assert chain.claim("ann", "val0") == "rewards_none"
    assert chain.claim("val0", "val0") == "ok"
    assert chain.claim("val0", "val0") == "rewards_none"
    assert chain.claim("ben", "ben") == "rewards_none"
    assert chain.view.get(STAKE_POOLS, address_of("ben")) is None, "asking leaves no row"
    assert not list(chain.view.scan(REWARD_INDEXES)), "every index was read"


def test_a_reserve_that_does_not_suffice_is_shared_by_largest_remainder() -> None:
    chain = Stakes()
    chain.do("val0", StakeAdd(Amount(whole(100_000))))
    chain.to_boundary()
    burn(chain.view, Pot.RESERVE, chain.pot(Pot.RESERVE) - 10)
    paid = {chain.name_of(each["validator"]): each["amount"] for each in chain.to_boundary()}
    assert sum(paid.values()) == 10
    assert paid["val0"] == 5
    assert sorted(paid.values()) == [2, 3, 5], "the odd unit goes to the lower address of equal remainders"
    assert chain.pot(Pot.RESERVE) == 0
    assert chain.to_boundary() == [], "and then there is nothing"


# -- the books


def more_shares(chain: Stakes) -> None:
    row = chain.delegation("ann", "val0")
    assert row is not None
    chain.view.put(DELEGATIONS, replace(row, shares=row.shares + 1), address_of("ann"), address_of("val0"))


def more_owed(chain: Stakes) -> None:
    pool = chain.view.get(STAKE_POOLS, address_of("val0"))
    assert pool is not None
    chain.view.put(STAKE_POOLS, replace(pool, owed=Amount(pool.owed + whole(1))), address_of("val0"))


def undelegation_grows(chain: Stakes) -> None:
    key, row = next(chain.view.scan(UNDELEGATIONS))
    chain.view.put(UNDELEGATIONS, replace(row, amount=Amount(row.amount + 1)), key)


def end_is_lost(chain: Stakes) -> None:
    key, _ = next(chain.view.scan(MATURITIES))
    chain.view.delete(MATURITIES, key)


def tokens_from_nowhere(chain: Stakes) -> None:
    row = chain.row("val0")
    chain.view.put(VALIDATORS, replace(row, delegated=Amount(row.delegated + 1)), address_of("val0"))


@pytest.mark.parametrize(
    "spoil", [more_shares, more_owed, undelegation_grows, end_is_lost, tokens_from_nowhere]
)
def test_the_books_are_held_together(spoil: Callable[[Stakes], None]) -> None:
    chain = Stakes()
    chain.delegate("ann", "val0", whole(1_000))
    chain.undelegate("ann", "val0", 400 * OMNIT)
    chain.pass_epochs(2)
    check_everything(chain.view)
    assert isinstance(chain.view, Overlay)
    spoil(chain)
    with pytest.raises(SupplyError):
        check_everything(chain.view)
