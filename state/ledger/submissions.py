"""Submissions: a contributor commits to items unseen, then reveals them; each is admitted with its money reserved, or refused.

The earlier commitment owns a content: nobody who sees a content hash can claim it afterwards. Knows nothing of the bytes.
"""

from typing import Final

from msgspec.structs import replace

from omnitensor.protocol import limits
from omnitensor.protocol.amounts import format_omnit
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies import CampaignSpec, ItemDeclaration, SubmissionCommit, SubmissionReveal
from omnitensor.protocol.reviews import items_root, submission_commitment
from omnitensor.protocol.types import BPS, Address, Amount, BatchId, CampaignId, Height, ItemId
from state.ledger import agenda, earnings, escrow, items, privacy
from state.ledger.accounts import Pot, move, next_number
from state.ledger.campaigns import campaign_of, check_open, end_if_idle
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.ledger.events import event
from state.ledger.pay import Reserve, rejection_cost, reserve
from state.ledger.view import ReadView, View
from state.records import UNIT
from state.records_review import (
    Campaign,
    Count,
    Due,
    Escalation,
    Holder,
    Item,
    ItemStatus,
    QueuedItem,
    StatusChange,
    Submission,
    SubmissionStatus,
)
from state.schema import (
    CONTENT_DIGESTS,
    CONTENT_ROOTS,
    CONTRIBUTORS,
    ITEMS,
    ITEMS_BY_CAMPAIGN,
    ITEMS_BY_CONTENT,
    ITEMS_BY_CONTRIBUTOR,
    PRIVATE_ITEMS,
    QUEUE,
    SUBMISSIONS,
    SUBMISSIONS_BY_CONTRIBUTOR,
    SUBMISSIONS_OPEN,
)

SUBMISSION_COUNTER: Final = b"submission"
ITEM_COUNTER: Final = b"item"
SHARE_FROM_ITEMS: Final = 20
"""A contributor's share of a campaign is bounded once it has this many items."""
DISPLACEABLE: Final = (ItemStatus.QUEUED, ItemStatus.IN_REVIEW)


def commit(view: View, ctx: BlockContext, sender: Address, body: SubmissionCommit) -> tuple[Event, ...]:
    """Takes a commitment to ``count`` items, and a bond for each."""
    campaign = campaign_of(view, body.campaign)
    check_open(body.campaign, campaign)
    if view.get(SUBMISSIONS, body.campaign, body.commitment, sender) is not None:
        raise Rejected(
            "submission_exists",
            "this account committed to this before",
            value=body.commitment,
            remedy="commit with a new salt",
        )
    if not 1 <= body.count <= limits.submission_items_max:
        raise Rejected(
            "submission_items",
            f"a submission has 1 to {limits.submission_items_max} items",
            value=body.count,
            remedy="split it",
        )
    _count_open(view, sender, 1)
    bond = body.count * campaign.spec.item_bond
    move(view, sender, Pot.BONDS, bond)
    submission = Submission(
        contributor=sender,
        sequence=next_number(view, SUBMISSION_COUNTER, 1),
        count=body.count,
        item_bond=campaign.spec.item_bond,
        status=SubmissionStatus.COMMITTED,
        committed_at=ctx.height,
        committed_ms=ctx.timestamp_ms,
        reveal_until=Height(ctx.height + ctx.params.submission_reveal_blocks),
        first_item=ItemId(0),
    )
    view.put(SUBMISSIONS, submission, body.campaign, body.commitment, sender)
    view.put(SUBMISSIONS_BY_CONTRIBUTOR, UNIT, sender, body.campaign, body.commitment)
    agenda.expire_submission(view, body.campaign, body.commitment, sender, submission)
    escrow.put(view, body.campaign, replace(campaign, submissions_open=campaign.submissions_open + 1))
    return (
        event(
            "submission.committed",
            campaign=body.campaign,
            contributor=sender,
            commitment=body.commitment,
            count=body.count,
            bond=bond,
            reveal_until=submission.reveal_until,
        ),
    )


def reveal(view: View, ctx: BlockContext, sender: Address, body: SubmissionReveal) -> tuple[Event, ...]:
    """Opens a commitment: every item gets a number, and is admitted or, as a duplicate, rejected.

    Raises Rejected, changing nothing, where any item can't be admitted: the money for all is reserved, or for none.
    """
    submission = _to_reveal(view, ctx, sender, body)
    campaign = campaign_of(view, body.campaign)
    if campaign.cancelled:
        raise Rejected(
            "campaign_cancelled",
            "the campaign takes nothing in any more",
            value=body.campaign,
            remedy="the bond returns by itself; submit to another campaign",
        )
    for declared in body.items:
        check_declared(campaign.spec, declared)
        privacy.check_declared(campaign.spec, declared)
    events: list[Event] = []
    first = ItemId(0)
    admitted = 0
    for place, declared in enumerate(body.items):
        number = ItemId(next_number(view, ITEM_COUNTER, 1))
        first = first or number
        campaign, is_admitted, said = _take_in(view, ctx, campaign, number, declared, submission, body, place)
        admitted += is_admitted
        events += said
    if admitted:
        campaign = _count_share(view, campaign, sender, body.campaign, admitted)
        _look_at_queue(view, ctx, body.campaign, campaign)
    view.put(
        SUBMISSIONS,
        replace(submission, status=SubmissionStatus.REVEALED, first_item=first),
        body.campaign,
        body.commitment,
        sender,
    )
    agenda.forget_submission(view, submission)
    _count_open(view, sender, -1)
    earnings.count_items(view, sender, submitted=len(body.items))
    escrow.put(view, body.campaign, replace(campaign, submissions_open=campaign.submissions_open - 1))
    return (*events, *end_if_idle(view, ctx, body.campaign))


def expire(view: View, ctx: BlockContext, due: Due) -> tuple[Event, ...]:
    """A commitment was not revealed in time: its bond returns."""
    contributor = Address(due.account)
    submission = view.get(SUBMISSIONS, due.campaign, due.commitment, contributor)
    assert submission is not None, "an open submission is not deleted"
    assert submission.status == SubmissionStatus.COMMITTED, "a revealed submission is taken off the agenda"
    campaign = campaign_of(view, due.campaign)
    bond = submission.count * submission.item_bond
    move(view, Pot.BONDS, contributor, bond)
    earnings.record(view, ctx, contributor, earnings.BOND, bond, due.campaign)
    view.put(
        SUBMISSIONS,
        replace(submission, status=SubmissionStatus.EXPIRED),
        due.campaign,
        due.commitment,
        contributor,
    )
    _count_open(view, contributor, -1)
    escrow.put(view, due.campaign, replace(campaign, submissions_open=campaign.submissions_open - 1))
    expired = event(
        "submission.expired",
        campaign=due.campaign,
        contributor=contributor,
        commitment=due.commitment,
        bond=bond,
    )
    return (expired, *end_if_idle(view, ctx, due.campaign))


def accepts_media(accepted: tuple[str, ...], media_type: str) -> bool:
    """Whether a media type is among those accepted, as ``text/plain`` or ``image/*``."""
    return any(
        media_type.startswith(pattern[:-1]) and len(media_type) >= len(pattern)
        if pattern.endswith("/*")
        else media_type == pattern
        for pattern in accepted
    )


def check_declared(spec: CampaignSpec, declared: ItemDeclaration) -> None:
    """Raises Rejected where the campaign does not take such an item."""
    if not 0 < declared.content.size <= spec.item_bytes_max:
        raise Rejected(
            "item_size",
            f"an item has 1 to {spec.item_bytes_max} bytes here",
            value=declared.content.size,
            remedy="submit a file of that size",
        )
    if not accepts_media(spec.media, declared.media_type):
        raise Rejected(
            "media_type",
            f"the campaign takes {', '.join(spec.media)}",
            value=declared.media_type,
            remedy="submit a file of that type",
        )
    if declared.tier >= len(spec.tier_bps):
        raise Rejected(
            "tier",
            f"the campaign has {len(spec.tier_bps)} tiers, from 0",
            declared.tier,
            "choose one of them",
        )
    if declared.category >= len(spec.categories):
        raise Rejected(
            "category",
            f"the campaign has {len(spec.categories)} categories, from 0",
            declared.category,
            "choose one of them",
        )


def _to_reveal(view: ReadView, ctx: BlockContext, sender: Address, body: SubmissionReveal) -> Submission:
    """The sender's open submission that the body opens. Raises Rejected."""
    submission = view.get(SUBMISSIONS, body.campaign, body.commitment, sender)
    if submission is None:
        raise Rejected(
            "submission_unknown",
            "this account committed to no such submission in this campaign",
            value=body.commitment,
            remedy="commit first, with the same account",
        )
    if submission.status != SubmissionStatus.COMMITTED:
        raise Rejected(
            "submission_done",
            f"the submission is {SubmissionStatus(submission.status).label}",
            value=body.commitment,
            remedy="commit anew with another salt",
        )
    if ctx.height > submission.reveal_until:
        raise Rejected(
            "reveal_late",
            f"the submission could be revealed up to height {submission.reveal_until}",
            value=ctx.height,
            remedy="its bond returns; commit anew",
        )
    if ctx.height <= submission.committed_at:
        raise Rejected(
            "reveal_early",
            "a submission is revealed in a later block than its commitment, so that nobody can overtake it",
            value=ctx.height,
            remedy="send the reveal once the commitment is final",
        )
    if len(body.items) != submission.count:
        raise Rejected(
            "submission_items",
            f"the commitment is to {submission.count} items",
            value=len(body.items),
            remedy="reveal exactly what was committed",
        )
    expected = submission_commitment(ctx.chain_id, body.campaign, items_root(body.items), sender, body.salt)
    if expected != body.commitment:
        raise Rejected(
            "commitment",
            "these items and this salt do not open the commitment",
            value=body.commitment,
            remedy="reveal exactly what was committed, on the same chain and campaign",
        )
    return submission


def _take_in(
    view: View,
    ctx: BlockContext,
    campaign: Campaign,
    number: ItemId,
    declared: ItemDeclaration,
    submission: Submission,
    body: SubmissionReveal,
    place: int,
) -> tuple[Campaign, bool, list[Event]]:
    """Admits one item, or rejects it as a duplicate; says which."""
    counts = campaign.counts
    campaign = replace(campaign, counts=replace(counts, submitted=counts.submitted + 1))
    item = _new_item(ctx, declared, submission, body)
    view.put(ITEMS_BY_CAMPAIGN, UNIT, body.campaign, number)
    view.put(ITEMS_BY_CONTRIBUTOR, UNIT, submission.contributor, number)
    view.put(ITEMS_BY_CONTENT, UNIT, declared.content.chunk_root, number)
    if declared.private is not None:
        view.put(PRIVATE_ITEMS, declared.private, number)
    events = [
        event(
            "item.revealed",
            item=number,
            campaign=body.campaign,
            contributor=submission.contributor,
            commitment=body.commitment,
            chunk_root=declared.content.chunk_root,
            size=declared.content.size,
            media_type=declared.media_type,
        )
    ]
    holders = _holders(view, body.campaign, declared)
    if any(not _displaceable(view, holder, submission) for holder in holders):
        campaign, said = items.reject(
            view, ctx, campaign, number, item, (items.DUPLICATE,), _duplicate_cost(ctx, item)
        )
        return campaign, False, [*events, *said]
    for holder in holders:
        campaign, said = _displace(view, ctx, campaign, holder.item)
        events += said
    amounts = _check_room(campaign, declared, place)
    campaign = items.count_category(escrow.reserve(campaign, amounts), declared.category, 1)
    item = replace(
        item,
        fee=Amount(amounts.fee),
        reward_reserved=Amount(amounts.reward),
        review_reserved=Amount(amounts.review),
        escalation_reserved=Amount(amounts.escalation),
    )
    campaign = items.advance(view, ctx, campaign, number, item, ItemStatus.QUEUED)
    view.put(QUEUE, QueuedItem(submission.contributor, ctx.height), body.campaign, number)
    mine = Holder(number, submission.sequence)
    view.put(CONTENT_ROOTS, mine, body.campaign, declared.content.chunk_root)
    view.put(CONTENT_DIGESTS, mine, body.campaign, declared.content.sha256)
    events.append(
        event("item.queued", item=number, campaign=body.campaign, contributor=submission.contributor)
    )
    return campaign, True, events


def _new_item(
    ctx: BlockContext, declared: ItemDeclaration, submission: Submission, body: SubmissionReveal
) -> Item:
    nothing = Amount(0)
    return Item(
        campaign=body.campaign,
        contributor=submission.contributor,
        commitment=body.commitment,
        sequence=submission.sequence,
        content=declared.content,
        media_type=declared.media_type,
        tier=declared.tier,
        category=declared.category,
        status=ItemStatus.REVEALED,
        history=(StatusChange(ItemStatus.REVEALED, ctx.height, ctx.timestamp_ms),),
        fee=nothing,
        reward_reserved=nothing,
        review_reserved=nothing,
        escalation_reserved=nothing,
        bond=submission.item_bond,
        batch=BatchId(0),
        second=BatchId(0),
        open_verdict=BatchId(0),
        escalation=Escalation.NONE,
        first=ItemStatus.REVEALED,
        bond_cost=nothing,
        displaced=False,
        scores=(),
        overall=0,
        agreement_bps=0,
        reasons=(),
        reward=nothing,
        paid=nothing,
    )


def _holders(view: ReadView, campaign: CampaignId, declared: ItemDeclaration) -> tuple[Holder, ...]:
    """Items that hold the same content, by either of its hashes (a liar may have given one of them)."""
    found: list[Holder] = []
    by_root = view.get(CONTENT_ROOTS, campaign, declared.content.chunk_root)
    by_digest = view.get(CONTENT_DIGESTS, campaign, declared.content.sha256)
    for holder in (by_root, by_digest):
        if holder is not None and holder not in found:
            found.append(holder)
    return tuple(found)


def _displaceable(view: ReadView, holder: Holder, submission: Submission) -> bool:
    """Whether the holder committed later than this submission, and has no verdict yet."""
    if holder.sequence <= submission.sequence:
        return False
    return items.item_at(view, holder.item).status in DISPLACEABLE


def _displace(
    view: View, ctx: BlockContext, campaign: Campaign, number: ItemId
) -> tuple[Campaign, tuple[Event, ...]]:
    """Takes the content from an item that was committed later: queued it is rejected now, in review at its verdict."""
    item = items.item_at(view, number)
    items.disclaim(view, number, item)
    if item.status == ItemStatus.QUEUED:
        view.delete(QUEUE, item.campaign, number)
        cost = _duplicate_cost(ctx, item)
        return items.reject(view, ctx, campaign, number, item, (items.DUPLICATE,), cost)
    view.put(ITEMS, replace(item, displaced=True), number)
    return campaign, (
        event("item.displaced", item=number, campaign=item.campaign, contributor=item.contributor),
    )


def _duplicate_cost(ctx: BlockContext, item: Item) -> int:
    return rejection_cost(item.bond, (), (), flagged=True, fraud=False, params=ctx.params)


def _check_room(campaign: Campaign, declared: ItemDeclaration, place: int) -> Reserve:
    """What the item reserves. Raises Rejected where its category is full or the money is not there."""
    category = campaign.spec.categories[declared.category]
    if 0 < category.target <= campaign.category_counts[declared.category]:
        raise Rejected(
            "category_full",
            f"the category has the {category.target} items that it wants",
            value=category.name,
            remedy="choose another category or campaign",
        )
    amounts = reserve(campaign.spec, declared.tier, declared.category)
    if amounts.total > campaign.escrow.available:
        raise Rejected(
            "escrow",
            f"the campaign has {format_omnit(campaign.escrow.available)} left for item {place + 1} of this submission",
            value=format_omnit(amounts.total),
            remedy="submit fewer items, or wait until the sponsor adds money",
        )
    return amounts


def _count_share(
    view: View, campaign: Campaign, contributor: Address, number: CampaignId, admitted: int
) -> Campaign:
    """Counts admitted items, and holds a contributor to its share. Raises Rejected."""
    row = view.get(CONTRIBUTORS, number, contributor)
    own = (row.number if row else 0) + admitted
    total = campaign.admitted + admitted
    share = campaign.spec.contributor_share_max_bps
    if total >= SHARE_FROM_ITEMS and own * BPS > share * total:
        raise Rejected(
            "contributor_share",
            f"one contributor may have {share} of 10,000 parts of a campaign's items",
            value=f"{own} of {total}",
            remedy="submit fewer, or wait until others have submitted",
        )
    view.put(CONTRIBUTORS, Count(own), number, contributor)
    return replace(campaign, admitted=total)


def _look_at_queue(view: View, ctx: BlockContext, number: CampaignId, campaign: Campaign) -> None:
    """When the queue is full enough, and at the latest when these items have waited."""
    if campaign.counts.queued >= ctx.params.batch_items:
        agenda.look_at_queue(view, ctx.height, number)
    agenda.look_at_queue(view, ctx.height + ctx.params.batch_wait_blocks, number)


def _count_open(view: View, account: Address, by: int) -> None:
    """Counts an account's open submissions. Raises Rejected above the limit."""
    row = view.get(SUBMISSIONS_OPEN, account)
    number = (row.number if row else 0) + by
    assert number >= 0, "more submissions ended than began"
    if number > limits.submissions_open_per_account_max:
        raise Rejected(
            "submissions_open",
            f"an account has at most {limits.submissions_open_per_account_max} submissions to reveal",
            value=number,
            remedy="reveal some first",
        )
    if number:
        view.put(SUBMISSIONS_OPEN, Count(number), account)
    else:
        view.delete(SUBMISSIONS_OPEN, account)
