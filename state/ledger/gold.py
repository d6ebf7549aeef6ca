"""Gold: items whose answers the sponsor was bound to before anybody was drawn. What is bound, said, contradicted, given back.

Gold changes what reviewers are held against, and nothing about an item: it is judged and paid as any other.
"""

from msgspec.structs import replace

from omnitensor.protocol import merkle
from omnitensor.protocol.amounts import format_omnit
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies import GoldCommit, GoldOpening, GoldRetire, GoldReveal, GoldSpare
from omnitensor.protocol.reviews import gold_leaf
from omnitensor.protocol.types import BPS, Address, Amount, CampaignId, Hash
from state.ledger import agenda, escrow, items, scoring
from state.ledger.accounts import Pot, burn, move
from state.ledger.campaigns import campaign_of, of_sponsor, open_of_sponsor
from state.ledger.committees import Committee
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.ledger.events import event
from state.ledger.reviewer_pay import gold_bits
from state.ledger.scoring import Triple
from state.ledger.view import ReadView, View
from state.records import UNIT
from state.records_review import Batch, BatchGold, BatchOutcome, BatchPhase, Campaign, GoldSet, ItemStatus
from state.schema import BATCHES, CONTENT_ROOTS, GOLD_SETS, GOLD_USED

REPORTS_MIN = 3
"""Fewer reports than this void no gold."""


def commit(view: View, ctx: BlockContext, sender: Address, body: GoldCommit) -> tuple[Event, ...]:
    """Binds a campaign to its gold, once, with a bond for each piece."""
    campaign = open_of_sponsor(view, sender, body.campaign)
    if view.get(GOLD_SETS, body.campaign) is not None:
        raise Rejected(
            "gold_exists",
            "the campaign has its gold",
            value=body.campaign,
            remedy="a campaign commits to gold once",
        )
    least = bond_min(campaign)
    if body.bond_each < least:
        raise Rejected(
            "gold_bond",
            f"each piece of gold needs a bond of {format_omnit(least)}",
            value=format_omnit(body.bond_each),
            remedy="give a larger bond; it returns with every piece that no committee contradicts",
        )
    bond = body.count * body.bond_each
    move(view, sender, Pot.BONDS, bond)
    row = GoldSet(body.root, body.count, body.bond_each, ctx.height, 0, 0)
    view.put(GOLD_SETS, row, body.campaign)
    return (
        event(
            "gold.committed",
            campaign=body.campaign,
            sponsor=sender,
            root=body.root,
            count=body.count,
            bond=bond,
        ),
    )


def bond_min(campaign: Campaign) -> int:
    """Least bond of a piece: what a first round over an item of the highest tier may cost."""
    spec = campaign.spec
    return spec.first_seats * (spec.review_fee * max(spec.tier_bps) // BPS)


def open_pieces(row: GoldSet) -> int:
    """Pieces whose bonds are held."""
    return row.count - row.returned - row.taken


def is_expected(view: ReadView, batch: Batch) -> bool:
    """Whether a batch may hold gold, so that its sponsor has to say."""
    row = view.get(GOLD_SETS, batch.campaign)
    return (
        batch.round == 1 and row is not None and row.committed_at < batch.formed_at and open_pieces(row) > 0
    )


def reveal(view: View, ctx: BlockContext, sender: Address, body: GoldReveal) -> tuple[Event, ...]:
    """Says which items of a batch were gold; all of them at once, or none."""
    batch = view.get(BATCHES, body.batch)
    if batch is None:
        raise Rejected(
            "batch_unknown", "there is no such batch", value=body.batch, remedy="look at its campaign's"
        )
    of_sponsor(view, sender, batch.campaign)
    if batch.phase != BatchPhase.GOLD or batch.gold_said or ctx.height > batch.gold_until:
        raise Rejected(
            "gold_closed",
            "the batch is not asking for gold",
            value=body.batch,
            remedy="say which items were gold once their reports are open, in one order, before the window ends",
        )
    row = view.get(GOLD_SETS, batch.campaign)
    assert row is not None, "a batch asks for gold where there is some"
    found: list[BatchGold] = []
    for opening in body.openings:
        found.append(_opened(view, ctx, batch, row, opening))
        view.put(GOLD_USED, UNIT, batch.campaign, opening.index)
    places = [gold.place for gold in found]
    if len(set(places)) < len(places):
        raise Rejected(
            "gold_item", "one item is opened twice", value=body.batch, remedy="open each item once"
        )
    view.put(BATCHES, replace(batch, gold=tuple(found), gold_said=True), body.batch)
    agenda.look_at_batch_now(view, ctx, body.batch)
    return (event("gold.revealed", batch=body.batch, campaign=batch.campaign, items=len(found)),)


def _opened(view: ReadView, ctx: BlockContext, batch: Batch, row: GoldSet, opening: GoldOpening) -> BatchGold:
    if opening.item not in batch.items:
        raise Rejected(
            "gold_item",
            "the item is not in this batch",
            value=opening.item,
            remedy="open the batch's own items",
        )
    item = items.item_at(view, opening.item)
    _check_leaf(view, ctx, batch.campaign, row, item.content.chunk_root, opening)
    return BatchGold(batch.items.index(opening.item), opening.index, opening.bits)


def _check_leaf(
    view: ReadView,
    ctx: BlockContext,
    campaign: CampaignId,
    row: GoldSet,
    chunk_root: Hash,
    opened: GoldOpening | GoldSpare,
) -> None:
    """Raises Rejected unless a piece is under the root and was not used."""
    leaf = merkle.leaf_hash(gold_leaf(ctx.chain_id, campaign, chunk_root, opened.bits, opened.salt))
    if not merkle.verify_inclusion(leaf, opened.index, row.count, opened.path, row.root):
        raise Rejected(
            "gold_proof",
            "this content with these answers is not under the campaign's gold root",
            value=opened.index,
            remedy="open exactly what was committed",
        )
    if view.get(GOLD_USED, campaign, opened.index) is not None:
        raise Rejected(
            "gold_used", "this piece of gold was used before", value=opened.index, remedy="each serves once"
        )


def judge(
    view: View, ctx: BlockContext, campaign: Campaign, batch: Batch, committee: Committee
) -> tuple[Batch, tuple[Event, ...]]:
    """Voids what the committee contradicts and takes its bond; returns the bonds of the rest. Once, at the verdict."""
    if not batch.gold:
        return batch, ()
    row = view.get(GOLD_SETS, batch.campaign)
    assert row is not None, "gold is of a set"
    bar = scoring.bar_of(campaign.spec)
    events: list[Event] = []
    judged: list[BatchGold] = []
    for gold in batch.gold:
        scores = [report[gold.place].criteria for report in committee.read]
        voided = gold.place not in committee.unread and is_contradicted(
            [scoring.bits_of(score, bar) for score in scores],
            committee.weights,
            gold_bits(gold.bits),
            ctx.params.gold_veto_bps,
        )
        judged.append(replace(gold, voided=voided))
        if voided:
            burn(view, Pot.BONDS, row.bond_each)
            row = replace(row, taken=row.taken + 1)
        else:
            move(view, Pot.BONDS, campaign.sponsor, row.bond_each)
            row = replace(row, returned=row.returned + 1)
        events.append(
            event(
                "gold.voided" if voided else "gold.returned",
                campaign=batch.campaign,
                sponsor=campaign.sponsor,
                item=batch.items[gold.place],
                amount=row.bond_each,
            )
        )
    view.put(GOLD_SETS, row, batch.campaign)
    return replace(batch, gold=tuple(judged)), tuple(events)


def give_back(view: View, campaign: Campaign, batch: Batch) -> tuple[Event, ...]:
    """Returns the bonds of what was said in a batch that came to no verdict: nobody is left who could contradict it."""
    if not batch.gold:
        return ()
    row = view.get(GOLD_SETS, batch.campaign)
    assert row is not None, "gold is of a set"
    count = len(batch.gold)
    move(view, Pot.BONDS, campaign.sponsor, count * row.bond_each)
    view.put(GOLD_SETS, replace(row, returned=row.returned + count), batch.campaign)
    return tuple(
        event(
            "gold.returned",
            campaign=batch.campaign,
            sponsor=campaign.sponsor,
            item=batch.items[gold.place],
            amount=row.bond_each,
        )
        for gold in batch.gold
    )


def is_contradicted(said: list[Triple], weights: list[int], expected: Triple, veto_bps: int) -> bool:
    """Whether so much of the weight, and of the reviewers, says otherwise on one criterion; a committee of one or two can't.

    By weight alone a coalition that once stood well could void what would bring it down.
    """
    if len(said) < REPORTS_MIN:
        return False
    total = sum(weights)
    for criterion in range(3):
        against = [
            weight
            for bits, weight in zip(said, weights, strict=True)
            if bits[criterion] != expected[criterion]
        ]
        if sum(against) * BPS >= veto_bps * total and len(against) * BPS >= veto_bps * len(said):
            return True
    return False


def retire(view: View, ctx: BlockContext, sender: Address, body: GoldRetire) -> tuple[Event, ...]:
    """Gives back the bonds of pieces that no committee met; those that one met and that were not said then are burned."""
    campaign = of_sponsor(view, sender, body.campaign)
    row = view.get(GOLD_SETS, body.campaign)
    if row is None or open_pieces(row) < len(body.spares):
        raise Rejected(
            "gold_unknown",
            "the campaign holds no such bonds",
            value=body.campaign,
            remedy="see: otensor-cli gold show",
        )
    returned = 0
    for spare in body.spares:
        _check_leaf(view, ctx, body.campaign, row, spare.chunk_root, spare)
        view.put(GOLD_USED, UNIT, body.campaign, spare.index)
        returned += not _was_met(view, body.campaign, row, spare.chunk_root)
    taken = len(body.spares) - returned
    move(view, Pot.BONDS, campaign.sponsor, returned * row.bond_each)
    burn(view, Pot.BONDS, taken * row.bond_each)
    row = replace(row, returned=row.returned + returned, taken=row.taken + taken)
    view.put(GOLD_SETS, row, body.campaign)
    return (
        event(
            "gold.retired",
            campaign=body.campaign,
            sponsor=campaign.sponsor,
            amount=returned * row.bond_each,
            burned=taken * row.bond_each,
        ),
    )


def _was_met(view: ReadView, campaign: CampaignId, row: GoldSet, chunk_root: Hash) -> bool:
    """Whether a committee judged a content without hearing that it was gold. Raises Rejected while one still may."""
    holder = view.get(CONTENT_ROOTS, campaign, chunk_root)
    if holder is None:
        return False
    item = items.item_at(view, holder.item)
    if (
        item.batch == 0
        and not escrow.is_over(campaign_of(view, campaign))
        and item.status == ItemStatus.QUEUED
    ):
        raise Rejected(
            "gold_in_use",
            "the item waits for its review",
            value=holder.item,
            remedy="reveal it with its batch",
        )
    batch = view.get(BATCHES, item.batch) if item.batch else None
    if batch is None or batch.formed_at <= row.committed_at:
        return False
    if batch.phase not in (BatchPhase.DONE, BatchPhase.SECOND):
        raise Rejected(
            "gold_in_use", "the item is under review", value=holder.item, remedy="reveal it with its batch"
        )
    return batch.outcome == BatchOutcome.VERDICT


def expire(view: View, ctx: BlockContext, number: CampaignId) -> tuple[Event, ...]:
    """Burns the bonds of gold that the sponsor of an ended campaign did not open."""
    row = view.get(GOLD_SETS, number)
    assert row is not None, "the agenda names campaigns with gold"
    left = open_pieces(row)
    if left == 0:
        return ()
    amount = left * row.bond_each
    burn(view, Pot.BONDS, amount)
    view.put(GOLD_SETS, replace(row, taken=row.taken + left), number)
    campaign = campaign_of(view, number)
    return (event("gold.expired", campaign=number, sponsor=campaign.sponsor, burned=Amount(amount)),)
