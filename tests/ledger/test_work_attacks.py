"""What dishonest workers, posters, judges and finders try against the ledger's half of work, and what comes of it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from consensus.work.credit import counted
from omnitensor.protocol.bodies import ReceiptVote, WorkCommit, WorkJudge, WorkOutputs
from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.seasons import Role
from omnitensor.protocol.types import NANO, ZERO_HASH, Amount, Hash, Height
from omnitensor.protocol.work import RECEIPT_BYTES_MAX, JobKind, LayerShape, Ticket, job_id, unit_macs
from state.ledger import standings, worker_sets
from state.ledger.accounts import Pot
from state.ledger.work_credit import of_receipt
from state.records_work import JobStatus, ReceiptState
from state.schema import VALIDATORS, WORK_CREDIT
from tests.ledger.test_work_jobs import a_world
from tests.ledger.work_world import (
    BAD,
    BOND,
    WORK,
    WorkWorld,
    content_of,
    outputs_of,
    possession,
)
from tests.ledger.world import CHAIN, OMNIT, address_of

SHAPE = (LayerShape(64, 64),)


def shown(world: WorkWorld, job: Hash, unit: int = 0, place: int = 0, salt: str = "") -> str:
    """A worker whose receipt of a unit is committed and shown."""
    worker = world.taker(job, unit, place)
    assert world.commit_unit(worker, job, unit, salt=salt).ok
    assert world.show(worker, job, unit, salt).ok
    return worker


# -- receipts


def test_a_receipt_with_another_workers_name_or_signature_is_refused() -> None:
    world = a_world()
    job = world.open_job()
    mine, other = world.taker(job, 0), world.taker(job, 0, 1)
    stolen = world.receipt(mine, job, 0)
    assert world.do(other, WorkCommit(stolen)).code == "receipt_worker"
    renamed = replace(stolen, worker=address_of(other))
    assert world.do(other, WorkCommit(renamed)).code == "receipt_signature"


def test_a_copied_replica_is_refused_whatever_it_copies() -> None:
    """The root of the outputs is keyed by the worker: whoever copies another's cannot show anything that fits it."""
    world = a_world()
    job = world.open_job()
    mine, other = world.taker(job, 0), world.taker(job, 0, 1)
    assert world.commit_unit(mine, job, 0).ok
    root = world.receipt(mine, job, 0).outputs_root
    assert world.commit_unit(other, job, 0, outputs_root=root).ok
    assert world.show(mine, job, 0).ok
    copied = outputs_of(job, 0, 4)
    assert world.do(other, WorkOutputs(job, 0, None, copied)).code == "outputs_root"
    world.blocks(WORK.work_outputs_blocks)
    assert world.state(other, job, 0) == ReceiptState.WITHHELD


def test_outputs_never_stand_in_the_block_of_their_receipt() -> None:
    world = a_world()
    job = world.open_job()
    worker = world.taker(job, 0)
    world.send(worker, WorkCommit(world.receipt(worker, job, 0)))
    world.send(worker, WorkOutputs(job, 0, None, outputs_of(job, 0, 4)))
    assert [each.code for each in world.block().result.receipts] == ["ok", "outputs_early"]


def test_receipts_of_every_wrong_length_are_refused() -> None:
    """A receipt has a form: its bytes cut anywhere or with more behind are none, and one beyond the bound is refused."""

    world = a_world()
    job = world.open_job()
    worker = world.taker(job, 0)
    data = encode(WorkCommit(world.receipt(worker, job, 0)))
    for length in range(len(data)):
        with pytest.raises(ProtocolError):
            decode(WorkCommit, data[:length])
    with pytest.raises(ProtocolError):
        decode(WorkCommit, data + b"\0")
    wide = (Ticket(7, 65_535, 65_535, 65_535),) * 4
    largest = replace(world.receipt(worker, job, 0), tickets=wide, unit=2**32 - 1, anchor=Height(2**63))
    assert len(encode(largest)) <= RECEIPT_BYTES_MAX


def test_an_anchor_is_a_recent_block_and_nothing_else() -> None:
    """Ground anchors: sixty-four blocks to choose from by default, here eight, and a unit once for each worker."""
    world = a_world()
    job = world.open_job(replicas=1)
    world.blocks(WORK.work_anchor_blocks_max)
    worker = world.taker(job, 0)
    at = world.height
    for anchor in (at + 1, at + 1 + 10**6, at + 1 - WORK.work_anchor_blocks_max - 5):
        assert world.commit_unit(worker, job, 0, anchor=Height(max(0, anchor + 1))).code == "receipt_anchor"
    assert world.commit_unit(worker, job, 0, anchor=Height(world.height + 1 - WORK.work_anchor_blocks_max)).ok
    again = world.commit_unit(worker, job, 0, anchor=Height(world.height - 2))
    assert again.code == "receipt_known"


def test_no_anchor_is_older_than_its_job() -> None:
    """Whoever knows the anchor before it names the rows names minus the noise: what is left to multiply is nearly nothing."""
    world = a_world()
    job = world.open_job(replicas=1, unit_rows=1)
    opened = world.job(job).opened_at
    assert opened == world.height
    told = world.commit_unit(world.taker(job, 0), job, 0, anchor=Height(opened - 1))
    assert told.code == "receipt_anchor"
    assert world.commit_unit(world.taker(job, 0), job, 0, anchor=Height(opened)).ok


def test_nobody_commits_a_unit_twice_whatever_became_of_the_first() -> None:
    world = a_world()
    job = world.open_job(replicas=3)
    worker = shown(world, job)
    for _ in range(3):
        assert world.commit_unit(worker, job, 0).code == "receipt_known"
        world.blocks(3)
    assert world.state(worker, job, 0) == ReceiptState.VOID


def test_synthetic_work_is_bounded_and_counts_once() -> None:
    params = replace(WORK, synthetic_units_max=2)
    world = a_world(params=params)
    world.blocks(22 - world.height)
    job, told = world.synthetic("wo0")
    assert told.ok, told
    assert world.commit_unit("wo0", job, 0).code == "receipt_known"
    assert world.commit_unit("wo0", job, 2).code == "receipt_unit"
    assert world.commit_unit("wo0", job, 1, tickets=()).code == "receipt_synthetic"
    assert world.commit_unit("wo0", job, 1, outputs_root=Hash(b"\1" * 32)).code == "receipt_synthetic"
    other = job_id(CHAIN, JobKind.SYNTHETIC, 7)
    assert world.commit_unit("wo0", other, 0).code == "job_unknown"
    world.judge("wo0", job, 0, (True, 4_000))
    row = world.view.get(WORK_CREDIT, 1, address_of("wo0"))
    assert row is not None
    assert (row.credit, row.useful, row.macs, row.tickets) == (1_000, 0, 4_000, 2)
    # Its row stays until no block of its epoch can be an anchor any more, however far a vote moves that.
    world.blocks(60)
    kept = world.kept("wo0", job, 0)
    assert kept is not None
    assert not kept.held


def test_a_block_takes_so_many_receipts_and_no_more() -> None:
    world = a_world(params=replace(WORK, work_receipts_per_block_max=2))
    job = world.open_job(rows=40, replicas=1)
    world.blocks(WORK.work_assigned_blocks)
    for unit in range(4):
        world.send("wo0", WorkCommit(world.receipt("wo0", job, unit)))
    codes = [each.code for each in world.block().result.receipts]
    assert codes == ["ok", "ok", "receipt_limit", "receipt_limit"]
    assert world.commit_unit("wo0", job, 2).ok


def test_units_are_theirs_to_whom_the_beacon_gave_them_then_anybodys() -> None:
    world = a_world(workers=6)
    world.blocks(20 - world.height)
    job = world.open_job(rows=40)
    drawn = {world.taker(job, unit, place) for unit in range(10) for place in range(2)}
    assert len(drawn) > 2
    for unit in range(10):
        assert world.taker(job, unit, 0) != world.taker(job, unit, 1)
    mine = {world.taker(job, 0, 0), world.taker(job, 0, 1)}
    other = next(name for name in world.workers if name not in mine)
    assert world.commit_unit(other, job, 0).code == "unit_assigned"
    world.blocks(WORK.work_assigned_blocks)
    assert world.commit_unit(other, job, 0).ok


def test_more_replicas_than_asked_for_are_not_taken() -> None:
    world = a_world()
    job = world.open_job(replicas=1)
    world.blocks(WORK.work_assigned_blocks)
    assert world.commit_unit("wo0", job, 0).ok
    assert world.commit_unit("wo1", job, 0).code == "unit_full"


# -- judges


def test_a_worker_does_not_judge_its_own_receipt() -> None:
    world = WorkWorld(workers=0, validators=4)
    key = world.view.get(VALIDATORS, address_of("val0")).consensus_key  # type: ignore[union-attr] # it is there
    order = replace(world.registration("val0"), consensus_key=key, proof_of_possession=possession(key))
    assert world.do("val0", order).ok
    job = world.open_job(replicas=1)
    assert world.commit_unit("val0", job, 0).ok
    assert world.show("val0", job, 0).ok
    vote = ReceiptVote(job, 0, address_of("val0"), True, 5)
    assert world.do("val0", WorkJudge((), (vote,))).code == "judge_nothing"
    world.judge("val0", job, 0, (True, 5), "val1", "val2")
    assert world.state("val0", job, 0) == ReceiptState.SHOWN
    world.judge("val0", job, 0, (True, 5), "val3")
    assert world.state("val0", job, 0) == ReceiptState.GOOD


def test_judges_without_a_quorum_move_nothing() -> None:
    """Two thirds of the stake and a bit: half that says bad slashes nobody, half that says good pays nobody."""
    world = a_world(validators=6)
    job = world.open_job(replicas=1)
    worker = shown(world, job)
    world.judge(worker, job, 0, BAD, "val0", "val1", "val2")
    world.judge(worker, job, 0, (True, 9), "val3", "val4", "val5")
    assert world.state(worker, job, 0) == ReceiptState.SHOWN
    world.judge(worker, job, 0, (True, 8), "val2")  # good, but not the same
    assert world.state(worker, job, 0) == ReceiptState.SHOWN
    world.blocks(WORK.work_judge_blocks)
    assert world.state(worker, job, 0) == ReceiptState.VOID
    assert world.worker(worker).bond == BOND
    assert not world.said("work.good")


def test_votes_weigh_what_their_validators_weigh_when_they_are_weighed() -> None:
    """An epoch turns between the votes: who is no voter any more counts no more, and the last look is with the new weights."""
    world = a_world(validators=4)
    job = world.open_job(replicas=1)
    world.blocks(38 - world.height)
    worker = shown(world, job)  # in the epoch's last block
    assert world.height == 40
    world.judge(worker, job, 0, (True, 5), "val0", "val1")
    row = world.view.get(VALIDATORS, address_of("val3"))
    assert row is not None
    assert world.state(worker, job, 0) == ReceiptState.SHOWN
    world.judge(worker, job, 0, (True, 5), "val3")
    assert world.state(worker, job, 0) == ReceiptState.GOOD


def test_a_vote_that_calls_bad_work_worth_something_is_passed_over() -> None:
    world = a_world()
    job = world.open_job(replicas=1)
    worker = shown(world, job)
    odd = ReceiptVote(job, 0, address_of(worker), False, 5)
    assert world.do("val0", WorkJudge((), (odd,))).code == "judge_nothing"


# -- fraud


def test_a_wrong_row_that_was_found_good_costs_the_bond_and_pays_its_finder() -> None:
    world = a_world()
    job = world.open_job(replicas=1)
    worker = shown(world, job, salt="wrong")
    world.judge(worker, job, 0, (True, 1_000))
    credit = world.view.get(WORK_CREDIT, 1, address_of(worker))
    assert credit is not None
    before = world.balance("ben")
    assert world.do(worker, world.fraud(worker, job, 0, 1, "wrong")).code == "fraud_own"
    assert world.do("ben", world.fraud(worker, job, 0, 1)).code == "fraud_row"
    assert world.do("ben", world.fraud(worker, job, 0, 1, "wrong")).ok
    assert world.state(worker, job, 0) == ReceiptState.CHALLENGED
    assert world.do("ann", world.fraud(worker, job, 0, 1, "wrong")).code == "fraud_receipt"
    world.judge(worker, job, 0, BAD)
    assert world.state(worker, job, 0) == ReceiptState.BAD
    assert world.worker(worker).bond == 0
    assert world.balance("ben") - before >= BOND // 2 - OMNIT
    after = world.view.get(WORK_CREDIT, 1, address_of(worker))
    assert after is not None
    assert after.credit == 0 < credit.credit


def test_a_false_alarm_costs_its_bond_and_one_that_nobody_judges_nothing() -> None:
    world = a_world()
    job = world.open_job(replicas=1)
    worker = shown(world, job)
    world.judge(worker, job, 0, (True, 5))
    start = world.balance("ben")
    assert world.do("ben", world.fraud(worker, job, 0, 2)).ok
    world.judge(worker, job, 0, (True, 5))
    assert world.state(worker, job, 0) == ReceiptState.GOOD
    assert start - world.balance("ben") >= WORK.work_fraud_bond
    lost = world.balance("ben")
    assert world.do("ben", world.fraud(worker, job, 0, 3)).ok
    world.blocks(WORK.work_judge_blocks)
    assert world.state(worker, job, 0) == ReceiptState.GOOD
    assert lost - world.balance("ben") < OMNIT
    assert world.worker(worker).bond == BOND
    assert world.worker(worker).held == 1
    world.blocks(WORK.epoch_blocks)
    assert world.do("ben", world.fraud(worker, job, 0, 3)).code in ("fraud_late", "fraud_receipt")
    assert world.worker(worker).held == 0
    assert world.pot(Pot.WORK_BONDS) == 3 * BOND


# -- money


@pytest.mark.parametrize("burned", [0, 1, 10**6, 10**9, 5 * 10**9, 10**11])
def test_jobs_posted_to_oneself_burn_to_beat_synthetic_work(burned: int) -> None:
    """Whoever burns nothing has synthetic work's credit; what more credit costs is the price of the work, no less."""
    world = a_world(params=replace(WORK, work_base_price=Amount(NANO)))
    job = world.open_job(
        layers=SHAPE,
        rows=4_000,
        unit_rows=4_000,
        replicas=1,
        data=content_of("d", 4_000 * 64),
        fee_unit=Amount(1),
        burn_unit=Amount(burned),
    )
    row = world.job(job)
    macs = unit_macs(SHAPE, 4_000)
    credit = of_receipt(row, 0, macs, world.params).credit
    synthetic = of_receipt(None, 0, macs, world.params).credit
    price = macs * NANO >> 30
    assert credit == counted(macs, burned, NANO)
    assert synthetic <= credit <= macs
    assert (
        abs((credit - synthetic) * price - min(burned, price) * (macs - synthetic)) <= macs * price // 1_000
    )
    assert (credit == macs) == (burned >= price)


def test_a_poster_who_is_the_worker_only_loses_what_burns_and_fees() -> None:
    world = a_world(workers=1)
    before = world.balance("wo0")
    job = world.post("wo0", replicas=1)
    world.attest(job)
    while world.job(job).status != JobStatus.OPEN:
        world.block()
    for unit in range(3):
        world.run_unit("wo0", job, unit)
    world.blocks(WORK.epoch_blocks)
    assert world.job(job).status == JobStatus.DONE
    spent = before - world.balance("wo0") + sum(int(each["amount"]) for each in world.said("work.pool"))
    assert 9 * OMNIT <= spent < 10 * OMNIT


@pytest.mark.parametrize(("fee", "burn"), [(1_000_000 * OMNIT, 0), (7 * OMNIT, 3 * OMNIT), (2, 5)])
def test_a_poster_who_is_the_worker_has_a_place_by_what_burns(fee: int, burn: int) -> None:
    """It cancels the job where a unit was drawn for another, and has its fees back: they must not give it a season's prizes."""
    world = a_world(workers=1, params=replace(WORK, compute_bps=0))
    job = world.post("wo0", replicas=1, fee_unit=Amount(fee), burn_unit=Amount(burn))
    world.attest(job)
    while world.job(job).status != JobStatus.OPEN:
        world.block()
    for unit in range(3):
        world.run_unit("wo0", job, unit)
    world.blocks(WORK.epoch_blocks)
    assert world.worker("wo0").fees == 3 * fee
    found = standings.standing(world.view, standings.board_of(world.view, Role.WORKER), address_of("wo0"))
    assert (found.value, found.works) == (3 * min(fee, burn), 3)


def test_data_that_is_withheld_opens_nothing_and_costs_its_poster_the_wait() -> None:
    world = a_world()
    job = world.post(deadline=Height(world.height + 10))
    world.attest(job, "val0", "val1")
    assert world.commit_unit("wo0", job, 0).code == "job_not_open"
    world.blocks(12)
    assert world.job(job).status == JobStatus.EXPIRED


def test_credit_is_frozen_two_epochs_ahead_and_by_the_largest_sixty_four() -> None:
    world = a_world()
    world.blocks(21 - world.height)
    macs = {"wo0": 4_000, "wo1": 12_000, "wo2": 400}
    job, _ = world.synthetic("wo0")
    for name in ("wo1", "wo2"):
        assert world.synthetic(name)[1].ok
    for name, worth in macs.items():
        world.judge(name, job, 0, (True, worth))
    assert worker_sets.worker_set(world.view, 3) is None  # type: ignore[arg-type] # an epoch
    world.blocks(40 - world.height)
    row = worker_sets.worker_set(world.view, 3)  # type: ignore[arg-type] # an epoch
    assert row is not None
    assert {entry.address: entry.credit for entry in row.entries} == {
        address_of(name): worth // 4 for name, worth in macs.items()
    }
    assert row.tickets == 6
    assert worker_sets.worker_set(world.view, 2) is None  # type: ignore[arg-type] # an epoch
    pool = {bytes(each["worker"]): int(each["amount"]) for each in world.said("work.pool")}  # type: ignore[arg-type] # addresses
    whole = sum(pool.values())
    for name, worth in macs.items():
        assert abs(pool[address_of(name)] - whole * worth // sum(macs.values())) <= 1


def test_synthetic_outputs_can_not_be_shown() -> None:
    world = a_world()
    world.blocks(21 - world.height)
    job, told = world.synthetic("wo0")
    assert told.ok
    assert world.do("wo0", WorkOutputs(job, 0, None, b"")).code == "outputs_shown"
    assert world.kept("wo0", job, 0).receipt.outputs_root == ZERO_HASH  # type: ignore[union-attr] # it is there


@pytest.mark.parametrize(
    ("shape", "rows", "tile"), [((16, 16), 1, 128), ((64, 64), 1, 64), ((100, 1), 3, 16)]
)
def test_what_fills_up_tiles_burns_as_what_it_counts(shape: tuple[int, int], rows: int, tile: int) -> None:
    """Tickets stand for whole squares, zeros and all: wide tiles over one row must not count in full for next to nothing."""
    layers = (LayerShape(*shape),)
    squares = -(-rows // tile) * -(-shape[0] // tile) * -(-shape[1] // tile)
    macs = squares * tile**3
    price = -(-macs * WORK.work_base_price // 2**30)
    world = a_world()
    job = world.open_job(
        layers=layers, tile=tile, rows=rows, unit_rows=rows, replicas=1, data=content_of("d", rows * shape[0])
    )
    for burned in (0, 1, price // 2, price - 1, price):
        row = replace(world.job(job), burn_unit=Amount(burned))
        credit = of_receipt(row, 0, macs, WORK).credit
        assert credit == macs * (2_500 * 10_000 + 7_500 * (burned * 10_000 // price)) // 10**8
        assert (credit == macs) == (burned == price)


def test_outputs_that_every_validator_fetches_weigh_wherever_they_stand() -> None:
    small, large = (
        WorkOutputs(Hash(bytes(32)), 0, content_of("outputs", size), b"") for size in (10_000, 16 * 2**20)
    )
    assert large.weight() - small.weight() == 16 * 2**10 - 9
