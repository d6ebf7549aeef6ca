"""Whose work draws an epoch's leaders, and what a worker loses that was drawn and did not lead.

The set of epoch ``e + 2`` is fixed at the boundary of epoch ``e``, one boundary before the seed that draws from it is known.
Until then a missed view can still take credit from it; the set in use never changes. Credits no work and counts no votes.
"""

from collections import Counter

from msgspec.structs import replace

from consensus.schedule.leaders import LeaderSchedule, work_leads
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.limits import missed_views_per_block_max
from omnitensor.protocol.types import Address, BlsPublicKey, Epoch, Hash, View
from omnitensor.protocol.workers import WorkerSet
from state.ledger import epochs
from state.ledger.context import BlockContext
from state.ledger.events import event
from state.ledger.view import ReadView
from state.ledger.view import View as Rows
from state.schema import WORKER_SETS

KEPT_SHIFT = 2
"""A missed view leaves a quarter of the credit."""


def worker_set(view: ReadView, epoch: Epoch) -> WorkerSet | None:
    """Whose work draws the leaders of an epoch; None where no work was credited for it, or it is forgotten."""
    return view.get(WORKER_SETS, epoch)


def fix(view: Rows, epoch: Epoch, workers: WorkerSet) -> None:
    """Freezes a set, at the boundary two epochs below its own, before anybody can know the seed that draws from it."""
    addresses = [entry.address for entry in workers.entries]
    assert sorted(set(addresses)) == addresses, "a worker set is sorted by address, each once"
    view.put(WORKER_SETS, workers, epoch)


def lead_no_more(view: Rows, ctx: BlockContext, address: Address) -> None:
    """Nothing draws an account from the next epoch on: what is its in that set counts no more. The set in use never changes."""
    following = Epoch(ctx.epoch + 1)
    row = worker_set(view, following)
    if row is not None:
        kept = tuple(replace(entry, credit=0) if entry.address == address else entry for entry in row.entries)
        view.put(WORKER_SETS, WorkerSet(kept, row.tickets), following)


def leaders_of(view: ReadView, epoch: Epoch, genesis_hash: Hash) -> LeaderSchedule | None:
    """Who leads in an epoch, by its validator set, seed and worker set; None where these are not kept.

    ``genesis_hash`` is the seed of epoch 0.
    """
    row = epochs.validator_set(view, epoch)
    table = epochs.table_of(view, epoch)
    if row is None or table is None:
        return None
    return LeaderSchedule(table, Hash(row.seed) if epoch else genesis_hash, worker_set(view, epoch))


def may_lead_with(view: ReadView, epoch: Epoch, key: BlsPublicKey) -> bool:
    """Whether somebody leads with a consensus key in an epoch: a validator, or a worker of its set."""
    schedule = leaders_of(view, epoch, Hash(bytes(32)))  # the seed draws, and lets nobody in
    return schedule is not None and schedule.index_of_key(key) is not None


def key_of_leader(workers: WorkerSet | None, address: Address) -> BlsPublicKey | None:
    """What a worker that is no validator proposes and reveals with; None where too little work was credited, or not its."""
    if workers is None or not work_leads(workers):
        return None
    return next((entry.consensus_key for entry in workers.entries if entry.address == address), None)


def kept_after(credit: int, missed: int) -> int:
    """What is left of a worker's credit after so many missed views: a quarter each time, rounded down."""
    return credit >> KEPT_SHIFT * missed


def missed_by(view: ReadView, ctx: BlockContext) -> dict[Address, int]:
    """How many views each worker was drawn for by its credit, and did not lead, of those that this block shows to be skipped.

    By address, ascending. Bounded: of very many views the first are looked at.
    """
    if not ctx.skipped or not ctx.epoch or worker_set(view, ctx.epoch) is None:
        return {}  # no work is credited before the first epoch ends
    schedule = leaders_of(view, ctx.epoch, Hash(bytes(32)))
    assert schedule is not None, "the set of the epoch under way is never forgotten"
    missed = Counter(
        schedule.address(schedule.leader(View(number)))
        for number in ctx.skipped[:missed_views_per_block_max]
        if schedule.is_led_by_work(View(number))
    )
    return {address: missed[address] for address in sorted(missed)}


def charge_missed(view: Rows, ctx: BlockContext) -> tuple[Event, ...]:
    """At the end of a block: whoever was drawn by its work and missed its view loses most of its credit.

    Of what was credited already that is the next epoch's set, whose seed the boundary of this epoch will bring.
    """
    missed = missed_by(view, ctx)
    if not missed:
        return ()
    following = Epoch(ctx.epoch + 1)
    workers = worker_set(view, following)
    if workers is not None:
        kept = tuple(
            replace(entry, credit=kept_after(entry.credit, missed.get(entry.address, 0)))
            for entry in workers.entries
        )
        view.put(WORKER_SETS, WorkerSet(kept, workers.tickets), following)
    return tuple(
        event("worker.missed", worker=address, epoch=ctx.epoch, views=count)
        for address, count in missed.items()
    )
