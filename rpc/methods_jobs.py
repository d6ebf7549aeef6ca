"""Methods jobs.*: models to be run over rows, their units, and the outputs that stand. Reads only."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import replace

from omnitensor.protocol import limits
from omnitensor.protocol.merkle import HASH_BYTES
from omnitensor.protocol.rows_work import Job, JobStatus, ReceiptState, job_key
from omnitensor.protocol.types import Address, Hash
from omnitensor.protocol.work import JobKind, unit_bits
from rpc.errors import not_found
from rpc.fields import (
    LIMIT_DEFAULT,
    AddressText,
    AmountText,
    Content,
    Count,
    Cursor,
    HashText,
    HexText,
    Limit,
    Number,
    WithProof,
    address_of,
    content_of,
    hash_of,
    number_cursor,
    shown,
)
from rpc.methods_work import ReceiptShown, receipt_shown, unit_cursor
from rpc.proofs import RowProof, row_proof
from rpc.table import TABLE, Context, Params, Result
from state.reader import Reader
from state.schema import JOBS, JOBS_BY_POSTER, JOBS_BY_STATUS, WORK_OUTPUTS, WORK_RECEIPTS

STATUSES: Final = {status.label: status for status in JobStatus}


class LayerShown(Result, frozen=True):
    inputs: Count
    outputs: Count


class JobShown(Result, frozen=True):
    job: HashText
    kind: Annotated[str, Meta(description="`posted`, or the chain's own: `fingerprint`, `scores`")]
    status: str
    poster: AddressText | None
    batch: Annotated[Count | None, Meta(description="Whose items the chain's own job is about")]
    model: Annotated[Content | None, Meta(description="Its file; null for `fingerprint-v1`")]
    model_root: HashText
    data: Annotated[Content | None, Meta(description="Its rows; null where they are operands of items")]
    layers: list[LayerShown]
    tile: Count
    rows: Count
    unit_rows: Count
    units: Count
    bits: Annotated[Count, Meta(description="Difficulty of a whole unit's tickets")]
    replicas: Count
    fee_unit: AmountText
    burn_unit: AmountText
    available: Annotated[bool, Meta(description="Whether two thirds of the stake have its bytes")]
    posted_at: Count
    opened_at: Count | None
    deadline: Count
    ended_at: Count | None
    escrow: AmountText
    under_way: Annotated[Count, Meta(description="Receipts not judged yet, or still open to objections")]
    done: Annotated[
        Count, Meta(description="Units that stand: a receipt is good, and none waits to be judged")
    ]
    paid: AmountText
    burned: AmountText
    refunded: AmountText
    proof: Annotated[RowProof | UnsetType, Meta(description="Of the job's row, or its absence")] = UNSET


def _job(job: Hash, row: Job) -> JobShown:
    return JobShown(
        job=job.hex(),
        kind=JobKind(row.kind).label,
        status=JobStatus(row.status).label,
        poster=shown(Address(row.poster)) if row.poster else None,
        batch=row.batch or None,
        model=None if row.model is None else content_of(row.model),
        model_root=row.model_root.hex(),
        data=None if row.data is None else content_of(row.data),
        layers=[LayerShown(inputs=one.inputs, outputs=one.outputs) for one in row.layers],
        tile=row.tile,
        rows=row.rows,
        unit_rows=row.unit_rows,
        units=row.units,
        bits=unit_bits(row.layers, min(row.unit_rows, row.rows), row.tile),
        replicas=row.replicas,
        fee_unit=str(row.fee_unit),
        burn_unit=str(row.burn_unit),
        available=row.available,
        posted_at=row.posted_at,
        opened_at=row.opened_at or None,
        deadline=row.deadline,
        ended_at=row.ended_at or None,
        escrow=str(row.escrow),
        under_way=row.under_way,
        done=row.done,
        paid=str(row.paid),
        burned=str(row.burned),
        refunded=str(row.refunded),
    )


class JobParams(Params, frozen=True):
    job: HashText
    proof: WithProof = False


@TABLE.method("jobs.get")
def job(context: Context, params: JobParams) -> JobShown:
    """A job: what is to be run, for what pay, and how far it is."""
    reader, job_id = context.reader, hash_of(params.job)
    found = _job(job_id, _row(reader, job_id))
    return replace(found, proof=row_proof(reader, job_key(job_id))) if params.proof else found


def _row(reader: Reader, job_id: Hash) -> Job:
    row = reader.get(JOBS, job_id)
    if row is None:
        raise not_found("job", job_id.hex(), "list them with: otensor-cli job list")
    return row


class JobsParams(Params, frozen=True):
    status: Annotated[str | None, Meta(description="Jobs of one status; open ones by default")] = None
    poster: AddressText | None = None
    cursor: Cursor | None = None
    limit: Limit = LIMIT_DEFAULT


class JobsPage(Result, frozen=True):
    jobs: list[JobShown]
    next: Cursor | None


@TABLE.method("jobs.list", heavy=True)
def jobs(context: Context, params: JobsParams) -> JobsPage:
    """Jobs of a status, or of a poster whatever their status."""
    reader, found = context.reader, list[JobShown]()
    start = unit_cursor(params.cursor, HASH_BYTES)
    if params.poster is not None:
        rows = reader.scan(JOBS_BY_POSTER, address_of(params.poster), start=start)
    else:
        label = params.status or JobStatus.OPEN.label
        if label not in STATUSES:
            raise not_found("status of jobs", label, f"one of {', '.join(STATUSES)}")
        rows = reader.scan(JOBS_BY_STATUS, STATUSES[label], start=start)
    for seen, (key, _) in enumerate(rows):
        if len(found) == params.limit or seen == limits.rpc_scan_rows_max:
            return JobsPage(jobs=found, next=key.hex())
        row = reader.get(JOBS, key)
        assert row is not None, "an index names what is there"
        if params.poster is None or params.status in (None, JobStatus(row.status).label):
            found.append(_job(Hash(key), row))
    return JobsPage(jobs=found, next=None)


class UnitsParams(Params, frozen=True):
    job: HashText
    cursor: Cursor | None = None
    limit: Limit = LIMIT_DEFAULT


class UnitShown(Result, frozen=True):
    unit: Count
    rows: Count
    receipts: Annotated[list[ReceiptShown], Meta(description="Of each worker that committed to it")]


class UnitsPage(Result, frozen=True):
    units: list[UnitShown]
    next: Cursor | None


@TABLE.method("jobs.units", heavy=True)
def units(context: Context, params: UnitsParams) -> UnitsPage:
    """A job's units, in order, with their receipts as long as the state has them."""
    reader, job_id = context.reader, hash_of(params.job)
    row = _row(reader, job_id)
    first = number_cursor(params.cursor) or 0
    last = min(row.units, first + params.limit)
    found = [
        UnitShown(
            unit=unit,
            rows=row.rows_of(unit),
            receipts=[
                receipt_shown(reader, job_id, unit, Address(key), each)
                for key, each in reader.scan(WORK_RECEIPTS, job_id, unit)
            ],
        )
        for unit in range(first, last)
    ]
    return UnitsPage(units=found, next=str(last) if last < row.units else None)


class OutputsParams(Params, frozen=True):
    job: HashText
    unit: Number


class OutputsShown(Result, frozen=True):
    unit: Count
    worker: AddressText
    outputs_root: Annotated[HashText, Meta(description="What the receipt says of them, keyed by the worker")]
    settled_at: Count
    content: Annotated[Content | None, Meta(description="Where they are; null where they are `outputs`")]
    outputs: Annotated[HexText | None, Meta(description="Rows one after the other, a signed byte a number")]


@TABLE.method("jobs.outputs")
def outputs(context: Context, params: OutputsParams) -> OutputsShown:
    """The outputs of a unit that stand: of the first receipt that was found good."""
    reader, job_id = context.reader, hash_of(params.job)
    good = [
        (row.settled_at, key, row)
        for key, row in reader.scan(WORK_RECEIPTS, job_id, params.unit)
        if row.state == ReceiptState.GOOD
    ]
    if not good:
        raise not_found("outputs of unit", params.unit, "see how far the job is: otensor-cli job show")
    settled_at, key, row = min(good, key=lambda one: one[:2])
    stood = reader.get(WORK_OUTPUTS, job_id, params.unit, key)
    if stood is None:
        raise not_found("outputs of unit", params.unit, "a receipt of synthetic work has none")
    return OutputsShown(
        unit=params.unit,
        worker=shown(Address(key)),
        outputs_root=row.receipt.outputs_root.hex(),
        settled_at=settled_at,
        content=None if stood.content is None else content_of(stood.content),
        outputs=stood.outputs.hex() if stood.content is None else None,
    )
