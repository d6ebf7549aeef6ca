"""What each reviewer of a batch earns or loses, once it is known against what its report is held.

The arithmetic is in ``scoring``, ``reputation`` and ``pay``; here it meets the state.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.types import Amount, BatchId, ItemId
from state.ledger import earnings, escrow, items, pay, reputation, rewards, scoring
from state.ledger.committees import Committee
from state.ledger.context import BlockContext
from state.ledger.events import event
from state.ledger.scoring import PEERS, Reference, ReferenceKind, Score, Triple
from state.ledger.seats import Seated, reviewer, slash
from state.ledger.view import View
from state.records_review import BaseRates, Batch, Campaign, SeatState
from state.schema import REVIEWERS, SEATS


def pay_committee(
    view: View,
    ctx: BlockContext,
    number: BatchId,
    batch: Batch,
    campaign: Campaign,
    committee: Committee,
    final: Mapping[ItemId, Triple],
) -> tuple[Campaign, tuple[Event, ...], int]:
    """Scores every reviewer, updates standings and base rates, pays and charges; also says how much was paid.

    ``final``: which criteria items passed by a second round. Gold counts before it, the other reviewers' majority after it.
    """
    campaign = items.free_reviews(view, campaign, batch.items, batch.round)
    bar = scoring.bar_of(campaign.spec)
    rates, gold_rates = campaign.base_rates, campaign.gold_rates
    priors, gold_priors = _priors(rates, ctx), _priors(gold_rates, ctx)
    references = references_of(batch, final)
    reports = committee.criteria(len(batch.items))
    if committee.unread:
        read = [place for place in range(len(batch.items)) if place not in committee.unread]
        references = [references[place] for place in read]
        reports = [reports[place] for place in read]
    events: list[Event] = []
    used: list[tuple[int, int]] = []
    paid = 0
    for place, one in enumerate(committee.sitting):
        score = scoring.score(
            place, reports, committee.weights, references, priors, gold_priors, bar, ctx.params
        )
        used += score.references
        campaign, said, amount = _settle_seat(view, ctx, number, batch, campaign, one, score)
        events += said
        paid += amount
    golds = [
        (criterion, bit)
        for reference in references
        if reference.kind is ReferenceKind.GOLD
        for criterion, bit in enumerate(reference.bits)
    ]
    campaign = replace(
        campaign, base_rates=_with_references(rates, used), gold_rates=_with_references(gold_rates, golds)
    )
    return campaign, tuple(events), paid


def references_of(batch: Batch, final: Mapping[ItemId, Triple]) -> list[Reference]:
    """Against what the reports are held, item by item."""
    found = [
        Reference(ReferenceKind.FINAL, final[number]) if number in final else PEERS for number in batch.items
    ]
    for gold in batch.gold:
        if not gold.voided:
            found[gold.place] = Reference(ReferenceKind.GOLD, gold_bits(gold.bits))
    return found


def gold_bits(mask: int) -> Triple:
    """A gold item's answers as bits of the criteria."""
    return mask & 1, mask >> 1 & 1, mask >> 2 & 1


def _priors(rates: BaseRates, ctx: BlockContext) -> Triple:
    first, second, third = (
        scoring.prior_bps(ones, total, ctx.params)
        for ones, total in zip(rates.ones, rates.totals, strict=True)
    )
    return first, second, third


def _settle_seat(
    view: View,
    ctx: BlockContext,
    number: BatchId,
    batch: Batch,
    campaign: Campaign,
    one: Seated,
    score: Score,
) -> tuple[Campaign, tuple[Event, ...], int]:
    """Updates one reviewer's standing, and pays or charges it by the new one."""
    record = reviewer(view, one.validator)
    standing = reputation.updated(
        record.reputation, score.peer, score.gold, score.peer_items, score.gold_items, ctx.params
    )
    view.put(REVIEWERS, replace(record, reputation=standing, reports=record.reports + 1), one.validator)
    wrong = (score.peer or 0) < 0 or (score.gold or 0) < 0
    rewards.note_review(view, ctx, one.validator, len(batch.items), 0 if wrong else score.closeness_bps)
    quality = reputation.quality(standing, ctx.params)
    amount, penalty = pay.settle(batch.fee, quality, score.closeness_bps, ctx.params)
    if score.gold is None and (score.peer or 0) >= 0:
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
        gold_bps=score.gold or 0,
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
    return campaign, (paid, *charged), amount


def _with_references(rates: BaseRates, used: list[tuple[int, int]]) -> BaseRates:
    ones, totals = list(rates.ones), list(rates.totals)
    for criterion, bit in used:
        ones[criterion] += bit
        totals[criterion] += 1
    return BaseRates((ones[0], ones[1], ones[2]), (totals[0], totals[1], totals[2]))
