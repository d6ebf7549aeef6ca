"""The leader schedule against an oracle of its own, and its fairness."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.schedule.leaders import LeaderSchedule
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
