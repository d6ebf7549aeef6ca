"""Receipts that were found good and turn out to be bad: nobody is paid, units are run again, what they proved goes."""

from __future__ import annotations

import pytest

from omnitensor.protocol import merkle
from omnitensor.protocol.bodies import JobCancel, WorkCommit, WorkFraud
from omnitensor.protocol.merkle import Inclusion
from omnitensor.protocol.types import Hash
from omnitensor.protocol.work import FraudProof
from state.ledger.accounts import Pot
from state.ledger.supply import check_everything
from state.records_work import JobStatus, ReceiptState
from state.schema import FINGERPRINTS, WORK_UNITS
from tests.ledger.test_work_proven import a_batch, bits, committed, opened, outputs_in_batch, shown, working
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
    world.run_whole(job)
    assert world.job(job).status == JobStatus.CLOSING
    assert world.pot(Pot.WORK) > 0
    last = world.height
    world.blocks(last + WORK.epoch_blocks - world.height)
    row = world.job(job)
    assert (row.status, row.paid, row.burned) == (JobStatus.DONE, 42 * OMNIT, 18 * OMNIT)
    assert world.pot(Pot.WORK) == 0


def done_by(world: WorkWorld, job: Hash, unit: int, *workers: str) -> None:
    world.run_replicas(workers, job, unit)
    row = world.job(job)
    assert (row.status, row.outcome) == (JobStatus.CLOSING, JobStatus.DONE)


def test_where_another_receipt_stands_nothing_is_run_again() -> None:
    """The money of the bad one returns at the end, as that of a replica that never came."""
    world = a_world()
    job = world.open_job(rows=4)
    first, second = world.takers(job, 0)
    done_by(world, job, 0, first, second)
    turn_bad(world, first, job)
    row = world.job(job)
    assert (row.status, row.outcome, row.done, row.under_way) == (JobStatus.CLOSING, JobStatus.DONE, 1, 1)
    assert not world.said("job.reopened")
    assert len(world.said("job.closing")) == 1
    world.blocks(WORK.epoch_blocks)
    row = world.job(job)
    assert (row.status, row.paid, row.burned, row.refunded) == (JobStatus.DONE, FEE, 3 * OMNIT, COST)
    assert world.worker(first).fees == 0
    assert world.pot(Pot.WORK) == 0
    check_everything(world.view)


@pytest.mark.parametrize("fallen", ["withheld", "bad", "both were good"])
def test_a_unit_is_run_again_by_as_many_as_at_first(fallen: str) -> None:
    """Whatever became of its first replicas, there is money for all of the next ones, and none of it is left in the end."""
    world = WorkWorld(workers=4)
    world.register_all()
    job = world.open_job(rows=4)
    first, second = world.takers(job, 0)
    for name in (first, second):
        assert world.commit_unit(name, job, 0).ok
    world.run_shown(first, job, 0)
    if fallen == "withheld":
        while world.state(second, job, 0) == ReceiptState.COMMITTED:
            world.block()
    elif fallen == "bad":
        assert world.show(second, job, 0).ok
        world.judge(second, job, 0, BAD)
    else:
        world.run_shown(second, job, 0)
        turn_bad(world, second, job)
    row = world.job(job)
    assert (row.status, row.outcome, row.escrow) == (JobStatus.CLOSING, JobStatus.DONE, 2 * COST)
    turn_bad(world, first, job)
    row = world.job(job)
    assert (row.status, row.done, row.under_way, row.escrow) == (JobStatus.OPEN, 0, 0, 2 * COST)
    assert [said["unit"] for said in world.said("job.reopened")] == [0]
    world.blocks(max(0, row.opened_at + WORK.work_assigned_blocks - world.height))
    done_by(world, job, 0, *(name for name in world.workers if name not in (first, second)))
    world.blocks(WORK.epoch_blocks)
    row = world.job(job)
    assert (row.status, row.paid, row.burned, row.refunded) == (JobStatus.DONE, 2 * FEE, 6 * OMNIT, 0)
    assert world.pot(Pot.WORK) == 0
    check_everything(world.view)


@pytest.mark.parametrize("stands", [True, False])
def test_what_turns_bad_while_another_receipt_is_judged_waits_for_its_verdict(stands: bool) -> None:
    world = a_world()
    job = world.open_job(rows=4)
    first, second = world.takers(job, 0)
    for name in (first, second):
        assert world.commit_unit(name, job, 0).ok
    world.run_shown(first, job, 0)
    assert world.show(second, job, 0).ok
    turn_bad(world, first, job)
    assert (world.job(job).status, world.job(job).done, counts(world, job)) == (JobStatus.OPEN, 0, (1, 0))
    assert not world.said("job.reopened")
    third = next(name for name in world.workers if name not in (first, second))
    world.blocks(max(0, world.job(job).opened_at + WORK.work_assigned_blocks - world.height))
    assert world.commit_unit(third, job, 0).code == "unit_shown"
    world.judge(second, job, 0, (True, 5) if stands else BAD)
    row = world.job(job)
    if stands:
        assert (row.status, row.outcome, row.done) == (JobStatus.CLOSING, JobStatus.DONE, 1)
        return
    assert (row.status, row.done, counts(world, job)) == (JobStatus.OPEN, 0, (0, 0))
    assert world.commit_unit(third, job, 0).ok
    world.run_shown(third, job, 0)
    world.blocks(WORK.epoch_blocks)
    row = world.job(job)
    assert (row.status, row.paid, row.burned, row.refunded) == (JobStatus.DONE, FEE, 3 * OMNIT, COST)


def test_a_job_whose_last_receipts_are_judged_after_its_deadline_is_done_if_they_stand() -> None:
    """And has expired after all where one of them is found bad later."""
    world = a_world()
    job = world.open_job(rows=8, replicas=1)
    takers = [world.taker(job, unit) for unit in range(2)]
    world.blocks(world.job(job).deadline - 1 - world.height)
    for unit, worker in enumerate(takers):
        world.send(worker, WorkCommit(world.receipt(worker, job, unit)))
    assert all(told.ok for told in world.block().result.receipts)
    assert (world.job(job).status, world.job(job).outcome) == (JobStatus.CLOSING, JobStatus.EXPIRED)
    world.run_shown(takers[0], job, 0)
    assert world.job(job).outcome == JobStatus.EXPIRED
    world.run_shown(takers[1], job, 1)
    assert world.job(job).outcome == JobStatus.DONE
    turn_bad(world, takers[0], job)
    row = world.job(job)
    assert (row.status, row.outcome, row.escrow, row.refunded) == (
        JobStatus.CLOSING,
        JobStatus.EXPIRED,
        COST,
        COST,
    )
    world.blocks(WORK.epoch_blocks)
    row = world.job(job)
    assert (row.status, row.paid, row.escrow) == (JobStatus.EXPIRED, FEE, 0)
    check_everything(world.view)


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
        committed(world, job, outputs, 256, worker)
    for worker, outputs in zip(takers, said, strict=True):
        shown(world, job, outputs, worker)
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
