"""Private campaigns: who reads with which key, and who was given the keys of which items in time.

The ledger sees that a key was given, never whether it opens anything: that is for whoever was given it to say.
"""

from msgspec.structs import replace

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies import CampaignSpec, ItemDeclaration, KeyGrant, KeysGrant, ReadingKeySet
from omnitensor.protocol.sealing import is_reading_key
from omnitensor.protocol.types import Address, BatchId, Height
from state.ledger import items
from state.ledger.campaigns import campaign_of
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.ledger.events import event
from state.ledger.view import ReadView, View
from state.records import UNIT
from state.records_privacy import Grant, ReadingKeyRow, SealedSeat
from state.records_review import Batch, BatchPhase, Campaign, SeatState
from state.schema import BATCHES, GRANTS, READING_KEYS, SEALED_SEATS, SEATS, SEATS_TO_GRANT, VALIDATORS

NOTHING_GRANTED = Grant(b"", b"")


def is_private(spec: CampaignSpec) -> bool:
    """Whether a campaign's items are encrypted."""
    return spec.reading_key != b""


def set_key(view: View, ctx: BlockContext, sender: Address, body: ReadingKeySet) -> tuple[Event, ...]:
    """Registers the sender's reading key. Seats that it has keep the one they were drawn with."""
    if view.get(VALIDATORS, sender) is None:
        raise Rejected(
            "not_validator",
            "only a validator is drawn to read private items",
            value=sender,
            remedy="register first: otensor-cli validator register",
        )
    if not is_reading_key(body.key):
        raise Rejected(
            "reading_key",
            "not an X25519 public key that can keep a secret",
            value=body.key,
            remedy="let the wallet make one: otensor-cli review key",
        )
    view.put(READING_KEYS, ReadingKeyRow(body.key, ctx.height), sender)
    return (event("reading_key.set", validator=sender, key=body.key),)


def check_declared(spec: CampaignSpec, declared: ItemDeclaration) -> None:
    """Raises Rejected for a plain item in a private campaign, and for an encrypted one in any other."""
    if is_private(spec) == (declared.private is not None):
        return
    if is_private(spec):
        reason, remedy = (
            "the campaign is private: its items are encrypted",
            "submit with otensor-cli upload-data",
        )
    else:
        reason, remedy = "the campaign is not private: nobody could read it", "submit the plain file"
    raise Rejected("item_private", reason, value=declared.content.chunk_root, remedy=remedy)


def seat_drawn(
    view: View, ctx: BlockContext, number: BatchId, batch: Batch, campaign: Campaign, validator: Address
) -> None:
    """Asks for the keys of a new seat's items, where they have any."""
    if not is_private(campaign.spec):
        return
    row = view.get(READING_KEYS, validator)
    assert row is not None, "whoever is drawn for a private campaign has a reading key"
    until = Height(ctx.height + min(ctx.params.grant_blocks, ctx.params.report_commit_blocks // 2))
    sponsor = () if campaign.sponsor in batch.contributors else (campaign.sponsor,)
    granters = (*batch.contributors, *sponsor)
    view.put(SEALED_SEATS, SealedSeat(row.key, until, 0, granters), number, validator)
    for granter in granters:
        view.put(SEATS_TO_GRANT, UNIT, granter, number, validator)


def grant(view: View, ctx: BlockContext, sender: Address, body: KeysGrant) -> tuple[Event, ...]:
    """Gives seats the keys of items. All of them, or, raising Rejected, none."""
    batch = view.get(BATCHES, body.batch)
    if batch is None or batch.phase != BatchPhase.COMMIT:
        raise Rejected(
            "batch_unknown",
            "no such batch takes reports now",
            value=body.batch,
            remedy="see what is asked for: otensor-cli private list",
        )
    campaign = campaign_of(view, batch.campaign)
    given: dict[Address, int] = {}
    for each in body.grants:
        _grant_one(view, ctx, sender, body.batch, batch, campaign, each)
        given[each.validator] = given.get(each.validator, 0) + 1
    return tuple(
        event(
            "keys.granted",
            batch=body.batch,
            campaign=batch.campaign,
            account=sender,
            validator=validator,
            items=number,
        )
        for validator, number in given.items()
    )


def _grant_one(
    view: View,
    ctx: BlockContext,
    sender: Address,
    number: BatchId,
    batch: Batch,
    campaign: Campaign,
    given: KeyGrant,
) -> None:
    seat = view.get(SEATS, number, batch.round, given.validator)
    sealed = view.get(SEALED_SEATS, number, given.validator)
    if seat is None or sealed is None or seat.state not in (SeatState.SEATED, SeatState.ACCEPTED):
        raise Rejected(
            "grant_seat",
            "this validator has no seat that waits for keys in that batch",
            value=given.validator,
            remedy="see what is asked for: otensor-cli private list",
        )
    if ctx.height > sealed.grant_until:
        raise Rejected(
            "grant_late",
            f"the seat took keys up to height {sealed.grant_until}",
            value=ctx.height,
            remedy="keep otensor-cli private watch running",
        )
    own = given.item in batch.items and items.item_at(view, given.item).contributor == sender
    if given.item not in batch.items or not (own or sender == campaign.sponsor):
        raise Rejected(
            "grant_whose",
            "an item of the batch is given by its contributor or by the sponsor",
            value=given.item,
            remedy="sign with the account that handed the item in",
        )
    row = view.get(GRANTS, number, given.item, given.validator)
    before = row or NOTHING_GRANTED
    if before.contributor if own else before.sponsor:
        raise Rejected(
            "grant_exists",
            "the seat was given this item's key",
            value=given.item,
            remedy="nothing is left to do",
        )
    after = replace(before, contributor=given.wrapped) if own else replace(before, sponsor=given.wrapped)
    view.put(GRANTS, after, number, given.item, given.validator)
    if row is None:
        view.put(SEALED_SEATS, replace(sealed, granted=sealed.granted + 1), number, given.validator)


def check_commit(view: ReadView, ctx: BlockContext, number: BatchId, batch: Batch, sender: Address) -> None:
    """Raises Rejected while a seat may still be given keys that it lacks: what it says then could be said of nothing."""
    sealed = view.get(SEALED_SEATS, number, sender)
    if sealed is None or sealed.granted >= len(batch.items) or ctx.height > sealed.grant_until:
        return
    raise Rejected(
        "grants_open",
        f"the seat has the keys of {sealed.granted} of {len(batch.items)} items, and is given them up to height"
        f" {sealed.grant_until}",
        value=ctx.height,
        remedy="commit when it has all, or after that height",
    )


def unread(view: ReadView, number: BatchId, batch: Batch, validators: list[Address]) -> frozenset[int]:
    """Places of a batch whose keys not all of these validators were given; none where the campaign is not private."""
    sealed = {validator: view.get(SEALED_SEATS, number, validator) for validator in validators}
    lacking = [who for who, row in sealed.items() if row is not None and row.granted < len(batch.items)]
    return frozenset(
        place
        for place, item in enumerate(batch.items)
        if any(view.get(GRANTS, number, item, validator) is None for validator in lacking)
    )


def forget(view: View, number: BatchId, batch: Batch) -> None:
    """Deletes what was kept for a batch that is done: nobody reads it any more."""
    for validator in batch.seats:
        sealed = view.get(SEALED_SEATS, number, validator)
        if sealed is None:
            continue
        view.delete(SEALED_SEATS, number, validator)
        for granter in sealed.granters:
            view.delete(SEATS_TO_GRANT, granter, number, validator)
        for item in batch.items:
            if view.get(GRANTS, number, item, validator) is not None:
                view.delete(GRANTS, number, item, validator)
