"""Replicas of a unit: nobody is paid for a copy, nobody is shut out by speed, and nobody holds the others up by not showing."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from omnitensor.protocol.bodies import JobCancel, ReceiptVote, WorkCommit, WorkJudge, WorkOutputs
from state.ledger.accounts import Pot
from state.records_work import JobStatus, ReceiptState
from tests.ledger.test_work_attacks import shown
from tests.ledger.test_work_jobs import a_world
from tests.ledger.work_world import (
    BAD,
    BOND,
    WORK,
    outputs_of,
)
from tests.ledger.world import OMNIT, address_of


def test_who_commits_after_a_unit_was_shown_is_refused() -> None:
    """A copy of outputs that everybody can read has a root of its own: nobody could tell it from a computation."""
    world = a_world()
    job = world.open_job()
    mine, other = world.takers(job, 0)
    assert world.commit_unit(mine, job, 0).ok
    world.await_showing(job, 0)
    read = WorkOutputs(job, 0, None, outputs_of(job, 0, 4))
    copy = WorkCommit(world.receipt(other, job, 0))
    world.send(mine, read)
    world.send(other, copy)
    assert [each.code for each in world.block().result.receipts] == ["ok", "unit_shown"]
    world.judge(mine, job, 0, (True, 5))
    world.blocks(WORK.work_assigned_blocks)
    for name in world.workers:
        if name != mine:
            assert world.commit_unit(name, job, 0).code == "unit_shown"
    assert world.commit_unit(world.taker(job, 1), job, 1).ok, "of the job's other units nothing was shown"


def test_a_fast_worker_shuts_nobody_out() -> None:
    """Whoever is first waits until those for whom the unit was drawn, and then anybody, had the time to commit."""
    world = a_world()
    job = world.open_job()
    opened = world.job(job).opened_at
    fast, slow = world.takers(job, 0)
    assert world.commit_unit(fast, job, 0).ok
    hold = opened + WORK.work_assigned_blocks + WORK.work_outputs_blocks
    while world.height + 1 < hold:
        told = world.show(fast, job, 0, wait=False)
        assert told.code == "outputs_early"
        assert str(hold) in told.reason
    assert world.kept(slow, job, 0) is None
    assert world.commit_unit(slow, job, 0).ok, "in the last block in which the other has to wait"
    assert world.show(fast, job, 0, wait=False).ok
    assert world.show(slow, job, 0, wait=False).ok
    for name in (fast, slow):
        world.judge(name, job, 0, (True, 5))
    assert world.job(job).done == 1


def test_speed_earns_nothing_that_was_drawn_for_others() -> None:
    """One tries everything in every block, the others commit in the last one that is theirs: each earns what it was drawn for."""
    world = a_world(workers=5, params=replace(WORK, work_receipts_per_block_max=100))
    job = world.open_job(rows=40)
    units, opened = range(10), world.job(job).opened_at
    drawn = {unit: world.takers(job, unit) for unit in units}
    fast, slow = world.workers[0], world.workers[1:]

    def grab() -> None:
        for unit in units:
            row = world.kept(fast, job, unit)
            if row is None:
                world.send(fast, WorkCommit(world.receipt(fast, job, unit)))
            elif row.state == ReceiptState.COMMITTED:
                world.send(fast, WorkOutputs(job, unit, None, outputs_of(job, unit, 4)))

    while world.height + 1 < opened + WORK.work_assigned_blocks:
        grab()
        world.block()
    grab()
    for name in slow:
        for unit in units:
            if name in drawn[unit]:
                world.send(name, WorkCommit(world.receipt(name, job, unit)))
    world.block()
    grab()
    for unit in units:
        for name in drawn[unit]:
            if name != fast:
                world.send(name, WorkOutputs(job, unit, None, outputs_of(job, unit, 4)))
    world.block()
    votes = tuple(ReceiptVote(job, unit, address_of(name), True, 5) for unit in units for name in drawn[unit])
    for name in world.validator_names:
        world.send(name, WorkJudge((), votes))
    world.block()
    world.blocks(WORK.epoch_blocks)
    assert world.job(job).status == JobStatus.DONE
    for name in world.workers:
        assert world.worker(name).fees == 7 * OMNIT * sum(name in takers for takers in drawn.values())


def test_a_unit_that_nobody_took_in_time_waits_from_its_first_receipt() -> None:
    world = a_world()
    job = world.open_job()
    world.blocks(3 * WORK.work_assigned_blocks)
    assert world.commit_unit("wo0", job, 0).ok
    hold = world.height + WORK.work_outputs_blocks
    while world.height + 1 < hold:
        assert world.show("wo0", job, 0, wait=False).code == "outputs_early"
    assert world.show("wo0", job, 0, wait=False).ok


def test_nobody_who_joins_makes_the_others_wait_longer() -> None:
    """Else their time to show would be over before they may."""
    world = a_world()
    job = world.open_job(rows=4, replicas=3)
    world.blocks(WORK.work_assigned_blocks)
    assert world.commit_unit("wo0", job, 0).ok
    hold = world.height + WORK.work_outputs_blocks
    world.blocks(hold - 2 - world.height)
    assert world.commit_unit("wo1", job, 0).ok
    for name in ("wo0", "wo1"):
        assert world.show(name, job, 0, wait=False).ok
    assert world.height == hold + 1


@pytest.mark.parametrize("verdict", [(True, 5), BAD, None])
def test_who_committed_before_anything_was_shown_is_paid_whatever_becomes_of_the_other(
    verdict: tuple[bool, int] | None,
) -> None:
    """Its outputs were fixed before it could read any: it may show them although the unit was shown and lacks a receipt."""
    world = a_world()
    job = world.open_job(rows=4)
    first, second = world.takers(job, 0)
    for name in (first, second):
        world.send(name, WorkCommit(world.receipt(name, job, 0)))
    assert all(each.ok for each in world.block().result.receipts)
    assert world.show(first, job, 0, wait=False).ok, "the unit is full: nobody is waited for"
    if verdict is not None:
        world.judge(first, job, 0, verdict)
    assert world.show(second, job, 0, wait=False).ok
    for name in (first, second):
        if world.state(name, job, 0) == ReceiptState.SHOWN:
            world.judge(name, job, 0, (True, 5))
    world.blocks(WORK.epoch_blocks)
    row, stood = world.job(job), 1 if verdict == BAD else 2
    assert (row.status, row.paid, row.burned) == (JobStatus.DONE, stood * 7 * OMNIT, stood * 3 * OMNIT)
    assert row.refunded == (2 - stood) * 10 * OMNIT


def test_who_withholds_its_replica_holds_up_nobody_for_long_and_the_job_is_done_without_it() -> None:
    world = a_world()
    job = world.open_job(rows=4)
    honest, other = world.takers(job, 0)
    assert world.commit_unit(other, job, 0).ok
    assert world.commit_unit(honest, job, 0).ok
    world.run_shown(honest, job, 0)
    assert world.job(job).status == JobStatus.OPEN, "another replica may still come"
    opened = world.job(job).opened_at
    last = opened + WORK.work_assigned_blocks + 2 * WORK.work_outputs_blocks - 1
    world.blocks(last - world.height)
    assert world.state(other, job, 0) == ReceiptState.WITHHELD
    assert world.worker(other).bond == BOND - BOND // 10
    row = world.job(job)
    assert (row.status, row.outcome, row.done) == (JobStatus.CLOSING, JobStatus.DONE, 1)
    world.blocks(WORK.epoch_blocks)
    row = world.job(job)
    assert (row.status, row.paid, row.burned, row.refunded) == (
        JobStatus.DONE,
        7 * OMNIT,
        3 * OMNIT,
        10 * OMNIT,
    )
    assert world.pot(Pot.WORK) == 0


def test_a_unit_of_one_replica_waits_for_nobody() -> None:
    """Neither to be shown, nor for outputs that do not come."""
    world = a_world()
    job = world.open_job(replicas=1, rows=8)
    assert shown(world, job, 0)
    worker = world.taker(job, 1)
    assert world.commit_unit(worker, job, 1).ok
    world.blocks(WORK.work_outputs_blocks)
    assert world.state(worker, job, 1) == ReceiptState.WITHHELD


@pytest.mark.parametrize("end", ["deadline", "cancelled"])
def test_where_no_more_receipts_can_come_nobody_waits_for_them(end: str) -> None:
    """The last outputs are shown as early as they were before, so a place among the jobs is held no longer than paid for."""
    world = a_world()
    job = world.open_job(rows=4)
    deadline = world.job(job).deadline
    if end == "deadline":
        world.blocks(deadline - 1 - world.height)
    worker = world.taker(job, 0)
    assert world.commit_unit(worker, job, 0).ok
    if end == "cancelled":
        assert world.do("ann", JobCancel(job)).ok
    else:
        assert world.height == deadline
    assert world.show(worker, job, 0, wait=False).ok
    world.judge(worker, job, 0, (True, 5))
    world.blocks(WORK.epoch_blocks)
    row = world.job(job)
    assert row.status == (JobStatus.DONE if end == "deadline" else JobStatus.CANCELLED)
    assert (row.paid, row.burned, row.refunded, row.escrow) == (7 * OMNIT, 3 * OMNIT, 10 * OMNIT, 0)


@pytest.mark.parametrize("ahead", range(1, 14))
def test_there_is_always_time_to_show_and_it_ends_in_time(ahead: int) -> None:
    """Whenever a unit is taken before its deadline: from the first block that takes outputs to the last that does."""
    for late in (False, True):
        world = a_world()
        job = world.open_job(rows=4)
        deadline = world.job(job).deadline
        taken = max(world.height + 1, deadline - ahead + 1) if late else world.height + ahead
        world.blocks(taken - 1 - world.height)
        worker = world.taker(job, 0)
        assert world.commit_unit(worker, job, 0).ok
        world.await_showing(job, 0)
        first = world.height + 1
        while world.state(worker, job, 0) == ReceiptState.COMMITTED:
            world.block()
        assert world.state(worker, job, 0) == ReceiptState.WITHHELD
        assert world.height - first + 1 == WORK.work_outputs_blocks
        assert world.height <= deadline + WORK.work_outputs_blocks


def test_a_unit_whose_receipts_are_gone_begins_anew() -> None:
    """For others than those who had it, and with the whole time to commit."""
    world = a_world(workers=4)
    job = world.open_job(rows=4)
    first, second = world.takers(job, 0)
    assert world.commit_unit(first, job, 0).ok
    assert world.commit_unit(second, job, 0).ok
    for name in (first, second):
        assert world.show(name, job, 0).ok
    world.judge(first, job, 0, BAD)
    others = [name for name in world.workers if name not in (first, second)]
    world.blocks(WORK.work_assigned_blocks)
    assert world.commit_unit(others[0], job, 0).code == "unit_shown", "one that was shown may yet stand"
    while world.state(second, job, 0) != ReceiptState.VOID:
        world.block()
    assert world.job(job).done == 0
    assert world.commit_unit(first, job, 0).code in ("receipt_known", "worker_bond")
    assert world.commit_unit(second, job, 0).code == "receipt_known"
    assert world.commit_unit(others[0], job, 0).ok
    assert world.show(others[0], job, 0, wait=False).code == "outputs_early"
    assert world.commit_unit(others[1], job, 0).ok
    assert world.show(others[0], job, 0, wait=False).ok


def test_no_vote_on_parameters_takes_the_time_to_show_away() -> None:
    """The time for which a unit waits is fixed with its first receipt, as is the time to show."""
    world = a_world()
    job = world.open_job(rows=4)
    worker = world.taker(job, 0)
    assert world.commit_unit(worker, job, 0).ok
    world.params = replace(world.params, work_assigned_blocks=40, work_outputs_blocks=10)
    world.blocks(WORK.work_assigned_blocks + WORK.work_outputs_blocks - 2)
    assert world.height + 1 < world.job(job).deadline
    assert world.show(worker, job, 0, wait=False).ok
