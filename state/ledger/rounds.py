"""The clock of a batch: draws its seats, closes its windows (early, when all have done their part), replaces what is missing.

Called at the end of a block for each batch on the agenda. Whatever was missed is charged; a verdict is ``verdicts``' business.
"""

from typing import NamedTuple

from msgspec.structs import replace

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.types import BPS, BatchId, Height
from state.ledger import agenda, escrow, items, verdicts
from state.ledger.campaigns import campaign_of, end_if_idle
from state.ledger.context import BlockContext
from state.ledger.events import event
from state.ledger.seats import Seated, fill, miss, release, seats_of
from state.ledger.view import View
from state.records_review import Batch, BatchOutcome, BatchPhase, SeatState
from state.schema import BATCHES

NO_QUORUM = "no_quorum"
NO_REVIEWERS = "no_reviewers"
WAITING = (SeatState.SEATED, SeatState.ACCEPTED)
REPORTING = (SeatState.COMMITTED, SeatState.REVEALED)


class Step(NamedTuple):
    """A batch after a transition, what happened, and whether its next window may be over already."""

    batch: Batch
    events: tuple[Event, ...]
    go_on: bool = False


def advance(view: View, ctx: BlockContext, number: BatchId) -> tuple[Event, ...]:
    """Takes a batch as far as it can go at the end of this block."""
    batch = view.get(BATCHES, number)
    assert batch is not None, "batches are never deleted"
    events: list[Event] = []
    go_on = True
    while go_on:
        match BatchPhase(batch.phase):
            case BatchPhase.FROZEN:
                step = _draw_first(view, ctx, number, batch)
            case BatchPhase.COMMIT:
                step = _commit_phase(view, ctx, number, batch)
            case BatchPhase.REVEAL:
                step = _reveal_phase(view, ctx, number, batch)
            case BatchPhase.DONE:
                break
        batch, go_on = step.batch, step.go_on
        events += step.events
        view.put(BATCHES, batch, number)
    if batch.phase == BatchPhase.DONE:
        events += end_if_idle(view, ctx, batch.campaign)
    return tuple(events)


def quorum(places: int, bps: int) -> int:
    """Reports that a verdict needs of so many places: a share, rounded up, and never none."""
    return max(1, -(-places * bps // BPS))


def _draw_first(view: View, ctx: BlockContext, number: BatchId, batch: Batch) -> Step:
    if ctx.height < batch.draw_at:
        return Step(batch, ())
    campaign = campaign_of(view, batch.campaign)
    batch, events = fill(view, ctx, number, batch, campaign, (0,) * campaign.spec.first_seats)
    if batch.seats:
        return Step(replace(batch, places=len(batch.seats), draw_at=ctx.height), events)
    if ctx.height >= batch.draw_at + ctx.params.report_commit_blocks:
        return _give_up(view, ctx, number, batch, BatchOutcome.NOBODY, NO_REVIEWERS)
    agenda.look_at_batch(view, ctx.height + max(1, ctx.params.batch_wait_blocks), number)
    return Step(batch, ())


def _commit_phase(view: View, ctx: BlockContext, number: BatchId, batch: Batch) -> Step:
    """Draws declined seats again; when nobody is waited for, or the time is over, closes the window."""
    events: tuple[Event, ...] = ()
    if batch.vacancies:
        campaign = campaign_of(view, batch.campaign)
        before = len(batch.seats)
        batch, events = fill(view, ctx, number, batch, campaign, batch.vacancies)
        batch = replace(batch, vacancies=(), places=batch.places + len(batch.seats) - before)
    waiting = [seated for seated in seats_of(view, number, batch) if seated.seat.state in WAITING]
    if waiting and ctx.height < batch.commit_until:
        return Step(batch, events)
    missed = _charge(view, ctx, number, batch, waiting, SeatState.MISSED)
    committed = [seated for seated in seats_of(view, number, batch) if seated.seat.state in REPORTING]
    if len(committed) < quorum(batch.places, ctx.params.seat_quorum_bps):
        step = _replace_missing(view, ctx, number, batch, len(committed))
        return Step(step.batch, (*events, *missed, *step.events), step.go_on)
    batch = replace(
        batch,
        phase=BatchPhase.REVEAL,
        reveal_from=Height(ctx.height + 1),
        reveal_until=Height(ctx.height + max(1, ctx.params.report_reveal_blocks)),
    )
    waits = any(seated.seat.state == SeatState.COMMITTED for seated in committed)
    # Without a seat drawn anew that committed, all reports are open already: nobody is waited for.
    agenda.look_at_batch(view, batch.reveal_until if waits else batch.reveal_from, number)
    opened = event(
        "batch.reveal",
        batch=number,
        round=batch.round,
        campaign=batch.campaign,
        reveal_from=batch.reveal_from,
        reveal_until=batch.reveal_until,
    )
    return Step(batch, (*events, *missed, opened))


def _reveal_phase(view: View, ctx: BlockContext, number: BatchId, batch: Batch) -> Step:
    """When every commitment is open, or the time is over: a verdict, or replacements for what is missing."""
    seated = seats_of(view, number, batch)
    waiting = [one for one in seated if one.seat.state == SeatState.COMMITTED]
    if waiting and ctx.height < batch.reveal_until:
        return Step(batch, ())
    withheld = _charge(view, ctx, number, batch, waiting, SeatState.WITHHELD)
    revealed = sum(one.seat.state == SeatState.REVEALED for one in seated)
    if revealed < quorum(batch.places, ctx.params.seat_quorum_bps):
        step = _replace_missing(view, ctx, number, batch, revealed)
        return Step(step.batch, (*withheld, *step.events), step.go_on)
    decided = verdicts.decide(view, ctx, number, batch)
    return Step(_done(ctx, batch, BatchOutcome.VERDICT), (*withheld, *decided))


def _replace_missing(view: View, ctx: BlockContext, number: BatchId, batch: Batch, have: int) -> Step:
    """Draws a new seat for each report that is missing, or, where that can't be, gives the batch up."""
    if batch.redraws < ctx.params.seat_redraws_max:
        places = max(batch.places, quorum(batch.places, ctx.params.seat_quorum_bps))
        campaign = campaign_of(view, batch.campaign)
        redrawn, events = fill(view, ctx, number, batch, campaign, (0,) * (places - have))
        if events:
            return Step(replace(redrawn, places=places, redraws=batch.redraws + 1), events)
    return _give_up(view, ctx, number, batch, BatchOutcome.NO_QUORUM, NO_QUORUM)


def _give_up(
    view: View, ctx: BlockContext, number: BatchId, batch: Batch, outcome: BatchOutcome, reason: str
) -> Step:
    """Ends a batch without a verdict: seats are let go, and every item is undecided and refunded."""
    for seated in seats_of(view, number, batch):
        if seated.seat.state == SeatState.COMMITTED:
            release(view, number, batch, seated, SeatState.RELEASED)
        elif seated.seat.state == SeatState.REVEALED:
            release(view, number, batch, seated, SeatState.REVEALED)
    campaign = campaign_of(view, batch.campaign)
    events: list[Event] = [
        event("batch.undecided", batch=number, round=batch.round, campaign=batch.campaign, reason=reason)
    ]
    for item_number in batch.items:
        item = items.item_at(view, item_number)
        if item.displaced:
            campaign, said = verdicts.reject_displaced(view, ctx, campaign, item_number, item)
        else:
            campaign, said = items.leave_undecided(view, ctx, campaign, item_number, item, (reason,))
        events += said
    escrow.put(view, batch.campaign, campaign)
    return Step(replace(_done(ctx, batch, outcome), settled=True), tuple(events))


def _done(ctx: BlockContext, batch: Batch, outcome: BatchOutcome) -> Batch:
    return replace(batch, phase=BatchPhase.DONE, outcome=outcome, decided_at=ctx.height)


def _charge(
    view: View, ctx: BlockContext, number: BatchId, batch: Batch, waiting: list[Seated], state: SeatState
) -> tuple[Event, ...]:
    """Charges everyone who is still waited for."""
    campaign = campaign_of(view, batch.campaign)
    events: list[Event] = []
    for seated in waiting:
        campaign, said = miss(view, ctx, number, batch, campaign, seated, state)
        events += said
    escrow.put(view, batch.campaign, campaign)
    return tuple(events)
