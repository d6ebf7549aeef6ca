"""Ten years of epochs: random delegation, slashes, commissions and rates, against an oracle in fractions.

The default run takes epochs of twelve weeks; ``make staking-years`` plays days, from several seeds.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any
from unittest import mock

import pytest
from msgspec.structs import replace

from omnitensor.protocol.bodies import StakeAdd, StakeWithdraw
from omnitensor.protocol.types import Amount
from state.ledger import pools, rewards
from state.ledger.accounts import Pot
from state.overlay import Overlay
from state.records_stake import EpochReviews
from state.schema import EPOCH_REVIEWS, MATURITIES, REWARD_INDEXES
from tests.ledger.stakes import SLOW, Stakes, whole
from tests.ledger.staking_oracle import Oracle
from tests.ledger.world import OMNIT, address_of

PEOPLE = ("ann", "ben", "cyd", "dan", "eva", "fay")
YEARS = 10
STAKE_UNITS_OFF_MAX = 40
"""Each order and each slash rounds a delegation by a unit or two."""
UNIT_EARNS_MAX = 4
"""A unit of stake earns so many in ten years at the highest rates: what is off by it."""
DAYS_AN_EPOCH = int(os.environ.get("STAKING_DAYS", "84"))
SEEDS = tuple(range(1, 1 + int(os.environ.get("STAKING_SEEDS", "3"))))


class Years:
    """A chain and its oracle side by side."""

    def __init__(self, seed: int, days: int, reserve: int | None = None) -> None:
        self.chance = random.Random(seed)
        self.days = days
        params = replace(
            SLOW,
            epoch_blocks=days * 1_440,
            unbonding_blocks=3 * days * 1_440,
            commission_wait_blocks=1,
            delegation_min=Amount(1),
            validator_stake_min=Amount(OMNIT),
        )
        self.chain = Stakes(5, params, people=PEOPLE)
        if reserve is not None:
            self._set_reserve(reserve)
        self.names = self.chain.validator_names
        self.oracle = Oracle(dict.fromkeys(self.names, self.chain.stake))
        self.claims: dict[tuple[str, str], int] = {}
        self.got: dict[tuple[str, str], int] = {}
        self.returned: dict[str, int] = {}
        self.pieces: dict[str, int] = {}
        self.own_due = dict.fromkeys(self.names, Fraction(0))
        self.paid_epochs = 0
        self.stake_off: dict[tuple[str, str], Fraction] = {}
        self.seen = 0

    def _set_reserve(self, reserve: int) -> None:
        """Burns all but so much of the reserve."""
        from state.ledger.accounts import burn

        burn(self.chain.view, Pot.RESERVE, self.chain.pot(Pot.RESERVE) - reserve)
        self.chain.base.apply(self.chain.view)
        self.chain.view = Overlay(self.chain.base)

    def play(self, epochs: int) -> None:
        for _ in range(epochs):
            for _ in range(self.chance.randrange(12)):
                self.chain.height += self.chance.randrange(1, self.chain.params.epoch_blocks // 8)
                self.act()
                self.oracle.mature(self.chain.height)
                self.listen()
            self.end_epoch()

    # -- what people do

    def act(self) -> None:
        chance, chain = self.chance, self.chain
        who, name, other = chance.choice(PEOPLE), *chance.sample(self.names, 2)
        order = chance.randrange(9)
        known = [(one, each) for one in PEOPLE for each in self.names if self.chain.delegation(one, each)]
        if 3 <= order <= 5 and known and chance.random() < 0.9:
            who, name = chance.choice(known)
            other = chance.choice([each for each in self.names if each != name])
        worth = self.worth(who, name)
        some = None if chance.random() < 0.3 else chance.randrange(max(1, worth) + 1)
        match order:
            case 0 | 1 | 2:
                amount = chance.choice([1, 7, OMNIT, whole(chance.randrange(1, 50_000))])
                if chain.delegate(who, name, amount) == "ok":
                    self.visited(who, name)
                    self.oracle.delegate(who, name, amount, chain.epoch)
            case 3:
                self.undelegate(who, name, some)
            case 4:
                self.redelegate(who, name, other, some)
            case 5:
                chain.claim(who, name)
            case 6:
                self.slash(name)
            case 7:
                self.move_own(name)
            case _:
                row = chain.row(name)
                bps = chance.randrange(row.commission_bps + 100)
                if chain.set_commission(name, bps) == "ok":
                    self.oracle.pools[name].commission = bps

    def worth(self, who: str, name: str) -> int:
        held = self.chain.delegation(who, name)
        return pools.worth(self.chain.row(name), held.shares) if held else 0

    def visited(self, who: str, name: str) -> None:
        """An order that pays rewards, too, though it be nothing."""
        self.claims[who, name] = self.claims.get((who, name), 0) + 1

    def due(self) -> int:
        return self.chain.height + self.chain.params.unbonding_blocks

    def undelegate(self, who: str, name: str, amount: int | None) -> None:
        if self.chain.undelegate(who, name, amount) == "ok":
            said = dict(self.chain.receipts[-1].events[0].fields)
            left = self.chain.delegation(who, name) is None
            self.pieces[who] = self.pieces.get(who, 0) + 1
            self.visited(who, name)
            self.oracle.undelegate(who, name, int(said["amount"]), left, self.due())

    def redelegate(self, who: str, source: str, target: str, amount: int | None) -> None:
        under_way = bool(self.oracle.pools[source].of(who).lots)
        if self.chain.redelegate(who, source, target, amount) == "ok":
            self.visited(who, source)
            self.visited(who, target)
            moved = int(dict(self.chain.receipts[-1].events[0].fields)["amount"])
            held = self.chain.delegation(who, source)
            everything = amount is None or (held is None and not under_way)
            self.oracle.redelegate(who, source, target, moved, everything, self.chain.epoch, self.due())

    def slash(self, name: str) -> None:
        bps = self.chance.choice([1, 1, 1, 50, 500])
        self.chain.block()
        self.oracle.mature(self.chain.height)
        self.chain.slash(name, bps)
        self.oracle.slash(name, bps)

    def move_own(self, name: str) -> None:
        amount = whole(self.chance.randrange(1, 5_000))
        if self.chance.random() < 0.5:
            if self.chain.do(name, StakeAdd(Amount(amount))).ok:
                self.oracle.pools[name].own += amount
        elif self.chain.do(name, StakeWithdraw(Amount(amount))).ok:
            self.oracle.pools[name].own -= amount

    def measure(self, epoch: int) -> dict[str, tuple[int, int, int]]:
        """Reviews of the epoch as the ledger would have noted them. Votes are whole: no block names any here."""
        found = {}
        for name in self.names:
            due = self.chance.choice([0, 0, 3, 20])
            points = self.chance.randrange(due * 10_000 + 1)
            if due:
                row = EpochReviews(epoch, due, points)  # type: ignore[arg-type]  # an epoch
                self.chain.view.put(EPOCH_REVIEWS, row, address_of(name))
            found[name] = (10_000, points, due)
        return found

    def change_rates(self) -> None:
        """As a vote would, for the next epoch."""
        self.chain.params = replace(
            self.chain.params,
            reward_base_bps=self.chance.randrange(2_001),
            reward_votes_bps=self.chance.randrange(1_001),
            reward_reviews_bps=self.chance.randrange(1_001),
        )

    # -- what must hold

    def end_epoch(self) -> None:
        chain, epoch = self.chain, self.chain.height // self.chain.params.epoch_blocks
        measures = self.measure(epoch)
        params = chain.params
        before = chain.pot(Pot.RESERVE)
        boundary = (epoch + 1) * params.epoch_blocks
        paid = {str(chain.name_of(each["validator"])): each for each in chain.to_boundary()}
        self.listen()
        self.oracle.mature(boundary)
        rates = {
            "base": params.reward_base_bps,
            "votes": params.reward_votes_bps,
            "reviews": params.reward_reviews_bps,
        }
        epoch_ms = params.epoch_blocks * params.block_interval_ms
        closed = {
            name: self.oracle.reward(name, epoch, rates, epoch_ms, measures[name]) for name in self.names
        }
        dust = chain.pot(Pot.RESERVE) - before + sum(each["amount"] for each in paid.values())
        self.check_rewards(closed, paid, before, dust)
        for name in self.names:
            self.check_division(name, epoch, paid.get(name))
        self.oracle.begin_epoch()
        if self.chance.random() < 0.2:
            self.change_rates()
        self.check_delegators()

    def check_rewards(
        self, closed: dict[str, Fraction], paid: dict[str, dict[str, Any]], reserve: int, dust: int
    ) -> None:
        """Within a unit of the closed formula, or of a fair part of a reserve that does not suffice."""
        total = sum(closed.values())
        amounts = {name: paid[name]["amount"] if name in paid else 0 for name in self.names}
        if total > reserve + len(self.names):
            assert sum(amounts.values()) in range(reserve, reserve + dust + 1)
            closed = {name: due * sum(amounts.values()) / total for name, due in closed.items()}
        else:
            self.paid_epochs += 1
        # A unit, and what few units of stake earn by which rounding of shares and fractions differ.
        bound = 1 + Fraction(10 * 4 * self.days, 10 * 365)
        for name, due in closed.items():
            assert abs(amounts[name] - due) < bound, (name, amounts[name], float(due))

    def check_division(self, name: str, epoch: int, paid: dict[str, Any] | None) -> None:
        if paid is None:
            return
        own, delegated = self.oracle.earning(name, epoch)
        bps = self.oracle.pools[name].began[2]
        theirs = paid["amount"] * delegated / (own + delegated)
        assert abs(paid["delegators"] - theirs * (10_000 - bps) / 10_000) < 3
        self.own_due[name] += paid["amount"] - paid["delegators"]
        self.oracle.share_out(name, epoch, paid["delegators"])
        assert pools.pool_of(self.chain.view, address_of(name)).owed == self.own_due[name]

    def listen(self) -> None:
        """Claims and payments, from what the chain says."""
        for _, said in self.chain.events[self.seen :]:
            fields: dict[str, Any] = dict(said.fields)
            if said.kind == "reward.claimed":
                key = (self.chain.name_of(fields["account"]), self.chain.name_of(fields["validator"]))
                self.got[key] = self.got.get(key, 0) + fields["amount"]
                self.claims[key] = self.claims.get(key, 0) + 1
            elif said.kind == "stake.returned":
                who = self.chain.name_of(fields["account"])
                self.returned[who] = self.returned.get(who, 0) + fields["amount"]
                self.pieces[who] = self.pieces.get(who, 0) + 1
        self.seen = len(self.chain.events)

    def check_delegators(self) -> None:
        """No drift: a unit a claim, and what rounding of stake by single units makes of it."""
        for who in PEOPLE:
            for name in self.names:
                key = (who, name)
                has = self.got.get(key, 0) + self.chain.owed(who, name)
                away = self.oracle.earned.get(key, Fraction(0)) - has
                stake = abs(self.oracle.pools[name].of(who).amount - self.worth(who, name))
                self.stake_off[key] = max(stake, self.stake_off.get(key, Fraction(0)))
                assert stake <= STAKE_UNITS_OFF_MAX, (key, float(stake))
                off = self.stake_off[key] * UNIT_EARNS_MAX
                assert -1 - off < away < self.claims.get(key, 0) + 2 + off, (key, float(away), float(off))
            back = self.oracle.returned.get(who, Fraction(0)) - self.returned.get(who, 0)
            assert -2 * self.pieces.get(who, 0) <= back <= 4 * self.pieces.get(who, 0), (who, float(back))


@pytest.mark.parametrize("seed", SEEDS)
def test_ten_years_come_out_as_the_oracle_says(seed: int) -> None:
    years = Years(seed, DAYS_AN_EPOCH)
    epochs = YEARS * 365 // DAYS_AN_EPOCH
    years.play(epochs)
    assert years.paid_epochs == epochs
    assert sum(years.claims.values()) > epochs // 4
    assert years.returned
    # Everybody leaves: nothing stays behind but dust in the pot of rewards.
    for who in PEOPLE:
        for name in years.names:
            years.chain.undelegate(who, name)
    for name in years.names:
        years.chain.claim(name, name)
    years.chain.pass_epochs(5)
    for name in years.names:
        years.chain.claim(name, name)
        row = years.chain.row(name)
        assert row.delegated == row.shares == row.leaving == 0
    assert not list(years.chain.view.scan(MATURITIES))
    assert not list(years.chain.view.scan(REWARD_INDEXES))
    assert years.chain.pot(Pot.REWARDS) <= 3 * epochs * len(years.names)


def test_a_reserve_that_runs_dry_pays_its_last_unit_fairly() -> None:
    years = Years(9, 84, reserve=whole(60_000))
    years.play(40)
    assert years.paid_epochs < 40


@contextmanager
def no_waiting() -> Iterator[None]:
    """Whoever comes just before a boundary earns for the whole epoch."""
    with mock.patch.object(rewards, "_joining", return_value=0):
        yield


FAULTS = {
    "a year has 365 days": lambda: mock.patch.object(rewards, "YEAR_MS", 365 * 86_400_000),
    "newcomers earn at once": no_waiting,
    "redelegated stake is free of its source": lambda: mock.patch(
        "state.ledger.delegations.kept", lambda number, then, now: number
    ),
    "an index of 32 bits": lambda: mock.patch.object(rewards, "INDEX_BITS", 32),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_seen(fault: str) -> None:
    with FAULTS[fault](), pytest.raises(AssertionError):
        for seed in (1, 2, 3):
            Years(seed, 84).play(43)
