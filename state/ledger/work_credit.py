"""What validated work counts for: in the set of an epoch's leaders, and as a share of the compute pool.

A receipt counts in the epoch in which it is found good. The credit of epoch ``e`` is frozen at its boundary into the set of
epoch ``e + 2``, and paid. Judges nothing; knows receipts only as numbers.
"""

from typing import Final, NamedTuple

from msgspec.structs import replace

from consensus.work.credit import burned_share, counted_at
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.epochs import is_boundary
from omnitensor.protocol.limits import work_epochs_kept, workers_per_set_max
from omnitensor.protocol.params import Params
from omnitensor.protocol.seasons import Role
from omnitensor.protocol.types import BPS, U32_MAX, Address, Amount, Epoch, Height
from omnitensor.protocol.votes import ValidatorTable
from omnitensor.protocol.work import JobKind, proven_macs
from omnitensor.protocol.workers import WorkerEntry, WorkerSet
from state.ledger import epochs, standings, worker_sets, workers
from state.ledger.accounts import Pot, lifetime_sum, move, pot
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.ledger.events import event
from state.ledger.pay import largest_remainder
from state.ledger.rewards import YEAR_MS
from state.ledger.view import ReadView, View
from state.records_work import Job, WorkCredit, WorkEpoch, WorkerList
from state.schema import VALIDATORS, WORK_CREDIT, WORK_EPOCHS, WORKER_LISTS, WORKERS

NO_CREDIT: Final = WorkCredit(0, 0, 0, 0)
NO_WORK: Final = WorkEpoch(0, 0, 0, 0, (), Amount(0), Height(0), 0)


class Counted(NamedTuple):
    """What a receipt stands for, multiply-accumulates: what counts, and what was for a job."""

    credit: int
    useful: int


def of_receipt(job: Job | None, unit: int, macs: int, params: Params) -> Counted:
    """What ``macs`` of tickets count for: the chain's own jobs in full, others by what burned, synthetic work at the discount.

    The share that burned is of what a unit's tickets stand for on average, not of what they happen to say: credit stays unbiased.
    """
    if job is None:
        return Counted(counted_at(macs, 0, params.work_discount_bps), 0)
    if job.kind != JobKind.POSTED:
        return Counted(macs, macs)
    expected = proven_macs(job.layers, job.rows_of(unit), job.tile)
    share = burned_share(expected, job.burn_unit, params.work_base_price)
    return Counted(counted_at(macs, share, params.work_discount_bps), macs * share // BPS)


# -- rows of the epoch under way


def credit_of(view: ReadView, epoch: Epoch, worker: Address) -> WorkCredit:
    return view.get(WORK_CREDIT, epoch, worker) or NO_CREDIT


def sums_of(view: ReadView, epoch: Epoch) -> WorkEpoch:
    return view.get(WORK_EPOCHS, epoch) or NO_WORK


def count_receipt(view: View, ctx: BlockContext) -> None:
    """Counts a receipt that this block takes in. Raises Rejected where it has as many as it may."""
    row = sums_of(view, ctx.epoch)
    so_far = row.in_block if row.block == ctx.height else 0
    if so_far >= ctx.params.work_receipts_per_block_max:
        raise Rejected(
            "receipt_limit",
            "the block has as many receipts as it may",
            value=so_far,
            remedy="send it again for the next block",
        )
    view.put(WORK_EPOCHS, replace(row, block=ctx.height, in_block=so_far + 1), ctx.epoch)


def add(view: View, ctx: BlockContext, worker: Address, tickets: int, macs: int, counted: Counted) -> None:
    """Credits a receipt that was found good."""
    row = credit_of(view, ctx.epoch, worker)
    row = WorkCredit(
        lifetime_sum(row.credit, counted.credit),
        min(U32_MAX, row.tickets + tickets),
        lifetime_sum(row.useful, counted.useful),
        lifetime_sum(row.macs, macs),
    )
    view.put(WORK_CREDIT, row, ctx.epoch, worker)
    sums = sums_of(view, ctx.epoch)
    sums = replace(
        sums,
        receipts=sums.receipts + 1,
        credit=lifetime_sum(sums.credit, counted.credit),
        useful=lifetime_sum(sums.useful, counted.useful),
        macs=lifetime_sum(sums.macs, macs),
    )
    view.put(WORK_EPOCHS, sums, ctx.epoch)


def take_back(view: View, ctx: BlockContext, worker: Address, credit: int) -> None:
    """Takes from the epoch under way what a receipt counted that turned out to be bad, as far as there is so much."""
    row = view.get(WORK_CREDIT, ctx.epoch, worker)
    if row is not None:
        view.put(WORK_CREDIT, replace(row, credit=max(0, row.credit - credit)), ctx.epoch, worker)


def cut_missed(view: View, ctx: BlockContext) -> tuple[Event, ...]:
    """At the end of a block: takes most of their credit of the epoch from workers that were drawn for a view and missed it."""
    for worker, missed in worker_sets.missed_by(view, ctx).items():
        row = view.get(WORK_CREDIT, ctx.epoch, worker)
        if row is not None:
            kept = worker_sets.kept_after(row.credit, missed)
            view.put(WORK_CREDIT, replace(row, credit=kept), ctx.epoch, worker)
    return ()


def count_judges(view: View, ctx: BlockContext, table: ValidatorTable, judges: list[Address]) -> None:
    """Counts votes that agreed with an outcome."""
    sums = sums_of(view, ctx.epoch)
    counts = list(sums.judged or (0,) * len(table))
    for judge in judges:
        place = table.index_of(judge)
        assert place is not None, "votes that count are of the epoch's validators"
        counts[place] = min(U32_MAX, counts[place] + 1)
    view.put(WORK_EPOCHS, replace(sums, judged=tuple(counts)), ctx.epoch)


# -- the boundary


def turn(view: View, ctx: BlockContext) -> tuple[Event, ...]:
    """At the end of a boundary block: pays the epoch's work, fixes the set that it draws, and who units are drawn from next."""
    if not is_boundary(ctx.height, ctx.params):
        return ()
    rows = [(Address(key), row) for key, row in view.scan(WORK_CREDIT, ctx.epoch)]
    events = _pay(view, ctx, rows)
    _freeze(view, ctx, rows)
    _list_workers(view, ctx)
    _forget(view, ctx.epoch)
    return events


def pool_of(table: ValidatorTable, params: Params) -> int:
    """The compute pool of an epoch: a share of the voting stake for the time that an epoch takes, nanoOMNIT."""
    stake = table.total_weight * epochs.STAKE_UNIT
    epoch_ms = params.epoch_blocks * params.block_interval_ms
    return stake * params.compute_bps * epoch_ms // (BPS * YEAR_MS)


def _pay(view: View, ctx: BlockContext, rows: list[tuple[Address, WorkCredit]]) -> tuple[Event, ...]:
    """Splits the pool: the judges' share by votes that agreed, the rest by credit, as far as the reserve goes."""
    table = epochs.table_of(view, ctx.epoch)
    if table is None:
        return ()
    sums = sums_of(view, ctx.epoch)
    pool = min(pool_of(table, ctx.params), pot(view, Pot.RESERVE))
    for_judges = pool * ctx.params.work_judges_bps // BPS
    credits: list[tuple[bytes, int]] = [(address, row.credit) for address, row in rows]
    judged: list[tuple[bytes, int]] = [
        (entry.address, count) for entry, count in zip(table.entries, sums.judged, strict=False)
    ]
    earned, _ = largest_remainder(pool - for_judges, credits)
    judges, _ = largest_remainder(for_judges, judged)
    events: list[Event] = []
    for account, amount in earned.items():
        if amount:
            worker = Address(account)
            move(view, Pot.RESERVE, worker, amount)
            _note_pool(view, worker, amount)
            standings.score(view, standings.board_of(view, Role.WORKER), worker, amount)
            events.append(event("work.pool", worker=worker, epoch=ctx.epoch, amount=amount))
    for account, amount in judges.items():
        if amount:
            move(view, Pot.RESERVE, Address(account), amount)
            events.append(event("work.judges", validator=account, epoch=ctx.epoch, amount=amount))
    paid = sum(earned.values()) + sum(judges.values())
    if sums != NO_WORK:
        view.put(WORK_EPOCHS, replace(sums, judged=(), pool=Amount(paid)), ctx.epoch)
    return tuple(events)


def _note_pool(view: View, worker: Address, amount: int) -> None:
    """In the worker's own row, if it has not left."""
    if view.get(WORKERS, worker) is not None:
        workers.hold(view, worker, 0, pool=amount)


def _freeze(view: View, ctx: BlockContext, rows: list[tuple[Address, WorkCredit]]) -> None:
    """Fixes the set of the epoch after the next: the most credit first, of equal ones the lower address; then by address.

    Whoever was removed for voting twice leads nothing, whatever it worked.
    """
    able: list[tuple[int, WorkerEntry, int]] = []
    for address, row in rows:
        worker = view.get(WORKERS, address)
        if worker is None or not workers.is_active(worker, ctx.params) or not row.credit:
            continue
        validator = view.get(VALIDATORS, address)
        if validator is not None and validator.removed:
            continue
        key = validator.consensus_key if validator else worker.consensus_key
        able.append((-row.credit, WorkerEntry(address, key, row.credit), row.tickets))
    able.sort(key=lambda each: (each[0], each[1].address))
    chosen = able[:workers_per_set_max]
    if chosen:
        entries = tuple(sorted((entry for _, entry, _ in chosen), key=lambda entry: entry.address))
        tickets = sum(tickets for _, _, tickets in chosen)
        worker_sets.fix(view, Epoch(ctx.epoch + 2), WorkerSet(entries, tickets))


def _list_workers(view: View, ctx: BlockContext) -> None:
    """Takes down who can work, for the units of jobs that open in the next epoch."""
    able = tuple(Address(key) for key, row in view.scan(WORKERS) if workers.is_active(row, ctx.params))
    if able:
        view.put(WORKER_LISTS, WorkerList(able), ctx.epoch + 1)


def _forget(view: View, epoch: Epoch) -> None:
    """Forgets credit of the epoch before, lists before this epoch's, and sums that are old."""
    if epoch:
        for key, _ in view.scan(WORK_CREDIT, epoch - 1):
            view.delete(WORK_CREDIT, epoch - 1, key)
        view.delete(WORKER_LISTS, epoch - 1)
    if epoch >= work_epochs_kept:
        view.delete(WORK_EPOCHS, epoch - work_epochs_kept)
