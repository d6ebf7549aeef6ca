"""Planted faults. Each is the product with one rule broken; the checkers must see it within a bounded number of seeds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from typing import Any

from consensus.stake.candidates import Entry, Status
from consensus.stake.core import Core
from consensus.stake.effects import Cast
from consensus.stake.knowledge import Settings
from consensus.stake.safety import SafetyMemory
from consensus.stake.slots import Slot
from consensus.stake.verify import Verifier
from node.safety_store import SafetyStore
from omnitensor.protocol.types import Epoch, Hash, Height, TimeMs, View
from omnitensor.protocol.votes import Candidate, Certificate, ValidatorTable, VoteKind
from tests.simulation.scenario import Scenario
from tests.simulation.world import Product


class MajorityTable(ValidatorTable):
    """A quorum of just over half: two of them need not share an honest validator."""

    @cached_property
    def quorum_weight(self) -> int:
        return self.total_weight // 2 + 1


class NoSkipCheckCore(Core):
    """R3 without the skip certificates."""

    def _skips_in_hand(self, parent_view: View, view: View) -> bool:
        return True


class NoSkipCheckVerifier(Verifier):
    def _check_justification(self, candidate: Candidate, justification: tuple[Certificate, ...]) -> None:
        pass


class FinalizeAfterSkipCore(Core):
    """R5 without looking whether SKIP was sent."""

    def _finalize(self, slot: Slot, entry: Entry) -> None:
        if entry.status is Status.VALID and VoteKind.FINALIZE not in slot.voted:
            self._cast(slot, VoteKind.FINALIZE, entry.id, slot.notarization)


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


class AmnesiacCore(Core):
    """R9 without reloading: a restarted validator does not know what it has signed."""

    def _start(self, memory: SafetyMemory) -> None:
        super()._start(SafetyMemory(memory.floor))


class EagerCore(Core):
    """R3 without "once a view": notarizes every candidate that an equivocating leader offers."""

    def _take_proposal(self, proposal, peer) -> None:  # type: ignore[no-untyped-def]  # as its parent's
        slot = self._slots.get(View(proposal.candidate.view))
        if slot is not None and slot.proposal not in (None, proposal.leader_vote.candidate_id):
            slot.proposal = None
            slot.voted.pop(VoteKind.NOTARIZE, None)
        super()._take_proposal(proposal, peer)


class UnexecutedCore(Core):
    """R3 without executing: notarizes whatever the leader offers."""

    def _invalid(self, entry: Entry, fault: str) -> None:
        entry.status = Status.CHECKING
        self._valid(entry)


class EndlessCore(Core):
    """An epoch without end: builds on above the boundary."""

    def __init__(self, settings: Settings, *rest: Any) -> None:
        super().__init__(replace(settings, boundary=Height(2**62)), *rest)


class PickyCore(Core):
    """Calls a candidate invalid when it came without its block, and a filler when it came with one."""

    def _check(self, entry: Entry, parent_hash: Hash, parent_height: Height, parent_ms: TimeMs) -> Any:
        filler = entry.candidate.block_hash == parent_hash
        if filler == (entry.block is not None):
            self._invalid(entry, "not as it should be sent")
            return ()
        return super()._check(entry, parent_hash, parent_height, parent_ms)


class StaleStore(SafetyStore):
    """Keeps the floor of the epoch before, and signs nothing below it in the next."""

    def enter(self, epoch: Epoch, began_ms: TimeMs) -> SafetyMemory:
        floor = self.floor
        memory = super().enter(epoch, began_ms)
        return replace(memory, floor=max(floor, memory.floor))


@dataclass(frozen=True)
class Mutant:
    """A planted fault, the adversary that it needs, and in how many seeds it must be seen."""

    name: str
    product: Product
    adversary: str
    seeds_max: int
    crash_chance: float = 0.0
    loss: float = 0.1
    size: int = 4
    blackout_chance: float = 0.0
    epoch_blocks: int = 10**9


MUTANTS = (
    Mutant("majority quorum", Product(table=MajorityTable), "equivocating_leader", 5, size=5),
    Mutant(
        "no skip-certificate check",
        Product(core=NoSkipCheckCore, verifier=NoSkipCheckVerifier),
        "forking_leader",
        20,
    ),
    Mutant("finalize after skip", Product(core=FinalizeAfterSkipCore), "selective_sender", 5),
    Mutant(
        "finalize after skip, and a store that lets it",
        Product(core=FinalizeAfterSkipCore, store=CarelessStore),
        "selective_sender",
        5,
    ),
    Mutant("votes not durable", Product(store=ForgetfulStore), "selective_sender", 40, crash_chance=0.8),
    Mutant("blocks not durable", Product(store=BlocklessStore), "silent", 40, blackout_chance=0.3),
    Mutant("own votes not reloaded", Product(core=AmnesiacCore), "selective_sender", 20, crash_chance=0.8),
    Mutant("notarizes twice", Product(core=EagerCore, store=CarelessStore), "equivocating_leader", 30),
    Mutant("an epoch without end", Product(core=EndlessCore), "silent", 3, epoch_blocks=4),
    Mutant(
        "a block's bytes decide whether it is a filler",
        Product(core=PickyCore),
        "block_twister",
        20,
        epoch_blocks=4,
    ),
    Mutant("the floor outlives its epoch", Product(store=StaleStore), "silent", 5, epoch_blocks=4),
    Mutant("blocks not executed", Product(core=UnexecutedCore), "poisoning_leader", 5),
)


def scenario_for(mutant: Mutant, seed: int) -> Scenario:
    """A few equal validators, one hostile, rough weather."""
    hostile = Random(f"mutant {seed}").randrange(mutant.size)
    return Scenario(
        seed=seed,
        weights=(10,) * mutant.size,
        byzantine={hostile: mutant.adversary},
        block_interval_ms=200,
        loss=mutant.loss,
        spike_chance=0.1,
        partition_chance=0.1,
        crash_chance=mutant.crash_chance,
        blackout_chance=mutant.blackout_chance,
        epoch_blocks=mutant.epoch_blocks,
        disk_ms=20,
        progress_ms=20_000,
    )
