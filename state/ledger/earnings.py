"""Lifetime earnings of accounts, by kind, and with them reviewers' places. Records what was moved; moves nothing."""

from msgspec.structs import replace

from omnitensor.protocol.limits import recent_payments_max
from omnitensor.protocol.types import Address, Amount, BatchId, CampaignId, ItemId
from state.ledger import standings
from state.ledger.accounts import lifetime_sum
from state.ledger.context import BlockContext
from state.ledger.view import ReadView, View
from state.records_review import Earnings, Payment
from state.schema import EARNINGS

NOTHING_YET = Earnings(0, 0, 0, 0, 0, 0, 0, 0, ())

CONTRIBUTION = "contribution"
REVIEW = "review"
PENALTY = "penalty"
BOND = "bond"
REFUND = "refund"
PARTICIPATION = "participation"
PRIZE = "prize"


def earnings(view: ReadView, account: Address) -> Earnings:
    return view.get(EARNINGS, account) or NOTHING_YET


def record(
    view: View,
    ctx: BlockContext,
    account: Address,
    kind: str,
    amount: int,
    campaign: CampaignId,
    *,
    item: ItemId = ItemId(0),  # noqa: B008 # a constant number, made once
    batch: BatchId = BatchId(0),  # noqa: B008 # a constant number, made once
) -> None:
    """Notes a payment to an account (or, for a penalty, from it)."""
    if amount == 0:
        return
    row = earnings(view, account)
    payment = Payment(ctx.height, ctx.timestamp_ms, kind, Amount(amount), campaign, item, batch)
    row = replace(row, recent=(payment, *row.recent[: recent_payments_max - 1]))
    if kind == CONTRIBUTION:
        row = replace(row, contribution=lifetime_sum(row.contribution, amount))
    elif kind == REVIEW:
        row = replace(row, review=lifetime_sum(row.review, amount))
        standings.reviewed(view, account, amount)
    elif kind == PENALTY:
        row = replace(row, penalties=lifetime_sum(row.penalties, amount))
    view.put(EARNINGS, row, account)


def count_items(
    view: View,
    account: Address,
    *,
    submitted: int = 0,
    accepted: int = 0,
    rejected: int = 0,
    undecided: int = 0,
    pending: int = 0,
) -> None:
    """Notes what became of a contributor's items; ``pending`` is the change of what waits for a challenge window's end."""
    row = earnings(view, account)
    view.put(
        EARNINGS,
        replace(
            row,
            items_submitted=row.items_submitted + submitted,
            items_accepted=row.items_accepted + accepted,
            items_rejected=row.items_rejected + rejected,
            items_undecided=row.items_undecided + undecided,
            pending=row.pending + pending,
        ),
        account,
    )
