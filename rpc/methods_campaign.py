"""Methods campaign.*, item.* and submission.*: what sponsors ask for, what contributors gave, what became of it. Reads only."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import replace

from omnitensor.protocol import limits
from omnitensor.protocol.rows import campaign_key, item_key
from omnitensor.protocol.types import CampaignId, ItemId
from rpc import present
from rpc.errors import not_found
from rpc.fields import (
    LIMIT_DEFAULT,
    AddressText,
    AmountText,
    Content,
    Count,
    Cursor,
    HashText,
    Limit,
    Number,
    TaskId,
    WithProof,
    address_of,
    content_of,
    hash_of,
    number_cursor,
    number_of,
    shown,
)
from rpc.proofs import RowProof, row_proof
from rpc.table import TABLE, Context, Params, Result
from state.reader import Reader
from state.records_review import (
    AppealState,
    Campaign,
    CampaignStatus,
    Escalation,
    Item,
    ItemStatus,
    Submission,
    SubmissionStatus,
)
from state.schema import (
    APPEALS,
    BATCHES,
    CAMPAIGNS,
    CAMPAIGNS_BY_SPONSOR,
    GOLD_SETS,
    ITEMS,
    ITEMS_BY_CAMPAIGN,
    ITEMS_BY_CONTRIBUTOR,
    SUBMISSIONS,
    number,
)

CampaignStatusText = Literal["open", "closing", "closed", "expired", "cancelled"]
ItemStatusText = Literal[
    "revealed", "queued", "in_review", "escalated", "accepted", "rejected", "undecided", "paid"
]


class EscrowShown(Result, frozen=True):
    available: AmountText
    reward: AmountText
    review: AmountText
    escalation: AmountText


class GoldSetShown(Result, frozen=True):
    root: HashText
    count: Count
    bond_each: AmountText
    committed_at: Count
    returned: Annotated[Count, Meta(description="Pieces whose bonds returned")]
    taken: Annotated[Count, Meta(description="Pieces whose bonds burned: voided, withheld, or never opened")]


class CampaignShown(Result, frozen=True):
    campaign: Count
    sponsor: AddressText
    status: CampaignStatusText
    spec: Annotated[dict[str, Any], Meta(description="What the sponsor asks for and pays, field by field")]
    escrow: EscrowShown
    counts: Annotated[
        dict[str, Count], Meta(description="Items: all that were submitted, then by what they are now")
    ]
    submissions_open: Count
    admitted: Annotated[Count, Meta(description="Items that reserved money, ever")]
    category_counts: Annotated[list[Count], Meta(description="Items that fill each category's target")]
    rejections_open: Annotated[Count, Meta(description="Rejected items that can still be appealed")]
    gold: Annotated[GoldSetShown | None, Meta(description="What its sponsor committed to as gold")]
    funded: AmountText
    paid_contributors: AmountText
    paid_reviewers: AmountText
    penalties: Annotated[AmountText, Meta(description="What came in from others' bonds")]
    refunded: AmountText
    opened_at: Count
    opened_ms: Count
    closing_at: Count | None
    ended_at: Count | None
    proof: Annotated[RowProof | UnsetType, Meta(description="Of the campaign's row, when asked for")] = UNSET


def _campaign(reader: Reader, key: int, row: Campaign) -> CampaignShown:
    gold = reader.get(GOLD_SETS, key)
    return CampaignShown(
        campaign=key,
        sponsor=shown(row.sponsor),
        status=CampaignStatus(row.status).label,  # type: ignore[arg-type]  # its labels are these
        spec=present.record(row.spec),
        escrow=EscrowShown(**present.record(row.escrow)),
        counts=present.record(row.counts),
        submissions_open=row.submissions_open,
        admitted=row.admitted,
        category_counts=list(row.category_counts),
        rejections_open=row.rejections_open,
        gold=GoldSetShown(**present.record(gold)) if gold is not None else None,
        funded=present.amount_text(row.funded),
        paid_contributors=present.amount_text(row.paid_contributors),
        paid_reviewers=present.amount_text(row.paid_reviewers),
        penalties=present.amount_text(row.penalties),
        refunded=present.amount_text(row.refunded),
        opened_at=row.opened_at,
        opened_ms=row.opened_ms,
        closing_at=row.closing_at or None,
        ended_at=row.ended_at or None,
    )


class CampaignsParams(Params, frozen=True):
    cursor: Cursor | None = None
    limit: Limit = LIMIT_DEFAULT
    status: CampaignStatusText | None = None
    sponsor: AddressText | None = None


class CampaignsPage(Result, frozen=True):
    campaigns: list[CampaignShown]
    next: Cursor | None


@TABLE.method("campaign.list", heavy=True)
def campaigns(context: Context, params: CampaignsParams) -> CampaignsPage:
    """Campaigns, the newest first; those of a status or of a sponsor."""
    found: list[CampaignShown] = []
    for seen, (key, row) in enumerate(_campaign_rows(context.reader, params)):
        if len(found) == params.limit or seen == limits.rpc_scan_rows_max:
            return CampaignsPage(campaigns=found, next=str(key))
        if params.status is None or CampaignStatus(row.status).label == params.status:
            found.append(_campaign(context.reader, key, row))
    return CampaignsPage(campaigns=found, next=None)


def _campaign_rows(reader: Reader, params: CampaignsParams) -> Iterator[tuple[int, Campaign]]:
    """Campaigns downward from the cursor."""
    at = number_cursor(params.cursor)
    start = b"\xff" * 8 if at is None else at.to_bytes(8, "big")
    if params.sponsor is None:
        for key, row in reader.scan(CAMPAIGNS, start=start, reverse=True):
            yield number(key), row
        return
    for key, _ in reader.scan(CAMPAIGNS_BY_SPONSOR, address_of(params.sponsor), start=start, reverse=True):
        named = reader.get(CAMPAIGNS, number(key))
        assert named is not None, "an index names what is there"
        yield number(key), named


class CampaignParams(Params, frozen=True):
    campaign: TaskId
    proof: WithProof = False


def campaign_row(reader: Reader, key: int) -> Campaign:
    """The campaign. Raises RpcError (not found)."""
    row = reader.get(CAMPAIGNS, key)
    if row is None:
        raise not_found("campaign", key, "list them with: otensor-cli campaign list")
    return row


@TABLE.method("campaign.get")
def campaign(context: Context, params: CampaignParams) -> CampaignShown:
    """A campaign: what it asks for, its money, and how far it has come."""
    key = number_of(params.campaign)
    found = _campaign(context.reader, key, campaign_row(context.reader, key))
    if not params.proof:
        return found
    return replace(found, proof=row_proof(context.reader, campaign_key(CampaignId(key))))


class StatusShown(Result, frozen=True):
    status: ItemStatusText
    height: Count
    timestamp_ms: Count


class ScoresShown(Result, frozen=True):
    completeness: Count
    accuracy: Count
    relevance: Count
    overall: Count


class AppealShown(Result, frozen=True):
    appellant: AddressText
    state: Literal["open", "turned", "upheld", "void"]
    bond: Annotated[AmountText, Meta(description="Held now")]
    appealed_at: Count
    batch: Count


class ItemShown(Result, frozen=True):
    item: Count
    campaign: Count
    contributor: AddressText
    submission: HashText
    content: Content
    media_type: str
    tier: Count
    category: Count
    status: ItemStatusText
    history: list[StatusShown]
    scores: Annotated[ScoresShown | None, Meta(description="Medians of the reviewers' scores, 0 to 100")]
    agreement_bps: Count | None
    reasons: list[str]
    reward: AmountText | None
    paid: AmountText
    batch: Count | None
    second: Annotated[Count | None, Meta(description="The batch of its second round")]
    escalation: Annotated[
        Literal["none", "disagreement", "flags", "audit", "appeal"],
        Meta(description="Why it went to a second round"),
    ]
    appeal_until: Annotated[
        Count | None,
        Meta(description="Up to which height its verdict can be appealed; null when it can't be"),
    ]
    appeal: Annotated[AppealShown | None, Meta(description="The appeal of its verdict")]
    bond: Annotated[AmountText, Meta(description="Held now")]
    bond_cost: Annotated[
        AmountText, Meta(description="What its rejection costs of it, unless an appeal turns it")
    ]
    proof: Annotated[RowProof | UnsetType, Meta(description="Of the item's row, when asked for")] = UNSET


def item_shown(reader: Reader, key: int, row: Item) -> ItemShown:
    """An item as lists and details show it."""
    scores = None
    if row.scores:
        completeness, accuracy, relevance = row.scores
        scores = ScoresShown(
            completeness=completeness, accuracy=accuracy, relevance=relevance, overall=row.overall
        )
    return ItemShown(
        item=key,
        campaign=row.campaign,
        contributor=shown(row.contributor),
        submission=row.commitment.hex(),
        content=content_of(row.content),
        media_type=row.media_type,
        tier=row.tier,
        category=row.category,
        status=ItemStatus(row.status).label,  # type: ignore[arg-type]  # its labels are these
        history=[
            StatusShown(
                status=ItemStatus(step.status).label,  # type: ignore[arg-type]  # its labels are these
                height=step.height,
                timestamp_ms=step.timestamp_ms,
            )
            for step in row.history
        ],
        scores=scores,
        agreement_bps=row.agreement_bps if row.scores else None,
        reasons=list(row.reasons),
        reward=present.amount_text(row.reward) if row.status in _REWARDED else None,
        paid=present.amount_text(row.paid),
        batch=row.batch or None,
        second=row.second or None,
        escalation=Escalation(row.escalation).label,  # type: ignore[arg-type]  # its labels are these
        appeal_until=_appeal_until(reader, row),
        appeal=_appeal(reader, key) if row.escalation == Escalation.APPEAL else None,
        bond=present.amount_text(row.bond),
        bond_cost=present.amount_text(row.bond_cost),
    )


def _appeal_until(reader: Reader, row: Item) -> int | None:
    """Up to which height a verdict can be appealed: a first round's, until it is settled."""
    batch = reader.get(BATCHES, row.open_verdict) if row.open_verdict else None
    return batch.settle_at if batch is not None and batch.round == 1 else None


def _appeal(reader: Reader, key: int) -> AppealShown | None:
    row = reader.get(APPEALS, key)
    if row is None:
        return None
    return AppealShown(
        appellant=shown(row.appellant),
        state=AppealState(row.state).label,  # type: ignore[arg-type]  # its labels are these
        bond=present.amount_text(row.bond),
        appealed_at=row.appealed_at,
        batch=row.batch,
    )


_REWARDED = (ItemStatus.ACCEPTED, ItemStatus.PAID)


class ItemsParams(Params, frozen=True):
    campaign: TaskId
    contributor: AddressText | None = None
    status: ItemStatusText | None = None
    cursor: Cursor | None = None
    limit: Limit = LIMIT_DEFAULT


class ItemsPage(Result, frozen=True):
    items: list[ItemShown]
    next: Cursor | None


@TABLE.method("item.list", heavy=True)
def items(context: Context, params: ItemsParams) -> ItemsPage:
    """Items of a campaign in the order of their numbers; those of a contributor or of a status."""
    reader, of_campaign = context.reader, number_of(params.campaign)
    campaign_row(reader, of_campaign)
    start = (number_cursor(params.cursor) or 0).to_bytes(8, "big")
    if params.contributor is not None:
        keys = reader.scan(ITEMS_BY_CONTRIBUTOR, address_of(params.contributor), start=start)
    else:
        keys = reader.scan(ITEMS_BY_CAMPAIGN, of_campaign, start=start)
    found: list[ItemShown] = []
    for seen, (key, _) in enumerate(keys):
        if len(found) == params.limit or seen == limits.rpc_scan_rows_max:
            return ItemsPage(items=found, next=str(number(key)))
        row = reader.get(ITEMS, number(key))
        assert row is not None, "an index names what is there"
        if row.campaign == of_campaign and params.status in (None, ItemStatus(row.status).label):
            found.append(item_shown(reader, number(key), row))
    return ItemsPage(items=found, next=None)


class ItemParams(Params, frozen=True):
    item: Number
    proof: WithProof = False


def item_row(reader: Reader, key: int) -> Item:
    """The item. Raises RpcError (not found)."""
    row = reader.get(ITEMS, ItemId(key))
    if row is None:
        raise not_found("item", key, "list them with: item.list")
    return row


@TABLE.method("item.get")
def item(context: Context, params: ItemParams) -> ItemShown:
    """An item: its content, every status it had, scores, reasons and pay."""
    found = item_shown(context.reader, params.item, item_row(context.reader, params.item))
    if not params.proof:
        return found
    return replace(found, proof=row_proof(context.reader, item_key(ItemId(params.item))))


class SubmissionParams(Params, frozen=True):
    campaign: TaskId
    commitment: HashText
    contributor: AddressText | None = None


class SubmissionShown(Result, frozen=True):
    campaign: Count
    commitment: HashText
    contributor: AddressText
    status: Literal["committed", "revealed", "expired"]
    count: Count
    item_bond: AmountText
    committed_at: Count
    committed_ms: Count
    reveal_until: Count
    items: Annotated[list[Count], Meta(description="Numbers of its items, once revealed")]


@TABLE.method("submission.get")
def submission(context: Context, params: SubmissionParams) -> SubmissionShown:
    """A submission by its campaign and commitment."""
    key = number_of(params.campaign)
    row = _submission_row(context.reader, key, params)
    if row is None:
        raise not_found("submission", params.commitment, f"campaign {key} has none of this commitment")
    revealed = row.status == SubmissionStatus.REVEALED
    return SubmissionShown(
        campaign=key,
        commitment=params.commitment,
        contributor=shown(row.contributor),
        status=SubmissionStatus(row.status).label,  # type: ignore[arg-type]  # its labels are these
        count=row.count,
        item_bond=present.amount_text(row.item_bond),
        committed_at=row.committed_at,
        committed_ms=row.committed_ms,
        reveal_until=row.reveal_until,
        items=list(range(row.first_item, row.first_item + row.count)) if revealed else [],
    )


def _submission_row(reader: Reader, key: int, params: SubmissionParams) -> Submission | None:
    commitment = hash_of(params.commitment)
    if params.contributor is not None:
        return reader.get(SUBMISSIONS, key, commitment, address_of(params.contributor))
    # Others may have copied the commitment, though they can never reveal it: the revealed one is meant, or else the first.
    rows = [row for _, row in islice(reader.scan(SUBMISSIONS, key, commitment), limits.rpc_page_max)]
    return min(rows, key=lambda row: (row.status != SubmissionStatus.REVEALED, row.sequence), default=None)
