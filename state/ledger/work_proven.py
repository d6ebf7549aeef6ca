"""Proven outputs of the chain's own jobs: items' fingerprints and scores, and hints at near duplicates from proven ones alone.

A hint is a word to reviewers, never a verdict.
"""

from itertools import islice
from typing import Final

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.limits import near_duplicate_bytes_min, near_duplicate_candidates_max
from omnitensor.protocol.types import Address, CampaignId, Hash, ItemId
from omnitensor.protocol.work import JobKind
from state.ledger.context import BlockContext
from state.ledger.events import event
from state.ledger.items import item_at
from state.ledger.view import ReadView, View
from state.ledger.work_rows import HINT_LINE, Due, Key, look_at
from state.records_review import Batch, Item, ItemStatus
from state.records_work import ItemFingerprint, ItemScores, Job, ReceiptState
from state.schema import BATCHES, FINGERPRINTS, ITEM_SCORES, JOBS, WORK_OUTPUTS, WORK_RECEIPTS, number

_STANDS_AGAINST_NOBODY: Final = (ItemStatus.REJECTED, ItemStatus.UNDECIDED)
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
            look_at(view, HINT_LINE + ctx.height, Due.HINT, unit=item)
            proven.append(item)
    if not proven:
        return ()
    return (
        event("work.fingerprints", job=key[0], batch=job.batch, campaign=batch.campaign, items=len(proven)),
    )


def take_back(view: View, ctx: BlockContext, key: Key) -> tuple[Event, ...]:
    """Takes back what a receipt proved that turned out to be bad, as far as no other good one of its unit says the same.

    Where there are others the earliest of them says it now, and its items are compared anew; else nothing is proven of them.
    """
    name, unit, _ = key
    job = view.get(JOBS, name)
    if job is None or job.kind not in _KEPT:
        return ()
    batch, width = _batch_of(view, job), job.layers[-1].outputs
    others = _standing(view, name, unit)
    changed = 0
    for place, item in enumerate(_items_of(batch, job, unit)):
        said = [outputs[place * width : place * width + width] for outputs in others]
        change = _scored_anew if job.kind == JobKind.SCORES else _printed_anew
        changed += change(view, ctx, batch.campaign, item, said)
    if not changed:
        return ()
    return (event("work.unproven", job=name, batch=job.batch, campaign=batch.campaign, items=changed),)


def _standing(view: ReadView, job: Hash, unit: int) -> list[bytes]:
    """Outputs of the receipts of a unit that are good, as far as anybody knows; by height of their verdict, then by worker."""
    found = []
    for worker, row in view.scan(WORK_RECEIPTS, job, unit):
        if row.state in (ReceiptState.GOOD, ReceiptState.CHALLENGED):
            shown = view.get(WORK_OUTPUTS, job, unit, Address(worker))
            assert shown is not None, "outputs of the chain's own jobs stand on chain"
            found.append((row.settled_at, worker, shown.outputs))
    return [outputs for _, _, outputs in sorted(found)]


def _scored_anew(
    view: View, ctx: BlockContext, campaign: CampaignId, item: ItemId, said: list[bytes]
) -> bool:
    kept = view.get(ITEM_SCORES, item)
    if kept is None or kept.scores in said:
        return False
    if said:
        view.put(ITEM_SCORES, ItemScores(said[0]), item)
    else:
        view.delete(ITEM_SCORES, item)
    return True


def _printed_anew(
    view: View, ctx: BlockContext, campaign: CampaignId, item: ItemId, said: list[bytes]
) -> bool:
    kept, prints = view.get(FINGERPRINTS, campaign, item), [fingerprint(output) for output in said]
    if kept is None or kept.bits in prints:
        return False
    if prints:
        view.put(FINGERPRINTS, ItemFingerprint(prints[0]), campaign, item)
        look_at(view, HINT_LINE + ctx.height, Due.HINT, unit=item)
    else:
        view.delete(FINGERPRINTS, campaign, item)
    return True


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
    """Says which earlier item of its campaign an item nearly repeats, by proven fingerprints."""
    row = item_at(view, item)
    mine = view.get(FINGERPRINTS, row.campaign, item)
    if mine is None or row.content.size < near_duplicate_bytes_min:
        return ()
    found = nearest(view, item, row, mine.bits)
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


def nearest(view: ReadView, number_: ItemId, item: Item, bits: bytes) -> tuple[ItemId, int] | None:
    """The nearest of the campaign's earlier items that are proven, and in how many bits it differs; of equals the earliest.

    Earlier is by commit, then by number. The newest by number are looked at; rejected and undecided ones stand against nobody.
    """
    mine, order = int.from_bytes(bits, "big"), (item.sequence, number_)
    best: tuple[int, tuple[int, ItemId]] | None = None
    rows = view.scan(FINGERPRINTS, item.campaign, start=number_.to_bytes(8, "big"), reverse=True)
    for key, row in islice(rows, near_duplicate_candidates_max):
        other = ItemId(number(key))
        differ = (mine ^ int.from_bytes(row.bits, "big")).bit_count()
        if other == number_ or (best is not None and differ > best[0]):
            continue
        held = item_at(view, other)
        found = differ, (held.sequence, other)
        stands = held.status not in _STANDS_AGAINST_NOBODY and held.content.size >= near_duplicate_bytes_min
        if stands and found[1] < order and (best is None or found < best):
            best = found
    return None if best is None else (best[1][1], best[0])
