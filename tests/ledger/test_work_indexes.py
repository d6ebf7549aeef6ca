"""What readers look jobs and receipts up by is what the state's rows say, at every step; and session keys that work."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from omnitensor.protocol.bodies import (
    JobCancel,
    ReceiptVote,
    Scope,
    SessionKeyAdd,
    StakeAdd,
    WorkCommit,
    WorkJudge,
    WorkOutputs,
)
from omnitensor.protocol.codec import encode
from omnitensor.protocol.types import Amount, Hash, Height
from state.indexes import OF_STATE
from state.ledger import epochs
from state.records_work import ReceiptState
from state.schema import (
    JOBS,
    JOBS_BY_CONTENT,
    JOBS_BY_POSTER,
    JOBS_BY_STATUS,
    OUTPUTS_BY_CONTENT,
    RECEIPTS_BY_STATE,
    RECEIPTS_BY_WORKER,
    WORK_OUTPUTS,
    WORK_RECEIPTS,
    join_key,
)
from tests.ledger.test_work_jobs import a_world
from tests.ledger.work_world import BAD, WORK, LayerShape, WorkWorld, content_of, outputs_of
from tests.ledger.world import OMNIT, address_of, key_of

OF_WORK = (
    JOBS_BY_POSTER,
    JOBS_BY_STATUS,
    JOBS_BY_CONTENT,
    RECEIPTS_BY_WORKER,
    RECEIPTS_BY_STATE,
    OUTPUTS_BY_CONTENT,
)
LATE = Height(100)


def derived(world: WorkWorld) -> dict[tuple[int, bytes], bytes]:
    """Index rows of jobs and receipts as they follow from the state."""
    found = {}
    for table in (JOBS, WORK_RECEIPTS, WORK_OUTPUTS):
        for key, row in world.view.scan(table):
            for index, parts, value in OF_STATE[table](table.split(key), row):
                found[index.prefix, join_key(parts)] = encode(value)
    return found


def written(world: WorkWorld) -> dict[tuple[int, bytes], bytes]:
    """Index rows as the ledger wrote them."""
    return {(table.prefix, key): encode(value) for table in OF_WORK for key, value in world.view.scan(table)}


def histories(world: WorkWorld) -> Iterator[None]:
    """A life of jobs and receipts, with a stop wherever a row changes its state."""
    job = world.open_job(deadline=LATE)
    yield
    wide = world.open_job(rows=10, unit_rows=10, layers=(LayerShape(4, 1_000),), replicas=1, deadline=LATE)
    other = world.taker(wide, 0)
    assert world.commit_unit(other, wide, 0).ok
    assert world.do(other, WorkOutputs(wide, 0, content_of("large", 10_000), b"")).ok
    yield
    first, second = world.taker(job, 0), world.taker(job, 0, 1)
    assert world.commit_unit(first, job, 0).ok
    yield
    assert world.commit_unit(second, job, 0).ok
    yield
    assert world.show(first, job, 0).ok
    yield
    world.judge(first, job, 0, (True, 1_000))
    yield
    assert world.show(second, job, 0).ok
    yield
    world.judge(second, job, 0, BAD)
    yield
    assert world.do("ben", world.fraud(first, job, 0, 0)).ok
    yield
    world.judge(first, job, 0, (True, 5))
    assert world.commit_unit(first, job, 1).ok
    yield
    world.post("ben")
    assert world.do("ann", JobCancel(job)).ok
    assert world.do("ann", JobCancel(wide)).ok
    yield
    world.blocks(8)
    yield
    world.blocks(WORK.work_keep_blocks + 70)
    yield


def test_indexes_are_what_the_rows_say_at_every_step() -> None:
    world = a_world()
    sizes = []
    for _ in histories(world):
        assert written(world) == derived(world)
        sizes.append(len(derived(world)))
    assert max(sizes) > sizes[-1] > 0, "jobs stay, receipts are forgotten"
    assert not list(world.view.scan(WORK_RECEIPTS))


def with_session(world: WorkWorld, name: str, scopes: int) -> None:
    order = SessionKeyAdd(key_of(f"script of {name}"), scopes, Height(1_000), Amount(OMNIT))
    assert world.do(name, order).ok


def test_a_session_key_of_its_scope_works_and_judges_and_signs_the_receipt_itself() -> None:
    world = a_world()
    job = world.open_job(replicas=1)
    worker = world.taker(job, 0)
    script = key_of(f"script of {worker}")
    with_session(world, worker, Scope.WORK)
    own = world.receipt(worker, job, 0)
    world.queue.append(world.order(worker, WorkCommit(own), signer=script, max_fee=Amount(OMNIT // 2)))
    assert world.block().result.receipts[-1].code == "receipt_signature"
    made = world.receipt(worker, job, 0, signer=script)
    world.queue.append(world.order(worker, WorkCommit(made), signer=script, max_fee=Amount(OMNIT // 2)))
    assert world.block().result.receipts[-1].ok
    shown = WorkOutputs(job, 0, None, outputs_of(job, 0, 4))
    world.queue.append(world.order(worker, shown, signer=script, max_fee=Amount(OMNIT // 2)))
    assert world.block().result.receipts[-1].ok
    vote = WorkJudge((), (ReceiptVote(job, 0, address_of(worker), True, 5),))
    for name in world.validator_names[:3]:
        with_session(world, name, Scope.WORK)
        world.queue.append(
            world.order(name, vote, signer=key_of(f"script of {name}"), max_fee=Amount(OMNIT // 2))
        )
        assert world.block().result.receipts[-1].ok
    assert world.state(worker, job, 0) == ReceiptState.GOOD


def test_the_last_look_at_votes_is_with_the_weights_of_the_epoch_that_it_is_in() -> None:
    """Two of four validators agree, half of the stake; by the next epoch one of them holds so much that they are a quorum."""
    world = a_world(params=replace(WORK, work_judge_blocks=12, epoch_blocks=20))
    job = world.open_job(replicas=1)
    world.blocks(34 - world.height)
    worker = world.taker(job, 0)
    assert world.commit_unit(worker, job, 0).ok
    assert world.show(worker, job, 0).ok
    world.judge(worker, job, 0, (True, 5), "val0", "val1")
    assert world.do("val0", StakeAdd(Amount(2_000_000 * OMNIT))).ok
    assert world.state(worker, job, 0) == ReceiptState.SHOWN
    until = world.kept(worker, job, 0).judged_until  # type: ignore[union-attr] # it is there
    world.blocks(until - 1 - world.height)
    table = epochs.table_of(world.view, world.context(world.height).epoch)
    assert table is not None
    assert table.total_weight > 2_000_000
    assert world.state(worker, job, 0) == ReceiptState.SHOWN, (
        "votes are weighed when one comes, and at the end"
    )
    world.block()
    assert world.state(worker, job, 0) == ReceiptState.GOOD


def test_hashes_of_jobs_differ_from_batch_to_batch() -> None:
    world = a_world()
    assert len({world.batch_job(batch) for batch in range(5)}) == 5
    assert Hash(bytes(32)) not in {world.batch_job(batch) for batch in range(5)}
