"""Planted faults in the safety store (R9): what is durable, what is remembered, what is refused."""

from __future__ import annotations

from dataclasses import replace

from consensus.stake.effects import Cast
from consensus.stake.safety import SafetyMemory
from node.safety_entries import Entry, EpochEntry, VoteEntry
from node.safety_store import SILENT, SafetyStore
from omnitensor.protocol.types import Epoch, TimeMs


class CarelessStore(SafetyStore):
    """Records, but refuses nothing."""

    def record(self, cast: Cast) -> None:
        held = self._signed_in(cast.view)
        if held.get(cast.kind) != cast.candidate_id:
            self._views.pop(cast.view, None)
            super().record(cast)


class ForgetfulStore(SafetyStore):
    """R9 without the sync: votes leave before they are durable."""

    def _write(self, entries: list) -> None:  # type: ignore[type-arg]  # as its parent's
        disk, self._files.sync = self._files, lambda name: None  # type: ignore[method-assign]  # the planted fault
        try:
            super()._write(entries)
        finally:
            del disk.sync  # type: ignore[attr-defined]  # uncover the class's own again


class BlocklessStore(SafetyStore):
    """Votes are durable, the blocks voted for are not: after a crash of all, what is being finalized is nowhere."""

    @property
    def memory(self) -> SafetyMemory:
        return replace(super().memory, kept=())


class StaleStore(SafetyStore):
    """Keeps the floor of the epoch before, and signs nothing below it in the next."""

    def enter(self, epoch: Epoch, began_ms: TimeMs) -> SafetyMemory:
        floor = self.floor
        memory = super().enter(epoch, began_ms)
        return replace(memory, floor=max(floor, memory.floor))


class UnheardEpochStore(SafetyStore):
    """Enters an epoch without writing so: after a crash the votes in it are taken for those of the epoch before."""

    def enter(self, epoch: Epoch, began_ms: TimeMs) -> SafetyMemory:
        if epoch < self._epoch:
            return SILENT
        if epoch > self._epoch:
            self._pending = []
            self._apply(EpochEntry(epoch))
        return self.memory


class ShrinkingStore(SafetyStore):
    """Forgets votes when it rewrites its file."""

    def _entries(self) -> list[Entry]:
        return [entry for entry in super()._entries() if not isinstance(entry, VoteEntry)]


class AnxiousStore(SafetyStore):
    """Takes a torn end for damage, and refuses to begin."""

    def _good_batch_after(self, data: bytes, at: int) -> bool:
        return True
