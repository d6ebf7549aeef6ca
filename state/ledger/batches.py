"""Batches: queued items of a campaign, mixed over contributors in the beacon's order, frozen before their seats can be known."""

from collections.abc import Sequence
from typing import Final

from omnitensor.protocol import limits
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.types import BPS, Address, Amount, BatchId, CampaignId, Height, ItemId
from state.ledger import agenda, draw, escrow, items, jobs
from state.ledger.accounts import next_number
from state.ledger.campaigns import campaign_of
from state.ledger.context import BlockContext
from state.ledger.events import event
from state.ledger.view import ReadView, View
from state.records import UNIT
from state.records_review import Batch, BatchOutcome, BatchPhase, Item, ItemStatus, QueuedItem
from state.schema import BATCHES, BATCHES_BY_CAMPAIGN, QUEUE, number

BATCH_COUNTER: Final = b"batch"
ROUND_ONE: Final = 1
ROUND_TWO: Final = 2

Queued = tuple[ItemId, QueuedItem]


def form(view: View, ctx: BlockContext, campaign: CampaignId) -> tuple[Event, ...]:
    """Forms a batch where the queue can fill one, or where its oldest item has waited long enough."""
    window = oldest(view, campaign)
    if not window:
        return ()
    size = min(ctx.params.batch_items, limits.batch_items_max)
    waited = ctx.height >= window[0][1].queued_at + ctx.params.batch_wait_blocks
    picked = mix(ctx, window, size, waited=waited)
    if len(picked) < size and not waited:
        # Looked at again when the oldest has waited: governance may have made the wait longer since it came.
        agenda.look_at_queue(view, window[0][1].queued_at + ctx.params.batch_wait_blocks, campaign)
        return ()
    events = _freeze(view, ctx, campaign, picked)
    rest = oldest(view, campaign)
    if rest and (len(rest) >= size or ctx.height >= rest[0][1].queued_at + ctx.params.batch_wait_blocks):
        agenda.look_at_queue(view, ctx.height + 1, campaign)
    return events


def oldest(view: ReadView, campaign: CampaignId) -> list[Queued]:
    """The first items of a queue, as many as a batch is mixed from."""
    found: list[Queued] = []
    for key, row in view.scan(QUEUE, campaign):
        if len(found) == limits.batch_window_items_max:
            break
        found.append((ItemId(number(key)), row))
    return found


def mix(ctx: BlockContext, window: list[Queued], size: int, *, waited: bool) -> list[ItemId]:
    """Up to ``size`` items: the oldest, then in the beacon's order, none of one contributor beyond its share.

    Once the oldest has waited, what is missing is filled up regardless of shares.
    """
    contributor = {item: row.contributor for item, row in window}
    order = [window[0][0], *map(ItemId, draw.order(ctx.beacon, [int(item) for item, _ in window[1:]]))]
    share = max(1, size * ctx.params.batch_contributor_share_bps // BPS)
    taken: dict[Address, int] = {}
    picked: list[ItemId] = []
    over: list[ItemId] = []
    for item in order:
        whose = contributor[item]
        if len(picked) < size and taken.get(whose, 0) < share:
            taken[whose] = taken.get(whose, 0) + 1
            picked.append(item)
        else:
            over.append(item)
    if waited:
        picked += over[: size - len(picked)]
    return picked


def _freeze(
    view: View, ctx: BlockContext, campaign_number: CampaignId, picked: list[ItemId]
) -> tuple[Event, ...]:
    """Takes items off the queue into a new batch."""
    campaign = campaign_of(view, campaign_number)
    batch_number = BatchId(next_number(view, BATCH_COUNTER, 1))
    taken: list[Item] = []
    events: list[Event] = []
    for number_ in picked:
        item = items.item_at(view, number_)
        view.delete(QUEUE, campaign_number, number_)
        campaign = items.advance(view, ctx, campaign, number_, item, ItemStatus.IN_REVIEW, batch=batch_number)
        taken.append(item)
        events.append(
            event(
                "item.in_review",
                item=number_,
                campaign=campaign_number,
                contributor=item.contributor,
                batch=batch_number,
            )
        )
    escrow.put(view, campaign_number, campaign)
    formed = create(
        view,
        ctx,
        campaign_number,
        batch_number,
        picked,
        taken,
        round_=ROUND_ONE,
        asked=campaign.spec.first_seats,
    )
    if campaign.spec.reading_key:  # nobody but its reviewers can read the items
        return (formed, *events)
    return (formed, *events, *jobs.for_batch(view, ctx, batch_number, len(picked), campaign.spec.model))


def create(
    view: View,
    ctx: BlockContext,
    campaign: CampaignId,
    batch_number: BatchId,
    picked: Sequence[ItemId],
    taken: Sequence[Item],
    *,
    round_: int,
    asked: int,
    origin: BatchId = BatchId(0),  # noqa: B008 # a constant number, made once
    appellant: bytes = b"",
) -> Event:
    """Puts a new batch in, whose seats are drawn by a beacon that does not exist yet."""
    fee = sum(item.fee for item in taken)
    draw_at = Height(ctx.height + ctx.params.seed_delay_blocks)
    batch = Batch(
        campaign=campaign,
        round=round_,
        origin=origin,
        second=BatchId(0),
        appellant=appellant,
        asked=asked,
        thin=False,
        items=tuple(picked),
        contributors=tuple(sorted({item.contributor for item in taken})),
        phase=BatchPhase.FROZEN,
        outcome=BatchOutcome.PENDING,
        fee=Amount(fee),
        # No more than every validator has: else a sponsor could choose a fee so high that its friends alone may sit.
        bond=Amount(min(ctx.params.validator_stake_min, ctx.params.seat_bond_multiple * fee)),
        seats=(),
        draws=0,
        redraws=0,
        formed_at=ctx.height,
        draw_at=draw_at,
        places=0,
        vacancies=(),
        accept_until=Height(0),
        commit_until=Height(0),
        reveal_from=Height(0),
        reveal_until=Height(0),
        gold_until=Height(0),
        gold_said=False,
        gold=(),
        decided_at=Height(0),
        settle_at=Height(0),
        settled=False,
    )
    view.put(BATCHES, batch, batch_number)
    view.put(BATCHES_BY_CAMPAIGN, UNIT, campaign, batch_number)
    agenda.look_at_batch(view, max(draw_at, ctx.height + 1), batch_number)
    return event(
        "batch.formed",
        batch=batch_number,
        round=round_,
        campaign=campaign,
        items=len(picked),
        contributors=len(batch.contributors),
        draw_at=draw_at,
    )
