"""One item's way from its reveal to its last pay: status, history, bond, and what its reserve becomes.

Every function takes the campaign and gives it back changed; its caller puts it. Knows nothing of who judged.
"""

from typing import Any

from msgspec.structs import replace

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.types import BPS, Amount, ItemId
from state.ledger import earnings, escrow
from state.ledger.accounts import Pot, move
from state.ledger.context import BlockContext
from state.ledger.events import event
from state.ledger.pay import contributor_pay
from state.ledger.view import ReadView, View
from state.records_review import Campaign, Item, ItemStatus, StatusChange
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
    """Ends an item as rejected: its whole reserve is free again, and its bond returns less its cost."""
    campaign = _let_go(campaign, item)
    campaign = advance(
        view, ctx, campaign, number, item, ItemStatus.REJECTED, **_NOTHING_HELD, reasons=reasons, **changes
    )
    campaign, burned = escrow.take_penalty(view, ctx, campaign, Pot.BONDS, bond_cost)
    events = [
        event(
            "item.rejected",
            item=number,
            campaign=item.campaign,
            contributor=item.contributor,
            reasons=",".join(reasons),
            bond_cost=bond_cost,
        )
    ]
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
    earnings.count_items(view, item.contributor, rejected=1)
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
    campaign = _let_go(campaign, item)
    campaign = advance(
        view, ctx, campaign, number, item, ItemStatus.UNDECIDED, **_NOTHING_HELD, reasons=reasons, **changes
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
    """Accepts an item and pays the first part of its reward; the rest, and its bond, wait for the challenge window's end."""
    reward = contributor_pay(item.reward_reserved, overall)
    now = reward * ctx.params.contributor_paid_at_verdict_bps // BPS
    campaign = escrow.free(
        campaign,
        reward=item.reward_reserved - reward,
        review=item.review_reserved,
        escalation=item.escalation_reserved,
    )
    campaign = advance(
        view,
        ctx,
        campaign,
        number,
        item,
        ItemStatus.ACCEPTED,
        reward_reserved=Amount(reward - now),
        review_reserved=Amount(0),
        escalation_reserved=Amount(0),
        reward=Amount(reward),
        paid=Amount(now),
        overall=overall,
        **changes,
    )
    accepted = event(
        "item.accepted",
        item=number,
        campaign=item.campaign,
        contributor=item.contributor,
        overall=overall,
        reward=reward,
        pending=reward - now,
    )
    earnings.count_items(view, item.contributor, accepted=1, pending=reward - now)
    campaign, paid = _pay(view, ctx, campaign, number, item, now)
    return campaign, (accepted, *paid)


def settle(view: View, ctx: BlockContext, campaign: Campaign, number: ItemId, item: Item) -> Outcome:
    """Pays an accepted item's rest and returns its bond: it is paid."""
    rest = item.reward_reserved
    campaign = advance(
        view,
        ctx,
        campaign,
        number,
        item,
        ItemStatus.PAID,
        reward_reserved=Amount(0),
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
    return campaign, (*paid, *return_bond(view, ctx, number, item, item.bond), done)


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


_NOTHING_HELD = {
    "reward_reserved": Amount(0),
    "review_reserved": Amount(0),
    "escalation_reserved": Amount(0),
    "bond": Amount(0),
}


def _let_go(campaign: Campaign, item: Item) -> Campaign:
    """Frees what is reserved for an item that was not accepted, and its place in its category."""
    campaign = escrow.free(
        campaign,
        reward=item.reward_reserved,
        review=item.review_reserved,
        escalation=item.escalation_reserved,
    )
    if item.status == ItemStatus.REVEALED:  # never admitted: it fills no place
        return campaign
    return count_category(campaign, item.category, -1)


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
    return campaign, (
        event("pay.contributor", to=item.contributor, amount=amount, campaign=item.campaign, item=number),
    )
