"""What a verdict makes of each item: its end by the first round, its way to a second, its end by that, and the last pay."""

from typing import Any, NamedTuple

from msgspec.structs import replace

from omnitensor.protocol import hashing
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.types import BPS, Amount, BatchId, ItemId
from state.ledger import escrow, items, pay, scoring
from state.ledger.campaigns import campaign_of, end_if_idle
from state.ledger.committees import Committee
from state.ledger.context import BlockContext
from state.ledger.escalation import affordable
from state.ledger.scoring import Bar, Triple
from state.ledger.verdicts import Decision, Findings, cause_of, judge, judge_last
from state.ledger.view import View
from state.records_review import Batch, Campaign, Escalation, Item, ItemStatus
from state.schema import BATCHES


class Ended(NamedTuple):
    """A campaign after the items of a batch had their ends, and what happened."""

    campaign: Campaign
    events: tuple[Event, ...]
    disputed: tuple[ItemId, ...] = ()
    """Items that need a second round."""


class Ending(NamedTuple):
    """How one item ends, by the verdict of which batch."""

    batch: BatchId
    status: ItemStatus
    reasons: tuple[str, ...]
    bond_cost: int


class Judged(NamedTuple):
    """What the first round alone makes of an item, and why it may not suffice."""

    number: ItemId
    item: Item
    end: Ending
    scored: dict[str, Any]
    cause: Escalation


def by_first_round(
    view: View,
    ctx: BlockContext,
    batch_number: BatchId,
    batch: Batch,
    campaign: Campaign,
    committee: Committee,
) -> Ended:
    """Ends the items on which the first round suffices, and sends the others to a second, where one can be had."""
    judged = [
        _judged(ctx, batch_number, number, items.item_at(view, number), campaign, committee, place)
        for place, number in enumerate(batch.items)
    ]
    disputed = [one for one in judged if one.cause is not Escalation.NONE]
    if disputed and affordable(campaign, [one.item for one in disputed]) == 0:
        disputed = []
    to_second = tuple(one.number for one in disputed)
    events: list[Event] = []
    for one in judged:
        if one.item.displaced:
            campaign, said = reject_displaced(view, ctx, campaign, one.number, one.item)
        elif one.number in to_second:
            campaign, said = items.escalate(
                view,
                ctx,
                campaign,
                one.number,
                one.item,
                one.cause,
                one.end.status,
                reasons=one.end.reasons,
                bond_cost=Amount(one.end.bond_cost),
                **one.scored,
            )
        else:
            campaign, said = _end(view, ctx, campaign, one.number, one.item, one.end, **one.scored)
        events += said
    return Ended(campaign, tuple(events), to_second)


def _judged(
    ctx: BlockContext,
    batch_number: BatchId,
    number: ItemId,
    item: Item,
    campaign: Campaign,
    committee: Committee,
    place: int,
) -> Judged:
    bar, spec = scoring.bar_of(campaign.spec), campaign.spec
    findings = committee.findings(place, bar)
    decision = judge(findings, bar, spec.agree_min_bps)
    ends_here = item.displaced or place in committee.unread
    cause = Escalation.NONE if ends_here else cause_of(findings, spec.agree_min_bps)
    if cause is Escalation.NONE and not ends_here and is_audited(ctx, number, spec.audit_bps):
        cause = Escalation.AUDIT
    cost = _cost(ctx, item, bar, findings, decision)
    end = Ending(batch_number, decision.status, decision.reasons, cost)
    return Judged(number, item, end, _scored(findings, bar), cause)


def by_second_round(
    view: View,
    ctx: BlockContext,
    batch_number: BatchId,
    batch: Batch,
    campaign: Campaign,
    committee: Committee,
) -> tuple[Ended, dict[ItemId, Triple]]:
    """Ends every item for good; also says which criteria each passed, for whoever judged it first."""
    bar = scoring.bar_of(campaign.spec)
    events: list[Event] = []
    bits: dict[ItemId, Triple] = {}
    for place, number in enumerate(batch.items):
        item = items.item_at(view, number)
        findings = committee.findings(place, bar)
        scores = findings.tally.scores
        if place not in committee.unread:  # nobody can be held against what could not be read
            bits[number] = scoring.bits_of(scores, bar)
        decision = judge_last(findings, bar)
        end = Ending(
            batch_number, decision.status, decision.reasons, _cost(ctx, item, bar, findings, decision)
        )
        campaign, said = _end(view, ctx, campaign, number, item, end, **_scored(findings, bar))
        events += said
    return Ended(campaign, tuple(events)), bits


def without_round(
    view: View, ctx: BlockContext, batch_number: BatchId, batch: Batch, campaign: Campaign, reason: str
) -> Ended:
    """Ends the items of a batch that came to no verdict: as the first round would have, or undecided where this was it."""
    events: list[Event] = []
    for number in batch.items:
        item = items.item_at(view, number)
        if item.displaced:
            campaign, said = reject_displaced(view, ctx, campaign, number, item)
        elif item.status == ItemStatus.ESCALATED:
            first = ItemStatus(item.first)
            reasons = item.reasons if first != ItemStatus.UNDECIDED else (*item.reasons, reason)
            end = Ending(batch_number, first, reasons, item.bond_cost)
            campaign, said = _end(view, ctx, campaign, number, item, end, overall=item.overall)
        else:
            campaign, said = items.leave_undecided(view, ctx, campaign, number, item, (reason,))
        events += said
    return Ended(campaign, tuple(events))


def reject_displaced(
    view: View, ctx: BlockContext, campaign: Campaign, number: ItemId, item: Item
) -> items.Outcome:
    """Ends an item whose content turned out to be committed earlier by another."""
    cost = pay.rejection_cost(item.bond, (), (), flagged=True, fraud=False, params=ctx.params)
    return items.reject(view, ctx, campaign, number, item, (items.DUPLICATE,), cost)


def is_audited(ctx: BlockContext, number: ItemId, audit_bps: int) -> bool:
    """Whether the lot falls on an item: by the beacon of the block of its verdict."""
    drawn = hashing.AUDIT(ctx.beacon, number.to_bytes(8, "big"))
    return int.from_bytes(drawn, "big") % BPS < audit_bps


def settle(view: View, ctx: BlockContext, number: BatchId) -> tuple[Event, ...]:
    """The challenge window is over: accepted items get their rest and their bonds, rejected ones what is left of theirs."""
    batch = view.get(BATCHES, number)
    assert batch is not None and not batch.settled, "a batch is settled once"
    campaign = campaign_of(view, batch.campaign)
    events: list[Event] = []
    for item_number in batch.items:
        item = items.item_at(view, item_number)
        if item.open_verdict == number:
            campaign, said = items.settle(view, ctx, campaign, item_number, item)
            events += said
    escrow.put(view, batch.campaign, campaign)
    view.put(BATCHES, replace(batch, settled=True), number)
    return (*events, *end_if_idle(view, ctx, batch.campaign))


def _end(
    view: View,
    ctx: BlockContext,
    campaign: Campaign,
    number: ItemId,
    item: Item,
    end: Ending,
    *,
    overall: int,
    **scored: Any,
) -> items.Outcome:
    """Gives an item the end decided on. What its reviewers may earn stays reserved until they are paid."""
    if end.status == ItemStatus.UNDECIDED:
        return items.leave_undecided(
            view, ctx, campaign, number, item, end.reasons, overall=overall, **scored
        )
    scored["open_verdict"] = end.batch
    if end.status == ItemStatus.ACCEPTED:
        return items.accept(view, ctx, campaign, number, item, overall, bond_cost=Amount(0), **scored)
    return items.hold_rejected(
        view, ctx, campaign, number, item, end.reasons, end.bond_cost, overall=overall, **scored
    )


def _scored(findings: Findings, bar: Bar) -> dict[str, Any]:
    tally = findings.tally
    overall = scoring.overall(tally.scores, bar) // BPS
    return {"scores": tally.scores, "agreement_bps": tally.agreement_bps, "overall": overall}


def _cost(ctx: BlockContext, item: Item, bar: Bar, findings: Findings, decision: Decision) -> int:
    """What a rejection costs of an item's bond; nothing where it is none."""
    if decision.status != ItemStatus.REJECTED:
        return 0
    return pay.rejection_cost(
        item.bond,
        findings.tally.scores,
        bar.thresholds,
        flagged=decision.flagged,
        fraud=decision.fraud,
        params=ctx.params,
    )
