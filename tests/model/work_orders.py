"""Makes orders about work: workers, jobs, receipts and votes, right and wrong ones. Nothing is computed: outputs are made up."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from msgspec.structs import replace

from omnitensor.protocol import bodies, merkle
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.merkle import Inclusion
from omnitensor.protocol.types import NANO, ZERO_HASH, Address, Amount, Hash, Height, Signature
from omnitensor.protocol.work import (
    FraudProof,
    JobKind,
    LayerShape,
    Receipt,
    Ticket,
    job_id,
    outputs_root,
)
from tests.model.makers import Chance, Made, amount, anybody, consensus_key, often, person
from tests.model.scene import CHAIN, Scene, signed_by

Key = tuple[Hash, int, Address]
SHAPES = [
    (LayerShape(4, 2),),
    (LayerShape(8, 16), LayerShape(16, 3)),
    (LayerShape(4, 600),),
    (LayerShape(64, 64),),
]
"""Outputs of the third do not fit an order where a unit has many rows."""
MODELS = 12


def stuff(*parts: object) -> bytes:
    return sha256(repr(parts).encode()).digest()


def content(size: int, *parts: object) -> ContentId:
    return ContentId(Hash(stuff("digest", size, *parts)), size, Hash(stuff("root", size, *parts)))


# -- workers


def some_worker(scene: Scene, chance: Chance) -> Address:
    model = scene.model
    known = list(model.workers)
    able = [who for who in known if model.whole(model.workers[who])]
    if able and often(chance, 0.9):
        return Address(chance.choice(able))
    return Address(chance.choice(known)) if known and often(chance, 0.9) else anybody(scene, chance)


def worker_register(scene: Scene, chance: Chance) -> Made | None:
    who = anybody(scene, chance)
    if who in scene.model.workers and often(chance, 0.9):
        return None
    least = scene.model.p.worker_bond_min
    bond = Amount(chance.choice([least, least, least * 2, least * 3, max(0, least - 1)]))
    key, proof = consensus_key(scene, chance)
    if who in scene.model.validators and often(chance):
        key = scene.model.validators[who].consensus_key
    return who, bodies.WorkerRegister(bond, key, proof)


def worker_bond_add(scene: Scene, chance: Chance) -> Made:
    who = some_worker(scene, chance)
    lacking = [each for each, row in scene.model.workers.items() if row.bond < scene.model.p.worker_bond_min]
    if lacking and often(chance):
        who = Address(chance.choice(lacking))
        return who, bodies.WorkerBondAdd(Amount(scene.model.p.worker_bond_min))
    return who, bodies.WorkerBondAdd(amount(scene, chance, scene.model.balances.get(who, 0) // 20))


def worker_leave(scene: Scene, chance: Chance) -> Made:
    return some_worker(scene, chance), bodies.WorkerLeave()


def worker_edit(scene: Scene, chance: Chance) -> Made:
    who = some_worker(scene, chance)
    key, proof = consensus_key(scene, chance)
    if who in scene.model.validators and often(chance, 0.5):
        key = scene.model.validators[who].consensus_key
    return who, bodies.WorkerEdit(key, proof)


# -- jobs


def job_post(scene: Scene, chance: Chance) -> Made:
    height, shape = scene.model.height, chance.choice(SHAPES)
    rows = chance.choice([1, 5, 12, 20, 40])
    model = chance.randrange(MODELS)
    posted = bodies.JobPost(
        model=content(500, "model", model),
        model_root=Hash(stuff("model", model)),
        data=content(rows * shape[0].inputs, "data", chance.randrange(99)),
        layers=shape,
        tile=16,
        rows=rows,
        unit_rows=chance.choice([4, 10, 30]),
        replicas=chance.choice([1, 1, 2, 3]),
        fee_unit=Amount(chance.choice([0, 1, NANO // 3, 2 * NANO])),
        burn_unit=Amount(chance.choice([0, 1, 3, NANO // 7])),
        deadline=Height(height + chance.choice([8, 30, 60, 100])),
        place_max=Amount(NANO // 20 if rows == 12 else NANO),
    )
    if not often(chance):
        posted = replace(posted, **chance.choice(WRONG_JOBS(height)))
    return person(scene, chance), posted


def WRONG_JOBS(height: int) -> list[dict[str, Any]]:  # a table that needs the height
    return [
        {"tile": 17},
        {"layers": (LayerShape(4, 3), LayerShape(2, 2))},
        {"data": content(7, "other")},
        {"rows": 5_000, "unit_rows": 1, "data": content(5_000 * 4, "many"), "layers": SHAPES[0]},
        {"fee_unit": Amount(0), "burn_unit": Amount(0)},
        {"fee_unit": Amount(10**17)},
        {"deadline": Height(height)},
        {"deadline": Height(height + 2**40)},
        {"model": content(2**24 + 1, "large")},
    ]


def job_cancel(scene: Scene, chance: Chance) -> Made:
    known = [(name, row) for name, row in scene.model.jobs.items() if row.status < 3 and row.poster]
    if not known or chance.randrange(10) == 0:
        return anybody(scene, chance), bodies.JobCancel(some_job(scene, chance))
    name, row = chance.choice(known)
    return Address(row.poster) if often(chance) else anybody(scene, chance), bodies.JobCancel(Hash(name))


def some_job(scene: Scene, chance: Chance) -> Hash:
    known = list(scene.model.jobs)
    return Hash(chance.choice(known)) if known and often(chance, 0.9) else Hash(stuff("none"))


# -- receipts


def outputs(scene: Scene, key: Key) -> list[bytes]:
    """Rows that this worker's unit gives."""
    job = scene.model.jobs[key[0]]
    width, rows = scene.model.width(job), scene.model.rows_in(job, key[1])
    seed = stuff("outputs", key[0], key[1], key[2] if stuff(key)[0] < 30 else b"")
    return [(seed * (width // 32 + 1))[:width] if row % 2 else bytes(width) for row in range(rows)]


def work_commit(scene: Scene, chance: Chance) -> Made | None:
    model, who = scene.model, some_worker(scene, chance)
    open_jobs = [name for name, row in model.jobs.items() if row.status == 1]
    anchor = Height(max(0, model.height - chance.choice([1, 1, 2, 5, 9])))
    if open_jobs and often(chance, 0.8):
        name = Hash(chance.choice(open_jobs))
        unit = chance.randrange(model.units_in(model.jobs[name]))
        drawn = model.drawn(name, model.jobs[name], unit)
        if drawn and often(chance, 0.8):
            who = Address(chance.choice(drawn))
        root = outputs_root(who, merkle.root_of(outputs(scene, (name, unit, who))))
    else:
        epoch = max(0, anchor - 1) // model.p.epoch_blocks
        name, unit = job_id(CHAIN, JobKind.SYNTHETIC, epoch), chance.randrange(3)
        root = ZERO_HASH
        if chance.randrange(12) == 0:
            name = some_job(scene, chance)
    tickets = tuple(Ticket(0, place, 0, 0) for place in range(chance.choice([0, 1, 2, 4, 4])))
    made = Receipt(name, unit, anchor, who, root, tickets, Signature(bytes(64)))
    if not often(chance, 0.9):
        made = replace(
            made,
            **chance.choice(
                [
                    {"worker": anybody(scene, chance)},
                    {"unit": 10_000},
                    {"anchor": Height(model.height)},
                    {"outputs_root": Hash(stuff("root"))},
                    {"tickets": (Ticket(7, 65_535, 65_535, 65_535),) * 4},
                ]
            ),
        )
    made = replace(made, signature=signed_by(who[1:], made.message(CHAIN)))
    if chance.randrange(25) == 0:
        made = replace(made, signature=Signature(bytes(64)))
    return who, bodies.WorkCommit(made)


def work_outputs(scene: Scene, chance: Chance) -> Made | None:
    waiting = [key for key, row in scene.model.work_receipts.items() if row.state == 0]
    if not waiting and often(chance):
        return None
    if not waiting or chance.randrange(12) == 0:
        return some_worker(scene, chance), bodies.WorkOutputs(some_job(scene, chance), 0, None, b"\1" * 8)
    model = scene.model
    ready = [
        key
        for key in waiting
        for row in (model.units[key[:2]],)
        if row[3] or row[2] <= model.height or row[0] + row[1] == model.jobs[key[0]].replicas
    ]
    name, unit, who = chance.choice(ready if ready and often(chance, 0.9) else waiting)
    shown = b"".join(outputs(scene, (name, unit, who)))
    if not often(chance, 0.92):
        shown = chance.choice([shown[1:], bytes(len(shown)), shown + b"\0"])
    if len(shown) > 8_192 or chance.randrange(15) == 0:
        body = bodies.WorkOutputs(Hash(name), unit, content(len(shown), "outputs"), b"")
    else:
        body = bodies.WorkOutputs(Hash(name), unit, None, shown)
    return Address(who), body


def work_fraud(scene: Scene, chance: Chance) -> Made | None:
    model = scene.model
    good = [key for key, row in model.work_receipts.items() if row.state == 2 and row.kind != 3]
    if not good:
        return None
    fresh = [
        key for key in good if model.height <= model.work_receipts[key].settled_at + model.p.epoch_blocks
    ]
    own = [key for key in fresh if model.work_receipts[key].kind in (1, 2)]
    key = chance.choice((own if own and often(chance, 0.5) else fresh) if fresh and often(chance) else good)
    rows = outputs(scene, key)
    place = chance.randrange(len(rows))
    path = merkle.inclusion_proof([merkle.leaf_hash(row) for row in rows], place)
    inclusion = Inclusion(place, len(rows), tuple(map(Hash, path)))
    proof = FraudProof(Hash(key[0]), key[1], Address(key[2]), place, rows[place], inclusion)
    if not often(chance):
        proof = replace(
            proof,
            **chance.choice(
                [
                    {"output": b"\5" * len(rows[place])},
                    {"row": place + 1},
                    {"inclusion": replace(inclusion, path=(*inclusion.path, ZERO_HASH))},
                    {"inclusion": replace(inclusion, size=len(rows) + 1)},
                    {"unit": 999},
                ]
            ),
        )
    return person(scene, chance), bodies.WorkFraud(proof)


# -- votes


def truth(key: Any) -> tuple[bool, int]:
    """What honest validators find of a receipt: of one that somebody objects to, as often this as that."""
    chance = stuff("truth", key)
    return (
        (False, 0) if chance[0] < (128 if key[3] == 6 else 40) else (True, int.from_bytes(chance[1:5], "big"))
    )


def work_judge(scene: Scene, chance: Chance) -> Made | None:
    model = scene.model
    voters = [address for address, _, _ in model.sets[model.epoch][1]]
    # Mostly one that has something new to say: else few votes would ever come together.
    silent = [
        who
        for held in (*model.findings.values(), *model.attests.values())
        for who in voters
        if who not in dict(held)
    ]
    who = Address(chance.choice(silent or voters)) if often(chance, 0.97) else anybody(scene, chance)
    jobs = [
        bodies.JobVote(Hash(name), stuff("bytes", name)[0] > 25)
        for name, row in model.jobs.items()
        if row.status == 0 and not row.available
    ]
    found = [
        bodies.ReceiptVote(Hash(job), unit, Address(worker), *truth((job, unit, worker, row.state)))
        for (job, unit, worker), row in model.work_receipts.items()
        if row.state in (1, 6)
    ]
    if not jobs and not found and often(chance):
        return None
    if chance.randrange(10) == 0:
        jobs = [replace(vote, available=not vote.available) for vote in jobs]
        found = [replace(vote, good=not vote.good) for vote in found]
    if chance.randrange(20) == 0:
        jobs.append(bodies.JobVote(some_job(scene, chance), True))
        found.append(bodies.ReceiptVote(some_job(scene, chance), 0, some_worker(scene, chance), True, 5))
    return who, bodies.WorkJudge(tuple(jobs[:12]), tuple(found[:24]))


ORDERS = {
    "worker_register": (2, worker_register),
    "worker_bond_add": (2, worker_bond_add),
    "worker_leave": (1, worker_leave),
    "worker_edit": (1, worker_edit),
    "job_post": (4, job_post),
    "job_cancel": (1, job_cancel),
    "work_judge": (30, work_judge),
    "work_commit": (16, work_commit),
    "work_outputs": (14, work_outputs),
    "work_fraud": (3, work_fraud),
}
"""How often each kind is tried, and what makes it."""
