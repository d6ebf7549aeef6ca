"""Makes orders of private campaigns: reading keys, and the keys of items for seats, right and wrong ones."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from msgspec.structs import replace

from omnitensor.protocol import bodies
from omnitensor.protocol.bodies import KeyGrant
from omnitensor.protocol.types import Address
from tests.model.scene import Scene, address_of

Made = tuple[Address, Any]


def reading_key_set(scene: Scene, chance: Any) -> Made:
    """Mostly of a validator that has none yet."""
    model = scene.model
    without = [
        who for who, row in model.validators.items() if who not in model.reading_keys and not row.removed
    ]
    who = Address(chance.choice(without or list(model.validators)))
    if chance.randrange(12) == 0:
        who = address_of(chance.choice(scene.names))
    key = sha256(b"reading" + who + bytes([chance.randrange(3)])).digest()
    if chance.randrange(10) == 0:
        key = chance.choice([bytes(32), (1).to_bytes(32, "little"), (2**255 - 19).to_bytes(32, "little")])
    return who, bodies.ReadingKeySet(key)


def keys_grant(scene: Scene, chance: Any) -> Made | None:
    model = scene.model
    waiting = [
        (number, who)
        for number, who in model.sealed_seats
        if model.batches[number].phase == 1
        and model.seats[number, model.batches[number].round, who].state < 2
    ]
    if not waiting:
        known = list(model.sealed_seats)
        if not known or chance.randrange(3):
            return None
        waiting = known
    number, who = chance.choice(waiting)
    batch, sealed = model.batches[number], model.sealed_seats[number, who]
    sender = Address(chance.choice(sealed.granters))
    sponsor = model.campaigns[batch.campaign].sponsor
    seats = [seat for other, seat in waiting if other == number and chance.randrange(4)] or [who]
    grants = [
        KeyGrant(item, Address(seat), _wrapped(number, item, seat))
        for seat in seats
        for item in batch.items
        if sender in (sponsor, model.items[item].contributor) and _lacks(scene, number, item, seat, sender)
    ]
    grants = [grant for grant in grants if chance.randrange(30)]
    return _spoilt(scene, chance, sender, bodies.KeysGrant(number, tuple(grants)))  # type: ignore[arg-type] # a number


def _lacks(scene: Scene, number: int, item: int, seat: bytes, sender: bytes) -> bool:
    side = 0 if scene.model.items[item].contributor == sender else 1
    return not scene.model.grants.get((number, item, seat), (b"", b""))[side]


def _wrapped(number: int, item: int, seat: bytes) -> bytes:
    half = sha256(b"wrapped%d-%d" % (number, item) + seat).digest()
    return (half * 3)[:80]


def _spoilt(scene: Scene, chance: Any, sender: Address, body: Any) -> Made | None:
    """The order as it is, or, at times, wrong."""
    if not body.grants:
        return None
    pick, first = chance.randrange(40), body.grants[0]
    if pick == 0:
        return address_of(chance.choice(scene.names)), body
    if pick == 1:
        first = replace(first, item=first.item + 1)
    if pick == 2:
        first = replace(first, validator=address_of(chance.choice(scene.names)))
    if pick == 3:
        return sender, replace(body, grants=(*body.grants, first))
    if pick == 4:
        return sender, replace(body, batch=body.batch + 1)
    return sender, replace(body, grants=(first, *body.grants[1:]))
