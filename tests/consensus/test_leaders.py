"""The leader schedule against an oracle of its own, and its fairness."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.schedule.leaders import LeaderSchedule
from omnitensor.protocol.types import Address, BlsPublicKey, Epoch, Hash, View
from omnitensor.protocol.votes import ValidatorEntry, ValidatorTable
from omnitensor.protocol.workers import WorkerEntry, WorkerSet


def table_of(weights: list[int], epoch: int = 0) -> ValidatorTable:
    return ValidatorTable(
        Epoch(epoch),
        tuple(
            ValidatorEntry(
                Address(bytes([0]) + i.to_bytes(32, "big")), BlsPublicKey(i.to_bytes(48, "big")), w
            )
            for i, w in enumerate(weights)
        ),
    )


def oracle(seed: bytes, epoch: int, view: int, weights: list[int]) -> int:
    """Straight from the specification: a tagged hash, a lottery ticket, and a walk along the stakes."""
    tag = sha256(b"omnitensor/leader/1").digest()
    data = tag + tag
    for part in (seed, epoch.to_bytes(8, "big"), view.to_bytes(8, "big")):
        data += len(part).to_bytes(4, "big") + part
    ticket = int(sha256(data).hexdigest(), 16) % sum(weights)
    for index, weight in enumerate(weights):
        if ticket < weight:
            return index
        ticket -= weight
    raise AssertionError


@settings(max_examples=200, deadline=None)
@given(
    seed=st.binary(min_size=32, max_size=32),
    epoch=st.integers(0, 2**32),
    view=st.integers(1, 2**63),
    weights=st.lists(st.integers(1, 10**9), min_size=1, max_size=100),
)
def test_agrees_with_oracle(seed: bytes, epoch: int, view: int, weights: list[int]) -> None:
    schedule = LeaderSchedule(table_of(weights, epoch), Hash(seed))
    assert schedule.leader(View(view)) == oracle(seed, epoch, view, weights)


def test_leads_in_proportion_to_stake() -> None:
    weights, views = [1, 2, 3, 10, 84], 20_000
    schedule = LeaderSchedule(table_of(weights), Hash(bytes(range(32))))
    led = [0] * len(weights)
    for view in range(1, views + 1):
        led[schedule.leader(View(view))] += 1
    for count, weight in zip(led, weights, strict=True):
        expected = views * weight / sum(weights)
        assert abs(count - expected) < 5 * expected**0.5


@pytest.mark.parametrize("change", ["seed", "epoch", "view"])
def test_every_field_moves_the_draw(change: str) -> None:
    weights = [1] * 100
    base = [LeaderSchedule(table_of(weights), Hash(bytes(32))).leader(View(v)) for v in range(1, 60)]
    match change:
        case "seed":
            other = [
                LeaderSchedule(table_of(weights), Hash(b"\1" * 32)).leader(View(v)) for v in range(1, 60)
            ]
        case "epoch":
            other = [
                LeaderSchedule(table_of(weights, 1), Hash(bytes(32))).leader(View(v)) for v in range(1, 60)
            ]
        case _:
            other = [LeaderSchedule(table_of(weights), Hash(bytes(32))).leader(View(v)) for v in range(2, 61)]
    assert sum(a == b for a, b in zip(base, other, strict=True)) < 10


def address_of(number: int) -> Address:
    return Address(bytes([0]) + number.to_bytes(32, "big"))


def workers(credit: dict[int, int], tickets: int = 8) -> WorkerSet:
    """Workers by number; those below the size of a table are its validators."""
    return WorkerSet(
        tuple(
            WorkerEntry(address_of(number), BlsPublicKey(number.to_bytes(48, "big")), amount)
            for number, amount in sorted(credit.items())
        ),
        tickets,
    )


def credited(amounts: dict[int, int], tickets: int, size: int = 5) -> LeaderSchedule:
    return LeaderSchedule(table_of([10] * size), Hash(bytes(range(32))), workers(amounts, tickets))


@settings(max_examples=100, deadline=None)
@given(
    seed=st.binary(min_size=32, max_size=32),
    view=st.integers(1, 2**40),
    credit=st.dictionaries(st.integers(0, 9), st.integers(0, 10**18), min_size=1, max_size=10),
    tickets=st.integers(0, 20),
)
def test_credit_leads_two_views_of_three_when_there_is_enough(
    seed: bytes, view: int, credit: dict[int, int], tickets: int
) -> None:
    """Numbers 0 to 3 are validators, the others workers outside the table; the oracle walks along one list of all."""
    schedule = LeaderSchedule(table_of([7, 1, 30, 2]), Hash(seed), workers(credit, tickets))
    outside = sorted(number for number in credit if number >= 4)
    along = [0, 1, 2, 3, *outside]
    by_work = tickets >= 8 and view % 3 != 0 and sum(credit.values()) > 0
    weights = [credit.get(number, 0) for number in along] if by_work else [7, 1, 30, 2]
    assert schedule.is_led_by_work(View(view)) == by_work
    leader = schedule.leader(View(view))
    assert leader == oracle(seed, 0, view, weights)
    assert schedule.address(leader) == address_of(along[leader])
    assert schedule.key(leader) == along[leader].to_bytes(48, "big")


def test_leads_in_proportion_to_credit_and_a_third_by_stake() -> None:
    schedule, views = credited({1: 30, 3: 10}, 8), 30_000
    led = [0] * 5
    for view in range(1, views + 1):
        led[schedule.leader(View(view))] += 1
    stake = views / 3 / 5
    expected = [stake, stake + views * 2 / 3 * 0.75, stake, stake + views * 2 / 3 * 0.25, stake]
    for found, due in zip(led, expected, strict=True):
        assert abs(found - due) < 5 * due**0.5, (led, expected)


CHI_SQUARED_999: Final = {1: 10.83, 2: 13.82, 3: 16.27, 4: 18.47, 5: 20.52, 6: 22.46, 7: 24.32}
"""The 0.999 quantile by degrees of freedom: by chance one seed in a thousand is above it."""


@pytest.mark.parametrize(
    "credit", [{5: 70, 6: 30}, {2: 1, 5: 2, 6: 3, 7: 5, 8: 8}, dict.fromkeys(range(5, 12), 10)]
)
def test_leads_of_work_fit_credit_over_two_thousand_views(credit: dict[int, int]) -> None:
    """Pearson's chi-squared of the leads that work draws in 2,000 views against credit: of 40 seeds at most two are beyond the
    0.999 quantile (by chance more are in one run of 100,000), and the leads of stake fit stake as before."""
    beyond, views = 0, 2_000
    limit = CHI_SQUARED_999[len(credit) - 1]
    for seed in range(40):
        schedule = LeaderSchedule(table_of([10] * 5), Hash(seed.to_bytes(32, "big")), workers(credit))
        led: Counter[Address] = Counter()
        for view in (v for v in range(1, views + 1) if v % 3):
            led[schedule.address(schedule.leader(View(view)))] += 1
        assert set(led) <= {address_of(number) for number in credit}, "whoever has no credit leads nothing"
        total = sum(led.values())
        assert total == sum(1 for view in range(1, views + 1) if view % 3)
        due = {number: total * amount / sum(credit.values()) for number, amount in credit.items()}
        beyond += sum((led[address_of(n)] - d) ** 2 / d for n, d in due.items()) > limit
    assert beyond <= 2


def test_workers_never_lead_a_view_of_stake() -> None:
    schedule = credited({7: 10**18, 8: 1}, 1_000)
    assert all(schedule.leader(View(view)) < 5 for view in range(3, 3_000, 3))
    assert all(schedule.leader(View(view)) >= 5 for view in range(1, 3_000) if view % 3)


def test_a_validator_that_works_leads_under_its_own_index() -> None:
    schedule = credited({3: 5, 9: 5}, 8)
    assert [entry.address for entry in schedule.workers] == [address_of(9)]
    assert len(schedule) == 6
    assert {schedule.leader(View(view)) for view in range(1, 100) if view % 3} == {3, 5}
    for index in range(6):
        assert schedule.index_of(schedule.address(index)) == index
        assert schedule.index_of_key(schedule.key(index)) == index
    assert schedule.index_of(address_of(8)) is None
    assert schedule.index_of_key(BlsPublicKey(bytes(47) + b"\x08")) is None


@pytest.mark.parametrize(("amounts", "tickets"), [({1: 30}, 7), ({9: 30}, 7), ({}, 100), ({1: 0, 9: 0}, 100)])
def test_too_little_work_falls_back_to_stake(amounts: dict[int, int], tickets: int) -> None:
    schedule, plain = credited(amounts, tickets), LeaderSchedule(table_of([10] * 5), Hash(bytes(range(32))))
    assert [schedule.leader(View(v)) for v in range(1, 300)] == [plain.leader(View(v)) for v in range(1, 300)]
    assert len(schedule) == 5, "nobody but the validators may lead"
