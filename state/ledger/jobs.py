"""Jobs: posted and paid for, opened when enough stake has their bytes, ended when all is done, by deadline, or by their poster.

The chain makes its own about each first-round batch; they cost nobody, and count in full. Judges no receipts.
"""

from typing import Final

from msgspec.structs import replace

from omnitensor.protocol import limits
from omnitensor.protocol.amounts import format_omnit
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies.work import JobCancel, JobPost
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.epochs import boundary_of
from omnitensor.protocol.job_places import place_charge
from omnitensor.protocol.types import ZERO_HASH, Address, Amount, BatchId, Epoch, Hash, Height
from omnitensor.protocol.work import (
    FEATURES,
    FINGERPRINT_BITS,
    FINGERPRINT_ROOT,
    FINGERPRINT_TILE,
    CampaignModel,
    JobKind,
    LayerShape,
    job_id,
    shape_fault,
)
from state.ledger.accounts import Pot, burn, move, next_number
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.ledger.events import event
from state.ledger.view import ReadView, View
from state.ledger.work_rows import NO_UNIT, Due, job_of, look_at, put_job, settle_unit, unit_of
from state.records import Counter
from state.records_review import Count
from state.records_work import Job, JobStatus, ModelSeen
from state.schema import ATTESTS, COUNTERS, JOBS, JOBS_OPEN, MODELS_SEEN, WORKER_LISTS

JOB_COUNTER: Final = b"job"
JOBS_OPEN_COUNTER: Final = b"open jobs"
"""How many jobs that people posted have not ended."""
FINGERPRINT_LAYERS: Final = (LayerShape(FEATURES, FINGERPRINT_BITS),)
TAKES_RECEIPTS: Final = (JobStatus.POSTED, JobStatus.OPEN)
"""Those that have not begun to end."""


def post(view: View, ctx: BlockContext, sender: Address, body: JobPost) -> tuple[Event, ...]:
    """Takes a job's money in, and asks the validators whether they have its bytes."""
    _check_form(body)
    latest = ctx.height + ctx.params.work_job_blocks_max
    if not ctx.height < body.deadline <= latest:
        raise Rejected(
            "job_deadline",
            "the job's deadline is behind or too far ahead",
            value=body.deadline,
            remedy=f"give a height above {ctx.height}, {latest} at most",
        )
    burned = _take_place(view, ctx, sender, body)
    move(view, sender, Pot.WORK, body.escrow)
    number = next_number(view, JOB_COUNTER, 1)
    name = job_id(ctx.chain_id, JobKind.POSTED, number)
    job = _posted(
        ctx,
        JobKind.POSTED,
        model=body.model,
        model_root=body.model_root,
        layers=body.layers,
        tile=body.tile,
        rows=body.rows,
        unit_rows=body.unit_rows,
        replicas=body.replicas,
        deadline=body.deadline,
    )
    job = replace(
        job,
        poster=sender,
        data=body.data,
        fee_unit=body.fee_unit,
        burn_unit=body.burn_unit,
        escrow=Amount(body.escrow),
    )
    see_model(view, ctx, body.model_root)
    return (_enter(view, name, job, place=burned),)


def _check_form(body: JobPost) -> None:
    """Raises Rejected where the parts of a job do not fit one another, or it is too large."""
    fault = shape_fault(body.layers, body.tile)
    if fault:
        raise Rejected("job_shape", fault, value=body.tile, remedy="take the shape from the model's file")
    size = body.rows * body.layers[0].inputs
    if body.data.size != size:
        raise Rejected(
            "job_data",
            f"so many rows of {body.layers[0].inputs} numbers are {size} bytes",
            value=body.data.size,
            remedy="give the number of rows that the file has",
        )
    if size > limits.job_data_bytes_max or body.model.size > limits.model_bytes_max:
        raise Rejected(
            "job_size",
            f"a job's rows have at most {limits.job_data_bytes_max} bytes, its model {limits.model_bytes_max}",
            value=max(size, body.model.size),
            remedy="split the rows over several jobs, or take a smaller model",
        )
    if body.units > limits.job_units_max:
        raise Rejected(
            "job_units",
            f"a job has at most {limits.job_units_max} units",
            value=body.units,
            remedy="take more rows a unit, or split the rows over several jobs",
        )
    if body.fee_unit + body.burn_unit == 0:
        raise Rejected("job_fee", "a job for nothing", value=0, remedy="give a fee above zero")


def _take_place(view: View, ctx: BlockContext, sender: Address, body: JobPost) -> int:
    """Counts one more open job of the sender, and burns what its place costs: nanoOMNIT. What burned never returns.

    Raises Rejected where it has, or all have, as many as there may be, or where the place costs more than it allows.
    """
    mine = view.get(JOBS_OPEN, sender)
    own = mine.number if mine else 0
    total = jobs_open(view)
    if own >= limits.jobs_open_per_account_max or total >= limits.jobs_open_max:
        raise Rejected(
            "job_limit",
            "as many jobs are open as there may be",
            value=f"{own} of the account, {total} in all",
            remedy="wait until one has ended",
        )
    view.put(JOBS_OPEN, Count(own + 1), sender)
    view.put(COUNTERS, Counter(total + 1), JOBS_OPEN_COUNTER)
    charge = place_charge(total, body.deadline - ctx.height, ctx.params)
    if charge > body.place_max:
        raise Rejected(
            "job_place",
            f"{total} jobs are open, and a place beside them burns more than the order allows",
            value=format_omnit(charge),
            remedy="allow that much, take an earlier deadline, or wait until some have ended",
        )
    burn(view, sender, charge)
    return charge


def jobs_open(view: ReadView) -> int:
    """How many jobs that people posted have not ended."""
    row = view.get(COUNTERS, JOBS_OPEN_COUNTER)
    return row.next if row else 0


def _posted(
    ctx: BlockContext,
    kind: JobKind,
    *,
    model: ContentId | None,
    model_root: Hash,
    layers: tuple[LayerShape, ...],
    tile: int,
    rows: int,
    unit_rows: int,
    replicas: int,
    deadline: Height,
) -> Job:
    """A job that nobody pays for, about nothing yet."""
    return Job(
        kind=kind,
        poster=b"",
        model=model,
        model_root=model_root,
        data=None,
        batch=BatchId(0),
        layers=layers,
        tile=tile,
        rows=rows,
        unit_rows=unit_rows,
        replicas=replicas,
        fee_unit=Amount(0),
        burn_unit=Amount(0),
        status=JobStatus.POSTED,
        outcome=JobStatus.POSTED,
        available=False,
        posted_at=ctx.height,
        opened_at=Height(0),
        opened_epoch=Epoch(0),
        beacon=ZERO_HASH,
        deadline=deadline,
        ended_at=Height(0),
        escrow=Amount(0),
        under_way=0,
        done=0,
        paid=Amount(0),
        burned=Amount(0),
        refunded=Amount(0),
    )


def _enter(view: View, name: Hash, job: Job, place: int = 0) -> Event:
    put_job(view, name, job)
    look_at(view, job.deadline, Due.DEADLINE, name)
    said: dict[str, int | str | bytes] = {"job": name, "of": JobKind(job.kind).label, "units": job.units}
    if job.poster:
        said |= {"poster": job.poster, "escrow": job.escrow, "place": place}
    if job.batch:
        said["batch"] = job.batch
    return event("job.posted" if job.poster else "job.queued", **said)


def see_model(view: View, ctx: BlockContext, root: Hash) -> None:
    """Takes down when a model was first named: whoever could choose one by the beacon could choose its noise."""
    if view.get(MODELS_SEEN, root) is None:
        view.put(MODELS_SEEN, ModelSeen(ctx.epoch), root)


def for_batch(
    view: View, ctx: BlockContext, batch: BatchId, items: int, model: CampaignModel | None
) -> tuple[Event, ...]:
    """The chain's own jobs about a batch: its fingerprints, and what the campaign's model says. None where nobody could work."""
    workers = view.get(WORKER_LISTS, ctx.epoch)
    if workers is None or not workers.workers:
        return ()
    deadline = Height(ctx.height + ctx.params.work_chain_job_blocks)
    replicas = min(ctx.params.work_chain_replicas, len(workers.workers))
    rows = {"rows": items, "unit_rows": min(items, limits.chain_unit_rows_max)}
    made = [
        _posted(
            ctx,
            JobKind.FINGERPRINT,
            model=None,
            model_root=FINGERPRINT_ROOT,
            layers=FINGERPRINT_LAYERS,
            tile=FINGERPRINT_TILE,
            replicas=replicas,
            deadline=deadline,
            **rows,
        )
    ]
    if model is not None:
        made.append(
            _posted(
                ctx,
                JobKind.SCORES,
                model=model.content,
                model_root=model.root,
                layers=model.layers,
                tile=model.tile,
                replicas=replicas,
                deadline=deadline,
                **rows,
            )
        )
    return tuple(
        _enter(view, job_id(ctx.chain_id, JobKind(job.kind), batch), replace(job, batch=batch))
        for job in made
    )


def cancel(view: View, ctx: BlockContext, sender: Address, body: JobCancel) -> tuple[Event, ...]:
    """Ends a job of the sender's. What is under way is judged and paid."""
    job = job_of(view, body.job)
    if job.poster != sender:
        raise Rejected(
            "job_poster", "the job is another's", value=body.job, remedy="only its poster can cancel it"
        )
    if job.status not in TAKES_RECEIPTS:
        raise Rejected(
            "job_ended",
            f"the job is {JobStatus(job.status).label}",
            value=body.job,
            remedy="nothing is left to cancel",
        )
    return begin_closing(view, ctx, body.job, job, JobStatus.CANCELLED)


def become_available(view: View, ctx: BlockContext, name: Hash, job: Job) -> Event:
    """Enough stake has its bytes. It opens with the next block at the earliest, whose beacon none of the voters knew."""
    put_job(view, name, replace(job, available=True))
    view.delete(ATTESTS, name)
    look_at(view, ctx.height + 1, Due.OPEN, name)
    return event("job.available", job=name)


def try_to_open(view: View, ctx: BlockContext, name: Hash) -> tuple[Event, ...]:
    """Opens a job whose bytes are there, if its model was named in an earlier epoch; else in the next one."""
    job = view.get(JOBS, name)
    assert job is not None, "jobs are never deleted"
    if job.status != JobStatus.POSTED:
        return ()
    seen = view.get(MODELS_SEEN, job.model_root)
    if seen is not None and seen.epoch >= ctx.epoch:
        look_at(view, boundary_of(ctx.epoch, ctx.params) + 1, Due.OPEN, name)
        return ()
    opened = replace(
        job, status=JobStatus.OPEN, opened_at=ctx.height, opened_epoch=ctx.epoch, beacon=ctx.beacon
    )
    put_job(view, name, opened)
    return (event("job.opened", job=name, of=JobKind(job.kind).label),)


def reach_deadline(view: View, ctx: BlockContext, name: Hash) -> tuple[Event, ...]:
    """The last height for receipts has passed."""
    job = view.get(JOBS, name)
    assert job is not None, "jobs are never deleted"
    return () if job.status not in TAKES_RECEIPTS else begin_closing(view, ctx, name, job, JobStatus.EXPIRED)


def begin_closing(
    view: View, ctx: BlockContext, name: Hash, job: Job, outcome: JobStatus
) -> tuple[Event, ...]:
    """Takes no more receipts."""
    view.delete(ATTESTS, name)
    job = replace(job, status=JobStatus.CLOSING, outcome=outcome)
    events = go_on(view, ctx, name, job)
    return (*events, event("job.closing", job=name, outcome=outcome.label)) if job.under_way else events


def go_on(view: View, ctx: BlockContext, name: Hash, job: Job) -> tuple[Event, ...]:
    """Keeps a job as it is now, and does what follows: it closes when every unit is done, and ends with its last receipt.

    While it closes, what nothing under way needs returns to the poster at once. Where it is done that waits for its end: until
    then a unit may have to be run again, by as many workers as at first.
    """
    all_done = job.done == job.units
    if job.status == JobStatus.OPEN and all_done:
        return begin_closing(view, ctx, name, job, JobStatus.DONE)
    events: tuple[Event, ...] = ()
    if job.status == JobStatus.CLOSING:
        # Whoever committed in time is waited for, whenever that is judged.
        if all_done and job.outcome == JobStatus.EXPIRED:
            job = replace(job, outcome=JobStatus.DONE)
        if job.outcome != JobStatus.DONE or not job.under_way:
            job, events = _refund(view, name, job, job.escrow - job.under_way * job.cost)
        if not job.under_way:
            return (*events, _end(view, ctx, name, job))
    put_job(view, name, job)
    return events


def receipt_stood(view: View, job: Job, worker: Address) -> Job:
    """Pays a unit's fee, and burns what burns with it. The changed job, for the caller to go on with."""
    move(view, Pot.WORK, worker, job.fee_unit)
    move(view, Pot.WORK, Pot.BURNED, job.burn_unit)
    return replace(
        job,
        escrow=Amount(job.escrow - job.cost),
        paid=Amount(job.paid + job.fee_unit),
        burned=Amount(job.burned + job.burn_unit),
    )


def receipt_fell(view: View, ctx: BlockContext, name: Hash, job: Job, unit: int) -> tuple[Event, ...]:
    """A receipt that was found good is bad. If it was the last of its unit, that is open again where its job takes receipts."""
    job = settle_unit(view, name, job, unit, good=-1)
    if job.done < job.units and job.status == JobStatus.CLOSING and job.outcome == JobStatus.DONE:
        if ctx.height < job.deadline:
            job = replace(job, status=JobStatus.OPEN, outcome=JobStatus.POSTED)
        else:
            job = replace(job, outcome=JobStatus.EXPIRED)
    events: tuple[Event, ...] = ()
    if job.status == JobStatus.OPEN and unit_of(view, name, unit) == NO_UNIT:
        events = (event("job.reopened", job=name, unit=unit),)
    return (*events, *receipt_done(view, ctx, name, job))


def receipt_done(view: View, ctx: BlockContext, name: Hash, job: Job) -> tuple[Event, ...]:
    """Nothing can become of a receipt's money any more: it was paid, or is free."""
    return go_on(view, ctx, name, replace(job, under_way=job.under_way - 1))


def _end(view: View, ctx: BlockContext, name: Hash, job: Job) -> Event:
    assert job.escrow == 0 and job.under_way == 0, "a job ends with nothing left"
    put_job(view, name, replace(job, status=job.outcome, ended_at=ctx.height))
    # After everything of it can be challenged no more, and its poster had the time to fetch what it gave.
    kept = ctx.params.work_keep_blocks if job.poster else 0
    look_at(view, ctx.height + max(ctx.params.epoch_blocks, kept) + 1, Due.FORGET, name)
    said: dict[str, int | str | bytes] = {"job": name, "outcome": JobStatus(job.outcome).label}
    if job.poster:
        poster = Address(job.poster)
        said |= {"poster": poster, "paid": job.paid, "burned": job.burned, "refunded": job.refunded}
        _leave_room(view, poster)
    return event("job.ended", **said)


def _leave_room(view: View, poster: Address) -> None:
    mine = view.get(JOBS_OPEN, poster)
    assert mine is not None, "an open job is counted"
    if mine.number == 1:
        view.delete(JOBS_OPEN, poster)
    else:
        view.put(JOBS_OPEN, Count(mine.number - 1), poster)
    view.put(COUNTERS, Counter(jobs_open(view) - 1), JOBS_OPEN_COUNTER)


def _refund(view: View, name: Hash, job: Job, amount: int) -> tuple[Job, tuple[Event, ...]]:
    """Returns money to the poster; the changed job, for the caller to go on with."""
    assert 0 <= amount <= job.escrow, f"{format_omnit(amount)} of a job's {format_omnit(job.escrow)}"
    if not amount:
        return job, ()
    poster = Address(job.poster)
    move(view, Pot.WORK, poster, amount)
    job = replace(job, escrow=Amount(job.escrow - amount), refunded=Amount(job.refunded + amount))
    return job, (event("job.refunded", job=name, poster=poster, amount=amount),)
