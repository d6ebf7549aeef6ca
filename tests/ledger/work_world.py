"""A small chain with workers, for tests of jobs: signatures are cheap stand-ins, and what a unit gives is made up.

The ledger multiplies nothing, so neither does this: whether a receipt is right is for the test's validators to say.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from msgspec.structs import replace as changed

from omnitensor.protocol import merkle
from omnitensor.protocol.blocks import Receipt as Told
from omnitensor.protocol.bodies import (
    JobPost,
    JobVote,
    ReceiptVote,
    WorkCommit,
    WorkerRegister,
    WorkFraud,
    WorkJudge,
    WorkOutputs,
)
from omnitensor.protocol.merkle import Inclusion
from omnitensor.protocol.types import ZERO_HASH, Amount, BlsSignature, Hash, Height, Signature
from omnitensor.protocol.work import (
    FraudProof,
    JobKind,
    LayerShape,
    Receipt,
    Ticket,
    job_id,
    outputs_root,
    synthetic_job,
)
from state.ledger.accounts import Pot, pot
from state.ledger.context import BlockContext
from state.ledger.work_receipts import drawn_for
from state.ledger.work_rows import shown_from, unit_of
from state.records_work import Job, ReceiptState, Worker, WorkReceipt
from state.schema import JOBS, WORK_RECEIPTS, WORKERS
from tests.ledger.world import CHAIN, OMNIT, QUICK, World, address_of, content_of, key_of

WORK = changed(
    QUICK,
    epoch_blocks=20,
    evidence_epochs=2,
    unbonding_blocks=60,
    work_assigned_blocks=4,
    work_outputs_blocks=3,
    work_judge_blocks=6,
    work_anchor_blocks_max=8,
    work_chain_job_blocks=30,
    work_keep_blocks=25,
)
BOND = WORK.worker_bond_min
LAYERS = (LayerShape(4, 2),)
BAD = (False, 0)


class CheapScheme:
    """Stands in for curves: a proof of possession is the key's hash."""

    def pop_verify(self, pk: bytes, proof: bytes) -> bool:
        return proof == possession(pk)

    def verify(self, pk: bytes, message: bytes, signature: bytes) -> bool:
        raise AssertionError("no order of work verifies a consensus signature")


def possession(pk: bytes) -> BlsSignature:
    return BlsSignature(sha256(pk).digest() * 3)


def signed(key: bytes, message: bytes) -> Signature:
    return Signature(sha256(key + message).digest() * 2)


def consensus_key(name: str) -> Any:
    return sha256(b"bls" + name.encode()).digest().ljust(48, b"\1")


def outputs_of(job: Hash, unit: int, rows: int, width: int = 2, salt: str = "") -> bytes:
    """What a unit gives, made up; with a salt something else."""
    seed = sha256(job + unit.to_bytes(8, "big") + salt.encode()).digest()
    return (seed * (rows * width // 32 + 1))[: rows * width]


def rows_in(outputs: bytes, width: int = 2) -> list[bytes]:
    return [outputs[at : at + width] for at in range(0, len(outputs), width)]


class WorkWorld(World):
    """Validators val0.. vote, workers wo0.. work; `settle_as` says what every validator finds of a receipt."""

    def __init__(self, workers: int = 3, validators: int = 4, params: Any = WORK, **more: Any) -> None:
        self.workers = tuple(f"wo{n}" for n in range(workers))
        super().__init__(
            people=("sponsor", "ann", "ben", *self.workers), validators=validators, params=params, **more
        )

    def context(self, height: int) -> BlockContext:
        made = super().context(height)
        return BlockContext(
            **{name: getattr(made, name) for name in made.__slots__ if name not in ("scheme", "verify_key")},
            scheme=CheapScheme(),  # type: ignore[arg-type] # as much as these orders ask of it
            verify_key=lambda key, message, signature: signature == signed(key, message),
        )

    def register_all(self) -> None:
        for name in self.workers:
            assert self.do(name, self.registration(name)).ok

    def registration(self, name: str, bond: int = BOND) -> WorkerRegister:
        key = consensus_key(name)
        return WorkerRegister(Amount(bond), key, possession(key))

    def post(self, who: str = "ann", **changes: Any) -> Hash:
        """A posted job's id."""
        receipt = self.do(who, self.job_post(**changes))
        assert receipt.ok, receipt
        return Hash(bytes(dict(receipt.events[0].fields)["job"]))  # type: ignore[arg-type] # a hash

    def job_post(self, **changes: Any) -> JobPost:
        rows = int(changes.get("rows", 10))
        data = content_of(f"data {self.height}", rows * LAYERS[0].inputs)
        made = JobPost(
            model=content_of("model", 500),
            model_root=Hash(sha256(b"root").digest()),
            data=data,
            layers=LAYERS,
            tile=16,
            rows=rows,
            unit_rows=4,
            replicas=2,
            fee_unit=Amount(7 * OMNIT),
            burn_unit=Amount(3 * OMNIT),
            deadline=Height(self.height + 1 + 60),
            place_max=Amount(10_000 * OMNIT),
        )
        return changed(made, **changes)

    def attest(self, job: Hash, *names: str, available: bool = True) -> None:
        for name in names or self.validator_names:
            self.send(name, WorkJudge((JobVote(job, available),), ()))
        self.block()

    def open_job(self, **changes: Any) -> Hash:
        """A job that is open."""
        job = self.post(**changes)
        self.attest(job)
        while self.job(job).status == 0:
            self.block()
        return job

    def receipt(self, worker: str, job: Hash, unit: int, **changes: Any) -> Receipt:
        salt = changes.pop("salt", "")
        row = self.view.get(JOBS, job)
        root = ZERO_HASH
        if row is not None:
            width = row.layers[-1].outputs
            outputs = outputs_of(job, unit, row.rows_of(unit), width, salt)
            root = outputs_root(address_of(worker), merkle.root_of(rows_in(outputs, width)))
        signer = changes.pop("signer", key_of(worker))
        made = Receipt(
            job=job,
            unit=unit,
            anchor=Height(self.height),
            worker=address_of(worker),
            outputs_root=root,
            tickets=(Ticket(0, 0, 0, 0), Ticket(0, 0, 0, 1)),
            signature=Signature(bytes(64)),
        )
        made = changed(made, **changes)
        if "signature" in changes:
            return made
        return changed(made, signature=signed(signer, made.message(CHAIN)))

    def commit_unit(self, worker: str, job: Hash, unit: int, **changes: Any) -> Told:
        return self.do(worker, WorkCommit(self.receipt(worker, job, unit, **changes)))

    def show(self, worker: str, job: Hash, unit: int, salt: str = "", *, wait: bool = True) -> Told:
        """Shows a unit's outputs, as a worker does: as soon as the ledger takes them, or else at once."""
        row = self.job(job)
        if wait:
            self.await_showing(job, unit)
        outputs = outputs_of(job, unit, row.rows_of(unit), row.layers[-1].outputs, salt)
        return self.do(worker, WorkOutputs(job, unit, None, outputs))

    def await_showing(self, job: Hash, unit: int) -> None:
        """Until the next block takes outputs of the unit."""
        while self.height + 1 < shown_from(self.job(job), unit_of(self.view, job, unit)):
            self.block()

    def judge(self, worker: str, job: Hash, unit: int, verdict: tuple[bool, int], *names: str) -> None:
        vote = ReceiptVote(job, unit, address_of(worker), *verdict)
        for name in names or self.validator_names:
            self.send(name, WorkJudge((), (vote,)))
        self.block()

    def run_unit(self, worker: str, job: Hash, unit: int, macs: int = 1_000) -> None:
        """A receipt from its commit to its verdict."""
        self.run_replicas((worker,), job, unit, macs)

    def run_replicas(self, workers: Iterable[str], job: Hash, unit: int, macs: int = 1_000) -> None:
        """Receipts of a unit, from their commits to their verdicts."""
        for worker in workers:
            assert self.commit_unit(worker, job, unit).ok
        for worker in workers:
            assert self.show(worker, job, unit).ok
        for worker in workers:
            self.judge(worker, job, unit, (True, macs))
            assert self.state(worker, job, unit) == ReceiptState.GOOD

    def run_shown(self, worker: str, job: Hash, unit: int) -> None:
        """A receipt that was committed, to its verdict."""
        assert self.show(worker, job, unit).ok
        self.judge(worker, job, unit, (True, 1_000))
        assert self.state(worker, job, unit) == ReceiptState.GOOD

    def run_whole(self, job: Hash) -> None:
        """Every unit of a job, by all for whom it was drawn."""
        for unit in range(self.job(job).units):
            self.run_replicas(self.takers(job, unit), job, unit)

    def taker(self, job: Hash, unit: int, place: int = 0) -> str:
        """A worker that may take the unit now: one of those it was drawn for."""

        row = self.job(job)
        drawn = drawn_for(self.view, self.height + 1, self.params.work_assigned_blocks, job, row, unit)
        return self.workers[place] if drawn is None else self.name_of(drawn[place])

    def takers(self, job: Hash, unit: int) -> list[str]:
        """As many workers as may take the unit now."""
        return [self.taker(job, unit, place) for place in range(self.job(job).replicas)]

    def fraud(self, worker: str, job: Hash, unit: int, row: int, salt: str = "") -> WorkFraud:
        """What shows a row of a receipt's outputs."""
        held = self.job(job)
        width = held.layers[-1].outputs
        rows = rows_in(outputs_of(job, unit, held.rows_of(unit), width, salt), width)
        leaves = [merkle.leaf_hash(each) for each in rows]
        proof = Inclusion(row, len(rows), tuple(Hash(each) for each in merkle.inclusion_proof(leaves, row)))
        return WorkFraud(FraudProof(job, unit, address_of(worker), row, rows[row], proof))

    def synthetic(self, worker: str, unit: int = 0) -> tuple[Hash, Told]:
        """Commits a unit of synthetic work."""
        job = synthetic_job(CHAIN, self.context(self.height).epoch)
        return job, self.commit_unit(worker, job, unit)

    # -- what is there

    def job(self, job: Hash) -> Job:
        row = self.view.get(JOBS, job)
        assert row is not None
        return row

    def batch_job(self, batch: int, kind: JobKind = JobKind.FINGERPRINT) -> Hash:
        return job_id(CHAIN, kind, batch)

    def kept(self, worker: str, job: Hash, unit: int) -> WorkReceipt | None:
        return self.view.get(WORK_RECEIPTS, job, unit, address_of(worker))

    def state(self, worker: str, job: Hash, unit: int) -> ReceiptState:
        row = self.kept(worker, job, unit)
        assert row is not None
        return ReceiptState(row.state)

    def worker(self, name: str) -> Worker:
        row = self.view.get(WORKERS, address_of(name))
        assert row is not None
        return row

    def pot(self, which: Pot) -> int:
        return pot(self.view, which)

    def code(self, who: str, body: Any) -> str:
        return self.do(who, body).code
