"""Jobs from their post to their end, in every way that they can end: where each unit of their money goes, and when."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from omnitensor.protocol import limits
from omnitensor.protocol.bodies import (
    JobCancel,
    JobVote,
    WorkerBondAdd,
    WorkerEdit,
    WorkerLeave,
    WorkJudge,
    WorkOutputs,
)
from omnitensor.protocol.types import Amount, Height
from omnitensor.protocol.work import FINGERPRINT_ROOT, JobKind, LayerShape, job_id, unit_bits, unit_macs
from state.ledger.accounts import Pot
from state.records_work import JobStatus, ReceiptState
from state.schema import (
    ATTESTS,
    FINDINGS,
    JOBS_OPEN,
    VALIDATORS,
    WORK_DUE,
    WORK_OUTPUTS,
    WORK_RECEIPTS,
    WORK_UNITS,
    WORKER_LISTS,
    WORKERS,
)
from tests.ledger.work_world import (
    BAD,
    BOND,
    WORK,
    WorkWorld,
    consensus_key,
    content_of,
    outputs_of,
    possession,
)
from tests.ledger.world import CHAIN, OMNIT, address_of


def a_world(**more: object) -> WorkWorld:
    world = WorkWorld(**more)  # type: ignore[arg-type] # what the world takes
    world.register_all()
    return world


def test_a_job_is_done_when_every_unit_has_its_replicas() -> None:
    world = a_world()
    before = world.balance("ann")
    job = world.open_job()
    assert world.pot(Pot.WORK) == 3 * 2 * 10 * OMNIT
    burned = world.pot(Pot.BURNED)
    world.run_whole(job)
    world.blocks(WORK.epoch_blocks)
    row = world.job(job)
    assert (row.status, row.paid, row.burned, row.refunded) == (JobStatus.DONE, 42 * OMNIT, 18 * OMNIT, 0)
    assert world.pot(Pot.WORK) == 0
    assert world.pot(Pot.BURNED) - burned > 18 * OMNIT  # and fees
    assert before - world.balance("ann") >= 60 * OMNIT
    assert sum(world.worker(name).fees for name in world.workers) == 42 * OMNIT
    assert world.view.get(JOBS_OPEN, address_of("ann")) is None


def test_it_opens_when_enough_stake_has_its_bytes_and_its_model_is_of_an_earlier_epoch() -> None:
    world = a_world()
    job = world.post()
    world.attest(job, "val0", "val1")
    assert not world.job(job).available  # half is not two thirds
    world.attest(job, "val2")
    assert world.job(job).available
    assert world.job(job).status == JobStatus.POSTED
    assert not list(world.view.scan(ATTESTS))
    world.height = 19
    world.block()
    assert world.job(job).status == JobStatus.POSTED
    world.block()
    assert (world.job(job).status, world.job(job).opened_at) == (JobStatus.OPEN, 21)
    other = world.post()  # the model is known by now
    world.attest(other)
    world.block()
    assert world.job(other).status == JobStatus.OPEN
    assert world.job(other).beacon == world.context(world.height).beacon


def test_a_validator_may_change_its_mind_until_enough_agree() -> None:
    world = a_world()
    job = world.post()
    world.attest(job, "val0", "val1", available=False)
    world.attest(job, "val1", "val2")
    world.attest(job, "val0")
    assert world.job(job).available


def test_stake_that_can_not_have_the_bytes_ends_the_job_with_a_refund() -> None:
    world = a_world()
    job = world.post()
    world.attest(job, available=False)
    row = world.job(job)
    assert (row.status, row.refunded, world.pot(Pot.WORK)) == (JobStatus.REFUSED, 60 * OMNIT, 0)


def test_what_its_poster_cancels_is_judged_and_paid_where_it_is_under_way() -> None:
    world = a_world()
    job = world.open_job()
    worker = world.taker(job, 0)
    assert world.commit_unit(worker, job, 0).ok
    assert world.do("ben", JobCancel(job)).code == "job_poster"
    assert world.do("ann", JobCancel(job)).ok
    row = world.job(job)
    assert (row.status, row.refunded, row.escrow) == (JobStatus.CLOSING, 50 * OMNIT, 10 * OMNIT)
    assert world.show(worker, job, 0).ok
    assert world.commit_unit(world.taker(job, 1), job, 1).code == "job_not_open"
    world.judge(worker, job, 0, (True, 5))
    assert world.job(job).status == JobStatus.CLOSING
    world.blocks(WORK.epoch_blocks)
    row = world.job(job)
    assert (row.status, row.paid, row.burned, row.refunded) == (
        JobStatus.CANCELLED,
        7 * OMNIT,
        3 * OMNIT,
        50 * OMNIT,
    )
    assert world.do("ann", JobCancel(job)).code == "job_ended"


def test_a_deadline_returns_what_is_left_and_an_unjudged_receipt_costs_nobody() -> None:
    world = a_world()
    job = world.open_job()
    world.run_unit(world.taker(job, 0), job, 0)
    world.blocks(world.job(job).deadline - 3 - world.height)
    worker = world.workers[0] if world.kept(world.workers[0], job, 2) is None else world.workers[1]
    assert world.commit_unit(worker, job, 2).ok
    assert world.show(worker, job, 2).ok
    world.block()
    assert world.job(job).status == JobStatus.CLOSING
    bond = world.worker(worker).bond
    world.blocks(8)
    row = world.job(job)
    assert world.state(worker, job, 2) == ReceiptState.VOID
    assert (row.status, row.paid, row.burned, row.refunded) == (
        JobStatus.EXPIRED,
        7 * OMNIT,
        3 * OMNIT,
        50 * OMNIT,
    )
    assert world.worker(worker).bond == bond


def test_a_job_that_nobody_has_the_bytes_of_expires_whole() -> None:
    world = a_world()
    job = world.post(deadline=Height(30))
    world.attest(job, "val0")
    world.blocks(30)
    assert (world.job(job).status, world.job(job).refunded) == (JobStatus.EXPIRED, 60 * OMNIT)


def test_a_bad_receipt_costs_the_bond_and_its_unit_goes_to_another() -> None:
    world = a_world()
    job = world.open_job()
    worker = world.taker(job, 0)
    assert world.commit_unit(worker, job, 0).ok
    assert world.show(worker, job, 0).ok
    burned, reserve = world.pot(Pot.BURNED), world.pot(Pot.RESERVE)
    world.judge(worker, job, 0, BAD)
    assert world.state(worker, job, 0) == ReceiptState.BAD
    row = world.worker(worker)
    assert (row.bond, row.slashed, row.bad, row.held) == (0, BOND, 1, 0)
    assert world.pot(Pot.BURNED) - burned >= BOND // 2
    assert world.pot(Pot.RESERVE) - reserve == BOND - BOND // 2
    assert world.commit_unit(worker, job, 1).code == "worker_bond"
    assert world.do(worker, WorkerBondAdd(Amount(BOND))).ok
    assert world.commit_unit(worker, job, 0).code == "receipt_known"
    world.blocks(WORK.work_assigned_blocks)
    world.run_replicas([other for other in world.workers if other != worker], job, 0)
    assert world.job(job).done == 1


def test_outputs_that_do_not_come_cost_a_part_of_the_bond() -> None:
    world = a_world()
    job = world.open_job()
    worker = world.taker(job, 0)
    assert world.commit_unit(worker, job, 0).ok
    world.await_showing(job, 0)
    world.blocks(WORK.work_outputs_blocks)
    assert world.state(worker, job, 0) == ReceiptState.WITHHELD
    assert world.worker(worker).bond == BOND - BOND // 10
    assert world.show(worker, job, 0).code == "outputs_shown"
    assert world.job(job).under_way == 0


def test_large_outputs_are_named_as_content() -> None:
    world = a_world()
    rows = limits.work_outputs_inline_max
    job = world.open_job(
        rows=rows, unit_rows=4_096, layers=(LayerShape(4, 2),), data=content_of("big", 4 * rows)
    )
    worker = world.taker(job, 0)
    assert world.commit_unit(worker, job, 0).ok
    world.await_showing(job, 0)
    small = replace(content_of("outputs", 4_096 * 2))
    over = content_of("outputs", 4_096 * 2 + 1)
    assert world.do(worker, WorkOutputs(job, 0, over, b"")).code == "outputs_size"
    # 4,096 rows of two numbers are just as many bytes as stand in an order.
    assert world.do(worker, WorkOutputs(job, 0, small, b"")).code == "outputs_size"
    assert world.show(worker, job, 0).ok
    wide = world.open_job(rows=10, unit_rows=10, layers=(LayerShape(4, 1_000),))
    worker = world.taker(wide, 0)
    assert world.commit_unit(worker, wide, 0).ok
    world.await_showing(wide, 0)
    assert world.do(worker, WorkOutputs(wide, 0, None, bytes(8_192))).code == "outputs_size"
    assert world.do(worker, WorkOutputs(wide, 0, content_of("o", 10_000), b"")).ok


def test_what_is_wrong_with_a_post_is_said() -> None:
    world = a_world()
    tries = {
        "job_shape": {"tile": 17},
        "job_data": {"data": content_of("x", 41)},
        "job_units": {"rows": 4_097, "unit_rows": 1, "data": content_of("x", 4 * 4_097)},
        "job_fee": {"fee_unit": Amount(0), "burn_unit": Amount(0)},
        "job_deadline": {"deadline": Height(world.height)},
        "job_size": {"model": content_of("m", limits.model_bytes_max + 1)},
        "balance": {"fee_unit": Amount(10**17)},
    }
    for code, changes in tries.items():
        assert world.do("ann", world.job_post(**changes)).code == code
    two = (LayerShape(4, 3), LayerShape(2, 2))
    assert world.do("ann", world.job_post(layers=two)).code == "job_shape"
    ahead = Height(world.height + 2 + WORK.work_job_blocks_max)
    assert world.do("ann", world.job_post(deadline=ahead)).code == "job_deadline"
    for _ in range(limits.jobs_open_per_account_max):
        world.post()
    assert world.do("ann", world.job_post()).code == "job_limit"


def test_all_open_jobs_together_are_bounded_and_an_ended_one_makes_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "jobs_open_max", 3)
    world = a_world()
    jobs = [world.post(who) for who in ("ann", "ben", "ann")]
    assert world.do("sponsor", world.job_post()).code == "job_limit"
    assert world.do("ben", JobCancel(jobs[1])).ok
    assert world.do("sponsor", world.job_post()).ok


def test_bytes_that_every_validator_fetches_weigh() -> None:
    world = a_world()
    small, large = world.job_post(), world.job_post(data=content_of("large", 2**20))
    assert large.weight() - small.weight() == 2**10


def test_a_worker_registers_leaves_and_has_its_bond_back_when_nothing_can_be_judged_any_more() -> None:
    world = WorkWorld(workers=2)
    order = world.registration("wo0", BOND - 1)
    assert world.do("wo0", order).code == "worker_bond"
    assert (
        world.do("wo0", replace(order, bond=Amount(BOND), proof_of_possession=possession(b"x"))).code
        == "possession"
    )
    assert world.do("wo0", world.registration("wo0")).ok
    assert world.do("wo0", world.registration("wo0")).code == "worker_exists"
    taken = replace(
        world.registration("wo1"),
        consensus_key=consensus_key("wo0"),
        proof_of_possession=possession(consensus_key("wo0")),
    )
    assert world.do("wo1", taken).code == "consensus_key_taken"
    new = consensus_key("wo0 again")
    assert world.do("wo0", WorkerEdit(new, possession(new))).ok
    assert world.worker("wo0").consensus_key == new
    job = world.open_job(replicas=1)
    world.run_unit("wo0", job, 0)
    before = world.balance("wo0")
    assert world.do("wo0", WorkerLeave()).ok
    assert world.do("wo0", WorkerLeave()).code == "worker_leaves"
    assert world.commit_unit("wo0", job, 1).code == "worker_leaves"
    due = world.worker("wo0").leaves_at
    assert due == world.height - 2 + WORK.unbonding_blocks + WORK.epoch_blocks
    while world.height < due - 1:
        world.block()
    assert world.view.get(WORKERS, address_of("wo0")) is not None
    world.block()
    assert world.view.get(WORKERS, address_of("wo0")) is None
    assert world.balance("wo0") >= before + BOND - OMNIT
    assert not world.pot(Pot.WORK_BONDS)


def test_a_validator_works_with_its_own_key() -> None:
    world = WorkWorld(workers=1)
    key = world.view.get(VALIDATORS, address_of("val0")).consensus_key  # type: ignore[union-attr] # it is there
    assert world.do("val0", world.registration("val0")).code == "worker_key"
    own = replace(world.registration("val0"), consensus_key=key, proof_of_possession=possession(key))
    assert world.do("val0", own).ok


def test_everything_of_an_ended_job_is_forgotten_after_an_epoch() -> None:
    world = a_world()
    job = world.open_job()
    world.run_whole(job)
    assert len(list(world.view.scan(WORK_RECEIPTS))) == 6
    world.blocks(max(WORK.epoch_blocks + WORK.work_keep_blocks + 2, world.job(job).deadline - world.height))
    for table in (WORK_RECEIPTS, WORK_OUTPUTS, WORK_UNITS, FINDINGS, WORK_DUE):
        rows = [key for key, _ in world.view.scan(table)]
        assert not rows, table
    assert all(world.worker(name).held == 0 for name in world.workers)


def test_a_units_difficulty_follows_from_its_shape() -> None:
    """Eight to sixteen squares win on average, where there are so many."""
    for rows, inputs, outputs, tile in [
        (20, 1_024, 256, 64),
        (1_024, 1_024, 1_024, 128),
        (7, 5, 3, 16),
        (64, 64, 64, 16),
    ]:
        layers = (LayerShape(inputs, outputs), LayerShape(outputs, outputs))
        squares = -(-rows // tile) * sum(-(-one.inputs // tile) * -(-one.outputs // tile) for one in layers)
        expected = squares / 2 ** unit_bits(layers, rows, tile)
        assert expected == squares if squares < 8 else 8 <= expected < 16
        assert unit_macs(layers, rows) == rows * (inputs * outputs + outputs * outputs)


def test_jobs_have_names_that_tell_kinds_chains_and_numbers_apart() -> None:
    names = {job_id(chain, kind, number) for chain in (CHAIN, "b") for kind in JobKind for number in range(3)}
    assert len(names) == 2 * len(JobKind) * 3


def test_the_fingerprint_job_is_of_the_program_itself() -> None:
    from consensus.work.fingerprint import BITS, FEATURES, TILE, fingerprint_program  # takes numpy along
    from omnitensor.protocol import work  # beside it

    assert fingerprint_program().root == FINGERPRINT_ROOT
    assert (work.FEATURES, work.FINGERPRINT_BITS, work.FINGERPRINT_TILE) == (FEATURES, BITS, TILE)


def test_votes_of_an_order_that_count_are_taken_and_the_others_passed_over() -> None:
    world = a_world()
    job, other = world.post(), world.post()
    strange = job_id(CHAIN, JobKind.POSTED, 99)
    votes = tuple(JobVote(name, True) for name in (strange, job, other))
    assert world.do("val0", WorkJudge(votes, ())).ok
    assert world.do("val0", WorkJudge(votes, ())).code == "judge_nothing"
    assert world.do("ann", WorkJudge(votes, ())).code == "judge_unknown"
    assert world.do("val0", WorkJudge((), ())).code == "judge_nothing"


def test_lists_of_workers_are_those_with_a_whole_bond_that_stay() -> None:
    world = a_world()
    assert world.do("wo2", WorkerLeave()).ok
    world.height = 19
    world.block()
    row = world.view.get(WORKER_LISTS, 1)
    assert row is not None
    assert row.workers == tuple(sorted(map(address_of, ("wo0", "wo1"))))


def test_outputs_are_kept_for_whoever_waits_for_them() -> None:
    world = a_world()
    job = world.open_job()
    worker = world.taker(job, 0)
    world.run_unit(worker, job, 0)
    kept = world.view.get(WORK_OUTPUTS, job, 0, address_of(worker))
    assert kept is not None
    assert kept.outputs == outputs_of(job, 0, 4)
