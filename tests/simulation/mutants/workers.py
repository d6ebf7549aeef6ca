"""Planted faults around leaders that hold no stake: what counts, who is drawn, what a missed view costs, R2 after a restart."""

from __future__ import annotations

from typing import Any

from consensus.stake.core import Core
from consensus.stake.safety import SafetyMemory
from consensus.stake.tally import Tally
from omnitensor.protocol.types import Hash, View
from omnitensor.protocol.votes import Vote
from omnitensor.protocol.workers import WorkerSet
from state.ledger import registry, worker_sets
from state.schema import WORKER_SETS


class CountingCore(Core):
    """A worker's signature under its proposal weighs what a validator does."""

    def _take_workers(self, vote: Vote) -> None:
        slot = self._slots.at(View(vote.view))
        before = len(slot.signed_by_worker)
        super()._take_workers(vote)
        if len(slot.signed_by_worker) > before and slot.book is not None:
            key = (vote.kind, Hash(vote.candidate_id))
            tally = slot.book._tallies.setdefault(key, Tally(self._scheme.new_sum()))
            tally.weight += max(entry.weight for entry in self.table.entries)


class ForgetfulWorkerCore(Core):
    """A worker that was restarted does not know where it has proposed."""

    def _start(self, memory: SafetyMemory) -> None:
        super()._start(SafetyMemory(memory.floor) if self.me is None else memory)


def charge_now(view: Any, ctx: Any) -> tuple[Any, ...]:
    """A missed view takes its credit from the set that is in use."""
    missed = worker_sets.missed_by(view, ctx)
    workers = worker_sets.worker_set(view, ctx.epoch)
    if missed and workers is not None:
        kept = tuple(
            type(entry)(
                entry.address,
                entry.consensus_key,
                worker_sets.kept_after(entry.credit, missed.get(entry.address, 0)),
            )
            for entry in workers.entries
        )
        view.put(WORKER_SETS, WorkerSet(kept, workers.tickets), ctx.epoch)
    return ()


def steps_with(charge: Any = None) -> tuple[Any, ...]:
    """The steps at the end of a block with another in place of the one that charges whoever missed its view, or without it."""
    kept = ((charge if step is worker_sets.charge_missed else step) for step in registry.END_OF_BLOCK)
    return tuple(step for step in kept if step is not None)
