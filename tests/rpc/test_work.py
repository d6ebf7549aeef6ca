"""work.* and jobs.* over a real socket: a worker, a job from its post to its outputs, pages, proofs, and what is not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from omnitensor.light import check_row
from omnitensor.protocol import bls, merkle
from omnitensor.protocol.bodies import (
    BodyBase,
    EvidenceSubmit,
    JobPost,
    JobVote,
    ReceiptVote,
    Transfer,
    WorkCommit,
    WorkerRegister,
    WorkFraud,
    WorkJudge,
    WorkOutputs,
)
from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.content import content_id_of
from omnitensor.protocol.evidence import ConflictingVotes
from omnitensor.protocol.keys import format_address
from omnitensor.protocol.merkle import Inclusion
from omnitensor.protocol.params import Params
from omnitensor.protocol.rows_work import Job, Worker, WorkReceipt, job_key, work_receipt_key, worker_key
from omnitensor.protocol.types import (
    NANO,
    ZERO_HASH,
    Amount,
    BlsSignature,
    Epoch,
    Hash,
    Height,
    Signature,
    View,
)
from omnitensor.protocol.votes import Vote, VoteKind
from omnitensor.protocol.work import FraudProof, LayerShape, Receipt, Ticket, outputs_root, synthetic_job
from omnitensor.sdk import AsyncClient
from tests.rpc.test_proofs import header_at, row
from tests.rpc.world import Client, TestBackend
from tests.state.chain_fixtures import CHAIN_ID, consensus_secret, key, make_genesis

PARAMS = Params(
    epoch_blocks=8, worker_bond_min=Amount(10 * NANO), work_assigned_blocks=0, work_receipts_per_block_max=16
)
WORKER = key("a1")
WORKER_TEXT = format_address(WORKER.address)
POSTER = format_address(key("a2").address)
OUTPUTS = bytes(range(8))


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[TestBackend]:
    made = TestBackend(tmp_path / "node", make_genesis(params=PARAMS))
    fees = [(key("a0"), Transfer(key(f"v{number}").address, Amount(10 * NANO))) for number in range(4)]
    made.commit(*fees)
    yield made
    made.close()


def registration(bond: int = 10 * NANO) -> WorkerRegister:
    secret = consensus_secret("worker")
    return WorkerRegister(Amount(bond), bls.sk_to_pk(secret), bls.pop_prove(secret))


def post(backend: TestBackend, rows: int = 8) -> JobPost:
    return JobPost(
        model=content_id_of(b"model"),
        model_root=Hash(b"\7" * 32),
        data=content_id_of(b"d" * rows * 4),
        layers=(LayerShape(4, 2),),
        tile=16,
        rows=rows,
        unit_rows=4,
        replicas=1,
        fee_unit=Amount(NANO),
        burn_unit=Amount(5),
        deadline=Height(backend.chain.head.height + 60),
        place_max=Amount(0),
    )


def by_all(body: BodyBase) -> list[tuple[object, BodyBase]]:
    return [(key(f"v{number}"), body) for number in range(4)]


def posted(backend: TestBackend, rows: int = 8, replicas: int = 1) -> Hash:
    """A job that is open: its model is older than an epoch, and every validator has its bytes."""
    done = backend.commit((key("a2"), msgspec.structs.replace(post(backend, rows), replicas=replicas)))
    [job] = [dict(event.fields)["job"] for event in done.result.receipts[0].events]
    assert isinstance(job, bytes)
    backend.commit(*by_all(WorkJudge((JobVote(Hash(job), True),), ())))  # type: ignore[arg-type]
    for _ in range(10):
        backend.commit()
    return Hash(job)


def receipt(job: Hash, unit: int, anchor: int, root: Hash) -> Receipt:
    tickets = (Ticket(0, 0, 0, 0),)
    made = Receipt(job, unit, Height(anchor), WORKER.address, root, tickets, Signature(bytes(64)))
    signature = WORKER.sign(made.message(CHAIN_ID))
    return Receipt(job, unit, Height(anchor), WORKER.address, root, tickets, signature)


def root_of(outputs: bytes) -> Hash:
    return outputs_root(WORKER.address, merkle.root_of(outputs[at : at + 2] for at in range(0, 8, 2)))


def committed(backend: TestBackend, job: Hash, unit: int) -> None:
    made = receipt(job, unit, backend.chain.head.height, root_of(OUTPUTS))
    [told] = backend.commit((WORKER, WorkCommit(made))).result.receipts
    assert told.ok, told


async def test_a_job_from_its_post_to_its_outputs(backend: TestBackend, client: Client) -> None:
    backend.commit((WORKER, registration()))
    job = posted(backend)
    shown = await client.call("jobs.get", job=job.hex(), proof=True)
    assert (shown["status"], shown["kind"], shown["poster"]) == ("open", "posted", POSTER)
    assert (shown["units"], shown["rows"], shown["available"]) == (2, 8, True)
    assert int(shown["escrow"]) == 2 * (NANO + 5)
    value, proof = row(shown["proof"])
    check_row(header_at(backend, backend.chain.head.height), job_key(job), value, proof)
    assert value is not None
    assert decode(Job, value).rows == 8
    committed(backend, job, 1)
    units = (await client.call("jobs.units", job=job.hex()))["units"]
    assert [(each["unit"], each["rows"], len(each["receipts"])) for each in units] == [(0, 4, 0), (1, 4, 1)]
    assert units[1]["receipts"][0]["state"] == "committed"
    assert (await client.fault("jobs.outputs", {"job": job.hex(), "unit": 1}))[1] == "not_found"
    backend.commit((WORKER, WorkOutputs(job, 1, None, OUTPUTS)))
    vote = WorkJudge((), (ReceiptVote(job, 1, WORKER.address, True, 16_384),))
    backend.commit((key("v0"), vote))
    one = await client.call("work.receipt", job=job.hex(), unit=1, worker=WORKER_TEXT)
    assert (one["state"], len(one["findings"])) == ("shown", 1)
    backend.commit(*[(key(f"v{n}"), vote) for n in range(1, 4)])
    outputs = await client.call("jobs.outputs", job=job.hex(), unit=1)
    assert bytes.fromhex(outputs["outputs"]) == OUTPUTS
    assert (outputs["worker"], outputs["content"]) == (WORKER_TEXT, None)
    assert outputs["outputs_root"] == root_of(OUTPUTS).hex()
    found = await client.call("work.receipt", job=job.hex(), unit=1, worker=WORKER_TEXT, proof=True)
    assert (found["state"], found["macs"]) == ("good", "16384")
    value, proof = row(found["proof"])
    where = work_receipt_key(job, 1, WORKER.address)
    check_row(header_at(backend, backend.chain.head.height), where, value, proof)
    assert value is not None
    assert decode(WorkReceipt, value).macs == 16_384
    assert (await client.call("jobs.get", job=job.hex()))["done"] == 1


async def test_a_job_with_fewer_replicas_than_it_asks_for_is_told_as_it_is(
    backend: TestBackend, client: Client
) -> None:
    """What it costs and what returns is known once its units stand, and is what is paid and returns in the end."""
    backend.commit((WORKER, registration()))
    job = posted(backend, 4, replicas=2)
    committed(backend, job, 0)
    hold = backend.chain.head.height + PARAMS.work_outputs_blocks
    [told] = backend.commit((WORKER, WorkOutputs(job, 0, None, OUTPUTS))).result.receipts
    assert (told.code, str(hold) in told.reason) == ("outputs_early", True)
    while backend.chain.head.height + 1 < hold:
        backend.commit()
    [told] = backend.commit((WORKER, WorkOutputs(job, 0, None, OUTPUTS))).result.receipts
    assert told.ok, told
    async with AsyncClient(client.url) as asked:
        before = await asked.job(job.hex())
        assert (before.status, before.done, before.units, before.replicas) == ("open", 0, 1, 2)
        backend.commit(*by_all(WorkJudge((), (ReceiptVote(job, 0, WORKER.address, True, 16_384),))))  # type: ignore[arg-type]
        stands = await asked.job(job.hex())
        assert (stands.status, stands.done, stands.under_way) == ("closing", 1, 1)
        assert (stands.refunded, stands.escrow) == (0, 2 * (NANO + 5))
        assert (stands.cost, stands.returns) == ((NANO, 5), NANO + 5)
        while not (over := await asked.job(job.hex())).is_over:
            backend.commit()
        assert (over.status, over.paid, over.burned, over.refunded) == ("done", NANO, 5, NANO + 5)
        assert (over.cost, over.returns) == (stands.cost, stands.returns)


async def test_a_worker_with_its_bond_receipts_and_credit(backend: TestBackend, client: Client) -> None:
    backend.commit((WORKER, registration(12 * NANO)))
    shown = await client.call("work.worker", worker=WORKER_TEXT, proof=True)
    assert (shown["bond"], shown["works"], shown["good"]) == (str(12 * NANO), True, 0)
    value, proof = row(shown["proof"])
    check_row(header_at(backend, backend.chain.head.height), worker_key(WORKER.address), value, proof)
    assert value is not None
    assert decode(Worker, value).bond == 12 * NANO
    synthetic = synthetic_job(CHAIN_ID, 0)  # type: ignore[arg-type] # an epoch
    for unit in range(3):
        made = receipt(synthetic, unit, backend.chain.head.height, ZERO_HASH)
        [told] = backend.commit((WORKER, WorkCommit(made))).result.receipts
        assert told.ok, told
    votes = tuple(
        ReceiptVote(synthetic, unit, WORKER.address, unit < 2, (unit < 2) * 2**30) for unit in range(3)
    )
    backend.commit(*by_all(WorkJudge((), votes)))  # type: ignore[arg-type]
    shown = await client.call("work.worker", worker=WORKER_TEXT)
    assert (shown["good"], shown["bad"]) == (2, 1)
    assert int(shown["slashed"]) == 10 * NANO
    assert not shown["works"], "less than the least bond is left"
    assert int(shown["credit"]) == 2 * 2**30 // 4
    status = await client.call("work.status")
    assert (status["workers"], status["leads_by_work"]) == (1, False)
    assert (status["epochs"][0]["receipts"], status["epochs"][0]["useful_bps"]) == (2, 0)
    sums = status["sums"]
    assert (sums["epochs"], sums["receipts"], sums["macs"], sums["useful"]) == (1, 2, str(2**31), "0")
    assert (sums["credit"], sums["useful_bps"]) == (str(2**29), 0.0)
    assert [each["worker"] for each in (await client.call("work.workers"))["workers"]] == [WORKER_TEXT]
    found, cursor = [], None
    for _ in range(3):
        more = {} if cursor is None else {"cursor": cursor}
        page = await client.call("work.receipts", worker=WORKER_TEXT, limit=1, **more)
        found += [(each["unit"], each["state"]) for each in page["receipts"]]
        cursor = page["next"]
    assert cursor is None
    assert found == [(0, "good"), (1, "good"), (2, "bad")]


def two_proposals(index: int) -> EvidenceSubmit:
    """The worker offered two blocks in one view of epoch 2."""
    votes = []
    for letter in (b"a", b"b"):
        vote = Vote(VoteKind.NOTARIZE, Epoch(2), View(7), Hash(letter * 32), index, BlsSignature(bytes(96)))
        secret = consensus_secret("worker")
        votes.append(msgspec.structs.replace(vote, signature=bls.sign(secret, vote.message(CHAIN_ID))))
    return EvidenceSubmit(ConflictingVotes.of(*votes))


def wrong_row(job: Hash, unit: int) -> WorkFraud:
    leaves = [merkle.leaf_hash(OUTPUTS[at : at + 2]) for at in range(0, 8, 2)]
    path = Inclusion(1, 4, tuple(map(Hash, merkle.inclusion_proof(leaves, 1))))
    return WorkFraud(FraudProof(job, unit, WORKER.address, 1, OUTPUTS[2:4], path))


async def test_what_cost_workers_their_bonds_is_listed(backend: TestBackend, client: Client) -> None:
    backend.commit((WORKER, registration(60 * NANO)))
    synthetic = synthetic_job(CHAIN_ID, 0)  # type: ignore[arg-type] # an epoch
    tickets = tuple(Ticket(0, 0, 0, place) for place in range(4))
    for unit in range(2):
        made = receipt(synthetic, unit, backend.chain.head.height, ZERO_HASH)
        made = msgspec.structs.replace(made, tickets=tickets)
        made = msgspec.structs.replace(made, signature=WORKER.sign(made.message(CHAIN_ID)))
        assert backend.commit((WORKER, WorkCommit(made))).result.receipts[0].ok
    good = tuple(ReceiptVote(synthetic, unit, WORKER.address, True, 2**30) for unit in range(2))
    backend.commit(*by_all(WorkJudge((), good)))  # type: ignore[arg-type]
    job = posted(backend, 12)
    while backend.chain.head.height < 16:
        backend.commit()
    committed(backend, job, 2)
    sponsor = key("a0")
    [told] = backend.commit((sponsor, two_proposals(len(backend.validator_table)))).result.receipts
    assert told.ok, told
    convicted_at = backend.chain.head.height
    for unit in (0, 1):
        committed(backend, job, unit)
        backend.commit((WORKER, WorkOutputs(job, unit, None, OUTPUTS)))
        verdict = (True, 16_384) if unit else (False, 0)
        backend.commit(*by_all(WorkJudge((), (ReceiptVote(job, unit, WORKER.address, *verdict),))))  # type: ignore[arg-type]
    bad_at = backend.chain.head.height - 3
    assert backend.commit((sponsor, wrong_row(job, 1))).result.receipts[0].ok
    backend.commit(*by_all(WorkJudge((), (ReceiptVote(job, 1, WORKER.address, False, 0),))))  # type: ignore[arg-type]
    fraud_at = backend.chain.head.height
    while (await client.call("work.receipt", job=job.hex(), unit=2, worker=WORKER_TEXT))[
        "state"
    ] == "committed":
        backend.commit()
    found: list[dict[str, Any]] = []
    cursor = None
    for _ in range(4):
        page = await client.call("chain.evidence", limit=1, **({} if cursor is None else {"cursor": cursor}))
        assert page["convictions"] == []
        found += page["workers"]
        cursor = page["next"]
    assert cursor is None
    assert found == (await client.call("chain.evidence"))["workers"]
    bond, share = 10 * NANO, PARAMS.work_finder_bps
    reward, reporter = str(bond * share // 10_000), format_address(sponsor.address)
    told_of = [
        (each["kind"], each["unit"], each["slashed"], each["reward"], each["reporter"]) for each in found
    ]
    assert told_of == [
        ("two_proposals", None, str(bond), reward, reporter),
        ("bad", 0, str(bond), "0", None),
        ("fraud", 1, str(bond), reward, reporter),
        ("withheld", 2, str(bond * PARAMS.work_withheld_slash_bps // 10_000), "0", None),
    ]
    assert [each["height"] for each in found[:3]] == [convicted_at, bad_at, fraud_at]
    assert (found[0]["epoch"], found[0]["view"], found[0]["job"]) == (2, 7, None)
    assert {each["job"] for each in found[1:]} == {job.hex()}
    assert (await client.fault("chain.evidence", {"cursor": "9x"}))[1] == "cursor"


async def test_a_header_binds_the_receipts_of_its_block(backend: TestBackend, client: Client) -> None:
    backend.commit((WORKER, registration()))
    synthetic = synthetic_job(CHAIN_ID, 0)  # type: ignore[arg-type] # an epoch
    made = [receipt(synthetic, unit, backend.chain.head.height, ZERO_HASH) for unit in (0, 1, 1)]
    told = backend.commit(*((WORKER, WorkCommit(each)) for each in made)).result.receipts
    assert [each.ok for each in told] == [True, True, False], "nobody commits a unit twice"
    leaves = [merkle.leaf_hash(encode(each)) for each in made[:2]]
    root = merkle.counted_root(merkle.node_hash(*leaves), 2)
    assert (await client.call("chain.block"))["header"]["work_root"] == root.hex()
    backend.commit()
    assert (await client.call("chain.block"))["header"]["work_root"] == "00" * 32


async def test_pages_of_jobs(backend: TestBackend, client: Client) -> None:
    jobs = {posted(backend, rows).hex() for rows in (4, 8, 12)}
    found, cursor = set(), None
    for _ in range(3):
        more = {} if cursor is None else {"cursor": cursor}
        page = await client.call("jobs.list", limit=1, **more)
        found |= {each["job"] for each in page["jobs"]}
        cursor = page["next"]
    assert (found, cursor) == (jobs, None)
    mine = await client.call("jobs.list", poster=POSTER)
    assert {each["job"] for each in mine["jobs"]} == jobs
    assert (await client.call("jobs.list", poster=WORKER_TEXT))["jobs"] == []
    assert (await client.call("jobs.list", status="done"))["jobs"] == []
    assert (await client.fault("jobs.list", {"status": "ready"}))[1] == "not_found"
    largest = next(each["job"] for each in mine["jobs"] if each["rows"] == 12)
    first = await client.call("jobs.units", job=largest, limit=2)
    rest = await client.call("jobs.units", job=largest, limit=2, cursor=first["next"])
    assert [each["unit"] for each in first["units"] + rest["units"]] == [0, 1, 2]
    assert rest["next"] is None


async def test_what_is_not_there(client: Client) -> None:
    nothing = "00" * 32
    assert (await client.fault("work.worker", {"worker": POSTER}))[1] == "not_found"
    assert (await client.fault("jobs.get", {"job": nothing}))[1] == "not_found"
    assert (await client.fault("jobs.units", {"job": nothing}))[1] == "not_found"
    wanted = {"job": nothing, "unit": 0, "worker": WORKER_TEXT}
    assert (await client.fault("work.receipt", wanted))[1] == "not_found"
    assert (await client.call("work.workers"))["workers"] == []
    assert (await client.call("work.receipts", worker=POSTER))["receipts"] == []
