"""Validators judge work: votes on jobs' bytes and on receipts, weighed by stake, and what follows when enough of it agrees.

A vote weighs what its validator weighs in the table of the epoch in which it is weighed. Multiplies no matrices: what a
validator says is its own node's to find out.
"""

from collections.abc import Hashable, Iterable
from typing import TypeVar

from msgspec.structs import replace

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies.work import JobVote, ReceiptVote, WorkJudge
from omnitensor.protocol.types import BPS, Address, Amount, Height
from omnitensor.protocol.votes import ValidatorTable
from omnitensor.protocol.work import JobKind
from state.ledger import epochs, jobs, work_credit, work_proven, work_receipts, workers
from state.ledger.accounts import Pot, move
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.ledger.events import event
from state.ledger.slashing import forfeit
from state.ledger.view import ReadView, View
from state.ledger.work_rows import Due, Key, look_at, put_receipt, settle_unit
from state.records_work import (
    RECEIPTS_JUDGED,
    Attest,
    Attests,
    Challenge,
    Finding,
    Findings,
    JobStatus,
    ReceiptState,
    WorkReceipt,
)
from state.schema import ATTESTS, CHALLENGES, FINDINGS, JOBS, WORK_RECEIPTS

Said = TypeVar("Said", bound=Hashable)
Verdict = tuple[bool, int]
"""Whether a receipt is good, and the multiply-accumulates that its tickets stand for."""


def judge(view: View, ctx: BlockContext, sender: Address, body: WorkJudge) -> tuple[Event, ...]:
    """Takes a validator's votes. Those that come late, say nothing new, or are about its own work are passed over."""
    table = _table(view, ctx)
    if table.index_of(sender) is None:
        raise Rejected(
            "judge_unknown",
            f"the account is no validator of epoch {ctx.epoch}",
            value=sender,
            remedy="work is judged by the validators of the epoch",
        )
    counted = 0
    events: list[Event] = []
    for about in body.jobs:
        said = _attest(view, ctx, table, sender, about)
        counted += said is not None
        events += said or ()
    for found in body.receipts:
        said = _find(view, ctx, table, sender, found)
        counted += said is not None
        events += said or ()
    if not counted:
        raise Rejected(
            "judge_nothing",
            "no vote of the order is about something that is still judged, says anything new, and is of another's work",
            value=len(body.jobs) + len(body.receipts),
            remedy="see what became of a receipt with the method work.receipt, of a job with jobs.get",
        )
    return tuple(events)


def _table(view: ReadView, ctx: BlockContext) -> ValidatorTable:
    table = epochs.table_of(view, ctx.epoch)
    assert table is not None, "the set of the epoch under way is never forgotten"
    return table


def agreed(table: ValidatorTable, votes: Iterable[tuple[Address, Said]]) -> Said | None:
    """What voters of enough weight say alike; None where they don't."""
    weights: dict[Said, int] = {}
    for voter, said in votes:
        place = table.index_of(voter)
        if place is not None:
            weights[said] = weights.get(said, 0) + table.entries[place].weight
            if weights[said] >= table.quorum_weight:
                return said
    return None


# -- jobs


def _attest(
    view: View, ctx: BlockContext, table: ValidatorTable, sender: Address, vote: JobVote
) -> tuple[Event, ...] | None:
    """Takes a vote on a job's bytes; None where it is passed over."""
    job = view.get(JOBS, vote.job)
    if job is None or job.status != JobStatus.POSTED or job.available:
        return None
    before = view.get(ATTESTS, vote.job)
    held = before.votes if before else ()
    mine = Attest(sender, vote.available)
    if mine in held:
        return None
    others = (one for one in held if one.validator != sender and table.index_of(one.validator) is not None)
    votes = tuple(sorted((*others, mine), key=lambda one: one.validator))
    view.put(ATTESTS, Attests(votes), vote.job)
    outcome = agreed(table, ((one.validator, one.available) for one in votes))
    if outcome is None:
        return ()
    judges = [one.validator for one in votes if one.available == outcome]
    work_credit.count_judges(view, ctx, table, judges)
    if outcome:
        return (jobs.become_available(view, ctx, vote.job, job),)
    return jobs.begin_closing(view, ctx, vote.job, job, JobStatus.REFUSED)


# -- receipts


def _find(
    view: View, ctx: BlockContext, table: ValidatorTable, sender: Address, vote: ReceiptVote
) -> tuple[Event, ...] | None:
    """Takes a vote on a receipt; None where it is passed over."""
    key = (vote.job, vote.unit, vote.worker)
    row = view.get(WORK_RECEIPTS, *key)
    if row is None or row.state not in RECEIPTS_JUDGED or vote.worker == sender:
        return None
    if vote.macs and not vote.good:
        return None
    before = view.get(FINDINGS, *key)
    held = before.votes if before else ()
    mine = Finding(sender, vote.good, vote.macs)
    if mine in held:
        return None
    others = (one for one in held if one.validator != sender and table.index_of(one.validator) is not None)
    votes = tuple(sorted((*others, mine), key=lambda one: one.validator))
    view.put(FINDINGS, Findings(votes), *key)
    return _settle_if_agreed(view, ctx, table, key, row, votes)


def _settle_if_agreed(
    view: View,
    ctx: BlockContext,
    table: ValidatorTable,
    key: Key,
    row: WorkReceipt,
    votes: tuple[Finding, ...],
) -> tuple[Event, ...]:
    verdict = agreed(table, ((one.validator, (one.good, one.macs)) for one in votes))
    if verdict is None:
        return ()
    judges = [
        one.validator
        for one in votes
        if (one.good, one.macs) == verdict and table.index_of(one.validator) is not None
    ]
    work_credit.count_judges(view, ctx, table, judges)
    return _settle(view, ctx, key, row, verdict)


def end_judgement(view: View, ctx: BlockContext, key: Key) -> tuple[Event, ...]:
    """The time to judge is over: votes are weighed once more, since an epoch may have turned; else the receipt is void."""
    row = view.get(WORK_RECEIPTS, *key)
    if row is None or row.state not in RECEIPTS_JUDGED or ctx.height < row.judged_until:
        return ()
    votes = view.get(FINDINGS, *key)
    events = _settle_if_agreed(view, ctx, _table(view, ctx), key, row, votes.votes if votes else ())
    return events or _settle(view, ctx, key, row, None)


def _settle(
    view: View, ctx: BlockContext, key: Key, row: WorkReceipt, verdict: Verdict | None
) -> tuple[Event, ...]:
    """Does what follows from a verdict; None: there is none."""
    view.delete(FINDINGS, *key)
    if row.state == ReceiptState.CHALLENGED:
        return _settle_challenge(view, ctx, key, row, verdict)
    job, unit, worker = key
    if verdict is None:
        said = event("work.void", job=job, unit=unit, worker=worker)
        return (said, *work_receipts.give_up(view, ctx, key, row, ReceiptState.VOID))
    good, macs = verdict
    if good:
        return _found_good(view, ctx, key, row, macs)
    amount, _ = workers.slash(view, ctx, worker, BPS)
    said = event("work.bad", job=job, unit=unit, worker=worker, slashed=amount)
    return (said, *work_receipts.give_up(view, ctx, key, row, ReceiptState.BAD, amount))


def _found_good(view: View, ctx: BlockContext, key: Key, row: WorkReceipt, macs: int) -> tuple[Event, ...]:
    name, unit, worker = key
    job = view.get(JOBS, name) if row.kind != JobKind.SYNTHETIC else None
    counted = work_credit.of_receipt(job, unit, macs, ctx.params)
    work_credit.add(view, ctx, worker, len(row.receipt.tickets), macs, counted)
    fee = job.fee_unit if job else 0
    workers.hold(view, worker, 0, good=1)
    row = replace(row, state=ReceiptState.GOOD, settled_at=ctx.height, macs=macs, credit=counted.credit)
    put_receipt(view, key, row)
    look_at(view, ctx.height + ctx.params.epoch_blocks, Due.SETTLED, *key)
    said = event("work.good", job=name, unit=unit, worker=worker, macs=macs, credit=counted.credit, fee=fee)
    if job is None:
        return (said,)
    job = settle_unit(view, name, job, unit, under_way=-1, good=1)
    proven = work_proven.keep(view, ctx, key, job)
    return (said, *proven, *jobs.go_on(view, ctx, name, job))


def _settle_challenge(
    view: View, ctx: BlockContext, key: Key, row: WorkReceipt, verdict: Verdict | None
) -> tuple[Event, ...]:
    """Who objected is paid from the worker's bond, or loses its own; without a verdict it has it back.

    What turns out bad is paid to nobody: its unit is run again where no other receipt of it stands, or its money returns.
    """
    job, unit, worker = key
    challenge = view.get(CHALLENGES, *key)
    assert challenge is not None, "a challenged receipt has a challenge"
    view.delete(CHALLENGES, *key)
    if verdict is None or verdict[0]:
        _let_stand(view, ctx, key, row, challenge, confirmed=verdict is not None)
        kind = "work.upheld" if verdict is not None else "work.unjudged"
        who = challenge.challenger
        return (event(kind, job=job, unit=unit, worker=worker, challenger=who, bond=challenge.bond),)
    move(view, Pot.WORK_BONDS, challenge.challenger, challenge.bond)
    amount, reward = workers.slash(view, ctx, worker, BPS, challenge.challenger)
    workers.hold(view, worker, -1, bad=1)
    work_credit.take_back(view, ctx, worker, row.credit)
    row = replace(row, state=ReceiptState.BAD, settled_at=ctx.height, judged_until=Height(0), held=False)
    row = replace(row, slashed=Amount(amount), reward=Amount(reward), finder=challenge.challenger)
    put_receipt(view, key, row)
    unproven = work_proven.take_back(view, ctx, key)
    held = view.get(JOBS, job)
    assert held is not None, "jobs are never deleted"
    return (
        event(
            "work.fraud",
            job=job,
            unit=unit,
            worker=worker,
            slashed=amount,
            challenger=challenge.challenger,
            bond=challenge.bond,
            reward=reward,
        ),
        *unproven,
        *jobs.receipt_fell(view, ctx, job, held, unit),
    )


def _let_stand(
    view: View, ctx: BlockContext, key: Key, row: WorkReceipt, challenge: Challenge, *, confirmed: bool
) -> None:
    put_receipt(view, key, replace(row, state=ReceiptState.GOOD, judged_until=Height(0)))
    look_at(view, max(ctx.height + 1, row.settled_at + ctx.params.epoch_blocks), Due.SETTLED, *key)
    if confirmed:
        forfeit(view, ctx, Pot.WORK_BONDS, challenge.bond)
    else:
        move(view, Pot.WORK_BONDS, challenge.challenger, challenge.bond)
