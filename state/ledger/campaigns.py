"""Campaigns: opened and funded by a sponsor, closed by it or by their deadline, ended when nothing is under way.

Knows nothing of how items are judged.
"""

import re
from typing import Final

from msgspec.structs import replace

from omnitensor.protocol import limits
from omnitensor.protocol.amounts import format_omnit
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies import CampaignCancel, CampaignClose, CampaignFund, CampaignOpen, CampaignSpec
from omnitensor.protocol.codec import encode
from omnitensor.protocol.sealing import is_reading_key
from omnitensor.protocol.types import BPS, Address, Amount, CampaignId, Height
from state.ledger import agenda, earnings, escrow, jobs, prizes
from state.ledger.accounts import next_number
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.ledger.events import event
from state.ledger.pay import reserve
from state.ledger.view import ReadView, View
from state.records import UNIT
from state.records_review import BaseRates, Campaign, CampaignStatus, Escrow, ItemCounts
from state.schema import CAMPAIGNS, CAMPAIGNS_BY_CONTENT, CAMPAIGNS_BY_SPONSOR, GOLD_SETS

CAMPAIGN_COUNTER: Final = b"campaign"
FACTOR_BPS_MAX: Final = 1_000_000
"""Largest complexity tier and importance: a hundredfold."""
SCORE_MAX: Final = 100
_MEDIA = re.compile(r"[a-z0-9][a-z0-9.+-]*/(?:\*|[a-z0-9][a-z0-9.+-]*)")


def campaign_of(view: ReadView, number: CampaignId) -> Campaign:
    """The campaign. Raises Rejected where there is none."""
    campaign = view.get(CAMPAIGNS, number)
    if campaign is None:
        raise Rejected(
            "campaign_unknown",
            "there is no such campaign",
            value=number,
            remedy="list them with: otensor-cli campaign list",
        )
    return campaign


def open_campaign(view: View, ctx: BlockContext, sender: Address, body: CampaignOpen) -> tuple[Event, ...]:
    """Opens a campaign and puts its budget into escrow."""
    spec = body.spec
    check_spec(spec, ctx.height)
    cheapest = min(
        reserve(spec, tier, category).total
        for tier in range(len(spec.tier_bps))
        for category in range(len(spec.categories))
    )
    if body.budget < cheapest:
        raise Rejected(
            "budget",
            f"one item alone reserves {format_omnit(cheapest)}",
            value=format_omnit(body.budget),
            remedy="give a larger budget, or lower prices or seats",
        )
    number = CampaignId(next_number(view, CAMPAIGN_COUNTER, ctx.params.first_campaign_id))
    campaign = Campaign(
        sponsor=sender,
        spec=spec,
        status=CampaignStatus.OPEN,
        expired=False,
        cancelled=False,
        escrow=Escrow(Amount(0), Amount(0), Amount(0), Amount(0)),
        counts=ItemCounts(0, 0, 0, 0, 0, 0, 0, 0),
        submissions_open=0,
        admitted=0,
        category_counts=(0,) * len(spec.categories),
        rejections_open=0,
        base_rates=BaseRates((0, 0, 0), (0, 0, 0)),
        gold_rates=BaseRates((0, 0, 0), (0, 0, 0)),
        funded=Amount(0),
        paid_contributors=Amount(0),
        paid_reviewers=Amount(0),
        penalties=Amount(0),
        refunded=Amount(0),
        opened_at=ctx.height,
        opened_ms=ctx.timestamp_ms,
        closing_at=Height(0),
        ended_at=Height(0),
    )
    escrow.put(view, number, escrow.fund(view, campaign, sender, body.budget))
    view.put(CAMPAIGNS_BY_SPONSOR, UNIT, sender, number)
    for content in spec.contents:
        view.put(CAMPAIGNS_BY_CONTENT, UNIT, content.chunk_root, number)
    if spec.model is not None:
        jobs.see_model(view, ctx, spec.model.root)
    agenda.look_at_campaign(view, spec.closes_at, number)
    return (event("campaign.opened", campaign=number, sponsor=sender, budget=body.budget, title=spec.title),)


def fund_campaign(view: View, ctx: BlockContext, sender: Address, body: CampaignFund) -> tuple[Event, ...]:
    """Adds to a campaign's money. Only its sponsor does: the rest returns there."""
    campaign = open_of_sponsor(view, sender, body.campaign)
    if body.amount == 0:
        raise Rejected("amount", "funding of nothing", value=0, remedy="give an amount above zero")
    campaign = escrow.fund(view, campaign, sender, body.amount)
    escrow.put(view, body.campaign, campaign)
    return (
        event(
            "campaign.funded",
            campaign=body.campaign,
            sponsor=sender,
            amount=body.amount,
            available=campaign.escrow.available,
        ),
    )


def close_campaign(view: View, ctx: BlockContext, sender: Address, body: CampaignClose) -> tuple[Event, ...]:
    """Takes no further commitments. What was committed may still be revealed; the rest returns when all is settled."""
    campaign = open_of_sponsor(view, sender, body.campaign)
    return begin_closing(view, ctx, body.campaign, campaign, cause="sponsor")


def cancel_campaign(
    view: View, ctx: BlockContext, sender: Address, body: CampaignCancel
) -> tuple[Event, ...]:
    """Takes nothing in any more. What nobody has seen may not be revealed; what was revealed is judged and paid."""
    campaign = of_sponsor(view, sender, body.campaign)
    if campaign.cancelled or escrow.is_over(campaign):
        raise _not_open(body.campaign, campaign)
    if campaign.status == CampaignStatus.OPEN:
        return begin_closing(view, ctx, body.campaign, replace(campaign, cancelled=True), cause="cancelled")
    escrow.put(view, body.campaign, replace(campaign, cancelled=True))
    return (event("campaign.closing", campaign=body.campaign, cause="cancelled"),)


def reach_deadline(view: View, ctx: BlockContext, number: CampaignId) -> tuple[Event, ...]:
    """The last height for submissions has passed."""
    campaign = view.get(CAMPAIGNS, number)
    assert campaign is not None, "campaigns are never deleted"
    if campaign.status != CampaignStatus.OPEN:
        return ()
    return begin_closing(view, ctx, number, replace(campaign, expired=True), cause="deadline")


def begin_closing(
    view: View, ctx: BlockContext, number: CampaignId, campaign: Campaign, *, cause: str
) -> tuple[Event, ...]:
    escrow.put(view, number, replace(campaign, status=CampaignStatus.CLOSING, closing_at=ctx.height))
    return (event("campaign.closing", campaign=number, cause=cause), *end_if_idle(view, ctx, number))


def end_if_idle(view: View, ctx: BlockContext, number: CampaignId) -> tuple[Event, ...]:
    """Ends a closing campaign under which nothing is under way: what is left returns to the sponsor, to the unit."""
    campaign = view.get(CAMPAIGNS, number)
    assert campaign is not None, "campaigns are never deleted"
    if campaign.status != CampaignStatus.CLOSING or not escrow.idle(campaign):
        return ()
    campaign, amount = escrow.refund(view, campaign)
    assert campaign.escrow.total == 0, f"campaign {number} ends with {campaign.escrow}"
    status = CampaignStatus.CLOSED
    if campaign.cancelled:
        status = CampaignStatus.CANCELLED
    elif campaign.expired:
        status = CampaignStatus.EXPIRED
    if view.get(GOLD_SETS, number) is not None:
        agenda.look_at_gold(view, ctx.height + max(1, ctx.params.challenge_blocks), number)
    escrow.put(view, number, replace(campaign, status=status, ended_at=ctx.height))
    earnings.record(view, ctx, campaign.sponsor, earnings.REFUND, amount, number)
    prizes.pay_competitions(view, ctx, number)
    return (
        event("refund", campaign=number, to=campaign.sponsor, amount=amount),
        event("campaign.closed", campaign=number, status=status.label, refund=amount),
    )


def check_spec(spec: CampaignSpec, height: Height) -> None:
    """Raises Rejected naming the first field that can't work; what the decoder bounds is taken as checked."""
    if (size := len(encode(spec))) > limits.campaign_spec_bytes_max:
        reason = (
            f"it has more than {limits.campaign_spec_bytes_max} bytes: put the instructions into a document"
        )
        raise _bad(reason, f"{size} bytes")
    if sum(spec.criterion_weights) != BPS:
        raise _bad("criterion_weights do not sum to 10,000", spec.criterion_weights)
    if max(*spec.thresholds, spec.overall_threshold) > SCORE_MAX:
        raise _bad("a threshold is above 100", (*spec.thresholds, spec.overall_threshold))
    for factor in spec.tier_bps:
        if not 0 < factor <= FACTOR_BPS_MAX:
            raise _bad(f"a tier is not in 1..{FACTOR_BPS_MAX}", factor)
        if spec.review_fee * factor < BPS:
            raise _bad("review_fee comes to nothing in the lowest tier", spec.review_fee)
    names = [category.name for category in spec.categories]
    if len(set(names)) < len(names):
        raise _bad("two categories have one name", ", ".join(names))
    for category in spec.categories:
        if not 0 < category.importance_bps <= FACTOR_BPS_MAX:
            raise _bad(f"a category's importance is not in 1..{FACTOR_BPS_MAX}", category.importance_bps)
    for media in spec.media:
        if not _MEDIA.fullmatch(media):
            raise _bad("not a media type, as text/plain or image/*", media)
    if spec.reading_key and not is_reading_key(spec.reading_key):
        raise _bad("reading_key is no X25519 public key that can keep a secret", spec.reading_key)
    if spec.model is not None and (fault := spec.model.fault()):
        raise _bad(f"model: {fault}", len(spec.model.layers))
    if spec.model is not None and spec.reading_key:
        raise _bad("a private campaign has no model: no worker can read its items", spec.model.root)
    if spec.closes_at <= height:
        raise _bad(f"closes_at is no height ahead; the chain is at {height}", spec.closes_at)


def _bad(reason: str, value: object) -> Rejected:
    return Rejected("campaign_spec", reason, value=value, remedy="correct the campaign's specification")


def of_sponsor(view: ReadView, sender: Address, number: CampaignId) -> Campaign:
    """The campaign, which must be the sender's. Raises Rejected."""
    campaign = campaign_of(view, number)
    if campaign.sponsor != sender:
        raise Rejected(
            "not_sponsor",
            "only the campaign's sponsor does this",
            value=sender,
            remedy="sign with the account that opened the campaign",
        )
    return campaign


def open_of_sponsor(view: ReadView, sender: Address, number: CampaignId) -> Campaign:
    """The same where it still takes submissions. Raises Rejected."""
    campaign = of_sponsor(view, sender, number)
    if campaign.status != CampaignStatus.OPEN:
        raise _not_open(number, campaign)
    return campaign


def check_open(number: CampaignId, campaign: Campaign) -> None:
    """Raises Rejected where the campaign takes no new submissions."""
    if campaign.status != CampaignStatus.OPEN:
        raise _not_open(number, campaign)


def _not_open(number: CampaignId, campaign: Campaign) -> Rejected:
    return Rejected(
        "campaign_closed",
        f"the campaign is {CampaignStatus(campaign.status).label}",
        value=number,
        remedy="choose one that is open: otensor-cli campaign list",
    )
