"""Verdicts: what a committee's reports make of each item, what each reviewer earns, and the last pay after the challenge window.

The arithmetic is in ``scoring``, ``reputation`` and ``pay``; here it meets the state.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.reviews import Flag, ItemScore, decode_report
from omnitensor.protocol.types import BPS, Amount, BatchId, ItemId
from state.ledger import agenda, earnings, escrow, items, pay, reputation, scoring
from state.ledger.campaigns import campaign_of, end_if_idle
from state.ledger.context import BlockContext
from state.ledger.events import event
from state.ledger.scoring import CRITERIA, PEERS, Bar, Score, Tally, Triple
from state.ledger.seats import Seated, reviewer, seats_of, slash
from state.ledger.view import View
from state.records_review import BaseRates, Batch, Campaign, Item, ItemStatus, SeatState
from state.schema import BATCHES, REVIEWERS, SEATS

FLAG_QUARTER: Final = 4
"""Flags by a quarter of the weight are heard."""
FRAUD: Final = Flag.ILLEGAL | Flag.POISONED
"""Flags that, agreed upon, cost the whole bond."""
OVERALL: Final = "overall"
DISAGREEMENT: Final = "disagreement"


class Findings(NamedTuple):
    """What the committee says of one item beyond the tally: weight behind each flag, behind any flag, and of all."""

    tally: Tally
    by_flag: tuple[tuple[Flag, int], ...]
    flagged: int
    total: int

    def heard(self) -> tuple[Flag, ...]:
        """Flags raised by a quarter of the weight."""
        return tuple(flag for flag, weight in self.by_flag if weight * FLAG_QUARTER >= self.total)

    def agreed(self, bps: int) -> tuple[Flag, ...]:
        """Flags raised by such a share of the weight, and by a quarter at least."""
        return tuple(
            flag
            for flag, weight in self.by_flag
            if weight * BPS >= bps * self.total and weight * FLAG_QUARTER >= self.total
        )


class Decision(NamedTuple):
    """How an item ends. ``reasons`` for a rejection or an undecided end."""

    status: ItemStatus
    reasons: tuple[str, ...] = ()
    fraud: bool = False
    flagged: bool = False


def decide(view: View, ctx: BlockContext, number: BatchId, batch: Batch) -> tuple[Event, ...]:
    """Ends a batch with its verdict: items first, then the reviewers, all from the same reports and standings."""
    campaign = campaign_of(view, batch.campaign)
    bar = scoring.bar_of(campaign.spec)
    sitting = [one for one in seats_of(view, number, batch) if one.seat.state == SeatState.REVEALED]
    read = [decode_report(one.seat.report, len(batch.items)) for one in sitting]
    weights = [
        reputation.vote_weight(reputation.quality(reviewer(view, one.validator).reputation, ctx.params))
        for one in sitting
    ]
    reports = [[report[place].criteria for report in read] for place in range(len(batch.items))]
    events: list[Event] = [
        event("batch.decided", batch=number, round=batch.round, campaign=batch.campaign, reports=len(sitting))
    ]
    accepted = 0
    for place, item_number in enumerate(batch.items):
        findings = find([report[place] for report in read], weights, bar)
        item = items.item_at(view, item_number)
        campaign, said, is_accepted = _end_item(view, ctx, campaign, bar, item_number, item, findings)
        accepted += is_accepted
        events += said
    campaign, said = _reward(view, ctx, number, batch, campaign, bar, sitting, reports, weights)
    events += said
    escrow.put(view, batch.campaign, campaign)
    if accepted:
        agenda.settle_batch(view, ctx.height + max(1, ctx.params.challenge_blocks), number)
    return tuple(events)


def find(scores: Sequence[ItemScore], weights: Sequence[int], bar: Bar) -> Findings:
    """What reports with these weights say of one item."""
    tally = scoring.tally([score.criteria for score in scores], weights, bar)
    by_flag = tuple(
        (flag, sum(weight for score, weight in zip(scores, weights, strict=True) if score.flags & flag))
        for flag in Flag
    )
    flagged = sum(weight for score, weight in zip(scores, weights, strict=True) if score.flags)
    return Findings(tally, by_flag, flagged, sum(weights))


def judge(findings: Findings, bar: Bar, agree_min_bps: int) -> Decision:
    """How an item ends by one round.

    Too little agreement on the verdict leaves it undecided. Agreed bad, it is rejected for each criterion that fails, the overall
    score if that fails, and each flag heard. Agreed good but flagged by a quarter of the weight, it is rejected where a flag has
    the agreement that a verdict needs, and undecided otherwise.
    """
    tally = findings.tally
    heard = findings.heard()
    agreed = findings.agreed(agree_min_bps)
    fraud = any(flag in FRAUD for flag in agreed)
    if tally.agreement_bps < agree_min_bps:
        return Decision(ItemStatus.UNDECIDED, (DISAGREEMENT, *map(flag_name, heard)))
    if not tally.accepted:
        reasons = (*failed_criteria(tally.scores, bar), *map(flag_name, heard))
        return Decision(ItemStatus.REJECTED, reasons, fraud, flagged=bool(heard))
    if findings.flagged * FLAG_QUARTER < findings.total:
        return Decision(ItemStatus.ACCEPTED)
    if agreed:
        return Decision(ItemStatus.REJECTED, tuple(map(flag_name, agreed)), fraud, flagged=True)
    return Decision(ItemStatus.UNDECIDED, ("flagged", *map(flag_name, heard)))


def failed_criteria(scores: Triple, bar: Bar) -> tuple[str, ...]:
    """Names of what fails: criteria below their thresholds, and ``overall``."""
    failed = [
        name
        for name, score, threshold in zip(CRITERIA, scores, bar.thresholds, strict=True)
        if score < threshold
    ]
    if scoring.overall(scores, bar) < bar.overall * BPS:
        failed.append(OVERALL)
    return tuple(failed)


def flag_name(flag: Flag) -> str:
    assert flag.name is not None, "single flags have names"
    return flag.name.lower()


def reject_displaced(
    view: View, ctx: BlockContext, campaign: Campaign, number: ItemId, item: Item
) -> items.Outcome:
    """Ends an item whose content turned out to be committed earlier by another."""
    cost = pay.rejection_cost(item.bond, (), (), flagged=True, fraud=False, params=ctx.params)
    return items.reject(view, ctx, campaign, number, item, (items.DUPLICATE,), cost)


def settle(view: View, ctx: BlockContext, number: BatchId) -> tuple[Event, ...]:
    """The challenge window is over: accepted items get their rest and their bonds."""
    batch = view.get(BATCHES, number)
    assert batch is not None and not batch.settled, "a batch is settled once"
    campaign = campaign_of(view, batch.campaign)
    events: list[Event] = []
    for item_number in batch.items:
        item = items.item_at(view, item_number)
        if item.status == ItemStatus.ACCEPTED:
            campaign, said = items.settle(view, ctx, campaign, item_number, item)
            events += said
    escrow.put(view, batch.campaign, campaign)
    view.put(BATCHES, replace(batch, settled=True), number)
    return (*events, *end_if_idle(view, ctx, batch.campaign))


def _end_item(
    view: View,
    ctx: BlockContext,
    campaign: Campaign,
    bar: Bar,
    number: ItemId,
    item: Item,
    findings: Findings,
) -> tuple[Campaign, tuple[Event, ...], bool]:
    """Gives one item its end; says whether it was accepted.

    The reserve for reviews becomes available here and is taken back, as far as it was earned, when the reviewers are paid.
    """
    tally = findings.tally
    scored = {"scores": tally.scores, "agreement_bps": tally.agreement_bps}
    overall = scoring.overall(tally.scores, bar) // BPS
    if item.displaced:
        return (*reject_displaced(view, ctx, campaign, number, item), False)
    decision = judge(findings, bar, campaign.spec.agree_min_bps)
    match decision.status:
        case ItemStatus.ACCEPTED:
            return (*items.accept(view, ctx, campaign, number, item, overall, **scored), True)
        case ItemStatus.REJECTED:
            cost = pay.rejection_cost(
                item.bond,
                tally.scores,
                bar.thresholds,
                flagged=decision.flagged,
                fraud=decision.fraud,
                params=ctx.params,
            )
            ended = items.reject(
                view, ctx, campaign, number, item, decision.reasons, cost, overall=overall, **scored
            )
        case _:
            ended = items.leave_undecided(
                view, ctx, campaign, number, item, decision.reasons, overall=overall, **scored
            )
    return (*ended, False)


def _reward(
    view: View,
    ctx: BlockContext,
    number: BatchId,
    batch: Batch,
    campaign: Campaign,
    bar: Bar,
    sitting: list[Seated],
    reports: list[list[Triple]],
    weights: list[int],
) -> tuple[Campaign, tuple[Event, ...]]:
    """Scores every reviewer against the others, updates standings and base rates, pays and charges."""
    rates = campaign.base_rates
    priors = (
        scoring.prior_bps(rates.ones[0], rates.totals[0], ctx.params),
        scoring.prior_bps(rates.ones[1], rates.totals[1], ctx.params),
        scoring.prior_bps(rates.ones[2], rates.totals[2], ctx.params),
    )
    references = [PEERS] * len(reports)
    events: list[Event] = []
    used: list[tuple[int, int]] = []
    for place, one in enumerate(sitting):
        score = scoring.score(place, reports, weights, references, priors, priors, bar, ctx.params)
        used += score.references
        campaign, said = _settle_seat(view, ctx, number, batch, campaign, one, score)
        events += said
    return replace(campaign, base_rates=_with_references(rates, used)), tuple(events)


def _settle_seat(
    view: View,
    ctx: BlockContext,
    number: BatchId,
    batch: Batch,
    campaign: Campaign,
    one: Seated,
    score: Score,
) -> tuple[Campaign, tuple[Event, ...]]:
    """Updates one reviewer's standing, and pays or charges it by the new one."""
    record = reviewer(view, one.validator)
    standing = reputation.updated(
        record.reputation, score.peer, score.gold, score.peer_items, score.gold_items, ctx.params
    )
    view.put(REVIEWERS, replace(record, reputation=standing, reports=record.reports + 1), one.validator)
    quality = reputation.quality(standing, ctx.params)
    amount, penalty = pay.settle(batch.fee, quality, score.closeness_bps, ctx.params)
    if (score.peer or 0) >= 0:
        # Where every item is good, even perfect reports score next to nothing, and standing sinks below break-even: without
        # gold that must not cost anybody. Only points below zero in this very batch are charged.
        penalty = 0
    campaign, charged = slash(
        view, ctx, number, batch, campaign, one, penalty, SeatState.REVEALED, "standing"
    )
    campaign = escrow.shifted(campaign, available=-amount, review=amount)
    campaign = escrow.pay_reviewer(view, campaign, one.validator, amount)
    earnings.record(view, ctx, one.validator, earnings.REVIEW, amount, batch.campaign, batch=number)
    seat = view.get(SEATS, number, batch.round, one.validator)
    assert seat is not None, "it was just let go"
    seat = replace(
        seat,
        paid=Amount(amount),
        quality_bps=quality,
        closeness_bps=score.closeness_bps,
        peer_bps=score.peer or 0,
    )
    view.put(SEATS, seat, number, batch.round, one.validator)
    paid = event(
        "pay.reviewer",
        to=one.validator,
        amount=amount,
        campaign=batch.campaign,
        batch=number,
        round=batch.round,
        quality_bps=quality,
        closeness_bps=score.closeness_bps,
    )
    return campaign, (paid, *charged)


def _with_references(rates: BaseRates, used: list[tuple[int, int]]) -> BaseRates:
    ones, totals = list(rates.ones), list(rates.totals)
    for criterion, bit in used:
        ones[criterion] += bit
        totals[criterion] += 1
    return BaseRates((ones[0], ones[1], ones[2]), (totals[0], totals[1], totals[2]))
