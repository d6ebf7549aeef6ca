"""The chain's own jobs: fingerprints and scores of every first-round batch, proven, kept, and hinted at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from consensus.work.fingerprint import fingerprints
from omnitensor.protocol import limits, merkle
from omnitensor.protocol.bodies import CampaignOpen, WorkCommit, WorkOutputs
from omnitensor.protocol.types import Amount, Hash, Height, ItemId
from omnitensor.protocol.work import CampaignModel, JobKind, LayerShape, outputs_root
from state.ledger.work_proven import fingerprint
from state.records_work import JobStatus, ReceiptState
from state.schema import FINGERPRINTS, ITEM_SCORES, JOBS
from tests.ledger.test_review_privacy import PRIVATE, private
from tests.ledger.work_world import BAD, WORK, WorkWorld, content_of, rows_in, signed
from tests.ledger.world import CHAIN, SPEC, address_of, declaration, key_of

MODEL = CampaignModel(
    content=content_of("its file", 4_000),
    root=Hash(b"\7" * 32),
    layers=(LayerShape(1_041, 8), LayerShape(8, 3)),
    tile=16,
)


def bits(differ: int) -> bytes:
    """256 outputs of which so many, beginning with the first, are not above zero."""
    return bytes([0xFF] * differ + [5] * (256 - differ))


def a_batch(world: WorkWorld, *texts: str, size: int = 1_000, **spec: Any) -> int:
    """A campaign whose first batch is formed, of items in the order of the texts; the batch's number."""
    campaign = world.open(replace(SPEC, **spec))
    declared = [replace(declaration(text), content=content_of(text, size)) for text in texts]
    assert world.submit("ann", campaign, *declared).ok
    world.blocks(8)
    return campaign


def run(world: WorkWorld, job: Hash, outputs: bytes, width: int, worker: str, good: bool = True) -> None:
    """One unit of one of the chain's own jobs, with outputs that the test gives."""
    committed(world, job, outputs, width, worker)
    shown(world, job, outputs, worker, good)


def committed(world: WorkWorld, job: Hash, outputs: bytes, width: int, worker: str) -> None:
    made = world.receipt(worker, job, 0)
    root = outputs_root(address_of(worker), merkle.root_of(rows_in(outputs, width)))
    made = replace(made, outputs_root=root)
    made = replace(made, signature=signed(key_of(worker), made.message(CHAIN)))
    assert world.do(worker, WorkCommit(made)).ok


def shown(world: WorkWorld, job: Hash, outputs: bytes, worker: str, good: bool = True) -> None:
    """Outputs that were committed to, and the verdict."""
    world.await_showing(job, 0)
    assert world.do(worker, WorkOutputs(job, 0, None, outputs)).ok
    world.judge(worker, job, 0, (True, 100) if good else BAD)


SLOW_REVIEW = replace(WORK, report_commit_blocks=200, seat_accept_blocks=100)
"""Items are still under review when their fingerprints are proven."""


def working() -> WorkWorld:
    world = WorkWorld(params=SLOW_REVIEW)
    world.register_all()
    world.blocks(21 - world.height)
    return world


def opened(world: WorkWorld, kind: JobKind = JobKind.FINGERPRINT, batch: int = 1) -> Hash:
    job = world.batch_job(batch, kind)
    world.attest(job)
    while world.job(job).status == JobStatus.POSTED:
        world.block()
    return job


def outputs_in_batch(world: WorkWorld, by_item: dict[int, bytes], batch: int = 1) -> bytes:
    """Outputs in the order of the batch's items."""
    return b"".join(by_item[int(item)] for item in world.batch(batch).items)


def test_a_batch_has_its_fingerprints_computed_where_anybody_works() -> None:
    world = working()
    a_batch(world, "one", "two")
    job = opened(world)
    row = world.job(job)
    assert (row.rows, row.units, row.replicas, row.escrow, row.batch) == (2, 1, 2, 0, 1)
    outputs = outputs_in_batch(world, {1: bits(0), 2: bits(30)})
    run(world, job, outputs, 256, world.taker(job, 0))
    for item, differ in ((1, 0), (2, 30)):
        kept = world.view.get(FINGERPRINTS, 1, item)
        assert kept is not None
        assert kept.bits == fingerprints(np.frombuffer(bits(differ), np.int8)[None, :])[0]
    world.block()
    (hint,) = world.said("item.near_duplicate")
    assert (hint["item"], hint["of"], hint["bits"], hint["campaign"]) == (2, 1, 30, 1)


def test_no_worker_no_job_and_none_for_private_campaigns() -> None:
    world = WorkWorld(workers=0)
    a_batch(world, "one")
    assert not list(world.view.scan(JOBS))
    world = working()
    campaign = world.open(PRIVATE)
    assert world.submit("ann", campaign, private("one")).ok
    world.blocks(8)
    assert world.batch(1).items
    assert not list(world.view.scan(JOBS))


def test_hints_are_of_the_nearest_that_came_earlier_and_is_near_enough() -> None:
    world = working()
    a_batch(world, "one", "two", "three", "four")
    job = opened(world)
    by_item = {1: bits(0), 2: bits(20), 3: bits(25), 4: bits(25 + WORK.near_duplicate_bits + 1)}
    run(world, job, outputs_in_batch(world, by_item), 256, world.taker(job, 0))
    world.block()
    hints = {each["item"]: (each["of"], each["bits"]) for each in world.said("item.near_duplicate")}
    assert hints == {2: (1, 20), 3: (2, 5)}


def test_short_contents_are_not_compared() -> None:
    world = working()
    a_batch(world, "one", "two", size=100)
    job = opened(world)
    run(world, job, outputs_in_batch(world, {1: bits(0), 2: bits(1)}), 256, world.taker(job, 0))
    world.block()
    assert world.view.get(FINGERPRINTS, 1, 2) is not None
    assert not world.said("item.near_duplicate")


def test_bad_receipts_prove_nothing_and_what_turns_bad_is_taken_back() -> None:
    world = working()
    a_batch(world, "one", "two")
    job = opened(world)
    worker, other = world.taker(job, 0), world.taker(job, 0, 1)
    outputs = outputs_in_batch(world, {1: bits(0), 2: bits(1)})
    run(world, job, outputs, 256, worker, good=False)
    assert not list(world.view.scan(FINGERPRINTS))
    run(world, job, outputs, 256, other)
    assert len(list(world.view.scan(FINGERPRINTS))) == 2
    rows = rows_in(outputs, 256)
    leaves = [merkle.leaf_hash(each) for each in rows]
    order = world.fraud(other, job, 0, 0)
    proof = order.proof
    inclusion = replace(proof.inclusion, path=tuple(map(Hash, merkle.inclusion_proof(leaves, 0))))
    order = replace(order, proof=replace(proof, output=rows[0], inclusion=inclusion))
    assert world.do("ben", order).ok
    world.judge(other, job, 0, BAD)
    assert world.state(other, job, 0) == ReceiptState.BAD
    assert not list(world.view.scan(FINGERPRINTS))


def test_a_campaigns_model_scores_its_items() -> None:
    world = working()
    a_batch(world, "one", "two", model=MODEL)
    world.blocks(41 - world.height)  # its model was named in the epoch before
    job = opened(world, JobKind.SCORES)
    outputs = outputs_in_batch(world, {1: b"\1\2\3", 2: b"\xc1\0\x3f"})
    run(world, job, outputs, 3, world.taker(job, 0))
    kept = world.view.get(ITEM_SCORES, ItemId(2))
    assert kept is not None
    assert kept.scores == b"\xc1\0\x3f"


def test_a_model_that_does_not_fit_items_opens_no_campaign() -> None:
    world = working()
    for wrong in (
        replace(MODEL, tile=20),
        replace(MODEL, layers=(LayerShape(1_023, 3),)),
        replace(MODEL, layers=(LayerShape(1_153, 3),)),
        replace(MODEL, layers=(LayerShape(1_024, 17),)),
        replace(MODEL, layers=(LayerShape(1_024, 8), LayerShape(9, 3))),
    ):
        told = world.do("sponsor", CampaignOpen(replace(SPEC, model=wrong), Amount(10**12)))
        assert told.code == "campaign_spec"


def test_the_chains_own_work_counts_in_full_and_expires_like_any() -> None:
    world = working()
    a_batch(world, "one", "two", model=MODEL)
    job, other = opened(world), world.batch_job(1, JobKind.SCORES)
    worker = world.taker(job, 0)
    run(world, job, outputs_in_batch(world, {1: bits(0), 2: bits(1)}), 256, worker)
    kept = world.kept(worker, job, 0)
    assert kept is not None
    assert (kept.credit, kept.macs) == (100, 100)
    world.blocks(world.job(other).deadline - world.height)
    assert world.job(other).status == JobStatus.EXPIRED
    world.blocks(WORK.epoch_blocks)
    assert world.job(job).status == JobStatus.DONE, "the one replica that came is enough"


def test_signs_of_outputs_are_packed_as_the_program_says() -> None:
    chance = np.random.default_rng(7)
    rows = chance.integers(-63, 64, (50, 256), np.int8)
    assert [fingerprint(row.tobytes()) for row in rows] == fingerprints(rows)


def test_whoever_hands_in_much_holds_up_no_money_by_hints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparing items takes most of what a block has for work, and may wait: receipts, deadlines and bonds may not."""
    world = working()
    a_batch(world, *(f"text {place}" for place in range(6)))
    job = opened(world)
    posted = world.post(deadline=Height(world.height + 16))
    monkeypatch.setattr(limits, "job_work_per_block_max", 1)  # one thing a block
    run(world, job, bits(0) * 6, 256, world.taker(job, 0))
    assert world.job(posted).status == JobStatus.POSTED
    world.blocks(world.job(posted).deadline - world.height)
    assert world.job(posted).status == JobStatus.EXPIRED
    world.blocks(20)
    assert len(world.said("item.near_duplicate")) == 5  # and they come, in the end
