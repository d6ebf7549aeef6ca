"""Rows of jobs, receipts and units with what readers look them up by, and entries of what is due.

Of rules it knows what follows from a unit's counts: when it is done, when it begins anew, when it may be shown.
"""

from enum import IntEnum
from typing import Final

from msgspec.structs import replace

from omnitensor.protocol.types import ADDRESS_BYTES, ZERO_HASH, Address, Hash, Height
from state.ledger.errors import Rejected
from state.ledger.view import ReadView, View
from state.records import UNIT
from state.records_work import Job, JobStatus, ShownOutputs, WorkReceipt, WorkUnit
from state.schema import (
    CHALLENGES,
    FINDINGS,
    JOBS,
    JOBS_BY_CONTENT,
    JOBS_BY_POSTER,
    JOBS_BY_STATUS,
    OUTPUTS_BY_CONTENT,
    RECEIPTS_BY_STATE,
    RECEIPTS_BY_WORKER,
    WORK_DUE,
    WORK_OUTPUTS,
    WORK_RECEIPTS,
    WORK_UNITS,
)

NOBODY: Final = Address(bytes(ADDRESS_BYTES))
HINT_LINE: Final = 2**62
"""Added to the heights of hints: they wait in a line of their own, behind all else that is due, now and later."""
NO_UNIT: Final = WorkUnit(0, 0, Height(0), False)

Key = tuple[Hash, int, Address]
"""Of a receipt: job, unit, worker."""


class Due(IntEnum):
    """What is to be looked at when its height comes; in a block they are taken in this order."""

    OPEN = 0
    """A job that enough stake has the bytes of."""
    DEADLINE = 1
    """Of a job."""
    OUTPUTS = 2
    """Of a receipt."""
    JUDGED = 3
    """The end of a receipt's judgement."""
    SETTLED = 4
    """The end of the time in which a receipt can be challenged."""
    FORGET = 5
    """Receipts of a job that ended."""
    BOND = 6
    """Of a worker that leaves; the worker is all that its entry names."""
    HINT = 7
    """An item with a proven fingerprint; its number stands in the place of the unit, and its height is in the ``HINT_LINE``."""


def look_at(
    view: View, height: int, due: Due, job: Hash = ZERO_HASH, unit: int = 0, worker: Address = NOBODY
) -> None:
    view.put(WORK_DUE, UNIT, height, due, job, unit, worker)


def job_of(view: ReadView, job: Hash) -> Job:
    """The job. Raises Rejected where there is none."""
    row = view.get(JOBS, job)
    if row is None:
        raise Rejected(
            "job_unknown", "there is no such job", value=job, remedy="list them with: otensor-cli job list"
        )
    return row


def put_job(view: View, job: Hash, row: Job) -> None:
    before = view.get(JOBS, job)
    if before is None or before.status != row.status:
        if before is not None:
            view.delete(JOBS_BY_STATUS, before.status, job)
        view.put(JOBS_BY_STATUS, UNIT, row.status, job)
    if before is None:
        if row.poster:
            view.put(JOBS_BY_POSTER, UNIT, row.poster, job)
        for content in (row.model, row.data):
            if content is not None:
                view.put(JOBS_BY_CONTENT, UNIT, content.chunk_root, job)
    view.put(JOBS, row, job)


def put_receipt(view: View, key: Key, row: WorkReceipt) -> None:
    job, unit, worker = key
    before = view.get(WORK_RECEIPTS, *key)
    if before is None or before.state != row.state:
        if before is not None:
            view.delete(RECEIPTS_BY_STATE, before.state, *key)
        view.put(RECEIPTS_BY_STATE, UNIT, row.state, *key)
    if before is None:
        view.put(RECEIPTS_BY_WORKER, UNIT, worker, job, unit)
    view.put(WORK_RECEIPTS, row, *key)


def put_outputs(view: View, key: Key, shown: ShownOutputs) -> None:
    view.put(WORK_OUTPUTS, shown, *key)
    if shown.content is not None:
        view.put(OUTPUTS_BY_CONTENT, UNIT, shown.content.chunk_root, *key)


def drop_receipt(view: View, key: Key, row: WorkReceipt) -> None:
    """Forgets a receipt, and all that hangs on it."""
    job, unit, worker = key
    view.delete(RECEIPTS_BY_STATE, row.state, *key)
    view.delete(RECEIPTS_BY_WORKER, worker, job, unit)
    shown = view.get(WORK_OUTPUTS, *key)
    if shown is not None and shown.content is not None:
        view.delete(OUTPUTS_BY_CONTENT, shown.content.chunk_root, *key)
    view.delete(FINDINGS, *key)
    view.delete(WORK_OUTPUTS, *key)
    view.delete(CHALLENGES, *key)
    view.delete(WORK_RECEIPTS, *key)


def unit_of(view: ReadView, job: Hash, unit: int) -> WorkUnit:
    return view.get(WORK_UNITS, job, unit) or NO_UNIT


def put_unit(view: View, job: Hash, unit: int, row: WorkUnit) -> None:
    view.put(WORK_UNITS, row, job, unit)


def settle_unit(view: View, name: Hash, job: Job, unit: int, *, under_way: int = 0, good: int = 0) -> Job:
    """Changes the counts of a unit's receipts by so much. The job as it is with that, for the caller to go on with."""
    before = unit_of(view, name, unit)
    row = replace(before, under_way=before.under_way + under_way, good=before.good + good)
    assert row.under_way >= 0 and row.good >= 0, "what is counted off a unit was counted"
    put_unit(view, name, unit, row if row.receipts else NO_UNIT)
    return replace(job, done=job.done + row.is_done - before.is_done)


def shown_from(job: Job, unit: WorkUnit) -> Height:
    """The height from which outputs of a unit may be shown as it is now; zero where nobody can commit to it any more.

    Whoever shows early would shut out those who are not ready: their receipts would come after it.
    """
    waits = job.status == JobStatus.OPEN and not unit.shown and unit.receipts < job.replicas
    return unit.hold if waits else Height(0)
