"""Downtime: who is jailed, in what order, how many at once at the most, what it costs, and the way out of jail."""

from __future__ import annotations

from fractions import Fraction
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as changed

from omnitensor.protocol.bodies import ValidatorUnjail
from omnitensor.protocol.epochs import epoch_of
from omnitensor.protocol.params import SPECS, Params
from omnitensor.protocol.types import (
    NANO,
    Address,
    Amount,
    BlsPublicKey,
    BlsSignature,
    Epoch,
    Height,
    TimeMs,
)
from omnitensor.protocol.workers import WorkerEntry, WorkerSet
from state.genesis import Genesis, GenesisAccount, GenesisValidator
from state.ledger import attendance, downtime, epochs, jail, worker_sets
from state.ledger.accounts import Pot, pot
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.ledger.registry import HANDLERS
from state.ledger.supply import check_everything
from state.ledger.transition import Execution
from state.overlay import Overlay
from state.schema import DOWNTIME, VALIDATOR_SETS, VALIDATORS

BLOCKS = 5
PARAMS = Params(
    epoch_blocks=BLOCKS,
    evidence_epochs=4,
    unbonding_blocks=25,
    validator_stake_min=Amount(NANO),
    downtime_epochs=2,
    jail_blocks=7,
    jail_share_max_bps=3_000,
)


def address(index: int) -> Address:
    return Address(b"\0" + index.to_bytes(32, "big"))


class Chain:
    """A ledger without signatures: blocks name whom the test says."""

    def __init__(self, stakes: tuple[int, ...], params: Params = PARAMS) -> None:
        validators = tuple(
            GenesisValidator(
                address(index),
                f"v{index}",
                Amount(stake * NANO),
                0,
                BlsPublicKey(sha256(b"%d" % index).digest() + bytes(16)),
                BlsSignature(bytes(96)),
            )
            for index, stake in enumerate(stakes)
        )
        accounts = (GenesisAccount(address(99), Amount(1_000_000 * NANO)),)
        self.params = params
        self.view = Overlay(Genesis("downtime", TimeMs(0), params, accounts, validators).rows)
        self.height = 0
        self.events: list[dict[str, Any]] = []

    @property
    def table(self) -> list[Address]:
        """Voters of the epoch of the next block."""
        row = self.view.get(VALIDATOR_SETS, epoch_of(Height(self.height + 1), self.params))
        assert row is not None
        return [entry.address for entry in row.entries]

    def context(self, attended: tuple[int, ...] = ()) -> BlockContext:
        height = Height(self.height + 1)
        return BlockContext(
            "downtime",
            height,
            epoch_of(height, self.params),
            TimeMs(height),
            address(99),
            sha256(b"beacon %d" % height).digest(),  # type: ignore[arg-type]  # 32 bytes
            self.params,
            1,
            attended=attended,
        )

    def block(self, present: set[Address], *, check: bool = True) -> None:
        """The next block, naming those of its voters; the first of an epoch names nobody."""
        first = self.height % self.params.epoch_blocks == 0
        table = self.table
        named = () if first else tuple(place for place, who in enumerate(table) if who in present)
        ctx = self.context(named)
        self.height += 1
        for each in Execution(self.view, ctx).finish().result.events:
            self.events.append({"kind": each.kind, "height": self.height, **dict(each.fields)})
        if check:
            check_everything(self.view)

    def epoch(self, *away: int, blocks: int = BLOCKS - 1) -> None:
        """A whole epoch, in whose last ``blocks`` these are away."""
        everybody = set(self.table)
        for number in range(BLOCKS):
            gone = {address(index) for index in away} if number >= BLOCKS - blocks else set()
            self.block(everybody - gone)

    def order(self, index: int, body: Any) -> None:
        HANDLERS[type(body)](self.view, self.context(), address(index), body)

    def jailed(self) -> set[int]:
        return {int.from_bytes(key, "big") for key, row in self.view.scan(VALIDATORS) if row.jailed}

    def says(self, kind: str) -> list[dict[str, Any]]:
        return [each for each in self.events if each["kind"] == kind]


def test_who_is_absent_for_epochs_in_a_row_is_slashed_a_little_and_jailed() -> None:
    chain = Chain((10,) * 4 + (10,))
    burned, reserve = pot(chain.view, Pot.BURNED), pot(chain.view, Pot.RESERVE)
    chain.epoch(2)
    assert chain.jailed() == set()
    assert attendance.shares(chain.view, chain.context().epoch) == dict.fromkeys(chain.table, 10_000)
    chain.epoch(2)
    assert chain.jailed() == {2}
    (told,) = chain.says("validator.jailed")
    assert told == {
        "kind": "validator.jailed",
        "height": 10,
        "validator": address(2),
        "epoch": 1,
        "epochs": 2,
        "attendance_bps": 0,
        "amount": NANO // 1_000,
        "burned": NANO // 2_000,
        "until": 17,
    }
    assert pot(chain.view, Pot.BURNED) - burned == NANO // 2_000
    # What an epoch pays is not of here: the reserve gets the other half, less what it paid.
    assert pot(chain.view, Pot.RESERVE) <= reserve + NANO // 2_000
    assert chain.table == [address(index) for index in (0, 1, 3, 4)], "from the next epoch on"
    chain.epoch()
    assert chain.jailed() == {2}
    assert len(chain.says("validator.jailed")) == 1, "it is slashed once a jailing"


@pytest.mark.parametrize(("blocks", "absent"), [(0, False), (2, False), (3, True), (4, True)])
def test_half_of_an_epochs_blocks_is_enough(blocks: int, absent: bool) -> None:
    chain = Chain((10,) * 5)
    for _ in range(3):
        chain.epoch(1, blocks=blocks)
    assert chain.jailed() == ({1} if absent else set())


@pytest.mark.parametrize(("tickets", "credit"), [(8, 5), (8, 0), (7, 5)])
def test_leaders_whom_work_draws_can_not_jail_whom_they_pass_over(tickets: int, credit: int) -> None:
    """Two blocks in three are theirs where enough work was credited, and they risk nothing by what they leave out."""
    led = tickets == 8 and credit > 0
    for named, jailed in ((1, not led), (0, True)):
        chain = Chain((10,) * 5)
        for epoch in range(2):
            entry = WorkerEntry(address(50), BlsPublicKey(bytes(48)), credit)
            worker_sets.fix(chain.view, Epoch(epoch), WorkerSet((entry,), tickets))
            chain.epoch(1, blocks=BLOCKS - 1 - named)
        assert chain.jailed() == ({1} if jailed else set()), named


@pytest.mark.parametrize(("blocks", "jailed"), [(2, False), (3, False), (4, True), (7, True)])
def test_where_stake_may_lead_no_block_that_counts_nobody_is_absent(blocks: int, jailed: bool) -> None:
    """Hostile work leaves two views empty, stake makes the first block, which names nobody, and work the next two."""
    chain = Chain((10,) * 5, changed(PARAMS, epoch_blocks=blocks))
    for epoch in range(2):
        entry = WorkerEntry(address(50), BlsPublicKey(bytes(48)), 5)
        worker_sets.fix(chain.view, Epoch(epoch), WorkerSet((entry,), 8))
        for _ in range(blocks):
            chain.block(set(chain.table) - {address(1)})
    assert chain.jailed() == ({1} if jailed else set())


@pytest.mark.parametrize("blocks", range(2, 60))
def test_whom_stake_names_in_each_of_its_blocks_is_never_absent(blocks: int) -> None:
    """Hostile work makes blocks or leaves views empty as it likes; the fewest of those that count that stake then leads."""
    fewest = {(0, 1): 0}
    """By blocks made so far and place of the view among three: how many stake leads, but for the first of the epoch."""
    for made in range(blocks + 1):
        for _ in range(2):  # an empty view leads to another place of the same row
            for place in (1, 2, 3):
                if made == blocks or (found := fewest.get((made, place))) is None:
                    continue
                stake, following = place == 3, place % 3 + 1
                ways = [(made + 1, found + (stake and made > 0))] + ([] if stake else [(made, found)])
                for after, count in ways:
                    at = (after, following)
                    fewest[at] = min(fewest.get(at, count), count)
    least = min(count for (made, _), count in fewest.items() if made == blocks)
    assert least == (blocks - 1) // 3
    for asked in (5_000, SPECS["attendance_min_bps"].high):
        assert downtime.asked_bps(asked, blocks - 1, by_work=True) * (blocks - 1) <= least * 10_000
        assert downtime.asked_bps(asked, blocks - 1, by_work=False) == asked


def test_an_epoch_of_attendance_begins_the_count_anew() -> None:
    chain = Chain((10,) * 5, changed(PARAMS, downtime_epochs=3))
    for away in ((1,), (1,), (), (1,), (1,)):
        chain.epoch(*away)
    assert chain.jailed() == set()
    chain.epoch(1)
    assert chain.jailed() == {1}


def test_the_least_attending_go_first_and_never_a_third() -> None:
    chain = Chain((10,) * 10)
    for _ in range(2):
        everybody = set(chain.table)
        for number in range(BLOCKS):
            gone = set() if number == 0 else {address(index) for index in (1, 3, 5, 7)}
            gone -= {address(7)} if number == 4 else set()
            chain.block(everybody - gone)
    assert chain.jailed() == {1, 3, 5}, "7 was there once; of equal ones the lower address goes first"
    chain.epoch(7)
    assert chain.jailed() == {1, 3, 5}, "as long as none of them may leave"
    chain.epoch(7)
    assert chain.jailed() == {1, 3, 5, 7}, (
        "they may leave now: whoever does not come back is gone of its own will"
    )


@pytest.mark.parametrize(("blocks", "second"), [(5, True), (6, False)])
def test_room_is_free_again_at_the_height_at_which_jail_may_be_left(blocks: int, second: bool) -> None:
    chain = Chain((10,) * 5, changed(PARAMS, downtime_epochs=1, jail_blocks=blocks))
    chain.epoch(1)
    assert chain.jailed() == {1}
    chain.epoch(2)
    assert chain.jailed() == ({1, 2} if second else {1})


def test_one_that_weighs_too_much_makes_room_for_others() -> None:
    chain = Chain((40, 10, 10, 10, 10, 10, 10))
    for _ in range(2):
        chain.epoch(0, 3)
    assert chain.jailed() == {3}


def test_nobody_is_jailed_where_nobody_may_be() -> None:
    chain = Chain((10,) * 10, changed(PARAMS, jail_share_max_bps=0))
    for _ in range(4):
        chain.epoch(*range(10))
    assert chain.jailed() == set()
    assert not chain.says("validator.jailed")


def test_the_whole_net_away_jails_less_than_a_third_of_it() -> None:
    """No epoch ends without a quorum's votes in each block, so this is a fault of the chain: it must not end it."""
    chain = Chain((10,) * 10)
    for _ in range(8):
        before = chain.jailed()
        chain.epoch(*range(10))
        locked = [row for _, row in chain.view.scan(DOWNTIME) if row.until > chain.height]
        assert 10 * sum(row.weight for row in locked) <= 3 * 100
        assert len(chain.jailed() - before) <= 3
        assert chain.table


def test_the_way_out_of_jail() -> None:
    chain = Chain((10,) * 5)
    chain.epoch(2)
    chain.epoch(2)
    with pytest.raises(Rejected, match="not in jail"):
        chain.order(1, ValidatorUnjail())
    with pytest.raises(Rejected, match="no validator"):
        chain.order(99, ValidatorUnjail())
    with pytest.raises(Rejected, match="until height 17"):
        chain.order(2, ValidatorUnjail())
    chain.epoch()
    chain.block(set(chain.table))
    assert chain.height + 1 == 17
    chain.order(2, ValidatorUnjail())
    assert chain.jailed() == set()
    assert chain.view.get(DOWNTIME, address(2)) is None
    assert address(2) not in chain.table, "its epoch has its set"
    for _ in range(BLOCKS - 1):
        chain.block(set(chain.table))
    assert address(2) in chain.table
    chain.epoch(2)
    assert chain.jailed() == set(), "its count begins anew"
    chain.epoch(2)
    assert chain.jailed() == {2}


def test_nobody_leaves_jail_with_too_little_stake() -> None:
    chain = Chain((10, 10, 1, 10, 10))
    chain.epoch(2)
    chain.epoch(2)
    assert chain.jailed() == {2}
    chain.height += 20
    with pytest.raises(Rejected, match="needs a stake"):
        chain.order(2, ValidatorUnjail())


def test_the_convicted_stay_where_they_are() -> None:
    chain = Chain((10,) * 5)
    chain.epoch(2)
    chain.epoch(2)
    row = chain.view.get(VALIDATORS, address(2))
    assert row is not None
    chain.view.put(VALIDATORS, changed(row, removed=True), address(2))
    chain.height += 20
    with pytest.raises(Rejected, match="removed for good"):
        chain.order(2, ValidatorUnjail())
    chain.height -= 20
    chain.epoch()
    assert chain.view.get(DOWNTIME, address(2)) is None


def test_seats_keep_their_bonds_when_their_validator_is_slashed() -> None:
    chain = Chain((10,) * 5, changed(PARAMS, downtime_slash_bps=100))
    row = chain.view.get(VALIDATORS, address(2))
    assert row is not None
    chain.view.put(VALIDATORS, changed(row, held=Amount(row.stake - 7)), address(2))
    for _ in range(2):
        for _ in range(BLOCKS):
            chain.block(set(chain.table) - {address(2)}, check=False)
    after = chain.view.get(VALIDATORS, address(2))
    assert after is not None
    assert (after.jailed, after.stake, after.held) == (True, row.stake - 7, row.stake - 7)


def test_whoever_is_jailed_for_something_else_leaves_the_same_way_and_takes_no_room() -> None:
    chain = Chain((10,) * 5)
    jail.begin(chain.view, chain.context(), address(4))
    chain.epoch(2)
    assert chain.table == [address(index) for index in range(4)]
    chain.epoch(2)
    assert chain.jailed() == {2, 4}, (
        "a quarter of those who vote is within the bound, since 4 weighs nothing in it"
    )
    chain.order(4, ValidatorUnjail())
    assert 4 not in chain.jailed()


def test_who_is_jailed_for_something_else_as_well_still_takes_its_room() -> None:
    """Else whoever went to jail on purpose, and then contradicts itself in a review, makes room for as many others."""
    chain = Chain((10,) * 5, changed(PARAMS, downtime_epochs=1, jail_blocks=100))
    chain.epoch(1)
    assert chain.jailed() == {1}
    jail.begin(chain.view, chain.context(), address(1))
    chain.epoch(2)
    assert chain.jailed() == {1}


class Oracle:
    """The same said once more, without the product: a dictionary and fractions."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self.away: dict[int, tuple[int, int]] = {}
        """Epochs in a row, and the last, by validator."""
        self.locked: dict[int, tuple[int, int]] = {}
        """Until when, and weight."""

    def epoch(
        self, number: int, weights: dict[int, int], votes: dict[int, int], height: int, by_work: bool
    ) -> set[int]:
        blocks = BLOCKS - 1
        asked = self.params.attendance_min_bps
        least = Fraction(asked * (blocks // 3) // blocks if by_work else asked, 10_000)
        absent = [who for who in weights if Fraction(votes[who], blocks) < least]
        for who in absent:
            count, last = self.away.get(who, (0, -2))
            self.away[who] = (count + 1 if last == number - 1 else 1, number)
        still = {who: weight for who, (until, weight) in self.locked.items() if until > height}
        most = Fraction(self.params.jail_share_max_bps, 10_000) * (
            sum(weights.values()) + sum(still.values())
        )
        jailed: set[int] = set()
        for who in sorted(absent, key=lambda each: (votes[each], each)):
            enough = self.away[who][0] >= self.params.downtime_epochs
            if enough and sum(still.values()) + weights[who] <= most:
                still[who] = weights[who]
                self.locked[who] = (height + self.params.jail_blocks, weights[who])
                jailed.add(who)
                del self.away[who]
        return jailed


@settings(max_examples=60, deadline=None)
@given(
    stakes=st.lists(st.integers(1, 40), min_size=4, max_size=9),
    random=st.randoms(use_true_random=False),
    least=st.sampled_from((0, 2_500, 5_000, 6_000)),
    row=st.integers(1, 3),
    share=st.sampled_from((0, 1_000, 2_500, 3_000)),
)
def test_it_agrees_with_an_oracle(stakes: list[int], random: Any, least: int, row: int, share: int) -> None:
    params = changed(
        PARAMS,
        attendance_min_bps=least,
        downtime_epochs=row,
        jail_share_max_bps=share,
        jail_blocks=random.randint(1, 12),
        downtime_slash_bps=0,
    )
    chain, oracle = Chain(tuple(stakes), params), Oracle(params)
    moods = [random.random() for _ in stakes]
    for number in range(7):
        table = chain.table
        entries = epochs.validator_set(chain.view, chain.context().epoch)
        assert entries is not None
        weights = {int.from_bytes(entry.address, "big"): entry.weight for entry in entries.entries}
        votes = dict.fromkeys(weights, 0)
        tickets, credit = random.choice((0, 7, 8, 20)), random.choice((0, 1))
        entry = WorkerEntry(address(50), BlsPublicKey(bytes(48)), credit)
        worker_sets.fix(chain.view, Epoch(number), WorkerSet((entry,), tickets))
        for place in range(BLOCKS):
            present = {who for who in table if random.random() > moods[int.from_bytes(who, "big")]}
            present = present or {table[0]}
            for who in present if place else ():
                votes[int.from_bytes(who, "big")] += 1
            chain.block(present)
        before = {who for who in range(len(stakes)) if who not in weights}
        expected = oracle.epoch(number, weights, votes, chain.height, tickets >= 8 and credit > 0)
        assert chain.jailed() - before == expected
        for who in sorted(chain.jailed()):
            if random.random() < 0.5 and oracle.locked[who][0] <= chain.height + 1:
                chain.order(who, ValidatorUnjail())
                del oracle.locked[who]
