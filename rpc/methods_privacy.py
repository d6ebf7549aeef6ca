"""Methods private.*: reading keys, what goes with encrypted items, and which seats wait for keys. Reads only.

What is shown opens nothing: keys of items are wrapped to whoever may read them.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from omnitensor.protocol import limits
from omnitensor.protocol.types import Address
from rpc.cursors import bad_cursor
from rpc.errors import not_found
from rpc.fields import (
    LIMIT_DEFAULT,
    AddressText,
    Content,
    Count,
    Cursor,
    HashText,
    HexText,
    Limit,
    Number,
    address_of,
    content_of,
    shown,
)
from rpc.methods_campaign import campaign_row, item_row
from rpc.table import TABLE, Context, Params, Result
from state.reader import Reader
from state.records_privacy import SealedSeat
from state.records_review import Batch, BatchPhase, SeatState
from state.schema import (
    BATCHES,
    GRANTS,
    PRIVATE_ITEMS,
    READING_KEYS,
    SEALED_SEATS,
    SEATS,
    SEATS_TO_GRANT,
    number,
)

_WAITING = (SeatState.SEATED, SeatState.ACCEPTED)


class ReadingKeyParams(Params, frozen=True):
    validator: AddressText


class ReadingKeyShown(Result, frozen=True):
    key: Annotated[HashText | None, Meta(description="X25519; null where it has registered none")]
    since: Count | None


@TABLE.method("private.key")
def key(context: Context, params: ReadingKeyParams) -> ReadingKeyShown:
    """A validator's reading key, to which the keys of private items are wrapped when it is drawn."""
    row = context.reader.get(READING_KEYS, address_of(params.validator))
    return ReadingKeyShown(key=row.key.hex() if row else None, since=row.since if row else None)


class PrivateItemParams(Params, frozen=True):
    item: Number


class PrivateItemShown(Result, frozen=True):
    item: Count
    campaign: Count
    contributor: AddressText
    content: Annotated[Content, Meta(description="Of the encrypted file")]
    plain: Annotated[HashText, Meta(description="What the plain file is, hidden from who has not its key")]
    sponsor: Annotated[HexText, Meta(description="The item's key, wrapped to the campaign's reading key")]
    own: Annotated[HexText, Meta(description="The same, sealed by its contributor for itself")]


@TABLE.method("private.item")
def private_item(context: Context, params: PrivateItemParams) -> PrivateItemShown:
    """What goes with an encrypted item."""
    row = item_row(context.reader, params.item)
    found = context.reader.get(PRIVATE_ITEMS, params.item)
    if found is None:
        raise not_found("private item", params.item, "the item is not encrypted")
    return PrivateItemShown(
        item=params.item,
        campaign=row.campaign,
        contributor=shown(row.contributor),
        content=content_of(row.content),
        plain=found.plain.hex(),
        sponsor=found.sponsor.hex(),
        own=found.own.hex(),
    )


class SealedSeatParams(Params, frozen=True):
    batch: Number
    validator: AddressText


class KeyGrantShown(Result, frozen=True):
    item: Count
    contributor: Annotated[HexText | None, Meta(description="The item's key as its contributor gave it")]
    sponsor: Annotated[HexText | None, Meta(description="The same by the sponsor")]


class SealedSeatShown(Result, frozen=True):
    batch: Count
    campaign: Count
    validator: AddressText
    key: HashText
    grant_until: Annotated[Count, Meta(description="Up to which height it is given keys")]
    granted: Annotated[Count, Meta(description="Items whose keys it has")]
    grants: list[KeyGrantShown]


@TABLE.method("private.seat")
def seat(context: Context, params: SealedSeatParams) -> SealedSeatShown:
    """Which keys a seat of a private campaign has been given, while its batch is not done."""
    reader, address = context.reader, address_of(params.validator)
    batch, sealed = reader.get(BATCHES, params.batch), reader.get(SEALED_SEATS, params.batch, address)
    if batch is None or sealed is None:
        raise not_found("seat with private items", f"batch {params.batch}, {params.validator}")
    grants = []
    for item in batch.items:
        row = reader.get(GRANTS, params.batch, item, address)
        if row is not None:
            given = KeyGrantShown(
                item=item, contributor=row.contributor.hex() or None, sponsor=row.sponsor.hex() or None
            )
            grants.append(given)
    return SealedSeatShown(
        batch=params.batch,
        campaign=batch.campaign,
        validator=shown(address),
        key=sealed.key.hex(),
        grant_until=sealed.grant_until,
        granted=sealed.granted,
        grants=grants,
    )


class WantedKeysParams(Params, frozen=True):
    account: AddressText
    cursor: Cursor | None = None
    limit: Limit = LIMIT_DEFAULT


class WantedKeysShown(Result, frozen=True):
    batch: Count
    round: Count
    campaign: Count
    validator: AddressText
    key: HashText
    drawn_at: Count
    grant_until: Count
    items: Annotated[list[Count], Meta(description="Whose keys the account can give, and has not given")]
    lacking: Annotated[list[Count], Meta(description="Such of them as nobody has given")]


class WantedKeysPage(Result, frozen=True):
    seats: list[WantedKeysShown]
    next: Cursor | None


@TABLE.method("private.wanted", heavy=True)
def wanted(context: Context, params: WantedKeysParams) -> WantedKeysPage:
    """Seats that wait for keys which an account can give: of its own items, and of all items of campaigns that it sponsors."""
    reader, account = context.reader, address_of(params.account)
    start = _start_of(params.cursor)
    found: list[WantedKeysShown] = []
    looked_at = 0
    for place, _ in reader.scan(SEATS_TO_GRANT, account, start=start):
        batch_number, validator = number(place[:8]), Address(place[8:])
        if len(found) == params.limit or looked_at >= limits.rpc_scan_rows_max:
            return WantedKeysPage(seats=found, next=f"{batch_number}:{place[8:].hex()}")
        batch, sealed = reader.get(BATCHES, batch_number), reader.get(SEALED_SEATS, batch_number, validator)
        assert batch is not None and sealed is not None, "an index names what is there"
        looked_at += len(batch.items)
        row = _wanted(reader, account, batch_number, batch, validator, sealed)
        if row is not None:
            found.append(row)
    return WantedKeysPage(seats=found, next=None)


def _wanted(
    reader: Reader, account: Address, key: int, batch: Batch, validator: Address, sealed: SealedSeat
) -> WantedKeysShown | None:
    """A seat that waits for something of the account's, in the block after the last one."""
    row = reader.get(SEATS, key, batch.round, validator)
    assert row is not None, "whoever was drawn has a seat"
    late = reader.head.height >= sealed.grant_until
    if late or batch.phase != BatchPhase.COMMIT or row.state not in _WAITING:
        return None
    is_sponsor = campaign_row(reader, batch.campaign).sponsor == account
    items: list[int] = []
    lacking: list[int] = []
    for item in batch.items:
        own = item_row(reader, item).contributor == account
        given = reader.get(GRANTS, key, item, validator)
        if not (own or is_sponsor) or (given is not None and (given.contributor if own else given.sponsor)):
            continue
        items.append(item)
        if given is None:
            lacking.append(item)
    if not items:
        return None
    return WantedKeysShown(
        batch=key,
        round=batch.round,
        campaign=batch.campaign,
        validator=shown(validator),
        key=sealed.key.hex(),
        drawn_at=row.drawn_at,
        grant_until=sealed.grant_until,
        items=items,
        lacking=lacking,
    )


def _start_of(cursor: str | None) -> bytes:
    """Where a page begins: a batch and a validator, as ``7:00ab...``."""
    if cursor is None:
        return b""
    batch, colon, validator = cursor.partition(":")
    try:
        found = bytes.fromhex(validator)
    except ValueError:
        raise bad_cursor(cursor) from None
    if not colon or not batch.isdecimal() or len(batch) > 18 or len(found) != 33:
        raise bad_cursor(cursor)
    return int(batch).to_bytes(8, "big") + found
