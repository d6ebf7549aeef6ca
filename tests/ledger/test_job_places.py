"""What a place among the open jobs costs, against an oracle that counts every block: nobody holds places for less."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from omnitensor.protocol import limits
from omnitensor.protocol.bodies import JobCancel
from omnitensor.protocol.job_places import place_blocks, place_charge
from omnitensor.protocol.types import Amount, Hash, Height
from state.ledger.accounts import Pot
from state.ledger.jobs import jobs_open
from state.records_work import JOBS_ENDED
from state.schema import JOBS
from tests.ledger.test_work_jobs import a_world
from tests.ledger.test_work_properties import act
from tests.ledger.work_world import WORK, WorkWorld
from tests.ledger.world import OMNIT, declaration

FREE, MOST = 2, 6
PRICE = 1_000_000
CHARGED = replace(WORK, work_place_price=Amount(PRICE))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> WorkWorld:
    monkeypatch.setattr(limits, "jobs_places_free", FREE)
    monkeypatch.setattr(limits, "jobs_open_max", MOST)
    return a_world(params=CHARGED)


def held_for(ahead: int) -> int:
    """Blocks of a job that is kept as long as can be: a receipt at the deadline, shown, judged, objected to, judged anew."""
    return ahead + 3 + 6 + 20 + 6 + 1


def charged(world: WorkWorld) -> list[int]:
    return [int(each["place"]) for each in world.said("job.posted")]


def test_the_first_places_are_free_and_each_further_one_burns_more(world: WorkWorld) -> None:
    before, burned = world.balance("ann"), world.pot(Pot.BURNED)
    for _ in range(MOST):
        world.post(deadline=Height(world.height + 1 + 40))
    assert charged(world) == [0, 0, *(PRICE * beyond * held_for(40) for beyond in (1, 2, 3, 4))]
    assert world.pot(Pot.WORK) == MOST * 60 * OMNIT
    gone = before - world.balance("ann") - world.pot(Pot.WORK)
    assert gone >= world.pot(Pot.BURNED) - burned >= sum(charged(world))  # and fees, and tips


def test_what_burned_does_not_return_with_what_is_refunded(world: WorkWorld) -> None:
    jobs = [world.post() for _ in range(FREE + 1)]
    burned = world.pot(Pot.BURNED)
    assert world.do("ann", JobCancel(jobs[-1])).ok
    assert world.job(jobs[-1]).refunded == 60 * OMNIT
    assert world.pot(Pot.BURNED) >= burned
    assert world.post("ben")
    assert charged(world)[-1] == charged(world)[-2] > 0  # a place that is free again costs no less


def test_an_order_burns_no_more_than_it_allows(world: WorkWorld) -> None:
    for _ in range(FREE):
        world.post(place_max=Amount(0))
    cost = PRICE * held_for(60)
    before = world.balance("ben")
    refused = world.do("ben", world.job_post(place_max=Amount(cost - 1)))
    assert refused.code == "job_place"
    assert before - world.balance("ben") == refused.fee + refused.tip
    assert world.do("ben", world.job_post(place_max=Amount(cost))).ok
    assert charged(world) == [0, 0, cost]


def test_the_chains_own_jobs_take_no_place(world: WorkWorld) -> None:
    for who in ("ann", "ben", "ann", "ben", "ann", "ben"):
        world.post(who)
    world.blocks(20 - world.height)  # from the next epoch on there are workers to ask
    campaign = world.open()
    assert world.submit("ann", campaign, *(declaration(f"text {place}") for place in range(6))).ok
    world.blocks(4)
    assert jobs_open(world.view) == MOST
    assert world.view.get(JOBS, world.batch_job(1)) is not None


@pytest.mark.parametrize("seed", range(12))
def test_places_cost_what_an_oracle_of_every_block_says_and_nobody_holds_them_for_less(
    world: WorkWorld, seed: int
) -> None:
    """Whoever comes and goes however it likes: for every block with n open jobs, the prices of places 1 to n were burned.

    The oracle sums over blocks, not over jobs. It holds since the k-th oldest of the open jobs found k - 1 open at least, and
    none is open for longer than it paid for.
    """
    chance = random.Random(seed)
    jobs: list[Hash] = []
    paid_for: dict[Hash, int] = {}
    owed = 0
    for _ in range(160):
        for _ in range(chance.randrange(4)):
            ahead = chance.choice([2, 10, 30, 90])
            taken = jobs_open(world.view)
            order = world.job_post(
                rows=3, replicas=1, fee_unit=Amount(OMNIT), deadline=Height(world.height + 1 + ahead)
            )
            told = world.do(chance.choice(("ann", "ben", "sponsor")), order)
            owed += price_of_all(jobs_open(world.view))
            assert told.ok == (taken < MOST)
            if told.ok:
                [posted] = told.events
                said = dict(posted.fields)
                assert said["place"] == PRICE * max(0, taken + 1 - FREE) * held_for(ahead)
                jobs.append(Hash(bytes(said["job"])))  # type: ignore[arg-type] # a hash
                paid_for[jobs[-1]] = held_for(ahead)
        for job in [each for each in jobs if world.job(each).status not in JOBS_ENDED]:
            for _ in range(chance.randrange(3)):
                act(world, chance, job, 0.95)
        world.block()
        owed += price_of_all(jobs_open(world.view))
        assert jobs_open(world.view) == sum(world.job(job).status not in JOBS_ENDED for job in jobs)
        assert sum(charged(world)) >= owed
    for job in jobs:
        row = world.job(job)
        assert row.status not in JOBS_ENDED or row.ended_at - row.posted_at <= paid_for[job]


def price_of_all(count: int) -> int:
    """What a block of so many places costs together."""
    return sum(PRICE * (place - FREE) for place in range(1, count + 1) if place > FREE)


@given(st.integers(0, limits.jobs_open_max), st.integers(1, 86_400))
def test_a_place_is_free_below_a_quarter_and_never_cheaper_with_more_of_them_or_for_longer(
    taken: int, ahead: int
) -> None:
    charge = place_charge(taken, ahead, WORK)
    assert (charge == 0) == (taken < limits.jobs_open_max // 4)
    assert charge <= place_charge(taken + 1, ahead, WORK)
    assert charge <= place_charge(taken, ahead + 1, WORK)
    assert place_blocks(ahead, WORK) == held_for(ahead)


def test_all_places_for_a_day_cost_what_the_decision_says() -> None:
    """A day of blocks of a second, at the parameters of the main chain: 16,008 OMNIT, before what comes after the deadline."""
    day = 86_400
    every_block = sum(WORK.work_place_price * (n - 64) for n in range(65, 257))
    assert every_block * day // OMNIT == 16_008
    each = [
        place_charge(taken, day, replace(WORK, epoch_blocks=600)) for taken in range(limits.jobs_open_max)
    ]
    assert 16_008 <= sum(each) // OMNIT <= 16_200
