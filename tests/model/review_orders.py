"""Makes orders about verdicts: appeals, gold, leaked and contradictory reports, cancelled campaigns."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from msgspec.structs import replace

from omnitensor.protocol import bodies, merkle
from omnitensor.protocol.bodies import GoldOpening, GoldSpare
from omnitensor.protocol.codec import encode
from omnitensor.protocol.transactions import signed, transaction_id, unsigned
from omnitensor.protocol.types import Address, Amount, Hash, Height, PublicKey
from tests.model.gold import gold_leaf
from tests.model.scene import CHAIN, Scene, address_of, signed_by
from tests.model.seats import DONE, GOLD_PHASE, REVEALED

Made = tuple[Address, Any]


def anybody(scene: Scene, chance: Any) -> Address:
    return address_of(chance.choice(scene.names))


def campaign_cancel(scene: Scene, chance: Any) -> Made | None:
    living = scene.model.living_campaigns()
    if len(living) < 7 and chance.randrange(8):
        return None
    number = chance.choice([*living, 0, scene.model.counters.get("campaign", 1) - 1])
    row = scene.model.campaigns.get(number)
    who = Address(row.sponsor) if row and chance.randrange(8) else anybody(scene, chance)
    return who, bodies.CampaignCancel(number)


def item_appeal(scene: Scene, chance: Any) -> Made | None:
    model = scene.model
    recent = [number for number in list(model.items)[-60:] if model.items[number].open_verdict]
    if not recent and chance.randrange(4):
        return None
    number = (
        chance.choice(recent) if recent and chance.randrange(9) else chance.randrange(len(model.items) + 2)
    )
    item = model.items.get(number)
    who = anybody(scene, chance)
    if item is not None and (item.status == 4) == bool(chance.randrange(8)):
        who = Address(item.contributor)
    return who, bodies.ItemAppeal(number)


# -- gold


def pieces(scene: Scene, campaign: int) -> list[tuple[Hash, int, Hash]]:
    """What a campaign's sponsor knows: contents with their answers and salts."""
    found: list[tuple[Hash, int, Hash]] = scene.memory.get("gold", {}).get(campaign, [])
    return found


def leaves(campaign: int, known: list[tuple[Hash, int, Hash]]) -> list[bytes]:
    return [gold_leaf(CHAIN, campaign, root, bits, salt) for root, bits, salt in known]


def hashed(campaign: int, known: list[tuple[Hash, int, Hash]]) -> list[bytes]:
    return [merkle.leaf_hash(leaf) for leaf in leaves(campaign, known)]


def gold_commit(scene: Scene, chance: Any) -> Made | None:
    model = scene.model
    open_now = [number for number, row in model.campaigns.items() if row.status == 0]
    if not open_now:
        return None
    number = chance.choice(open_now) if chance.randrange(15) else chance.randrange(9)
    row = model.campaigns.get(number)
    if row is None:
        return anybody(scene, chance), bodies.GoldCommit(number, Hash(bytes(32)), 1, Amount(1))
    waiting = [
        declared.content.chunk_root
        for _, body in scene.memory.get("waiting", [])
        if body.campaign == number
        for declared in body.items
    ]
    queued = [model.items[item].content.chunk_root for item in row.queue]
    roots = [*dict.fromkeys([*waiting, *queued])][: chance.randrange(1, 9)]
    roots = roots or [Hash(sha256(b"nothing%d" % number).digest())]
    known = [
        (root, chance.randrange(8) if chance.randrange(3) == 0 else 7, Hash(sha256(b"salt" + root).digest()))
        for root in roots
    ]
    scene.memory.setdefault("gold", {}).setdefault(number, known)
    least = row.spec.first_seats * (row.spec.review_fee * max(row.spec.tier_bps) // 10_000)
    bond = chance.choice([least, least, least, least + 7, max(0, least - 1)])
    root = Hash(merkle.root_of(leaves(number, pieces(scene, number))))
    who = Address(row.sponsor) if chance.randrange(12) else anybody(scene, chance)
    return who, bodies.GoldCommit(number, root, len(pieces(scene, number)), Amount(bond))


def opening(scene: Scene, campaign: int, index: int, item: int) -> GoldOpening:
    known = pieces(scene, campaign)
    _, bits, salt = known[index]
    path = tuple(Hash(each) for each in merkle.inclusion_proof(hashed(campaign, known), index))
    return GoldOpening(index, item, bits, salt, path)  # type: ignore[arg-type] # an id


def gold_reveal(scene: Scene, chance: Any) -> Made | None:
    model = scene.model
    asking = [n for n in model.open_batches if model.batches[n].phase == GOLD_PHASE]
    number = chance.choice(asking) if asking and chance.randrange(20) else None
    if number is None:
        if chance.randrange(6):
            return None
        return anybody(scene, chance), bodies.GoldReveal(chance.randrange(9), ())
    batch = model.batches[number]
    known = pieces(scene, batch.campaign)
    openings = []
    for item in batch.items:
        for index, (root, _, _) in enumerate(known):
            if model.items[item].content.chunk_root == root and chance.randrange(8):
                openings.append(opening(scene, batch.campaign, index, item))
    pick = chance.randrange(20)
    if openings and pick == 0:
        openings.append(openings[0])
    if openings and pick == 1:
        openings[0] = replace(openings[0], bits=openings[0].bits ^ 1)
    if known and pick in (2, 4):
        openings = [opening(scene, batch.campaign, 0, 10**6)]
    if openings and pick == 3 and len(openings) > 1:
        openings[1] = replace(openings[1], item=openings[0].item)
    sponsor = Address(model.campaigns[batch.campaign].sponsor)
    who = sponsor if chance.randrange(15) else anybody(scene, chance)
    return who, bodies.GoldReveal(number, tuple(openings))


def gold_retire(scene: Scene, chance: Any) -> Made | None:
    model = scene.model
    numbers = [number for number in model.gold_sets if model.gold_left(number)]
    if not numbers:
        return None
    number = chance.choice(numbers)
    known = pieces(scene, number)
    if len(known) != model.gold_sets[number].count:
        return None
    free = [index for index in range(len(known)) if (number, index) not in model.gold_used]
    indexes = chance.sample(free, min(len(free), chance.randrange(1, 4))) or [0]
    if chance.randrange(9) == 0:
        indexes = [*indexes, indexes[0]]
    spares = []
    for index in indexes:
        root, bits, salt = known[index]
        made = opening(scene, number, index, 0)
        bits = bits if chance.randrange(12) else bits ^ 2
        spares.append(GoldSpare(index, root, bits, salt, made.path))
    who = Address(model.campaigns[number].sponsor) if chance.randrange(15) else anybody(scene, chance)
    return who, bodies.GoldRetire(number, tuple(spares))


# -- reports


def report_leak(scene: Scene, chance: Any) -> Made | None:
    known = scene.memory.get("reports", {})
    model = scene.model
    fitting = [
        (who, number, round_, known[who, number, round_, seat.commitment])
        for number in model.open_batches
        for round_ in [model.batches[number].round]
        for who, seat in model.seats_in(number, 2)
        if (who, number, round_, seat.commitment) in known
    ]
    if not fitting:
        return None
    who, number, round_, (salt, report) = chance.choice(fitting)
    pick = chance.randrange(12)
    if pick == 0:
        salt = Hash(bytes(32))
    finder = Address(who) if pick == 1 else anybody(scene, chance)
    validator = anybody(scene, chance) if pick == 2 else Address(who)
    return finder, bodies.ReportLeak(number, round_, validator, salt, report)


def report_contradiction(scene: Scene, chance: Any) -> Made | None:
    model = scene.model
    sitting = [
        (who, number, model.batches[number].round)
        for number in list(model.batches)[-25:]
        for who in model.batches[number].seats
    ]
    sitting = [each for each in sitting if each[0][0] == 0]
    holding = [
        each
        for each in sitting
        if model.batches[each[1]].phase != DONE and model.seats[each[1], each[2], each[0]].state <= REVEALED
    ]
    sitting = holding if holding and chance.randrange(6) else sitting
    able = [row for row in model.validators.values() if not row.jailed]
    if not sitting or (len(able) < 6 and chance.randrange(9)):
        return None
    who, number, round_ = chance.choice(sitting)
    wrong = chance.choice(["", "", "", "same", "seat", "chain", "forged", "bytes", "kind", "signer"])
    keys = [key for key, row in model.sessions.items() if row[0] == who]
    own = chance.choice(keys) if keys and chance.randrange(3) == 0 else PublicKey(who[1:])

    def commits(text: bytes, chain: str = CHAIN, batch: int = number) -> bytes:
        body: Any = bodies.ReportCommit(batch, round_, Hash(sha256(text).digest()), b"")
        if wrong == "kind" and text == b"two":
            body = bodies.SeatAccept(batch, round_)
        signer = own if wrong != "signer" else PublicKey(sha256(b"x").digest())
        made = unsigned(
            chain_id=chain,
            sender=Address(who),
            nonce=0,
            valid_until=Height(1),
            max_fee=Amount(0),
            tip=Amount(0),
            body=body,
            signer=signer,
        )
        by = signer if wrong != "forged" else PublicKey(bytes(32))
        return encode(signed(made, signed_by(by, transaction_id(encode(made)))))

    first = commits(b"one")
    second = commits(b"one" if wrong == "same" else b"two")
    if wrong == "seat":
        second = commits(b"two", batch=number + 1)
    if wrong == "chain":
        second = commits(b"two", chain="other-1")
    if wrong == "bytes":
        second = second[:-1]
    return anybody(scene, chance), bodies.ReportContradiction(first, second)
