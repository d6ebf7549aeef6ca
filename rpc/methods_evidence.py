"""Method chain.evidence: evidence that the node holds, and what was proved on chain. Reads only."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Final, Literal

from msgspec import Meta

from omnitensor.protocol.codec import encode
from omnitensor.protocol.evidence import ConflictingVotes, Evidence, Fault
from omnitensor.protocol.rows_work import ReceiptState
from omnitensor.protocol.types import ADDRESS_BYTES, Address
from rpc import present
from rpc.cursors import bad_cursor
from rpc.fields import (
    LIMIT_DEFAULT,
    AddressText,
    AmountText,
    Count,
    Cursor,
    HashText,
    HexText,
    Limit,
)
from rpc.table import TABLE, Context, Params, Result
from state.ledger.evidence import culprits_of
from state.reader import Reader
from state.schema import CONVICTIONS, RECEIPTS_BY_STATE, WORK_RECEIPTS, WORKER_CONVICTIONS, number

FaultName = Literal["notarize_twice", "finalize_twice", "skip_and_finalize"]
WorkerFaultName = Literal["two_proposals", "bad", "fraud", "withheld"]


class Held(Result, frozen=True):
    id: HashText
    kind: Literal["votes", "certificates"]
    fault: FaultName
    epoch: Count
    view: Count
    validators: Annotated[list[AddressText], Meta(description="Whom it convicts")]
    encoded: Annotated[HexText, Meta(description="Its canonical bytes, for an evidence_submit transaction")]


class Convicted(Result, frozen=True):
    validator: AddressText
    fault: FaultName
    epoch: Count
    view: Count
    evidence: HashText
    height: Count
    reporter: AddressText
    slashed: AmountText
    burned: AmountText
    reward: AmountText


class WorkerConvicted(Result, frozen=True):
    kind: Annotated[
        WorkerFaultName,
        Meta(
            description="`two_proposals` in one view; a receipt that was found `bad` at once, or by a `fraud` proof; outputs"
            " `withheld`"
        ),
    ]
    worker: AddressText
    job: Annotated[HashText | None, Meta(description="Of a receipt")]
    unit: Annotated[Count | None, Meta(description="Of a receipt")]
    epoch: Annotated[Count | None, Meta(description="Of two proposals")]
    view: Annotated[Count | None, Meta(description="Of two proposals")]
    evidence: Annotated[HashText | None, Meta(description="Of two proposals")]
    height: Annotated[Count, Meta(description="Of the conviction")]
    slashed: AmountText
    reward: Annotated[AmountText, Meta(description="What of it the reporter was paid")]
    reporter: AddressText | None


class EvidenceShown(Result, frozen=True):
    pool: Annotated[list[Held], Meta(description="What this node holds and is not on chain yet")]
    convictions: Annotated[list[Convicted], Meta(description="Of validators, on chain, by address")]
    workers: Annotated[
        list[WorkerConvicted],
        Meta(
            description="What cost workers their bonds: two proposals, by address and epoch, kept for good; then receipts, by job"
            " and unit, as long as the state has them"
        ),
    ]
    next: Cursor | None


class EvidenceParams(Params, frozen=True):
    cursor: Cursor | None = None
    limit: Limit = LIMIT_DEFAULT


@TABLE.method("chain.evidence")
def evidence(context: Context, params: EvidenceParams) -> EvidenceShown:
    """Who did what no honest one does: evidence that waits to be submitted, and on chain who was convicted."""
    reader = context.reader
    validators: list[Convicted] = []
    workers: list[WorkerConvicted] = []
    following: Cursor | None = None
    for place, found in _convictions(reader, params.cursor):
        if len(validators) + len(workers) == params.limit:
            following = place
            break
        if isinstance(found, Convicted):
            validators.append(found)
        else:
            workers.append(found)
    pool = [_held(reader, each) for each in context.backend.evidence()]
    return EvidenceShown(pool=pool, convictions=validators, workers=workers, next=following)


# -- lists one after the other: a place is the number of a list, and the key in it


def _convictions(reader: Reader, cursor: str | None) -> Iterator[tuple[Cursor, Convicted | WorkerConvicted]]:
    """Everybody that was convicted from a place on, each with its place."""
    first, start = (0, b"") if cursor is None else _unpacked(cursor)
    for number_ in range(first, len(_LISTS)):
        for key, found in _LISTS[number_](reader, start):
            yield f"{number_}{urlsafe_b64encode(key).decode()}", found
        start = b""


def _unpacked(cursor: str) -> tuple[int, bytes]:
    """Raises RpcError where the cursor is none of this method's."""
    number_, key = cursor[:1], cursor[1:]
    if number_ not in ("0", "1", "2", "3"):
        raise bad_cursor(cursor)
    try:
        return int(number_), urlsafe_b64decode(key)
    except ValueError as error:
        raise bad_cursor(cursor) from error


def _validators(reader: Reader, start: bytes) -> Iterator[tuple[bytes, Convicted]]:
    for key, row in reader.scan(CONVICTIONS, start=start):
        yield (
            key,
            Convicted(
                validator=present.address_text(Address(key)),
                fault=_name(Fault(row.fault)),
                epoch=row.epoch,
                view=row.view,
                evidence=row.evidence.hex(),
                height=row.height,
                reporter=present.address_text(row.reporter),
                slashed=present.amount_text(row.slashed),
                burned=present.amount_text(row.burned),
                reward=present.amount_text(row.reward),
            ),
        )


def _proposers(reader: Reader, start: bytes) -> Iterator[tuple[bytes, WorkerConvicted]]:
    for key, row in reader.scan(WORKER_CONVICTIONS, start=start):
        yield (
            key,
            WorkerConvicted(
                kind="two_proposals",
                worker=present.address_text(Address(key[:ADDRESS_BYTES])),
                job=None,
                unit=None,
                epoch=row.epoch,
                view=row.view,
                evidence=row.evidence.hex(),
                height=row.height,
                slashed=present.amount_text(row.slashed),
                reward=present.amount_text(row.reward),
                reporter=present.address_text(row.reporter),
            ),
        )


def _receipts(state: ReceiptState, reader: Reader, start: bytes) -> Iterator[tuple[bytes, WorkerConvicted]]:
    for key, _ in reader.scan(RECEIPTS_BY_STATE, state, start=start):
        job, unit, worker = WORK_RECEIPTS.split(key)
        row = reader.get(WORK_RECEIPTS, job, number(unit), worker)
        assert row is not None, "an index names what is there"
        kind: WorkerFaultName = "withheld" if state is ReceiptState.WITHHELD else "bad"
        yield (
            key,
            WorkerConvicted(
                kind="fraud" if row.finder else kind,
                worker=present.address_text(Address(worker)),
                job=job.hex(),
                unit=number(unit),
                epoch=None,
                view=None,
                evidence=None,
                height=row.settled_at,
                slashed=present.amount_text(row.slashed),
                reward=present.amount_text(row.reward),
                reporter=present.address_text(Address(row.finder)) if row.finder else None,
            ),
        )


_LISTS: Final[tuple[Callable[[Reader, bytes], Iterator[tuple[bytes, Convicted | WorkerConvicted]]], ...]] = (
    _validators,
    _proposers,
    partial(_receipts, ReceiptState.BAD),
    partial(_receipts, ReceiptState.WITHHELD),
)


def _held(reader: Reader, evidence: Evidence) -> Held:
    culprits = culprits_of(reader, evidence)
    return Held(
        id=evidence.id.hex(),
        kind="votes" if isinstance(evidence, ConflictingVotes) else "certificates",
        fault=_name(evidence.fault),
        epoch=evidence.epoch,
        view=evidence.view,
        validators=[present.address_text(address) for address in culprits],
        encoded=encode(evidence).hex(),
    )


def _name(fault: Fault) -> FaultName:
    match fault:
        case Fault.NOTARIZE_TWICE:
            return "notarize_twice"
        case Fault.FINALIZE_TWICE:
            return "finalize_twice"
        case Fault.SKIP_AND_FINALIZE:
            return "skip_and_finalize"
