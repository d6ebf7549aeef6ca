"""Properties of jobs over random histories and numbers, against oracles in fractions that share no code with the ledger."""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from omnitensor.protocol import hashing
from omnitensor.protocol.bodies import JobCancel, JobVote, ReceiptVote, WorkCommit, WorkJudge, WorkOutputs
from omnitensor.protocol.types import Address, Amount, Epoch, Hash, Height, Weight
from omnitensor.protocol.votes import ValidatorEntry, ValidatorTable
from omnitensor.protocol.work import assigned
from state.ledger.accounts import Pot
from state.ledger.pay import largest_remainder
from state.ledger.work_judging import agreed
from state.ledger.work_rows import unit_of
from state.records_work import JOBS_ENDED, JobStatus, ReceiptState
from tests.ledger.test_work_jobs import a_world
from tests.ledger.work_world import WorkWorld, outputs_of
from tests.ledger.world import address_of

OF_RECEIPTS = ("work.committed", "work.shown", "work.bad", "work.void", "work.withheld", "work.fraud")


def one_history(seed: int) -> Counter[str]:
    """A job with workers, judges and a poster who each do what they like, until it has ended; how often it ended how."""
    chance, world = random.Random(seed), a_world(validators=4, workers=4)
    careful = 0.6 + 0.4 * chance.random()
    jobs = [
        world.post(
            "ann",
            rows=chance.choice([3, 10]),
            replicas=chance.choice([1, 2, 3]),
            fee_unit=Amount(chance.randrange(10**9)),
            burn_unit=Amount(1 + chance.randrange(10**9)),
            deadline=Height(world.height + 1 + chance.choice([3, 20, 60, 90])),
        )
        for _ in range(2)
    ]
    paid_in = {job: world.job(job).escrow for job in jobs}
    while any(world.job(job).status not in JOBS_ENDED for job in jobs):
        for _ in range(chance.randrange(12)):
            act(world, chance, chance.choice(jobs), careful)
        before = world.pot(Pot.WORK)
        world.block()
        assert before - world.pot(Pot.WORK) == sum(
            int(each.get("amount", 0)) for height, each in moved(world) if height == world.height
        )
    for job in jobs:
        row = world.job(job)
        assert row.paid + row.burned + row.refunded == paid_in[job]
        assert row.paid * (row.fee_unit + row.burn_unit) == (row.paid + row.burned) * row.fee_unit
        stood = [each for each in world.said("work.paid") if each["job"] == job]
        assert row.paid == row.fee_unit * len(stood)
        assert row.escrow == row.under_way == 0
    assert world.pot(Pot.WORK) == 0
    left = what_is_left(world)
    for job in jobs:
        row = world.job(job)
        stand = [len(left.get((bytes(job), unit), ())) for unit in range(row.units)]
        assert row.done == sum(count > 0 for count in stand)
        if row.status in (JobStatus.DONE, JobStatus.EXPIRED):
            assert (row.status == JobStatus.DONE) == all(stand)
    ends = Counter(JobStatus(world.job(job).status).label for job in jobs)
    if world.said("job.reopened"):
        ends["reopened"] += 1
    ends["with fewer replicas"] += sum(
        world.job(job).status == JobStatus.DONE and world.job(job).refunded > 0 for job in jobs
    )
    ends["refused copies"] += sum(told.code == "unit_shown" for told in world.receipts)
    return +ends


def what_is_left(world: WorkWorld) -> dict[tuple[bytes, int], set[bytes]]:
    """Receipts of each unit that stand in the end, by its events alone. None was taken after one that counted then was shown."""
    left: dict[tuple[bytes, int], set[bytes]] = {}
    open_to_all: set[tuple[bytes, int]] = set()
    for _, each in world.events:
        said: dict[str, Any] = dict(each.fields)
        if each.kind not in OF_RECEIPTS:
            continue
        unit, worker = (said["job"], said["unit"]), said["worker"]
        if each.kind == "work.committed":
            assert unit not in open_to_all, "a copy would be told from nothing"
            left.setdefault(unit, set()).add(worker)
        elif each.kind == "work.shown":
            open_to_all.add(unit)
        else:
            left[unit].remove(worker)
            if not left[unit]:
                open_to_all.discard(unit)
    return left


def moved(world: WorkWorld) -> list[tuple[int, dict[str, int]]]:
    """What each block took out of the pot of jobs, by its events: fees and burns of what stood, and refunds."""
    found: list[tuple[int, dict[str, int]]] = []
    for height, event in world.events:
        said = dict(event.fields)
        if event.kind == "job.refunded":
            found.append((height, {"amount": int(said["amount"])}))
        elif event.kind == "work.paid":
            found.append((height, {"amount": int(said["fee"]) + int(said["burned"])}))
    return found


def act(world: WorkWorld, chance: random.Random, job: Hash, careful: float) -> None:
    """Something that somebody does, sensible or not. What is true differs from history to history with how careful people are."""
    row, worker = world.job(job), chance.choice(world.workers)
    unit = chance.randrange(row.units)
    pick = chance.randrange(10)
    if pick == 0 and chance.random() < 0.03:
        world.send("ann", JobCancel(job))
    elif pick < 3:
        for name in world.validator_names:
            if chance.random() < careful:
                world.send(name, WorkJudge((JobVote(job, hash_of(job, 0, f"bytes {careful}") % 5 > 0),), ()))
    elif pick in (3, 8):
        shown_units = [place for place in range(row.units) if unit_of(world.view, job, place).shown]
        if shown_units and chance.random() < 0.3:
            unit = chance.choice(shown_units)
        world.send(worker, WorkCommit(world.receipt(worker, job, unit)))
    elif pick < 6:
        shown = outputs_of(job, unit, row.rows_of(unit))
        world.send(worker, WorkOutputs(job, unit, None, shown))
    elif pick == 9:
        good = [name for name in world.workers if is_good(world, name, job, unit)]
        for name in good[:1]:
            world.send("ben", world.fraud(name, job, unit, 0))
    else:
        kept = world.kept(worker, job, unit)
        again = "again" if kept is not None and kept.state == ReceiptState.CHALLENGED else ""
        good = hash_of(job, unit, f"{worker} {again} {careful}") % (2 if again else 9) > 0
        vote = ReceiptVote(job, unit, address_of(worker), good, 100 * good)
        for name in world.validator_names:
            if chance.random() < careful:
                world.send(name, WorkJudge((), (vote,)))


def is_good(world: WorkWorld, worker: str, job: Hash, unit: int) -> bool:
    row = world.kept(worker, job, unit)
    return row is not None and row.state == ReceiptState.GOOD


def hash_of(job: Hash, unit: int, worker: str) -> int:
    return int.from_bytes(hashing.DRAW(job, bytes([unit]), worker.encode())[:4], "big")


def test_every_unit_of_a_jobs_money_is_paid_burned_or_returned() -> None:
    """Forty histories; between them jobs end in every way that they can end, and units are opened again."""
    ends: Counter[str] = Counter()
    for seed in range(40):
        ends += one_history(seed)
    known = {"done", "expired", "cancelled", "refused", "reopened", "with fewer replicas", "refused copies"}
    assert set(ends) == known, ends


# -- the draw


@given(st.binary(min_size=32, max_size=32), st.integers(0, 4_096), st.integers(1, 40), st.integers(1, 4))
def test_units_are_drawn_as_by_a_whole_shuffle(beacon: bytes, unit: int, workers: int, replicas: int) -> None:
    job = Hash(bytes(32))
    places = list(range(workers))
    seed = hashing.WORK_ASSIGN(beacon, job, unit.to_bytes(8, "big"))
    for at in range(workers - 1):
        other = at + int.from_bytes(hashing.DRAW(seed, at.to_bytes(8, "big")), "big") % (workers - at)
        places[at], places[other] = places[other], places[at]
    found = assigned(Hash(beacon), job, unit, workers, replicas)
    assert list(found) == places[: min(replicas, workers)]
    assert len(set(found)) == len(found)


def test_every_worker_is_drawn_as_often_as_any_other() -> None:
    """Chi-squared over 4,000 units and seven workers stays below what chance passes once in ten thousand times (27.9 of 6)."""
    drawn = Counter(
        place for unit in range(4_000) for place in assigned(Hash(b"\7" * 32), Hash(bytes(32)), unit, 7, 2)
    )
    expected = 4_000 * 2 / 7
    assert sum((count - expected) ** 2 / expected for count in drawn.values()) < 27.9


# -- the tally


@st.composite
def votes(draw: st.DrawFn) -> tuple[list[int], list[tuple[int, int]]]:
    """Weights of validators, and what each voter said; some voters are no validators."""
    weights = draw(st.lists(st.integers(1, 1_000), min_size=1, max_size=12))
    said = draw(
        st.lists(st.tuples(st.integers(0, len(weights) + 2), st.integers(0, 2)), max_size=15, unique_by=first)
    )
    return weights, said


def first(pair: tuple[int, int]) -> int:
    return pair[0]


@given(votes())
def test_an_outcome_needs_more_than_two_thirds_of_all_stake(
    made: tuple[list[int], list[tuple[int, int]]],
) -> None:
    weights, said = made
    names = [Address(b"\0" + bytes([place]) * 32) for place in range(20)]
    entries = tuple(
        ValidatorEntry(names[place], bytes([place]) * 48, Weight(weight))  # type: ignore[arg-type] # stands for a key
        for place, weight in enumerate(weights)
    )
    table = ValidatorTable(Epoch(0), entries)
    expected = None
    for outcome in range(3):
        share = Fraction(
            sum(weights[who] for who, vote in said if vote == outcome and who < len(weights)), sum(weights)
        )
        if share > Fraction(2, 3):
            expected = outcome
    assert agreed(table, ((names[who], vote) for who, vote in said)) == expected


# -- the pool


@settings(max_examples=200)
@given(st.integers(0, 10**15), st.lists(st.integers(0, 2**60), min_size=1, max_size=30))
def test_the_pool_is_split_by_credit_to_the_unit(pool: int, credits: list[int]) -> None:
    keys = [bytes([place]) for place in range(len(credits))]
    shares, over = largest_remainder(pool, list(zip(keys, credits, strict=True)))
    if not sum(credits):
        assert (sum(shares.values()), over) == (0, pool)
        return
    assert sum(shares.values()) == pool
    for key, credit in zip(keys, credits, strict=True):
        assert abs(shares[key] - Fraction(pool * credit, sum(credits))) < 1
