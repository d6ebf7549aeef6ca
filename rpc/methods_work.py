"""Methods work.*: workers with their bonds and credit, receipts, and how much of the chain's work is useful. Reads only."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import replace

from omnitensor.protocol import limits
from omnitensor.protocol.epochs import epoch_of
from omnitensor.protocol.job_places import place_price
from omnitensor.protocol.merkle import HASH_BYTES
from omnitensor.protocol.rows_work import ReceiptState, Worker, WorkReceipt, work_receipt_key, worker_key
from omnitensor.protocol.types import BPS, Address, Epoch, Hash, Height, View
from omnitensor.protocol.work import JobKind
from rpc.cursors import bad_cursor
from rpc.errors import not_found
from rpc.fields import (
    LIMIT_DEFAULT,
    AddressText,
    AmountText,
    Count,
    Cursor,
    HashText,
    HexText,
    Limit,
    Number,
    WithProof,
    address_of,
    hash_of,
    shown,
)
from rpc.proofs import RowProof, row_proof
from rpc.table import TABLE, Context, Params, Result
from state.ledger import worker_sets
from state.ledger.jobs import jobs_open
from state.reader import Reader
from state.schema import (
    FINDINGS,
    RECEIPTS_BY_WORKER,
    WORK_CREDIT,
    WORK_EPOCHS,
    WORK_RECEIPTS,
    WORK_UNITS,
    WORKERS,
    number,
)


class WorkEpochShown(Result, frozen=True):
    epoch: Count
    receipts: Annotated[Count, Meta(description="Found good in it")]
    macs: Annotated[AmountText, Meta(description="Multiply-accumulates that they stand for")]
    credit: Annotated[AmountText, Meta(description="What of them counts")]
    useful: Annotated[
        AmountText, Meta(description="What of them was for jobs, by the share that burned for it")
    ]
    useful_bps: Annotated[Count, Meta(description="The same as a share of all, basis points")]
    pool: Annotated[AmountText, Meta(description="What was paid to workers and judges, nanoOMNIT")]


class WorkSums(Result, frozen=True):
    epochs: Annotated[Count, Meta(description="Epochs with any, of those that the state still has")]
    receipts: Count
    macs: AmountText
    credit: AmountText
    useful: AmountText
    useful_bps: Annotated[float, Meta(description="Useful work as a share of all; may be a fraction")]


class WorkStatus(Result, frozen=True):
    epoch: Count
    workers: Annotated[Count, Meta(description="Registered, whether they work or not")]
    leads_by_work: Annotated[bool, Meta(description="Whether two views in three are led by credit now")]
    tickets: Annotated[Count, Meta(description="Behind the credit that leads now")]
    leaders: Annotated[Count, Meta(description="Workers that may lead now")]
    jobs_open: Annotated[Count, Meta(description="Jobs that people posted and that have not ended")]
    jobs_open_max: Annotated[Count, Meta(description="So many of them there may be")]
    place_price: Annotated[
        AmountText,
        Meta(
            description="What burns for each block of the next place among them, nanoOMNIT; nothing at first"
        ),
    ]
    epochs: Annotated[
        list[WorkEpochShown], Meta(description="The one under way, and those before, newest first")
    ]
    sums: Annotated[WorkSums, Meta(description="Over all epochs whose sums are kept")]


class WorkStatusParams(Params, frozen=True):
    epochs: Annotated[int, Meta(ge=1, le=64, description="How many epochs to tell of")] = 4


@TABLE.method("work.status")
def status(context: Context, params: WorkStatusParams) -> WorkStatus:
    """How much work the chain counts, what of it is useful, and whether it draws leaders now."""
    reader = context.reader
    epoch = _epoch(reader)
    found = worker_sets.worker_set(reader, epoch)
    schedule = worker_sets.leaders_of(reader, epoch, context.backend.genesis_hash)
    return WorkStatus(
        epoch=epoch,
        workers=sum(1 for _ in reader.scan(WORKERS)),
        leads_by_work=schedule is not None and schedule.is_led_by_work(View(1)),
        tickets=0 if found is None else found.tickets,
        leaders=0 if found is None else len(found.entries),
        jobs_open=jobs_open(reader),
        jobs_open_max=limits.jobs_open_max,
        place_price=str(place_price(jobs_open(reader), reader.params())),
        epochs=[
            _epoch_shown(reader, Epoch(each)) for each in range(epoch, max(-1, epoch - params.epochs), -1)
        ],
        sums=_sums(reader),
    )


def _sums(reader: Reader) -> WorkSums:
    rows = [row for _, row in reader.scan(WORK_EPOCHS) if row.macs]
    macs, useful = sum(row.macs for row in rows), sum(row.useful for row in rows)
    return WorkSums(
        epochs=len(rows),
        receipts=sum(row.receipts for row in rows),
        macs=str(macs),
        credit=str(sum(row.credit for row in rows)),
        useful=str(useful),
        useful_bps=useful * BPS / macs if macs else 0.0,
    )


def _epoch_shown(reader: Reader, epoch: Epoch) -> WorkEpochShown:
    row = reader.get(WORK_EPOCHS, epoch)
    receipts, macs, credit, useful, pool = (
        (row.receipts, row.macs, row.credit, row.useful, row.pool) if row else (0, 0, 0, 0, 0)
    )
    return WorkEpochShown(
        epoch=epoch,
        receipts=receipts,
        macs=str(macs),
        credit=str(credit),
        useful=str(useful),
        useful_bps=useful * BPS // macs if macs else 0,
        pool=str(pool),
    )


def _epoch(reader: Reader) -> Epoch:
    """The epoch of the block above the head."""
    return epoch_of(Height(reader.head.height + 1), reader.params())


# -- workers


class WorkerShown(Result, frozen=True):
    worker: AddressText
    bond: AmountText
    works: Annotated[bool, Meta(description="Whether it may take units now")]
    consensus_key: HexText
    registered_at: Count
    leaves_at: Annotated[Count | None, Meta(description="Where its bond may return, once it leaves")]
    held: Annotated[Count, Meta(description="Receipts that can still cost the bond")]
    good: Count
    bad: Count
    fees: AmountText
    pool: AmountText
    slashed: AmountText
    credit: Annotated[AmountText, Meta(description="Of the epoch under way")]
    tickets: Count
    leads: Annotated[AmountText, Meta(description="The credit that draws its leads now")]
    leads_next: Annotated[AmountText, Meta(description="And in the next epoch")]
    proof: Annotated[RowProof | UnsetType, Meta(description="Of the worker's row, or its absence")] = UNSET


def _worker(reader: Reader, address: Address, row: Worker) -> WorkerShown:
    epoch = _epoch(reader)
    credit = reader.get(WORK_CREDIT, epoch, address)
    return WorkerShown(
        worker=shown(address),
        bond=str(row.bond),
        works=not row.leaves_at and row.bond >= reader.params().worker_bond_min,
        consensus_key=row.consensus_key.hex(),
        registered_at=row.registered_at,
        leaves_at=row.leaves_at or None,
        held=row.held,
        good=row.good,
        bad=row.bad,
        fees=str(row.fees),
        pool=str(row.pool),
        slashed=str(row.slashed),
        credit=str(credit.credit if credit else 0),
        tickets=credit.tickets if credit else 0,
        leads=str(_leads(reader, epoch, address)),
        leads_next=str(_leads(reader, Epoch(epoch + 1), address)),
    )


def _leads(reader: Reader, epoch: Epoch, address: Address) -> int:
    found = worker_sets.worker_set(reader, epoch)
    return next((one.credit for one in found.entries if one.address == address), 0) if found else 0


class WorkerParams(Params, frozen=True):
    worker: AddressText
    proof: WithProof = False


@TABLE.method("work.worker")
def worker(context: Context, params: WorkerParams) -> WorkerShown:
    """A worker: its bond, what became of its receipts, what it earned, and what draws its leads."""
    reader, address = context.reader, address_of(params.worker)
    row = reader.get(WORKERS, address)
    if row is None:
        raise not_found("worker", params.worker, "register it: otensor-cli worker register")
    found = _worker(reader, address, row)
    return replace(found, proof=row_proof(reader, worker_key(address))) if params.proof else found


class WorkersParams(Params, frozen=True):
    cursor: Cursor | None = None
    limit: Limit = LIMIT_DEFAULT


class WorkersPage(Result, frozen=True):
    workers: list[WorkerShown]
    next: Cursor | None


@TABLE.method("work.workers", heavy=True)
def workers(context: Context, params: WorkersParams) -> WorkersPage:
    """All workers, by address."""
    reader, found = context.reader, list[WorkerShown]()
    start = b"" if params.cursor is None else address_of(params.cursor)
    for key, row in reader.scan(WORKERS, start=start):
        if len(found) == params.limit:
            return WorkersPage(workers=found, next=shown(Address(key)))
        found.append(_worker(reader, Address(key), row))
    return WorkersPage(workers=found, next=None)


# -- receipts


class FindingShown(Result, frozen=True):
    validator: AddressText
    good: bool
    macs: AmountText


class ReceiptShown(Result, frozen=True):
    job: HashText
    unit: Count
    worker: AddressText
    kind: str
    state: str
    anchor: Count
    outputs_root: HashText
    tickets: Annotated[list[tuple[int, int, int, int]], Meta(description="Layer, row, column, piece")]
    committed_at: Count
    shown_at: Count | None
    judged_until: Count | None
    settled_at: Count | None
    macs: AmountText
    credit: AmountText
    findings: Annotated[list[FindingShown], Meta(description="What validators said, while it is judged")]
    proof: Annotated[RowProof | UnsetType, Meta(description="Of the receipt's row, or its absence")] = UNSET


def receipt_shown(reader: Reader, job: Hash, unit: int, address: Address, row: WorkReceipt) -> ReceiptShown:
    """A receipt as the interface shows it."""
    findings = reader.get(FINDINGS, job, unit, address)
    return ReceiptShown(
        job=job.hex(),
        unit=unit,
        worker=shown(address),
        kind=JobKind(row.kind).label,
        state=ReceiptState(row.state).label,
        anchor=row.receipt.anchor,
        outputs_root=row.receipt.outputs_root.hex(),
        tickets=[(one.layer, one.row, one.column, one.piece) for one in row.receipt.tickets],
        committed_at=row.committed_at,
        shown_at=row.shown_at or None,
        judged_until=row.judged_until or None,
        settled_at=row.settled_at or None,
        macs=str(row.macs),
        credit=str(row.credit),
        findings=[
            FindingShown(validator=shown(one.validator), good=one.good, macs=str(one.macs))
            for one in (findings.votes if findings else ())
        ],
    )


class ReceiptParams(Params, frozen=True):
    job: HashText
    unit: Number
    worker: AddressText
    proof: WithProof = False


@TABLE.method("work.receipt")
def receipt(context: Context, params: ReceiptParams) -> ReceiptShown:
    """A receipt: a worker's claim to have run a unit, and what became of it."""
    reader, job, address = context.reader, hash_of(params.job), address_of(params.worker)
    row = reader.get(WORK_RECEIPTS, job, params.unit, address)
    if row is None:
        raise not_found("receipt", f"{params.job}:{params.unit}", "list a worker's with work.receipts")
    found = receipt_shown(reader, job, params.unit, address, row)
    if not params.proof:
        return found
    return replace(found, proof=row_proof(reader, work_receipt_key(job, params.unit, address)))


class ReceiptsParams(Params, frozen=True):
    worker: AddressText
    cursor: Cursor | None = None
    limit: Limit = LIMIT_DEFAULT


class ReceiptsPage(Result, frozen=True):
    receipts: list[ReceiptShown]
    next: Cursor | None


@TABLE.method("work.receipts", heavy=True)
def receipts(context: Context, params: ReceiptsParams) -> ReceiptsPage:
    """A worker's receipts that the state still has, by job and unit."""
    reader, address, found = context.reader, address_of(params.worker), list[ReceiptShown]()
    start = unit_cursor(params.cursor)
    for key, _ in reader.scan(RECEIPTS_BY_WORKER, address, start=start):
        if len(found) == params.limit:
            return ReceiptsPage(receipts=found, next=key.hex())
        job, unit = Hash(key[:32]), number(WORK_UNITS.split(key)[1])
        row = reader.get(WORK_RECEIPTS, job, unit, address)
        assert row is not None, "an index names what is there"
        found.append(receipt_shown(reader, job, unit, address, row))
    return ReceiptsPage(receipts=found, next=None)


def unit_cursor(cursor: str | None, size: int = HASH_BYTES + 8) -> bytes:
    """The key in a cursor: a job and a unit, or what a list has in their place."""
    if cursor is None:
        return b""
    try:
        key = bytes.fromhex(cursor)
    except ValueError as error:
        raise bad_cursor(cursor) from error
    if len(key) != size:
        raise bad_cursor(cursor)
    return key
