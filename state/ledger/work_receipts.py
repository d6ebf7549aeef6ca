"""Receipts: committed by a worker to whom the unit was given, with their outputs shown in a later block. Judges none of them."""

from msgspec.structs import replace

from omnitensor.protocol import merkle
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies.work import WorkCommit, WorkOutputs
from omnitensor.protocol.codec import encode
from omnitensor.protocol.epochs import epoch_of
from omnitensor.protocol.limits import work_outputs_inline_max
from omnitensor.protocol.types import ZERO_HASH, Address, Amount, Hash, Height
from omnitensor.protocol.work import (
    RECEIPT_BYTES_MAX,
    JobKind,
    Receipt,
    assigned,
    outputs_root,
    synthetic_job,
)
from state.ledger import jobs, work_credit, workers
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.ledger.events import event
from state.ledger.view import ReadView, View
from state.ledger.work_rows import (
    Due,
    Key,
    job_of,
    look_at,
    put_job,
    put_outputs,
    put_receipt,
    put_unit,
    settle_unit,
    shown_from,
    unit_of,
)
from state.records_work import Job, JobStatus, ReceiptState, ShownOutputs, WorkReceipt
from state.schema import JOBS, WORK_RECEIPTS, WORKER_LISTS


def commit(view: View, ctx: BlockContext, sender: Address, body: WorkCommit) -> tuple[Event, ...]:
    """Takes a receipt in, once for each worker and unit."""
    receipt = body.receipt
    if receipt.worker != sender:
        raise Rejected(
            "receipt_worker",
            "the receipt is another's",
            value=receipt.worker,
            remedy="send one's own receipts",
        )
    workers.check_active(view, ctx.params, sender)
    size = len(encode(receipt))
    if size > RECEIPT_BYTES_MAX:
        raise Rejected(
            "receipt_size",
            "the receipt is too large",
            value=size,
            remedy=f"at most {RECEIPT_BYTES_MAX} bytes",
        )
    oldest = max(0, ctx.height - ctx.params.work_anchor_blocks_max)
    if not oldest <= receipt.anchor < ctx.height:
        raise Rejected(
            "receipt_anchor",
            f"the anchor is none of the blocks from {oldest} to {ctx.height - 1}",
            value=receipt.anchor,
            remedy="run the unit again with a recent block",
        )
    key = (receipt.job, receipt.unit, sender)
    if view.get(WORK_RECEIPTS, *key) is not None:
        raise Rejected(
            "receipt_known",
            "the worker has a receipt of this unit",
            value=receipt.unit,
            remedy="take another unit",
        )
    if not ctx.verify_key(ctx.signer, receipt.message(ctx.chain_id), receipt.signature):
        raise Rejected(
            "receipt_signature",
            "the receipt is not signed by the key that signs its transaction",
            value=receipt.signature,
            remedy="sign both with the worker's key, or a session key of it",
        )
    work_credit.count_receipt(view, ctx)
    if receipt.job == synthetic_job(ctx.chain_id, epoch_of(receipt.anchor, ctx.params)):
        return (_commit_synthetic(view, ctx, key, receipt),)
    return (_commit_unit(view, ctx, key, receipt, job_of(view, receipt.job)),)


def _commit_synthetic(view: View, ctx: BlockContext, key: Key, receipt: Receipt) -> Event:
    if receipt.unit >= ctx.params.synthetic_units_max:
        raise Rejected(
            "receipt_unit",
            f"a worker has {ctx.params.synthetic_units_max} units of synthetic work an epoch",
            value=receipt.unit,
            remedy="wait for jobs, or for the next epoch",
        )
    if receipt.outputs_root != ZERO_HASH or not receipt.tickets:
        raise Rejected(
            "receipt_synthetic",
            "synthetic work has tickets alone: no outputs",
            value=receipt.outputs_root,
            remedy="name zeros as the root of its outputs, and a ticket at least",
        )
    row = _committed(ctx, receipt, JobKind.SYNTHETIC)
    row = _being_judged(view, ctx, key, row)
    put_receipt(view, key, row)
    workers.hold(view, receipt.worker, 1)
    return _said("work.committed", key, row)


def _commit_unit(view: View, ctx: BlockContext, key: Key, receipt: Receipt, job: Job) -> Event:
    if job.status != JobStatus.OPEN or ctx.height > job.deadline:
        raise Rejected(
            "job_not_open",
            f"the job is {JobStatus(job.status).label}, its deadline {job.deadline}",
            value=receipt.job,
            remedy="see what is open with: otensor-cli job list",
        )
    if receipt.anchor < job.opened_at:
        # Whoever knew the anchor when it named model and rows could have named minus the noise, and multiplied nothing.
        raise Rejected(
            "receipt_anchor",
            f"the anchor is below height {job.opened_at}, at which the job opened",
            value=receipt.anchor,
            remedy="run the unit again with a recent block",
        )
    if receipt.unit >= job.units:
        raise Rejected(
            "receipt_unit", f"the job has {job.units} units", value=receipt.unit, remedy="take one of them"
        )
    unit = unit_of(view, receipt.job, receipt.unit)
    if unit.receipts >= job.replicas:
        raise Rejected(
            "unit_full",
            "the unit has as many receipts as it needs",
            value=receipt.unit,
            remedy="take another unit",
        )
    if unit.shown:
        # Whoever has seen outputs could name them as its own, and multiply nothing.
        raise Rejected(
            "unit_shown",
            "outputs of the unit were shown, and it takes no receipts after them",
            value=receipt.unit,
            remedy="take another unit",
        )
    theirs = drawn_for(view, ctx.height, ctx.params.work_assigned_blocks, receipt.job, job, receipt.unit)
    if theirs is not None and receipt.worker not in theirs:
        raise Rejected(
            "unit_assigned",
            "the unit is other workers' for now",
            value=receipt.unit,
            remedy=f"after height {job.opened_at + ctx.params.work_assigned_blocks} it is anybody's",
        )
    row = _committed(ctx, receipt, JobKind(job.kind))
    put_receipt(view, key, row)
    unit = replace(unit, under_way=unit.under_way + 1, hold=unit.hold or _hold(ctx, job))
    put_unit(view, receipt.job, receipt.unit, unit)
    put_job(view, receipt.job, replace(job, under_way=job.under_way + 1))
    workers.hold(view, receipt.worker, 1)
    first = max(Height(ctx.height + 1), shown_from(job, unit))
    look_at(view, first + ctx.params.work_outputs_blocks - 1, Due.OUTPUTS, *key)
    return _said("work.committed", key, row)


def _hold(ctx: BlockContext, job: Job) -> Height:
    """Until when the first receipt of a unit waits for others: those for whom it was drawn, and then whoever takes it.

    Fixed with the first receipt, so that no vote on parameters moves it behind the time to show.
    """
    taken = max(job.opened_at + ctx.params.work_assigned_blocks, ctx.height)
    return Height(min(job.deadline + 1, taken + ctx.params.work_outputs_blocks))


def drawn_for(
    view: ReadView, height: int, assigned_blocks: int, name: Hash, job: Job, unit: int
) -> tuple[Address, ...] | None:
    """For whom a unit of an open job was drawn; None where it is anybody's by now, or there was nobody to draw from."""
    row = view.get(WORKER_LISTS, job.opened_epoch)
    if height > job.opened_at + assigned_blocks or row is None or not row.workers:
        return None
    drawn = assigned(job.beacon, name, unit, len(row.workers), job.replicas)
    return tuple(row.workers[place] for place in drawn)


def _committed(ctx: BlockContext, receipt: Receipt, kind: JobKind) -> WorkReceipt:
    return WorkReceipt(
        receipt=receipt,
        kind=kind,
        state=ReceiptState.COMMITTED,
        committed_at=ctx.height,
        shown_at=Height(0),
        judged_until=Height(0),
        settled_at=Height(0),
        macs=0,
        credit=0,
        held=True,
        slashed=Amount(0),
        reward=Amount(0),
        finder=b"",
    )


def _being_judged(view: View, ctx: BlockContext, key: Key, row: WorkReceipt) -> WorkReceipt:
    until = Height(ctx.height + ctx.params.work_judge_blocks)
    look_at(view, until, Due.JUDGED, *key)
    return replace(row, state=ReceiptState.SHOWN, shown_at=ctx.height, judged_until=until)


def _said(kind: str, key: Key, row: WorkReceipt) -> Event:
    job, unit, worker = key
    return event(kind, job=job, unit=unit, worker=worker, of=JobKind(row.kind).label)


def show(view: View, ctx: BlockContext, sender: Address, body: WorkOutputs) -> tuple[Event, ...]:
    """Shows the outputs that a receipt named: from now on it is judged, and the rows to recompute are drawn by this block."""
    key = (body.job, body.unit, sender)
    row = view.get(WORK_RECEIPTS, *key)
    if row is None:
        raise Rejected(
            "receipt_unknown",
            "the worker has no receipt of this unit",
            value=body.unit,
            remedy="commit one first",
        )
    if row.state != ReceiptState.COMMITTED:
        raise Rejected(
            "outputs_shown",
            f"the receipt is {ReceiptState(row.state).label}",
            value=body.unit,
            remedy="nothing is left to show",
        )
    if row.committed_at >= ctx.height:
        raise Rejected(
            "outputs_early",
            "outputs are shown in a later block than their receipt",
            value=ctx.height,
            remedy="send them again",
        )
    job = view.get(JOBS, body.job)
    assert job is not None, "a receipt with outputs is of a job"
    unit = unit_of(view, body.job, body.unit)
    allowed = shown_from(job, unit)
    if ctx.height < allowed:
        raise Rejected(
            "outputs_early",
            f"the unit lacks receipts, and others may commit to it before height {allowed}",
            value=ctx.height,
            remedy=f"send them again from height {allowed} on, or when the unit has {job.replicas} receipts",
        )
    _check_outputs(row.receipt, job, body)
    put_outputs(view, key, ShownOutputs(body.content, body.outputs))
    put_unit(view, body.job, body.unit, replace(unit, shown=True))
    row = _being_judged(view, ctx, key, row)
    put_receipt(view, key, row)
    return (_said("work.shown", key, row),)


def _check_outputs(receipt: Receipt, job: Job, body: WorkOutputs) -> None:
    """Raises Rejected where the outputs have another size, stand in another place, or are not those of the receipt."""
    width = job.layers[-1].outputs
    size = job.rows_of(body.unit) * width
    given = len(body.outputs) if body.content is None else body.content.size
    inline = size <= work_outputs_inline_max
    if given != size or inline != (body.content is None) or (body.outputs and not inline):
        raise Rejected(
            "outputs_size",
            f"the unit's outputs are {size} bytes, " + ("in the order itself" if inline else "as content"),
            value=given,
            remedy="show all rows, one after the other",
        )
    if not inline:
        return
    rows = (body.outputs[at : at + width] for at in range(0, size, width))
    if outputs_root(receipt.worker, merkle.root_of(rows)) != receipt.outputs_root:
        raise Rejected(
            "outputs_root",
            "these are not the outputs that the receipt names",
            value=receipt.outputs_root,
            remedy="show those that the unit gave",
        )


def reach_outputs(view: View, ctx: BlockContext, key: Key) -> tuple[Event, ...]:
    """The time to show outputs is over: what is not shown by now costs a part of the bond."""
    row = view.get(WORK_RECEIPTS, *key)
    if row is None or row.state != ReceiptState.COMMITTED:
        return ()
    job, unit, worker = key
    amount, _ = workers.slash(view, ctx, worker, ctx.params.work_withheld_slash_bps)
    said = event("work.withheld", job=job, unit=unit, worker=worker, slashed=amount)
    return (said, *give_up(view, ctx, key, row, ReceiptState.WITHHELD, amount))


def give_up(
    view: View, ctx: BlockContext, key: Key, row: WorkReceipt, state: ReceiptState, slashed: int = 0
) -> tuple[Event, ...]:
    """Ends a receipt that does not stand, and that cost its worker so much. With the last its unit is open to others again."""
    name, unit, worker = key
    row = replace(row, state=state, settled_at=ctx.height, held=False, slashed=Amount(slashed))
    put_receipt(view, key, row)
    workers.hold(view, worker, -1, bad=int(state is ReceiptState.BAD))
    if row.kind == JobKind.SYNTHETIC:
        look_at(view, ctx.height + ctx.params.epoch_blocks, Due.SETTLED, *key)
        return ()
    job = view.get(JOBS, name)
    assert job is not None, "jobs are never deleted"
    return jobs.receipt_done(view, ctx, name, settle_unit(view, name, job, unit, under_way=-1))
