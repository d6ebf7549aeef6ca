"""Second rounds: a batch of their own for what the first did not settle, and for an appeal; what it costs, and who pays it.

Knows nothing of what a committee says.
"""

from msgspec.structs import replace

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies import ItemAppeal
from omnitensor.protocol.types import Address, Amount, BatchId, CampaignId, ItemId
from state.ledger import batches, escrow, items
from state.ledger.accounts import Pot, burn, move, next_number
from state.ledger.campaigns import campaign_of
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.ledger.events import event
from state.ledger.view import ReadView, View
from state.records_review import (
    Appeal,
    AppealState,
    Batch,
    Campaign,
    Escalation,
    Item,
    ItemStatus,
)
from state.schema import APPEALS, BATCHES, ITEMS

Outcome = tuple[Campaign, tuple[Event, ...]]


def affordable(campaign: Campaign, found: list[Item]) -> int:
    """Seats that a second round over these items can have: as many as wanted, or as there is money for."""
    fee = sum(item.fee for item in found)
    own = sum(item.escalation_reserved for item in found)
    return min(campaign.spec.second_seats, (own + campaign.escrow.available) // fee)


def open_round(
    view: View,
    ctx: BlockContext,
    origin: BatchId,
    campaign_number: CampaignId,
    campaign: Campaign,
    numbers: tuple[ItemId, ...],
    appellant: bytes = b"",
) -> tuple[Campaign, BatchId, Event]:
    """Puts escalated items into a batch of round two, and reserves what its seats may earn. The caller has seen that it can."""
    found = [items.item_at(view, number) for number in numbers]
    asked = affordable(campaign, found)
    assert asked > 0, "a second round without seats"
    second = BatchId(next_number(view, batches.BATCH_COUNTER, 1))
    for number, item in zip(numbers, found, strict=True):
        wanted = asked * item.fee
        more = wanted - item.escalation_reserved
        campaign = escrow.shifted(campaign, available=-more, escalation=more)
        view.put(ITEMS, replace(item, second=second, escalation_reserved=Amount(wanted)), number)
    formed = batches.create(
        view,
        ctx,
        campaign_number,
        second,
        numbers,
        found,
        round_=batches.ROUND_TWO,
        asked=asked,
        origin=origin,
        appellant=appellant,
    )
    return campaign, second, formed


def appeal(view: View, ctx: BlockContext, sender: Address, body: ItemAppeal) -> tuple[Event, ...]:
    """Opens a second round about one verdict of a first, against a bond of what one costs."""
    item = _appealable(view, ctx, sender, body.item)
    campaign = campaign_of(view, item.campaign)
    if affordable(campaign, [item]) == 0:
        raise Rejected(
            "second_round",
            "the campaign has no second round, or no money for one",
            value=campaign.spec.second_seats,
            remedy="nothing can be done about this verdict",
        )
    bond = campaign.spec.second_seats * item.fee
    move(view, sender, Pot.BONDS, bond)
    first = ItemStatus(item.status)
    campaign, said = items.escalate(view, ctx, campaign, body.item, item, Escalation.APPEAL, first)
    campaign, second, formed = open_round(
        view, ctx, item.batch, item.campaign, campaign, (body.item,), appellant=sender
    )
    escrow.put(view, item.campaign, campaign)
    row = Appeal(sender, Amount(bond), ctx.height, second, AppealState.OPEN)
    view.put(APPEALS, row, body.item)
    opened = event(
        "appeal.opened",
        item=body.item,
        campaign=item.campaign,
        appellant=sender,
        bond=bond,
        batch=second,
    )
    return (opened, *said, formed)


def end_appeal(
    view: View, ctx: BlockContext, batch: Batch, campaign: Campaign, paid: int, *, void: bool = False
) -> Outcome:
    """Returns the bond where the verdict turned or none came about; else it pays for the round, and what is left burns."""
    (number,) = batch.items
    row = view.get(APPEALS, number)
    item = items.item_at(view, number)
    assert row is not None, "whoever appealed is on record"
    kept = 0
    if void:
        state = AppealState.VOID
    elif item.status != item.first:
        state = AppealState.TURNED
    else:
        state = AppealState.UPHELD
        kept = min(row.bond, paid)
        campaign = escrow.forfeit(view, campaign, Pot.BONDS, kept)
        burn(view, Pot.BONDS, row.bond - kept)
    returned = 0 if state is AppealState.UPHELD else row.bond
    move(view, Pot.BONDS, row.appellant, returned)
    view.put(APPEALS, replace(row, bond=Amount(0), state=state), number)
    closed = event(
        "appeal.closed",
        item=number,
        campaign=batch.campaign,
        appellant=row.appellant,
        state=state.label,
        amount=returned,
        burned=row.bond - kept - returned,
    )
    return campaign, (closed,)


def _appealable(view: ReadView, ctx: BlockContext, sender: Address, number: ItemId) -> Item:
    """The item. Raises Rejected where the sender can't appeal it, or not now."""
    item = view.get(ITEMS, number)
    if item is None:
        raise Rejected(
            "item_unknown", "there is no such item", value=number, remedy="see: otensor-cli check-status"
        )
    batch = view.get(BATCHES, item.open_verdict) if item.open_verdict else None
    if batch is None or ctx.height > batch.settle_at:
        raise Rejected(
            "appeal_closed",
            f"the item is {ItemStatus(item.status).label} and has no verdict that can be appealed now",
            value=number,
            remedy="appeal after a verdict, before its challenge window ends",
        )
    if batch.round != batches.ROUND_ONE:
        raise Rejected(
            "appeal_last",
            "the verdict of a second round stands",
            value=number,
            remedy="nothing can be done about it",
        )
    own = sender == item.contributor
    if own != (item.status == ItemStatus.REJECTED):
        raise Rejected(
            "appeal_whose",
            "a rejection is its contributor's to appeal, an acceptance anybody else's",
            value=number,
            remedy="sign with the account that handed the item in" if not own else "it was accepted",
        )
    return item
