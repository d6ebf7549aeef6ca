"""Receipts that were found good and turn out to be bad: nobody is paid, units are run again, what they proved goes."""

from __future__ import annotations

import pytest

from omnitensor.protocol import merkle
from omnitensor.protocol.bodies import JobCancel, WorkFraud
from omnitensor.protocol.merkle import Inclusion
from omnitensor.protocol.types import Hash
from omnitensor.protocol.work import FraudProof
from state.ledger.accounts import Pot
from state.ledger.supply import check_everything
from state.records_work import JobStatus, ReceiptState
from state.schema import FINGERPRINTS, WORK_UNITS
from tests.ledger.test_work_proven import a_batch, bits, opened, outputs_in_batch, run, working
from tests.ledger.work_world import BAD, WORK, WorkWorld, rows_in
from tests.ledger.world import OMNIT, address_of

FEE, COST = 7 * OMNIT, 10 * OMNIT


def a_world() -> WorkWorld:
    world = WorkWorld()
    world.register_all()
    return world


def turn_bad(world: WorkWorld, worker: str, job: Hash, unit: int = 0) -> None:
    """Somebody shows a row of a good receipt, and everybody finds it bad."""
    assert world.do("ben", world.fraud(worker, job, unit, 1)).ok
    world.judge(worker, job, unit, BAD)
    assert world.state(worker, job, unit) == ReceiptState.BAD


def counts(world: WorkWorld, job: Hash, unit: int = 0) -> tuple[int, int]:
    row = world.view.get(WORK_UNITS, job, unit)
    return (0, 0) if row is None else (row.under_way, row.good)


def test_a_fee_is_paid_when_nobody_can_object_any_more() -> None:
    world = a_world()
    job = world.open_job()
    worker = world.taker(job, 0)
    world.run_unit(worker, job, 0)
    row = world.job(job)
    assert (row.paid, row.burned, row.escrow, row.under_way) == (0, 0, 60 * OMNIT, 1)
    assert world.worker(worker).fees == 0
    before = world.balance(worker)
    kept = world.kept(worker, job, 0)
    assert kept is not None
    while world.height < kept.settled_at + WORK.epoch_blocks - 1:
        world.block()
    assert not world.said("work.paid")
    world.block()
    (said,) = world.said("work.paid")
    assert (said["worker"], said["fee"]) == (address_of(worker), FEE)
    assert world.balance(worker) >= before + FEE
    assert world.worker(worker).fees == FEE
    row = world.job(job)
    assert (row.paid, row.burned, row.escrow, row.under_way) == (FEE, 3 * OMNIT, 50 * OMNIT, 0)
    check_everything(world.view)


def test_a_unit_whose_receipt_turned_bad_is_run_again_and_paid_once() -> None:
    world = a_world()
    job = world.open_job(rows=4, replicas=1)
    worker = world.taker(job, 0)
    world.run_unit(worker, job, 0)
    row = world.job(job)
    assert (row.status, row.outcome, row.done) == (JobStatus.CLOSING, JobStatus.DONE, 1)
    turn_bad(world, worker, job)
    row = world.job(job)
    assert (row.status, row.done, row.under_way, row.escrow) == (JobStatus.OPEN, 0, 0, COST)
    assert counts(world, job) == (0, 0)
    world.blocks(WORK.work_assigned_blocks)
    other = next(name for name in world.workers if name != worker)
    world.run_unit(other, job, 0)
    assert world.job(job).status == JobStatus.CLOSING
    world.blocks(WORK.epoch_blocks)
    row = world.job(job)
    assert (row.status, row.paid, row.burned, row.refunded) == (JobStatus.DONE, FEE, 3 * OMNIT, 0)
    assert (world.worker(worker).fees, world.worker(other).fees) == (0, FEE)
    assert world.pot(Pot.WORK) == 0
    check_everything(world.view)


@pytest.mark.parametrize("late", [False, True])
def test_where_nobody_can_run_it_again_its_money_returns(late: bool) -> None:
    """Cancelled meanwhile, or past the deadline: what was to be paid for it is the poster's."""
    world = a_world()
    job = world.open_job(rows=4, replicas=1)
    worker = world.taker(job, 0)
    if late:
        world.blocks(world.job(job).deadline - 8 - world.height)
    world.run_unit(worker, job, 0)
    if late:
        world.blocks(world.job(job).deadline - world.height)
    else:
        assert world.do("ann", JobCancel(job)).code == "job_ended", "it is done, and takes no more receipts"
        second = world.open_job()
        worker = world.taker(second, 0)
        job = second
        world.run_unit(worker, job, 0)
        assert world.do("ann", JobCancel(job)).ok
    before = world.job(job).refunded
    turn_bad(world, worker, job)
    row = world.job(job)
    assert row.status == (JobStatus.EXPIRED if late else JobStatus.CANCELLED)
    assert (row.paid, row.burned, row.escrow) == (0, 0, 0)
    assert row.refunded == before + COST
    check_everything(world.view)


def test_a_job_is_not_over_while_a_receipt_of_it_can_be_challenged() -> None:
    world = a_world()
    job = world.open_job()
    for unit in range(3):
        for place in range(2):
            world.run_unit(world.taker(job, unit, place), job, unit)
    assert world.job(job).status == JobStatus.CLOSING
    assert world.pot(Pot.WORK) > 0
    last = world.height
    world.blocks(last + WORK.epoch_blocks - world.height)
    row = world.job(job)
    assert (row.status, row.paid, row.burned) == (JobStatus.DONE, 42 * OMNIT, 18 * OMNIT)
    assert world.pot(Pot.WORK) == 0


def prints(world: WorkWorld) -> list[bytes | None]:
    rows = [world.view.get(FINGERPRINTS, 1, item) for item in (1, 2)]
    return [None if row is None else row.bits for row in rows]


@pytest.mark.parametrize("bad", [0, 1])
def test_what_another_good_receipt_proved_stays_or_takes_its_place(bad: int) -> None:
    """Of two replicas the first says the fingerprints. Whichever turns bad, what the other said stands in the end."""
    world = working()
    a_batch(world, "one", "two")
    job = opened(world)
    takers = [world.taker(job, 0, place) for place in range(2)]
    said = [outputs_in_batch(world, {1: bits(0), 2: bits(differ)}) for differ in (90, 10)]
    for worker, outputs in zip(takers, said, strict=True):
        run(world, job, outputs, 256, worker)
    world.block()
    assert not world.said("item.near_duplicate"), "the first says that they are far apart"
    first = prints(world)
    assert world.do("ben", fraud_of(world, takers[bad], job, said[bad])).ok
    world.judge(takers[bad], job, 0, BAD)
    world.block()
    hints = world.said("item.near_duplicate")
    if bad:
        assert prints(world) == first
        assert not hints
    else:
        assert prints(world)[1] != first[1]
        assert [(hint["item"], hint["of"], hint["bits"]) for hint in hints] == [(2, 1, 10)]
    assert counts(world, job) == (0, 1)


def fraud_of(world: WorkWorld, worker: str, job: Hash, outputs: bytes) -> WorkFraud:
    """What shows the first row of a receipt of the chain's own job."""
    rows = rows_in(outputs, 256)
    leaves = [merkle.leaf_hash(each) for each in rows]
    path = Inclusion(0, len(rows), tuple(Hash(each) for each in merkle.inclusion_proof(leaves, 0)))
    return WorkFraud(FraudProof(job, 0, address_of(worker), 0, rows[0], path))
