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
    sponsor = model.campaigns[batch.campaign].sponsor
    sender = Address(chance.choice([*sealed.granters, *[sponsor] * 3]))
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


def plain_duplicate(scene: Scene, chance: Any) -> Made | None:
    """Of two items whose plain bytes are mostly the same, the later one mostly first."""
    model, plains = scene.model, scene.memory.get("plains", {})
    known = list(model.private_items)[-60:]
    if len(known) < 2:
        return None
    by_digest: dict[bytes, list[int]] = {}
    for number in known:
        by_digest.setdefault(plains[model.private_items[number].plain][0], []).append(number)
    twice = [numbers for numbers in by_digest.values() if len(numbers) > 1]
    paying = [numbers for numbers in twice if any(model.items[number].status == 3 for number in numbers)]
    if not paying and chance.randrange(3):
        return None
    twice = paying if paying and chance.randrange(4) else twice
    pair = (
        chance.sample(chance.choice(twice), 2) if twice and chance.randrange(8) else chance.sample(known, 2)
    )
    first, later = sorted(pair, key=lambda number: (model.items[number].sequence, number))
    if chance.randrange(12) == 0:
        first, later = later, first
    (digest, salt_of), (other, salt) = (
        plains[model.private_items[number].plain] for number in (first, later)
    )
    digest = other if chance.randrange(20) == 0 else digest
    if chance.randrange(20) == 0:
        later += 10**6
    body = bodies.PlainDuplicate(later, first, digest, 99, salt, salt_of)
    who = Address(model.campaigns[model.items[first].campaign].sponsor)
    return who if chance.randrange(3) else address_of(chance.choice(scene.names)), body
