"""The leader schedule against an oracle of its own, and its fairness."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.schedule.leaders import LeaderSchedule, WorkCredit
from omnitensor.protocol.types import Address, BlsPublicKey, Epoch, Hash, View
from omnitensor.protocol.votes import ValidatorEntry, ValidatorTable


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


def credited(amounts: dict[int, int], tickets: int, size: int = 5) -> LeaderSchedule:
    return LeaderSchedule(table_of([10] * size), Hash(bytes(range(32))), WorkCredit(tickets, amounts))


@settings(max_examples=100, deadline=None)
@given(
    seed=st.binary(min_size=32, max_size=32),
    view=st.integers(1, 2**40),
    credit=st.lists(st.integers(0, 10**9), min_size=4, max_size=4).filter(any),
    tickets=st.integers(0, 20),
)
def test_credit_leads_two_views_of_three_when_there_is_enough(
    seed: bytes, view: int, credit: list[int], tickets: int
) -> None:
    schedule = LeaderSchedule(
        table_of([7, 1, 30, 2]), Hash(seed), WorkCredit(tickets, dict(enumerate(credit)))
    )
    by_work = tickets >= 8 and view % 3 != 0
    assert schedule.is_led_by_work(View(view)) == by_work
    assert schedule.leader(View(view)) == oracle(seed, 0, view, credit if by_work else [7, 1, 30, 2])


def test_leads_in_proportion_to_credit_and_a_third_by_stake() -> None:
    schedule, views = credited({1: 30, 3: 10}, 8), 30_000
    led = [0] * 5
    for view in range(1, views + 1):
        led[schedule.leader(View(view))] += 1
    stake = views / 3 / 5
    expected = [stake, stake + views * 2 / 3 * 0.75, stake, stake + views * 2 / 3 * 0.25, stake]
    for found, due in zip(led, expected, strict=True):
        assert abs(found - due) < 5 * due**0.5, (led, expected)


@pytest.mark.parametrize(("amounts", "tickets"), [({1: 30}, 7), ({}, 100), ({1: 0}, 100)])
def test_too_little_work_falls_back_to_stake(amounts: dict[int, int], tickets: int) -> None:
    schedule, plain = credited(amounts, tickets), LeaderSchedule(table_of([10] * 5), Hash(bytes(range(32))))
    assert [schedule.leader(View(v)) for v in range(1, 300)] == [plain.leader(View(v)) for v in range(1, 300)]
