"""Proven outputs of the chain's own jobs: items' fingerprints and scores, and hints at near duplicates from proven ones alone.

A hint is a word to reviewers, never a verdict.
"""

from typing import Final

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.limits import near_duplicate_bytes_min, near_duplicate_candidates_max
from omnitensor.protocol.types import CampaignId, ItemId
from omnitensor.protocol.work import JobKind
from state.ledger.context import BlockContext
from state.ledger.events import event
from state.ledger.items import item_at
from state.ledger.view import ReadView, View
from state.ledger.work_rows import Due, Key, look_at
from state.records_review import Batch
from state.records_work import ItemFingerprint, ItemScores, Job
from state.schema import BATCHES, FINGERPRINTS, ITEM_SCORES, JOBS, WORK_OUTPUTS, number

_KEPT: Final = (JobKind.FINGERPRINT, JobKind.SCORES)


def keep(view: View, ctx: BlockContext, key: Key, job: Job) -> tuple[Event, ...]:
    """Keeps what a receipt that was found good proves of its batch's items. The first one does."""
    if job.kind not in _KEPT:
        return ()
    shown = view.get(WORK_OUTPUTS, *key)
    assert shown is not None and shown.content is None, "outputs of the chain's own jobs stand on chain"
    batch = _batch_of(view, job)
    width = job.layers[-1].outputs
    proven = []
    for row, item in enumerate(_items_of(batch, job, key[1])):
        output = shown.outputs[row * width : row * width + width]
        if job.kind == JobKind.SCORES:
            view.put(ITEM_SCORES, ItemScores(output), item)
            continue
        if view.get(FINGERPRINTS, batch.campaign, item) is None:
            view.put(FINGERPRINTS, ItemFingerprint(fingerprint(output)), batch.campaign, item)
            look_at(view, ctx.height, Due.HINT, unit=item)
            proven.append(item)
    if not proven:
        return ()
    return (
        event("work.fingerprints", job=key[0], batch=job.batch, campaign=batch.campaign, items=len(proven)),
    )


def drop(view: View, key: Key) -> None:
    """Takes back what a receipt proved that turned out to be bad."""
    job = view.get(JOBS, key[0])
    if job is None or job.kind not in _KEPT:
        return
    batch = _batch_of(view, job)
    for item in _items_of(batch, job, key[1]):
        if job.kind == JobKind.SCORES:
            view.delete(ITEM_SCORES, item)
        else:
            view.delete(FINGERPRINTS, batch.campaign, item)


def _batch_of(view: ReadView, job: Job) -> Batch:
    batch = view.get(BATCHES, job.batch)
    assert batch is not None, "batches are never deleted"
    return batch


def _items_of(batch: Batch, job: Job, unit: int) -> tuple[ItemId, ...]:
    start = unit * job.unit_rows
    return batch.items[start : start + job.rows_of(unit)]


def fingerprint(output: bytes) -> bytes:
    """The bits that say which outputs are above zero, the lowest of a byte first."""
    bits = sum(1 << place for place, one in enumerate(output) if 0 < one < 128)
    return bits.to_bytes(len(output) // 8, "little")


def hint(view: View, ctx: BlockContext, item: ItemId) -> tuple[Event, ...]:
    """Says which earlier item of its campaign an item nearly repeats, by proven fingerprints: the nearest, then the newest."""
    row = item_at(view, item)
    mine = view.get(FINGERPRINTS, row.campaign, item)
    if mine is None or row.content.size < near_duplicate_bytes_min:
        return ()
    found = nearest(view, row.campaign, item, mine.bits)
    if found is None or found[1] > ctx.params.near_duplicate_bits:
        return ()
    other, bits = found
    return (
        event(
            "item.near_duplicate",
            item=item,
            campaign=row.campaign,
            contributor=row.contributor,
            of=other,
            bits=bits,
        ),
    )


def nearest(view: ReadView, campaign: CampaignId, item: ItemId, bits: bytes) -> tuple[ItemId, int] | None:
    """The nearest of the campaign's earlier items that are proven, among the newest of them, and in how many bits it differs."""
    mine = int.from_bytes(bits, "big")
    best: tuple[ItemId, int] | None = None
    looked_at = 0
    for key, row in view.scan(FINGERPRINTS, campaign, start=item.to_bytes(8, "big"), reverse=True):
        other = ItemId(number(key))
        if other == item:
            continue
        if looked_at == near_duplicate_candidates_max:
            break
        looked_at += 1
        differ = (mine ^ int.from_bytes(row.bits, "big")).bit_count()
        if (best is None or differ < best[1]) and item_at(
            view, other
        ).content.size >= near_duplicate_bytes_min:
            best = other, differ
    return best
