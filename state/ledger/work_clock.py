"""The step at the end of a block that takes what is due about work, oldest first, up to a bounded amount of work.

What is left over waits for the next block: it stays first in its line.
"""

from typing import Final

from omnitensor.protocol import limits
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.types import Address, Hash, ItemId
from state.ledger import jobs, work_fraud, work_judging, work_proven, work_receipts, workers
from state.ledger.context import BlockContext
from state.ledger.view import View
from state.ledger.work_rows import HINT_LINE, Due, Key, drop_receipt, look_at
from state.schema import WORK_DUE, WORK_RECEIPTS, WORK_UNITS, number

ENTRY_WORK: Final = 60
JUDGED_WORK: Final = 400
"""Units for weighing all votes on a receipt, and what follows."""
FORGET_WORK: Final = 20 * limits.job_rows_dropped_max
HINT_WORK: Final = 2 * limits.near_duplicate_candidates_max
"""Units for comparing an item's fingerprint with those before it."""
_WORK: Final = {Due.JUDGED: JUDGED_WORK, Due.FORGET: FORGET_WORK, Due.HINT: HINT_WORK}


def run(view: View, ctx: BlockContext) -> tuple[Event, ...]:
    """Does what is due at this height or before; at least one thing, if there is any. Hints have what room is left.

    They are many where people hand in much, each takes long, and nobody's money waits for them.
    """
    events: list[Event] = []
    work = 0
    for line in (0, HINT_LINE):
        for entry, _ in view.scan(WORK_DUE, start=line.to_bytes(8, "big")):
            height, kind, job, unit, worker = WORK_DUE.split(entry)
            if number(height) > line + ctx.height or work >= limits.job_work_per_block_max:
                break
            view.delete(WORK_DUE, entry)
            due = Due(number(kind))
            work += _WORK.get(due, ENTRY_WORK)
            events += _do(view, ctx, due, (Hash(job), number(unit), Address(worker)))
    return tuple(events)


def _do(view: View, ctx: BlockContext, due: Due, key: Key) -> tuple[Event, ...]:
    job, unit, worker = key
    match due:
        case Due.OPEN:
            return jobs.try_to_open(view, ctx, job)
        case Due.DEADLINE:
            return jobs.reach_deadline(view, ctx, job)
        case Due.OUTPUTS:
            return work_receipts.reach_outputs(view, ctx, key)
        case Due.JUDGED:
            return work_judging.end_judgement(view, ctx, key)
        case Due.SETTLED:
            return work_fraud.end_window(view, ctx, key)
        case Due.FORGET:
            return _forget(view, ctx, job)
        case Due.BOND:
            return workers.return_bond(view, ctx, worker)
        case Due.HINT:
            return work_proven.hint(view, ctx, ItemId(unit))


def _forget(view: View, ctx: BlockContext, job: Hash) -> tuple[Event, ...]:
    """Forgets receipts and units of a job that ended, some in a block. One that can still cost a bond is waited for."""
    for dropped, (entry, row) in enumerate(view.scan(WORK_RECEIPTS, job)):
        if dropped == limits.job_rows_dropped_max:
            look_at(view, ctx.height + 1, Due.FORGET, job)
            return ()
        if row.held:
            look_at(view, max(ctx.height, row.judged_until) + 1, Due.FORGET, job)
            return ()
        drop_receipt(view, (job, number(entry[:8]), Address(entry[8:])), row)
        view.delete(WORK_UNITS, job, number(entry[:8]))
    return ()
