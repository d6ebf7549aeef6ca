"""What a worker takes: units of jobs before all, synthetic work only to fill what they leave, and never two times the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.work.choosing import UNITS_LOOKED_AT_MAX, choices, some_units
from omnitensor.protocol.bodies import Transfer
from omnitensor.protocol.types import NANO, Amount, Epoch
from omnitensor.protocol.work import JobKind, synthetic_job
from tests.rpc.test_work import PARAMS, WORKER, committed, posted, registration
from tests.rpc.world import TestBackend
from tests.state.chain_fixtures import CHAIN_ID, key, make_genesis

POSTED, SYNTHETIC = JobKind.POSTED, JobKind.SYNTHETIC


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[TestBackend]:
    """A chain with one worker, whose validators have money for fees."""
    made = TestBackend(tmp_path / "node", make_genesis(params=PARAMS))
    fees = [(key("a0"), Transfer(key(f"v{number}").address, Amount(10 * NANO))) for number in range(4)]
    made.commit((WORKER, registration()), *fees)
    yield made
    made.close()


def chosen(
    backend: TestBackend, most: int, synthetic: int, taken: frozenset[object] = frozenset(), jobs: int = 99
) -> list[tuple[JobKind, int]]:
    found = choices(backend.chain.reader(), CHAIN_ID, WORKER.address, taken, most, jobs, synthetic)
    return [(each.kind, each.unit) for each in found]


def test_synthetic_work_fills_what_jobs_leave_up_to_a_bound(backend: TestBackend) -> None:
    assert chosen(backend, 3, 2) == [(SYNTHETIC, 0), (SYNTHETIC, 1)]
    posted(backend)
    assert chosen(backend, 1, 2) == [(POSTED, 0)]
    assert chosen(backend, 2, 2) == [(POSTED, 0), (POSTED, 1)]
    assert chosen(backend, 3, 2) == [(POSTED, 0), (POSTED, 1), (SYNTHETIC, 0)]
    assert chosen(backend, 9, 2) == [(POSTED, 0), (POSTED, 1), (SYNTHETIC, 0), (SYNTHETIC, 1)]
    for bound in (0, -3):
        assert chosen(backend, 9, bound) == [(POSTED, 0), (POSTED, 1)]
    assert chosen(backend, 9, 2, jobs=1) == [(POSTED, 0), (SYNTHETIC, 0), (SYNTHETIC, 1)]
    for bound in (0, -3):
        assert chosen(backend, 9, 1, jobs=bound) == [(SYNTHETIC, 0)], "too much of theirs waits to be shown"


def test_what_is_under_way_or_committed_is_not_taken_again(backend: TestBackend) -> None:
    job = posted(backend)
    epoch = Epoch(backend.chain.head.height // PARAMS.epoch_blocks)
    synthetic = synthetic_job(CHAIN_ID, epoch)
    under_way: frozenset[object] = frozenset({(job, 1), (synthetic, 0)})
    assert chosen(backend, 9, 1, under_way) == [(POSTED, 0), (SYNTHETIC, 1)]
    committed(backend, job, 0)
    assert chosen(backend, 9, 1, under_way) == [(SYNTHETIC, 1)]


def test_all_of_an_epochs_synthetic_work_and_no_more(backend: TestBackend) -> None:
    assert chosen(backend, 99, 99) == [(SYNTHETIC, unit) for unit in range(PARAMS.synthetic_units_max)]


@pytest.mark.parametrize("units", [[], [4_096], [4_096, 3], [1] * 5, [4_096] * 20, [2] * 700])
def test_no_job_hides_another_or_its_own_last_units(units: list[int]) -> None:
    """A job of thousands of units, or hundreds of jobs: every unit is looked at in turn, some of them with each block."""
    missing = {(place, unit) for place, count in enumerate(units) for unit in range(count)}
    for height in range(7, 7 + 4 + sum(units) // 256):
        found = list(some_units(units, height))
        assert len(found) == len(set(found)) <= UNITS_LOOKED_AT_MAX
        missing -= set(found)
    assert not missing
