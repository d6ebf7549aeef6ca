"""A campaign's buckets and counts: the only functions that change them. Money enters and leaves with them, to the unit.

The pot ``ESCROW`` holds the sum of all campaigns' buckets. Every function gives the changed campaign back; its caller puts it.
"""

from msgspec.structs import replace

from omnitensor.protocol.types import Address, Amount, CampaignId
from state.ledger.accounts import Pot, burn, lifetime_sum, move
from state.ledger.context import BlockContext
from state.ledger.pay import Reserve, burned_part
from state.ledger.view import View
from state.records_review import Campaign, CampaignStatus, Escrow, ItemCounts, ItemStatus
from state.schema import CAMPAIGNS


def put(view: View, number: CampaignId, campaign: Campaign) -> None:
    view.put(CAMPAIGNS, campaign, number)


def shifted(
    campaign: Campaign, *, available: int = 0, reward: int = 0, review: int = 0, escalation: int = 0
) -> Campaign:
    """Changes buckets by the amounts given; none goes below zero."""
    old = campaign.escrow
    new = Escrow(
        Amount(old.available + available),
        Amount(old.reward + reward),
        Amount(old.review + review),
        Amount(old.escalation + escalation),
    )
    assert min(new.available, new.reward, new.review, new.escalation) >= 0, f"escrow overdrawn: {new}"
    return replace(campaign, escrow=new)


def fund(view: View, campaign: Campaign, source: Address, amount: int) -> Campaign:
    """Takes money in from an account. Raises Rejected where it has too little."""
    move(view, source, Pot.ESCROW, amount)
    return replace(shifted(campaign, available=amount), funded=lifetime_sum(campaign.funded, amount))


def reserve(campaign: Campaign, amounts: Reserve) -> Campaign:
    """Sets aside what an admitted item may cost; the caller has seen that it is there."""
    return shifted(
        campaign,
        available=-amounts.total,
        reward=amounts.reward,
        review=amounts.review,
        escalation=amounts.escalation,
    )


def free(campaign: Campaign, *, reward: int = 0, review: int = 0, escalation: int = 0) -> Campaign:
    """Gives reserved money back to what is available."""
    return shifted(
        campaign,
        available=reward + review + escalation,
        reward=-reward,
        review=-review,
        escalation=-escalation,
    )


def pay_contributor(view: View, campaign: Campaign, to: Address, amount: int) -> Campaign:
    move(view, Pot.ESCROW, to, amount)
    paid = lifetime_sum(campaign.paid_contributors, amount)
    return replace(shifted(campaign, reward=-amount), paid_contributors=paid)


def pay_reviewer(view: View, campaign: Campaign, to: Address, amount: int) -> Campaign:
    move(view, Pot.ESCROW, to, amount)
    paid = lifetime_sum(campaign.paid_reviewers, amount)
    return replace(shifted(campaign, review=-amount), paid_reviewers=paid)


def take_penalty(
    view: View, ctx: BlockContext, campaign: Campaign, source: Pot, amount: int
) -> tuple[Campaign, int]:
    """Burns a part of a penalty and gives the campaign the rest; also says how much was burned."""
    burned = burned_part(amount, ctx.params)
    burn(view, source, burned)
    move(view, source, Pot.ESCROW, amount - burned)
    kept = shifted(campaign, available=amount - burned)
    return replace(kept, penalties=lifetime_sum(campaign.penalties, amount - burned)), burned


def forfeit(view: View, campaign: Campaign, source: Pot, amount: int) -> Campaign:
    """Gives a campaign what somebody lost to it, whole."""
    move(view, source, Pot.ESCROW, amount)
    kept = shifted(campaign, available=amount)
    return replace(kept, penalties=lifetime_sum(campaign.penalties, amount))


def refund(view: View, campaign: Campaign) -> tuple[Campaign, int]:
    """Returns everything available to the sponsor; also says how much."""
    amount = campaign.escrow.available
    move(view, Pot.ESCROW, campaign.sponsor, amount)
    rest = shifted(campaign, available=-amount)
    return replace(rest, refunded=lifetime_sum(campaign.refunded, amount)), amount


def recounted(campaign: Campaign, before: ItemStatus, after: ItemStatus) -> Campaign:
    """Counts an item under its new status instead of its old one."""
    return replace(campaign, counts=_changed(_changed(campaign.counts, before, -1), after, 1))


def _changed(counts: ItemCounts, status: ItemStatus, by: int) -> ItemCounts:
    match status:
        case ItemStatus.REVEALED:
            return counts
        case ItemStatus.QUEUED:
            return replace(counts, queued=counts.queued + by)
        case ItemStatus.IN_REVIEW:
            return replace(counts, in_review=counts.in_review + by)
        case ItemStatus.ACCEPTED:
            return replace(counts, accepted=counts.accepted + by)
        case ItemStatus.REJECTED:
            return replace(counts, rejected=counts.rejected + by)
        case ItemStatus.UNDECIDED:
            return replace(counts, undecided=counts.undecided + by)
        case ItemStatus.PAID:
            return replace(counts, paid=counts.paid + by)
        case ItemStatus.ESCALATED:
            return replace(counts, escalated=counts.escalated + by)


def idle(campaign: Campaign) -> bool:
    """Whether nothing is under way: no commitment to reveal, no item waiting for a verdict, for an appeal or its last pay."""
    counts = campaign.counts
    waiting = counts.queued + counts.in_review + counts.escalated + counts.accepted
    return campaign.submissions_open + waiting + campaign.rejections_open == 0


def is_over(campaign: Campaign) -> bool:
    return campaign.status in (CampaignStatus.CLOSED, CampaignStatus.EXPIRED, CampaignStatus.CANCELLED)
