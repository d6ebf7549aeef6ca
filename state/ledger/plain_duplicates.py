"""Equal plain bytes of two private items, shown by opening what both were declared with: the later one is rejected for good.

To anybody who can't read them they look different, so nobody but a reader can show it, and a reader can't show what is not so.
"""

from typing import Final

from msgspec.structs import replace

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies import PlainDuplicate, PrivateItem
from omnitensor.protocol.sealing import salted_commitment
from omnitensor.protocol.types import Address, BatchId, ItemId
from state.ledger import earnings, escrow, items
from state.ledger.campaigns import campaign_of, end_if_idle
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.ledger.events import event
from state.ledger.pay import rejection_cost
from state.ledger.view import ReadView, View
from state.records_review import Item, ItemStatus
from state.schema import ITEMS, PRIVATE_ITEMS, QUEUE

OPEN: Final = (ItemStatus.QUEUED, ItemStatus.IN_REVIEW, ItemStatus.ACCEPTED)
"""Ends that are not final, and that no second round is about to decide."""


def show(view: View, ctx: BlockContext, sender: Address, body: PlainDuplicate) -> tuple[Event, ...]:
    """Rejects the later of two items, at once or, in review, at its verdict."""
    item, opened = _private_item(view, body.item)
    earlier, opened_of = _private_item(view, body.of)
    if (
        item.campaign != earlier.campaign
        or (earlier.sequence, body.of) >= (item.sequence, body.item)
        or earlier.status == ItemStatus.UNDECIDED
    ):
        raise Rejected(
            "duplicate_order",
            "an item repeats one of the same campaign that was committed earlier and is not undecided",
            value=f"{body.item}: {body.of}",
            remedy="name the later item first",
        )
    shown = (
        salted_commitment(body.salt, body.digest, body.size),
        salted_commitment(body.salt_of, body.digest, body.size),
    )
    if shown != (opened.plain, opened_of.plain):
        raise Rejected(
            "duplicate_proof",
            "this does not open what both items were declared with",
            value=body.digest,
            remedy="show SHA-256 and size of the plain bytes, and each item's salt",
        )
    if item.status not in OPEN or item.displaced:
        raise Rejected(
            "duplicate_late",
            f"the item is {'to be rejected already' if item.displaced else ItemStatus(item.status).label}",
            value=body.item,
            remedy="show it before the item is settled, and not while a second round judges it",
        )
    said = event(
        "duplicate.shown",
        item=body.item,
        of=body.of,
        campaign=item.campaign,
        contributor=item.contributor,
        account=sender,
    )
    return (said, *_reject(view, ctx, body.item, item))


def _private_item(view: ReadView, number: ItemId) -> tuple[Item, PrivateItem]:
    item, private = view.get(ITEMS, number), view.get(PRIVATE_ITEMS, number)
    if item is None or private is None:
        raise Rejected(
            "item_unknown",
            "there is no such private item",
            value=number,
            remedy="see: otensor-cli check-status",
        )
    return item, private


def _reject(view: View, ctx: BlockContext, number: ItemId, item: Item) -> tuple[Event, ...]:
    if item.status == ItemStatus.IN_REVIEW:
        view.put(ITEMS, replace(item, displaced=True), number)
        said = event("item.displaced", item=number, campaign=item.campaign, contributor=item.contributor)
        return (said,)
    if item.status == ItemStatus.QUEUED:
        view.delete(QUEUE, item.campaign, number)
    else:  # accepted: what was paid at the verdict stays, the rest is lost
        earnings.count_items(view, item.contributor, accepted=-1, pending=-item.reward_reserved)
    cost = rejection_cost(item.bond, (), (), flagged=True, fraud=False, params=ctx.params)
    campaign, events = items.reject(
        view,
        ctx,
        campaign_of(view, item.campaign),
        number,
        item,
        (items.DUPLICATE,),
        cost,
        open_verdict=BatchId(0),
    )
    escrow.put(view, item.campaign, campaign)
    return (*events, *end_if_idle(view, ctx, item.campaign))
