"""The step at the end of a block that takes what is due from the agenda, oldest first, up to a bounded amount of work.

What is left over waits for the next block: it stays first in line.
"""

from omnitensor.protocol import limits
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.types import BatchId, CampaignId
from state.ledger import batches, campaigns, gold, outcomes, rounds, submissions, validators
from state.ledger.context import BlockContext
from state.ledger.view import ReadView, View
from state.records_review import Batch, BatchPhase, Due, DueKind
from state.schema import BATCHES, DUE, number

ENTRY_WORK = 50
QUEUED_WORK = 6
"""Units for looking at one item of a queue."""
TAKEN_WORK = 40
"""Units for taking one item off a queue into a batch."""
DRAW_WORK = 500
LOOK_WORK = 20
"""Units for looking at one registered validator in a draw: a row of the register is never deleted."""
SEAT_WORK = 10
ITEM_WORK = 150
COMPARISON_WORK = 4
"""Units for one reviewer's scores of one item held against one other's."""


def run(view: View, ctx: BlockContext) -> tuple[Event, ...]:
    """Does what is due at this height or before, the oldest first; at least one thing, if there is any."""
    events: list[Event] = []
    work = 0
    for key, due in view.scan(DUE):
        height, kind, id_ = map(number, DUE.split(key))
        if height > ctx.height or work >= limits.review_work_per_block_max:
            break
        view.delete(DUE, key)
        work += _work(view, ctx, DueKind(kind), id_)
        events += _do(view, ctx, DueKind(kind), id_, due)
    return tuple(events)


def _do(view: View, ctx: BlockContext, kind: DueKind, id_: int, due: Due) -> tuple[Event, ...]:
    match kind:
        case DueKind.SUBMISSION:
            return submissions.expire(view, ctx, due)
        case DueKind.CAMPAIGN:
            return campaigns.reach_deadline(view, ctx, CampaignId(id_))
        case DueKind.QUEUE:
            return batches.form(view, ctx, CampaignId(id_))
        case DueKind.BATCH:
            return rounds.advance(view, ctx, BatchId(id_))
        case DueKind.SETTLE:
            return outcomes.settle(view, ctx, BatchId(id_))
        case DueKind.GOLD:
            return gold.expire(view, ctx, CampaignId(id_))


def _work(view: ReadView, ctx: BlockContext, kind: DueKind, id_: int) -> int:
    """Units that an entry may take; a unit is about a microsecond.

    Little is counted for little: else campaigns of one item each would hold up everybody's reviews for next to nothing.
    """
    if kind is DueKind.QUEUE:
        queued = campaigns.campaign_of(view, CampaignId(id_)).counts.queued
        looked_at = min(queued, limits.batch_window_items_max)
        taken = min(queued, ctx.params.batch_items, limits.batch_items_max)
        return ENTRY_WORK + QUEUED_WORK * looked_at + TAKEN_WORK * taken
    if kind in (DueKind.SUBMISSION, DueKind.CAMPAIGN, DueKind.GOLD):
        return ENTRY_WORK
    batch = view.get(BATCHES, id_)
    assert batch is not None, "batches are never deleted"
    if kind is DueKind.SETTLE:
        return ENTRY_WORK + ITEM_WORK * len(batch.items)
    match BatchPhase(batch.phase):
        case BatchPhase.DONE | BatchPhase.SECOND:
            return ENTRY_WORK
        case BatchPhase.FROZEN:
            return _draw_work(view)
        case BatchPhase.COMMIT:
            draws = bool(batch.vacancies) or ctx.height >= batch.commit_until
            return ENTRY_WORK + SEAT_WORK * len(batch.seats) + (_draw_work(view) if draws else 0)
        case BatchPhase.REVEAL | BatchPhase.GOLD:
            origin = view.get(BATCHES, batch.origin) if batch.origin else None
            return ENTRY_WORK + _verdict_work(batch) + (_verdict_work(origin) if origin else 0)


def _verdict_work(batch: Batch) -> int:
    """Units for judging a batch's items and scoring its reviewers."""
    return (ITEM_WORK + COMPARISON_WORK * len(batch.seats) ** 2) * len(batch.items)


def _draw_work(view: ReadView) -> int:
    return DRAW_WORK + LOOK_WORK * validators.register_size(view)
