"""Makes orders of money, keys, stake, campaigns, submissions and reviews, right and wrong ones.

Looks at the model to see what could be right. ``chance`` has the methods of ``random.Random``.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from msgspec.structs import replace

from omnitensor.protocol import bodies
from omnitensor.protocol.bodies import CampaignSpec, Category, DuplicateOf, ItemDeclaration, PrivateItem
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.reviews import ItemScore, encode_report
from omnitensor.protocol.sealing import salted_commitment
from omnitensor.protocol.types import NANO, Address, Amount, Hash, Height, PublicKey
from omnitensor.protocol.work import CampaignModel, LayerShape
from tests.model.scene import TEAMS, Scene, address_of, key_of
from tests.model.seats import report_commitment
from tests.model.submissions import submission_commitment

Chance = Any
Made = tuple[Address, Any]

SPEC = CampaignSpec(
    title="Sentences",
    instructions="Whole sentences",
    specification=None,
    media=("text/plain", "image/*"),
    licence="CC-BY-4.0",
    tier_bps=(5_000, 10_000, 33_333),
    categories=(Category("any", 10_000, 0), Category("rare", 21_111, 3)),
    unit_price=Amount(3 * NANO + 7),
    review_fee=Amount(NANO + 1),
    item_bond=Amount(NANO + 3),
    criterion_weights=(3_000, 4_000, 3_000),
    thresholds=(60, 60, 60),
    overall_threshold=60,
    first_seats=3,
    second_seats=5,
    agree_min_bps=7_000,
    contributor_share_max_bps=10_000,
    item_bytes_max=1_000_000,
    closes_at=Height(0),
)

MODEL = CampaignModel(
    content=ContentId(Hash(bytes(32)), 4_000, Hash(bytes(32))),
    root=Hash(sha256(b"a campaign's model").digest()),
    layers=(LayerShape(1_030, 3),),
    tile=16,
)


def anybody(scene: Scene, chance: Chance) -> Address:
    return address_of(chance.choice(scene.names))


def person(scene: Scene, chance: Chance) -> Address:
    return address_of(chance.choice((*scene.PEOPLE, *scene.PEOPLE, *TEAMS)))


def amount(scene: Scene, chance: Chance, most: int) -> Amount:
    """Mostly a possible one, at times nothing or too much."""
    pick, most = chance.randrange(12), max(0, most)
    if pick == 0:
        return Amount(0)
    if pick == 1:
        return Amount(min(10**18, most + chance.randrange(1, 10**6)))
    if pick == 2:
        return Amount(most)
    return Amount(chance.randrange(1, max(2, most)))


def often(chance: Chance, share: float = 0.85) -> bool:
    return bool(chance.randrange(1000) < 1000 * share)


# -- money and keys


def transfer(scene: Scene, chance: Chance) -> Made:
    who = anybody(scene, chance)
    poor = min((scene.model.balances.get(address_of(name), 0), name) for name in scene.names)
    if poor[0] < 3_000 * NANO and often(chance, 0.7):
        return address_of("bank"), bodies.Transfer(address_of(poor[1]), Amount(20_000 * NANO))
    to = anybody(scene, chance) if often(chance, 0.95) else Address(b"\2" + bytes(32))
    most = scene.model.balances.get(who, 0)
    return who, bodies.Transfer(to, amount(scene, chance, most if chance.randrange(8) == 0 else most // 50))


def session_key(chance: Chance) -> PublicKey:
    return key_of(f"session{chance.randrange(400)}")


def session_key_add(scene: Scene, chance: Chance) -> Made:
    who, height = anybody(scene, chance), scene.model.height
    key = PublicKey(who[1:]) if chance.randrange(20) == 0 else session_key(chance)
    known = [each for each in scene.model.sessions if scene.model.sessions[each][0] == who]
    if known and often(chance, 0.3):
        key = chance.choice(known)
    until = Height(max(0, height + chance.randrange(-3, 60)))
    allowance = Amount(chance.choice([0, NANO // 10, NANO, 10 * NANO, 10**6 * NANO, 10**6 * NANO]))
    return who, bodies.SessionKeyAdd(key, chance.choice([1, 2, 3, 8, 9, 15, 15]), until, allowance)


def session_key_remove(scene: Scene, chance: Chance) -> Made:
    who = anybody(scene, chance)
    mine = scene.model.listed.get(who, ())
    return who, bodies.SessionKeyRemove(
        chance.choice(mine) if mine and often(chance) else session_key(chance)
    )


# -- validators


def candidate(scene: Scene, chance: Chance) -> str:
    """Somebody who is no validator: a person, or somebody new where too few validators are left."""
    model = scene.model
    free = [name for name in scene.names if address_of(name) not in model.validators and name != "bank"]
    living = [row for row in model.validators.values() if not row.removed]
    if len(living) < 9 and not any(name.startswith("new") for name in free):
        name = f"new{len(scene.names)}"
        scene.names.append(name)
        scene.by_address[address_of(name)] = name
        return name
    return str(chance.choice(free or scene.names))


def consensus_key(scene: Scene, chance: Chance) -> tuple[Any, Any]:
    """A key with its proof: mostly new, at times used before, or with another's proof."""
    used = scene.memory.setdefault("keys", [])
    secret = scene.secret(f"key{len(used)}")
    pick = chance.randrange(8)
    if pick == 0 and used:
        return chance.choice(used)
    key, proof = scene.scheme.key(secret), scene.scheme.pop_prove(secret)
    if pick == 1:
        return key, bytes(96)
    used.append((key, proof))
    scene.memory.setdefault("secrets", {})[key] = secret
    return key, proof


def validator_register(scene: Scene, chance: Chance) -> Made | None:
    name = candidate(scene, chance) if often(chance) else chance.choice(scene.names)
    if address_of(name) in scene.model.validators and often(chance, 0.7):
        return None
    who, least = address_of(name), scene.model.p.validator_stake_min
    has = scene.model.balances.get(who, 0)
    stake = chance.choice([least - 1, least, has, min(10**18, has + 1), least * 5, least * 3, least * 2])
    key, proof = consensus_key(scene, chance)
    return who, bodies.ValidatorRegister(Amount(max(0, stake)), key, proof, chance.randrange(10_001), name)


def validator(scene: Scene, chance: Chance) -> Address:
    register = scene.model.validators
    if often(chance, 0.9):
        staying = [address for address, row in register.items() if not row.removed]
        return Address(chance.choice(staying or list(register)))
    return Address(chance.choice(list(register))) if often(chance, 0.5) else anybody(scene, chance)


def validator_edit(scene: Scene, chance: Chance) -> Made:
    key, proof = consensus_key(scene, chance) if often(chance, 0.4) else (None, None)
    if key is not None and chance.randrange(10) == 0:
        proof = None
    commission = chance.randrange(10_001) if often(chance, 0.5) else None
    name = f"named{chance.randrange(99)}" if often(chance, 0.3) else None
    return validator(scene, chance), bodies.ValidatorEdit(key, proof, commission, name)


def stake_add(scene: Scene, chance: Chance) -> Made:
    who = validator(scene, chance)
    has = scene.model.balances.get(who, 0)
    return who, bodies.StakeAdd(amount(scene, chance, has if chance.randrange(6) == 0 else has // 9))


def stake_withdraw(scene: Scene, chance: Chance) -> Made:
    who = validator(scene, chance)
    row = scene.model.validators.get(who)
    stake, held = (row.stake, row.held) if row else (NANO, 0)
    spare = stake - max(held, scene.model.p.validator_stake_min)
    most = chance.choice([stake, stake - held, spare, spare // 9, spare // 9, spare // 9])
    return who, bodies.StakeWithdraw(
        Amount(max(0, most)) if often(chance, 0.4) else amount(scene, chance, most)
    )


# -- campaigns


def campaign_open(scene: Scene, chance: Chance) -> Made:
    height = scene.model.height
    spec = replace(
        SPEC,
        closes_at=Height(max(0, height + chance.choice([0, 3, 20, 60, 300, 300]))),
        first_seats=chance.choice([1, 2, 3, 3, 4, 5]),
        second_seats=chance.choice([0, 1, 3, 5]),
        audit_bps=chance.choice([0, 0, 500, 5_000, 10_000]),
        review_fee=Amount(chance.choice([3, 10**6 + 1, NANO // 7, NANO // 3])),
        unit_price=Amount(chance.choice([0, 1, 999_999_999, 3 * NANO + 7])),
        item_bond=Amount(chance.choice([0, 1, NANO // 3])),
        contributor_share_max_bps=chance.choice([1_000, 3_000, 10_000]),
        agree_min_bps=chance.choice([0, 5_001, 7_000, 10_000]),
        criterion_weights=chance.choice([(3_000, 4_000, 3_000), (0, 0, 10_000), (1, 9_998, 1)]),
        thresholds=chance.choice([(60, 60, 60), (0, 100, 50)]),
        reading_key=chance.choice([b"", b"", b"", *[sha256(b"sponsor").digest()] * 2]),
        model=chance.choice([None, None, None, MODEL]),
    )
    if not often(chance):
        spec = replace(spec, **chance.choice(BAD_SPECS))
    budget = chance.choice([0, 2 * NANO, 9 * NANO, 50 * NANO, 200 * NANO, 2_000 * NANO, 10**18])
    return person(scene, chance), bodies.CampaignOpen(spec, Amount(budget))


BAD_SPECS: list[dict[str, Any]] = [
    {"criterion_weights": (3_000, 4_000, 2_999)},
    {"thresholds": (60, 101, 60)},
    {"overall_threshold": 101},
    {"tier_bps": (10_000, 0)},
    {"tier_bps": (1_000_001,)},
    {"tier_bps": (1, 10_000), "review_fee": Amount(9_999)},
    {"categories": (Category("any", 10_000, 0), Category("any", 10_000, 0))},
    {"categories": (Category("any", 0, 0),)},
    {"model": replace(MODEL, tile=20), "reading_key": b""},
    {"model": replace(MODEL, layers=(LayerShape(1_030, 17),)), "reading_key": b""},
    {"model": replace(MODEL, layers=(LayerShape(900, 3),)), "reading_key": b""},
    {"reading_key": bytes(32)},
    {"reading_key": bytes(31)},
    {"media": ("text",)},
    {"instructions": "\u20ac" * 2_800},
    {"media": ("text/plain", "Text/plain")},
]


def open_campaigns(scene: Scene) -> list[int]:
    return [number for number, row in scene.model.campaigns.items() if row.status == 0]


def some_campaign(scene: Scene, chance: Chance) -> int:
    known = scene.model.counters.get("campaign", 1)
    mine = open_campaigns(scene)
    if often(chance, 0.6):
        mine = mine[:2]  # some get many items
    return int(chance.choice(mine)) if mine and often(chance, 0.93) else int(chance.randrange(known + 1))


def campaign_fund(scene: Scene, chance: Chance) -> Made:
    number = some_campaign(scene, chance)
    row = scene.model.campaigns.get(number)
    who = row.sponsor if row and often(chance) else anybody(scene, chance)
    has = scene.model.balances.get(who, 0)
    return who, bodies.CampaignFund(
        number, amount(scene, chance, has if chance.randrange(9) == 0 else has // 99)
    )


def campaign_close(scene: Scene, chance: Chance) -> Made:
    number = some_campaign(scene, chance)
    row = scene.model.campaigns.get(number)
    if row and len(open_campaigns(scene)) < 4 and often(chance, 0.8):
        return anybody(scene, chance), bodies.CampaignClose(number)
    who = row.sponsor if row and often(chance) else anybody(scene, chance)
    return who, bodies.CampaignClose(number)


def competition_open(scene: Scene, chance: Chance) -> Made:
    number = some_campaign(scene, chance)
    pool = chance.choice([NANO, NANO, 7 * NANO + 3, 31 * NANO, NANO - 1, 10**18])
    rule = chance.choice([0, 0, 1, 1, 1, 2])
    shares = () if rule == 0 else chance.choice([(10_000,), (5_000, 3_000, 2_000), (3_334, 3_333, 3_333)])
    if not often(chance, 0.9):
        shares = chance.choice([(), (1,), (10_000, 0), (9_999,)])
    return anybody(scene, chance), bodies.CompetitionOpen(number, Amount(pool), rule, shares)


# -- submissions


def declared(scene: Scene, chance: Chance, private: bool) -> ItemDeclaration:
    """A content that is mostly new, at times somebody's, or half of one."""
    count = scene.memory["contents"] = scene.memory.get("contents", 0) + 1
    text = count if often(chance, 0.8) else max(1, count - chance.randrange(1, 12))
    digest = sha256(b"content%d" % text).digest()
    root = sha256(b"root" + digest).digest()
    if chance.randrange(25) == 0:
        root = sha256(b"content%d" % count).digest()
    size = 100 if often(chance, 0.98) else chance.choice([0, 1_000_001])
    media = (
        "text/plain" if often(chance, 0.96) else chance.choice(["image/png", "image/", "audio/ogg", "text/*"])
    )
    tier = chance.randrange(3) if often(chance, 0.99) else 7
    category = int(chance.randrange(5) == 0) if often(chance, 0.99) else 9
    private = private == often(chance, 0.98)
    plain, salt = sha256(b"plain%d" % (text // 3)).digest(), sha256(b"salt" + digest).digest()
    made = Hash(salted_commitment(salt, plain, 99))
    scene.memory.setdefault("plains", {})[made] = (plain, salt)
    sealed = PrivateItem(made, (root + digest + root)[:80], (digest + root)[:60]) if private else None
    return ItemDeclaration(ContentId(Hash(digest), size, Hash(root)), media, tier, category, sealed)


def submission_commit(scene: Scene, chance: Chance) -> Made:
    who, number = person(scene, chance), some_campaign(scene, chance)
    waiting = scene.memory.setdefault("waiting", [])
    if waiting and chance.randrange(15) == 0:
        old = chance.choice(waiting)
        return old[0], bodies.SubmissionCommit(old[1].campaign, old[1].commitment, len(old[1].items))
    row = scene.model.campaigns.get(number)
    private = row is not None and bool(row.spec.reading_key)
    items = tuple(declared(scene, chance, private) for _ in range(chance.choice([1, 1, 2, 2, 3, 5])))
    salt = Hash(sha256(b"salt%d" % scene.memory["contents"]).digest())
    made = Hash(submission_commitment(scene.model.chain_id, number, items, who, salt))
    count = len(items) if often(chance, 0.97) else chance.choice([1, 256])
    waiting.append((who, bodies.SubmissionReveal(number, made, salt, items)))
    del waiting[:-40]
    return who, bodies.SubmissionCommit(number, made, count)


def submission_reveal(scene: Scene, chance: Chance) -> Made | None:
    waiting = scene.memory.get("waiting")
    if not waiting:
        return None
    ripe = [
        each
        for each in waiting
        if (row := scene.model.submissions.get((each[1].campaign, each[1].commitment, each[0])))
        and row.status == 0
        and row.committed_at < scene.model.height
    ]
    who, body = chance.choice(ripe) if ripe and often(chance, 0.9) else chance.choice(waiting)
    pick = chance.randrange(60)
    if pick == 0:
        return anybody(scene, chance), body
    if pick == 1:
        body = replace(body, salt=Hash(bytes(32)))
    if pick == 2:
        body = replace(body, items=(*body.items, body.items[0]))
    if pick == 3:
        body = replace(body, campaign=body.campaign + 1)
    return who, body


# -- reviews


def some_seat(
    scene: Scene, chance: Chance, states: tuple[int, ...], phase: int
) -> tuple[Any, int, int] | None:
    """A validator with its batch and round: mostly one who sits there in one of the states."""
    model = scene.model
    fitting = [
        (address, number, model.batches[number].round)
        for number in model.open_batches
        if model.batches[number].phase == phase
        for address, seat in model.seats_in(number, *states)
    ]
    if fitting and often(chance, 0.9):
        return chance.choice(fitting)  # type: ignore[no-any-return] # a triple of the list
    if not fitting and often(chance, 0.6):
        return None
    open_now = list(model.open_batches) or [1]
    number = (
        chance.choice(open_now) if often(chance) else chance.randrange(model.counters.get("batch", 1) + 1)
    )
    return validator(scene, chance), int(number), chance.choice([1, 1, 1, 1, 2, 0])


def seat_accept(scene: Scene, chance: Chance) -> Made | None:
    found = some_seat(scene, chance, (0,), 1)
    if found is None:
        return None
    who, number, round_ = found
    return who, bodies.SeatAccept(number, round_)


def seat_decline(scene: Scene, chance: Chance) -> Made | None:
    found = some_seat(scene, chance, (0,), 1)
    if found is None:
        return None
    who, number, round_ = found
    return who, bodies.SeatDecline(number, round_)


SCORES = [
    ItemScore(90, 85, 80),
    ItemScore(90, 85, 80),
    ItemScore(60, 60, 60),
    ItemScore(57, 59, 58),
    ItemScore(20, 30, 40),
    ItemScore(100, 100, 100),
    ItemScore(0, 0, 0),
]


def report_of(scene: Scene, chance: Chance, number: int, who: bytes) -> bytes:
    """Mostly what others would say of the same items too, so that there are verdicts of all kinds."""
    batch = scene.model.batches.get(number)
    count = len(batch.items) if batch else 1
    scores = []
    for place in range(count):
        seen = sha256(b"truth%d-%d" % (number, place)).digest()[0]
        score = SCORES[seen % len(SCORES)] if often(chance, 0.85) else chance.choice(SCORES)
        flags = [0, 0, 0, 0, 1, 4, 8, 66][seen // 7 % 8] if often(chance) else chance.randrange(128)
        scores.append(replace(score, flags=flags))
    return encode_report(tuple(scores))


def report_commit(scene: Scene, chance: Chance) -> Made | None:
    found = some_seat(scene, chance, (0, 1), 1)
    if found is None:
        return None
    who, number, round_ = found
    report = report_of(scene, chance, number, who)
    if chance.randrange(40) == 0:
        report = report[:-4] + bytes([101, 0, 0, 0]) if often(chance, 0.5) else report + bytes(4)
    salt = Hash(sha256(b"salt" + who + b"%d-%d" % (number, round_)).digest())
    made = Hash(report_commitment(scene.model.chain_id, number, round_, who, salt, report))
    body = bodies.ReportCommit(number, round_, made, b"sealed")
    scene.memory.setdefault("reports", {})[who, number, round_, made] = (salt, report)
    return who, body


def report_reveal(scene: Scene, chance: Chance) -> Made | None:
    found = some_seat(scene, chance, (2,), 2)
    if found is None:
        return None
    who, number, round_ = found
    seat = scene.model.seats.get((number, round_, who))
    commitment = seat.commitment if seat else b""
    known = scene.memory.get("reports", {}).get((who, number, round_, commitment))
    salt, report = known or (Hash(bytes(32)), bytes(4))
    if chance.randrange(30) == 0:
        salt = Hash(bytes(32))
    return who, bodies.ReportReveal(number, round_, salt, report, duplicates(scene, chance, number, report))


def duplicates(scene: Scene, chance: Chance, number: int, report: bytes) -> tuple[DuplicateOf, ...]:
    """What items flagged as duplicates repeat: an earlier item of the campaign, mostly."""
    batch, items, found = scene.model.batches.get(number), scene.model.items, []
    for place in range(len(report) // 4):
        if batch is None or place >= len(batch.items) or not report[4 * place + 3] & 1:
            continue
        own = batch.items[place]
        earlier = [
            other
            for other in range(max(1, own - 40), own)
            if items[other].campaign == batch.campaign and items[other].sequence <= items[own].sequence
        ]
        if earlier and often(chance):
            found.append(DuplicateOf(place, chance.choice(earlier) if often(chance, 0.97) else own))
    return tuple(found if often(chance, 0.98) else found[::-1])
