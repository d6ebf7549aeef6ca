"""One item's way from its reveal to its last pay: status, history, bond, and what its reserve becomes.

Every function takes the campaign and gives it back changed; its caller puts it. Knows nothing of who judged.
"""

from typing import Any

from msgspec.structs import replace

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.types import BPS, Amount, BatchId, ItemId
from state.ledger import earnings, escrow, participation, standings
from state.ledger.accounts import Pot, move
from state.ledger.context import BlockContext
from state.ledger.events import event
from state.ledger.pay import contributor_pay, first_round
from state.ledger.view import ReadView, View
from state.records_review import Campaign, Escalation, Item, ItemStatus, StatusChange
from state.schema import CONTENT_DIGESTS, CONTENT_ROOTS, ITEMS

DUPLICATE = "duplicate"

Outcome = tuple[Campaign, tuple[Event, ...]]


def item_at(view: ReadView, number: ItemId) -> Item:
    item = view.get(ITEMS, number)
    assert item is not None, f"item {number} is referred to and does not exist"
    return item


def advance(
    view: View,
    ctx: BlockContext,
    campaign: Campaign,
    number: ItemId,
    item: Item,
    status: ItemStatus,
    **changes: Any,
) -> Campaign:
    """Gives an item its next status, with height and time, and any other changes."""
    history = (*item.history, StatusChange(status, ctx.height, ctx.timestamp_ms))
    view.put(ITEMS, replace(item, status=status, history=history, **changes), number)
    return escrow.recounted(campaign, ItemStatus(item.status), status)


def reject(
    view: View,
    ctx: BlockContext,
    campaign: Campaign,
    number: ItemId,
    item: Item,
    reasons: tuple[str, ...],
    bond_cost: int,
    **changes: Any,
) -> Outcome:
    """Ends an item as rejected for good: its reserve is free again, and its bond returns less its cost."""
    campaign, held = _let_go(campaign, item)
    campaign = advance(
        view, ctx, campaign, number, item, ItemStatus.REJECTED, **held, reasons=reasons, **changes
    )
    earnings.count_items(view, item.contributor, rejected=1)
    campaign, events = _charge(view, ctx, campaign, number, item, bond_cost)
    return campaign, (_rejected(number, item, reasons, bond_cost), *events)


def hold_rejected(
    view: View,
    ctx: BlockContext,
    campaign: Campaign,
    number: ItemId,
    item: Item,
    reasons: tuple[str, ...],
    bond_cost: int,
    **changes: Any,
) -> Outcome:
    """Rejects an item for now: what is held for it stays until it can't be appealed any more, and then ``settle`` ends it."""
    campaign = advance(
        view,
        ctx,
        campaign,
        number,
        item,
        ItemStatus.REJECTED,
        reasons=reasons,
        bond_cost=Amount(bond_cost),
        **changes,
    )
    earnings.count_items(view, item.contributor, rejected=1)
    campaign = replace(campaign, rejections_open=campaign.rejections_open + 1)
    return campaign, (_rejected(number, item, reasons, bond_cost),)


def escalate(
    view: View,
    ctx: BlockContext,
    campaign: Campaign,
    number: ItemId,
    item: Item,
    cause: Escalation,
    first: ItemStatus,
    **changes: Any,
) -> Outcome:
    """Sends an item to a second round; ``first`` is how it ends should none come about. Takes back an end that it had."""
    if item.status == ItemStatus.REJECTED:
        campaign = replace(campaign, rejections_open=campaign.rejections_open - 1)
        earnings.count_items(view, item.contributor, rejected=-1)
    elif item.status == ItemStatus.ACCEPTED:
        earnings.count_items(view, item.contributor, accepted=-1)
    campaign = advance(
        view,
        ctx,
        campaign,
        number,
        item,
        ItemStatus.ESCALATED,
        escalation=cause,
        first=first,
        open_verdict=BatchId(0),
        **changes,
    )
    said = event(
        "item.escalated",
        item=number,
        campaign=item.campaign,
        contributor=item.contributor,
        cause=cause.label,
    )
    return campaign, (said,)


def _rejected(number: ItemId, item: Item, reasons: tuple[str, ...], bond_cost: int) -> Event:
    return event(
        "item.rejected",
        item=number,
        campaign=item.campaign,
        contributor=item.contributor,
        reasons=",".join(reasons),
        bond_cost=bond_cost,
    )


def _charge(
    view: View, ctx: BlockContext, campaign: Campaign, number: ItemId, item: Item, bond_cost: int
) -> Outcome:
    """Takes what a rejection costs of an item's bond, and returns the rest."""
    campaign, burned = escrow.take_penalty(view, ctx, campaign, Pot.BONDS, bond_cost)
    events: list[Event] = []
    if bond_cost:
        events.append(
            event(
                "penalty",
                account=item.contributor,
                amount=bond_cost,
                burned=burned,
                cause="rejected",
                item=number,
            )
        )
        earnings.record(view, ctx, item.contributor, earnings.PENALTY, bond_cost, item.campaign, item=number)
    events += return_bond(view, ctx, number, item, item.bond - bond_cost)
    return campaign, tuple(events)


def leave_undecided(
    view: View,
    ctx: BlockContext,
    campaign: Campaign,
    number: ItemId,
    item: Item,
    reasons: tuple[str, ...],
    **changes: Any,
) -> Outcome:
    """Ends an item without a verdict: everything reserved is free again, its bond returns, its content may come again."""
    campaign, held = _let_go(campaign, item)
    campaign = advance(
        view, ctx, campaign, number, item, ItemStatus.UNDECIDED, **held, reasons=reasons, **changes
    )
    disclaim(view, number, item)
    events = (
        event(
            "item.undecided",
            item=number,
            campaign=item.campaign,
            contributor=item.contributor,
            reasons=",".join(reasons),
        ),
        *return_bond(view, ctx, number, item, item.bond),
    )
    earnings.count_items(view, item.contributor, undecided=1)
    return campaign, events


def accept(
    view: View,
    ctx: BlockContext,
    campaign: Campaign,
    number: ItemId,
    item: Item,
    overall: int,
    **changes: Any,
) -> Outcome:
    """Accepts an item and pays the first part of its reward; the rest, and its bond, wait for the challenge window's end.

    An item that was accepted before, and appealed, keeps the reward that it had.
    """
    if item.reward:
        campaign = advance(
            view, ctx, campaign, number, item, ItemStatus.ACCEPTED, reasons=(), overall=overall, **changes
        )
        earnings.count_items(view, item.contributor, accepted=1)
        return campaign, (_accepted(number, item, overall, item.reward, item.reward_reserved),)
    reward = contributor_pay(item.reward_reserved, overall)
    now = reward * ctx.params.contributor_paid_at_verdict_bps // BPS
    campaign = escrow.free(campaign, reward=item.reward_reserved - reward)
    campaign = advance(
        view,
        ctx,
        campaign,
        number,
        item,
        ItemStatus.ACCEPTED,
        reward_reserved=Amount(reward - now),
        reward=Amount(reward),
        paid=Amount(now),
        reasons=(),
        overall=overall,
        **changes,
    )
    earnings.count_items(view, item.contributor, accepted=1, pending=reward - now)
    campaign, paid = _pay(view, ctx, campaign, number, item, now)
    return campaign, (_accepted(number, item, overall, reward, reward - now), *paid)


def _accepted(number: ItemId, item: Item, overall: int, reward: int, pending: int) -> Event:
    return event(
        "item.accepted",
        item=number,
        campaign=item.campaign,
        contributor=item.contributor,
        overall=overall,
        reward=reward,
        pending=pending,
    )


def settle(view: View, ctx: BlockContext, campaign: Campaign, number: ItemId, item: Item) -> Outcome:
    """The verdict can't be appealed any more: pays an accepted item's rest and returns its bond, or ends a rejection."""
    if item.status == ItemStatus.REJECTED:
        return _settle_rejection(view, ctx, campaign, number, item)
    rest = item.reward_reserved
    campaign = escrow.free(campaign, escalation=item.escalation_reserved)
    campaign = advance(
        view,
        ctx,
        campaign,
        number,
        item,
        ItemStatus.PAID,
        reward_reserved=Amount(0),
        escalation_reserved=Amount(0),
        open_verdict=BatchId(0),
        bond=Amount(0),
        paid=Amount(item.paid + rest),
    )
    earnings.count_items(view, item.contributor, pending=-rest)
    campaign, paid = _pay(view, ctx, campaign, number, item, rest)
    done = event(
        "item.paid",
        item=number,
        campaign=item.campaign,
        contributor=item.contributor,
        amount=item.paid + rest,
    )
    bond = return_bond(view, ctx, number, item, item.bond)
    return campaign, (*paid, *bond, done, *participation.settled(view, ctx, campaign.spec, number, item))


def _settle_rejection(
    view: View, ctx: BlockContext, campaign: Campaign, number: ItemId, item: Item
) -> Outcome:
    """Frees what a rejected item holds, takes what it costs of its bond, and returns the rest."""
    if item.reward:  # it was accepted first, and has kept what was paid then
        earnings.count_items(view, item.contributor, pending=-item.reward_reserved)
    campaign, held = _let_go(campaign, item)
    campaign = replace(campaign, rejections_open=campaign.rejections_open - 1)
    view.put(ITEMS, replace(item, open_verdict=BatchId(0), **held), number)
    return _charge(view, ctx, campaign, number, item, item.bond_cost)


def free_reviews(view: View, campaign: Campaign, numbers: tuple[ItemId, ...], round_: int) -> Campaign:
    """Frees what a round's items hold for its reviewers, who are paid next, or not at all."""
    for number in numbers:
        item = item_at(view, number)
        if round_ == 1:
            campaign = escrow.free(campaign, review=item.review_reserved)
            view.put(ITEMS, replace(item, review_reserved=Amount(0)), number)
        else:
            campaign = escrow.free(campaign, escalation=item.escalation_reserved)
            view.put(ITEMS, replace(item, escalation_reserved=Amount(0)), number)
    return campaign


def return_bond(view: View, ctx: BlockContext, number: ItemId, item: Item, amount: int) -> tuple[Event, ...]:
    """Gives a bond, or what is left of it, back to the contributor."""
    if amount == 0:
        return ()
    move(view, Pot.BONDS, item.contributor, amount)
    earnings.record(view, ctx, item.contributor, earnings.BOND, amount, item.campaign, item=number)
    return (event("bond.returned", to=item.contributor, amount=amount, campaign=item.campaign, item=number),)


def disclaim(view: View, number: ItemId, item: Item) -> None:
    """Frees the content of an item for another, where it holds it."""
    for table, key in (
        (CONTENT_ROOTS, item.content.chunk_root),
        (CONTENT_DIGESTS, item.content.sha256),
    ):
        holder = view.get(table, item.campaign, key)
        if holder is not None and holder.item == number:
            view.delete(table, item.campaign, key)


def _let_go(campaign: Campaign, item: Item) -> tuple[Campaign, dict[str, Any]]:
    """Frees what is reserved for an item that is not accepted, and its place in its category; says what it still holds.

    What its reviewers may earn stays until they are paid: of the first round while it is in a batch, of the second while it
    is escalated.
    """
    review = 0 if item.status not in _WAITING else item.review_reserved
    escalation = 0 if item.status == ItemStatus.ESCALATED else item.escalation_reserved
    campaign = escrow.free(campaign, reward=item.reward_reserved, review=review, escalation=escalation)
    held = {
        "reward_reserved": Amount(0),
        "review_reserved": Amount(item.review_reserved - review),
        "escalation_reserved": Amount(item.escalation_reserved - escalation),
        "bond": Amount(0),
        "bond_cost": Amount(0),
    }
    if item.status == ItemStatus.REVEALED:  # never admitted: it fills no place
        return campaign, held
    return count_category(campaign, item.category, -1), held


_WAITING = (ItemStatus.REVEALED, ItemStatus.QUEUED)


def count_category(campaign: Campaign, category: int, by: int) -> Campaign:
    counts = list(campaign.category_counts)
    counts[category] += by
    assert counts[category] >= 0, f"category {category} counts below zero"
    return replace(campaign, category_counts=tuple(counts))


def _pay(
    view: View, ctx: BlockContext, campaign: Campaign, number: ItemId, item: Item, amount: int
) -> Outcome:
    if amount == 0:
        return campaign, ()
    campaign = escrow.pay_contributor(view, campaign, item.contributor, amount)
    earnings.record(view, ctx, item.contributor, earnings.CONTRIBUTION, amount, item.campaign, item=number)
    # Whoever pays itself gets the pay back, but not what its reviewers cost: no more than that counts for the season.
    most = first_round(campaign.spec, item.fee)
    scored = min(most, item.paid + amount) - min(most, item.paid)
    standings.contributed(view, item.contributor, amount, scored, item.campaign)
    return campaign, (
        event("pay.contributor", to=item.contributor, amount=amount, campaign=item.campaign, item=number),
    )
