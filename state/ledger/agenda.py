"""What is to be looked at when its height comes: entries by height, taken in order at the end of a block.

Knows no campaign or batch: ``clockwork`` says what each kind of entry does.
"""

from omnitensor.protocol.types import Address, BatchId, CampaignId
from state.ledger.context import BlockContext
from state.ledger.view import View
from state.records_review import Due, DueKind, Submission
from state.schema import DUE

BY_ID = Due(CampaignId(0), b"", b"")


def look_at_campaign(view: View, height: int, campaign: CampaignId) -> None:
    view.put(DUE, BY_ID, height, DueKind.CAMPAIGN, campaign)


def look_at_queue(view: View, height: int, campaign: CampaignId) -> None:
    view.put(DUE, BY_ID, height, DueKind.QUEUE, campaign)


def look_at_batch(view: View, height: int, batch: BatchId) -> None:
    view.put(DUE, BY_ID, height, DueKind.BATCH, batch)


def look_at_batch_now(view: View, ctx: BlockContext, batch: BatchId) -> None:
    """At the end of this very block: a window may end early."""
    look_at_batch(view, ctx.height, batch)


def settle_batch(view: View, height: int, batch: BatchId) -> None:
    view.put(DUE, BY_ID, height, DueKind.SETTLE, batch)


def look_at_gold(view: View, height: int, campaign: CampaignId) -> None:
    view.put(DUE, BY_ID, height, DueKind.GOLD, campaign)


def expire_submission(
    view: View, campaign: CampaignId, commitment: bytes, account: Address, submission: Submission
) -> None:
    view.put(
        DUE,
        Due(campaign, commitment, account),
        submission.reveal_until,
        DueKind.SUBMISSION,
        submission.sequence,
    )


def forget_submission(view: View, submission: Submission) -> None:
    """It was revealed."""
    view.delete(DUE, submission.reveal_until, DueKind.SUBMISSION, submission.sequence)
