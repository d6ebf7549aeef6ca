"""The clock of a batch: draws its seats, closes its windows (early, when all have done their part), replaces what is missing.

Called at the end of a block for each batch on the agenda. Whatever was missed is charged; what a verdict makes of items is
``outcomes``' business, what it makes of reviewers ``reviewer_pay``'s.
"""

from collections.abc import Mapping
from typing import NamedTuple

from msgspec.structs import replace

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.types import BPS, BatchId, Height, ItemId
from state.ledger import agenda, committees, escalation, escrow, gold, items, outcomes, privacy
from state.ledger.batches import ROUND_ONE
from state.ledger.campaigns import campaign_of, end_if_idle
from state.ledger.committees import Committee
from state.ledger.context import BlockContext
from state.ledger.events import event
from state.ledger.reviewer_pay import pay_committee
from state.ledger.scoring import Triple
from state.ledger.seats import Seated, fill, miss, release, seats_of
from state.ledger.view import View
from state.records_review import Batch, BatchOutcome, BatchPhase, Campaign, SeatState
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
            case BatchPhase.GOLD:
                step = _gold_phase(view, ctx, number, batch)
            case BatchPhase.SECOND | BatchPhase.DONE:
                break
        batch, go_on = step.batch, step.go_on
        events += step.events
        view.put(BATCHES, batch, number)
    if batch.phase == BatchPhase.DONE:
        privacy.forget(view, number, batch)
        events += end_if_idle(view, ctx, batch.campaign)
    return tuple(events)


def quorum(places: int, bps: int) -> int:
    """Reports that a verdict needs of so many places: a share, rounded up, and never none."""
    return max(1, -(-places * bps // BPS))


def _draw_first(view: View, ctx: BlockContext, number: BatchId, batch: Batch) -> Step:
    if ctx.height < batch.draw_at:
        return Step(batch, ())
    campaign = campaign_of(view, batch.campaign)
    batch, events = fill(view, ctx, number, batch, campaign, (0,) * batch.asked)
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
    if gold.is_expected(view, batch):
        until = Height(ctx.height + max(1, ctx.params.gold_reveal_blocks))
        agenda.look_at_batch(view, until, number)
        said = event("batch.gold", batch=number, campaign=batch.campaign, gold_until=until)
        return Step(replace(batch, phase=BatchPhase.GOLD, gold_until=until), (*withheld, said))
    batch, decided = _conclude(view, ctx, number, batch)
    return Step(batch, (*withheld, *decided))


def _gold_phase(view: View, ctx: BlockContext, number: BatchId, batch: Batch) -> Step:
    """When the sponsor has said which items were gold, or its time is over: the verdict. None once no reviewer is left."""
    if not any(one.seat.state == SeatState.REVEALED for one in seats_of(view, number, batch)):
        returned = gold.give_back(view, campaign_of(view, batch.campaign), batch)
        step = _give_up(view, ctx, number, batch, BatchOutcome.NO_QUORUM, NO_QUORUM)
        return Step(step.batch, (*returned, *step.events), step.go_on)
    if not batch.gold_said and ctx.height < batch.gold_until:
        return Step(batch, ())
    return Step(*_conclude(view, ctx, number, batch))


def _conclude(
    view: View, ctx: BlockContext, number: BatchId, batch: Batch
) -> tuple[Batch, tuple[Event, ...]]:
    """The verdict: items first, then whoever is paid now, all from the same reports and standings."""
    campaign = campaign_of(view, batch.campaign)
    committee = committees.at_verdict(view, ctx, number, batch)
    decided = event(
        "batch.decided",
        batch=number,
        round=batch.round,
        campaign=batch.campaign,
        reports=len(committee.sitting),
    )
    batch = _done(ctx, batch, BatchOutcome.VERDICT)
    agenda.settle_batch(view, batch.settle_at, number)
    if batch.round == ROUND_ONE:
        batch, campaign, events = _first_verdict(view, ctx, number, batch, campaign, committee)
    else:
        campaign, events = _second_verdict(view, ctx, number, batch, campaign, committee)
    escrow.put(view, batch.campaign, campaign)
    return batch, (decided, *events)


def _first_verdict(
    view: View, ctx: BlockContext, number: BatchId, batch: Batch, campaign: Campaign, committee: Committee
) -> tuple[Batch, Campaign, tuple[Event, ...]]:
    """Ends what it can. The reviewers wait for what goes to a second round: they are held against it."""
    batch, events = gold.judge(view, ctx, campaign, batch, committee)
    ended = outcomes.by_first_round(view, ctx, number, batch, campaign, committee)
    campaign = ended.campaign
    if ended.disputed:
        campaign, second_number, formed = escalation.open_round(
            view, ctx, number, batch.campaign, campaign, ended.disputed
        )
        batch = replace(batch, phase=BatchPhase.SECOND, second=second_number)
        return batch, campaign, (*events, *ended.events, formed)
    campaign, paid, _ = pay_committee(view, ctx, number, batch, campaign, committee, {})
    return batch, campaign, (*events, *ended.events, *paid)


def _second_verdict(
    view: View, ctx: BlockContext, number: BatchId, batch: Batch, campaign: Campaign, committee: Committee
) -> tuple[Campaign, tuple[Event, ...]]:
    """Ends every item for good, and pays both rounds' reviewers."""
    ended, bits = outcomes.by_second_round(view, ctx, number, batch, campaign, committee)
    campaign, paid, amount = pay_committee(view, ctx, number, batch, ended.campaign, committee, {})
    events = (*ended.events, *paid)
    if batch.appellant:
        campaign, closed = escalation.end_appeal(view, ctx, batch, campaign, amount)
        return campaign, (*events, *closed)
    campaign, paid = _pay_origin(view, ctx, batch, campaign, bits)
    return campaign, (*events, *paid)


def _pay_origin(
    view: View, ctx: BlockContext, batch: Batch, campaign: Campaign, bits: Mapping[ItemId, Triple]
) -> tuple[Campaign, tuple[Event, ...]]:
    """Pays the reviewers of the first round, who waited for this second one."""
    origin = view.get(BATCHES, batch.origin)
    assert origin is not None and origin.phase == BatchPhase.SECOND, "a first round waits for its second"
    committee = committees.as_decided(view, batch.origin, origin)
    campaign, events, _ = pay_committee(view, ctx, batch.origin, origin, campaign, committee, bits)
    view.put(BATCHES, replace(origin, phase=BatchPhase.DONE), batch.origin)
    privacy.forget(view, batch.origin, origin)
    return campaign, events


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
    said = event("batch.undecided", batch=number, round=batch.round, campaign=batch.campaign, reason=reason)
    batch = _done(ctx, batch, outcome)
    ended = outcomes.without_round(view, ctx, number, batch, campaign, reason)
    campaign = items.free_reviews(view, ended.campaign, batch.items, batch.round)
    events: tuple[Event, ...] = ()
    if batch.appellant:
        campaign, events = escalation.end_appeal(view, ctx, batch, campaign, 0, void=True)
    elif batch.origin:
        campaign, events = _pay_origin(view, ctx, batch, campaign, {})
    escrow.put(view, batch.campaign, campaign)
    if batch.origin:
        agenda.settle_batch(view, batch.settle_at, number)
    else:
        batch = replace(batch, settled=True)
    return Step(batch, (said, *ended.events, *events))


def _done(ctx: BlockContext, batch: Batch, outcome: BatchOutcome) -> Batch:
    settle_at = Height(ctx.height + max(1, ctx.params.challenge_blocks))
    return replace(batch, phase=BatchPhase.DONE, outcome=outcome, decided_at=ctx.height, settle_at=settle_at)


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
