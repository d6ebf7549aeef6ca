"""What each row of work in the ledger must be, made from the model alone; see ``expected``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from omnitensor.protocol.types import ZERO_HASH
from omnitensor.protocol.work import LayerShape
from omnitensor.protocol.workers import WorkerEntry, WorkerSet
from state.records import Conviction, Unit
from state.records_review import Count
from state.records_work import (
    Attest,
    Attests,
    Challenge,
    Finding,
    Findings,
    ItemFingerprint,
    ItemScores,
    Job,
    ModelSeen,
    ShownOutputs,
    WorkCredit,
    WorkEpoch,
    Worker,
    WorkerList,
    WorkReceipt,
    WorkUnit,
)
from state.schema import (
    ATTESTS,
    CHALLENGES,
    FINDINGS,
    FINGERPRINTS,
    ITEM_SCORES,
    JOBS,
    JOBS_OPEN,
    MODELS_SEEN,
    WORK_CREDIT,
    WORK_DUE,
    WORK_EPOCHS,
    WORK_OUTPUTS,
    WORK_RECEIPTS,
    WORK_UNITS,
    WORKER_CONVICTIONS,
    WORKER_LISTS,
    WORKER_SETS,
    WORKERS,
    Table,
    number,
)
from tests.model.chain import Model
from tests.model.work import eight

PRINT_SHAPE = (LayerShape(1_024, 256),)


def receipt_key(key: bytes) -> tuple[bytes, int, bytes]:
    return key[:32], number(key[32:40]), key[40:]


def worker(model: Model, key: bytes) -> Any:
    row = model.workers.get(key)
    return None if row is None else Worker(**row.values())


def worker_set(model: Model, key: bytes) -> Any:
    row = model.worker_sets.get(number(key))
    return None if row is None else WorkerSet(tuple(WorkerEntry(*each) for each in row[0]), row[1])


def conviction(model: Model, key: bytes) -> Any:
    row = model.worker_convictions.get((key[:33], number(key[33:])))
    return None if row is None else Conviction(evidence=ZERO_HASH, **row)


def credit(model: Model, key: bytes) -> Any:
    row = model.work_credit.get((number(key[:8]), key[8:]))
    return None if row is None else WorkCredit(**row.values())


def job(model: Model, key: bytes) -> Any:
    row = model.jobs.get(key)
    if row is None:
        return None
    told = row.values()
    return Job(**(told | {"layers": told["layers"] or PRINT_SHAPE}))


def receipt(model: Model, key: bytes) -> Any:
    row = model.work_receipts.get(receipt_key(key))
    return None if row is None else WorkReceipt(**row.values())


def findings(model: Model, key: bytes) -> Any:
    votes = model.findings.get(receipt_key(key))
    return None if votes is None else Findings(tuple(Finding(who, *said) for who, said in votes))


def attests(model: Model, key: bytes) -> Any:
    votes = model.attests.get(key)
    return None if votes is None else Attests(tuple(Attest(*each) for each in votes))


def seen(model: Model, key: bytes) -> Any:
    return ModelSeen(model.models_seen[key]) if key in model.models_seen else None


def print_of(model: Model, key: bytes) -> Any:
    found = model.fingerprints.get((number(key[:8]), number(key[8:])))
    return None if found is None else ItemFingerprint(found)


def scores(model: Model, key: bytes) -> Any:
    found = model.item_scores.get(number(key))
    return None if found is None else ItemScores(found)


def challenge(model: Model, key: bytes) -> Any:
    row = model.challenges.get(receipt_key(key))
    return None if row is None else Challenge(**row.values())


def due(model: Model, key: bytes) -> Any:
    entry = (number(key[:8]), number(key[8:16]), *receipt_key(key[16:]))
    return Unit() if entry in model.work_due else None


def listed(model: Model, key: bytes) -> Any:
    row = model.worker_lists.get(number(key))
    return None if row is None else WorkerList(row)


def unit(model: Model, key: bytes) -> Any:
    row = model.units.get((key[:32], number(key[32:])))
    return None if row is None else WorkUnit(*row)


def shown(model: Model, key: bytes) -> Any:
    row = model.shown_outputs.get(receipt_key(key))
    return None if row is None else ShownOutputs(*row)


def sums(model: Model, key: bytes) -> Any:
    row = model.work_epochs.get(number(key))
    return None if row is None else WorkEpoch(**row.values())


def open_jobs(model: Model, key: bytes) -> Any:
    count = model.jobs_of(key)
    return Count(count) if count else None


def named(keys: Iterable[tuple[bytes, int, bytes]]) -> list[bytes]:
    return [name + eight(unit_) + who for name, unit_, who in keys]


EXPECTED: dict[Table[Any], tuple[Callable[[Model, bytes], Any], Callable[[Model], Iterable[bytes]]]] = {
    WORKERS: (worker, lambda m: m.workers),
    WORKER_SETS: (worker_set, lambda m: [eight(epoch) for epoch in m.worker_sets]),
    WORKER_CONVICTIONS: (conviction, lambda m: [who + eight(epoch) for who, epoch in m.worker_convictions]),
    WORK_CREDIT: (credit, lambda m: [eight(epoch) + who for epoch, who in m.work_credit]),
    JOBS: (job, lambda m: m.jobs),
    WORK_RECEIPTS: (receipt, lambda m: named(m.work_receipts)),
    FINDINGS: (findings, lambda m: named(m.findings)),
    ATTESTS: (attests, lambda m: m.attests),
    MODELS_SEEN: (seen, lambda m: m.models_seen),
    FINGERPRINTS: (print_of, lambda m: [eight(of) + eight(item) for of, item in m.fingerprints]),
    ITEM_SCORES: (scores, lambda m: [eight(item) for item in m.item_scores]),
    CHALLENGES: (challenge, lambda m: named(m.challenges)),
    WORK_DUE: (
        due,
        lambda m: [eight(at) + eight(kind) + named([tuple(key)])[0] for at, kind, *key in m.work_due],  # type: ignore[list-item] # a receipt's key
    ),
    WORKER_LISTS: (listed, lambda m: [eight(epoch) for epoch in m.worker_lists]),
    WORK_UNITS: (unit, lambda m: [name + eight(of) for name, of in m.units]),
    WORK_OUTPUTS: (shown, lambda m: named(m.shown_outputs)),
    WORK_EPOCHS: (sums, lambda m: [eight(epoch) for epoch in m.work_epochs]),
    JOBS_OPEN: (
        open_jobs,
        lambda m: {row.poster for row in m.jobs.values() if row.poster and row.status < 3},
    ),
}
"""By table: the row that a key must have, and the keys that there must be."""
