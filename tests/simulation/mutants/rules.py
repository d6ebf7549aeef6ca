"""Planted faults in the core's rules: R1 to R8, epochs, and what a leader and its voters check of a block."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from consensus.stake.candidates import Entry, Status
from consensus.stake.core import Core
from consensus.stake.knowledge import Rule, Settings
from consensus.stake.safety import SafetyMemory
from consensus.stake.slots import Slot
from consensus.stake.timing import Alarm
from omnitensor.protocol.types import Hash, Height, TimeMs, View
from omnitensor.protocol.votes import SKIP_ID, Certificate, VoteKind


class NoSkipCheckCore(Core):
    """R3 without the skip certificates."""

    def _skips_in_hand(self, parent_view: View, view: View) -> bool:
        return True


class FinalizeAfterSkipCore(Core):
    """R5 without looking whether SKIP was sent."""

    def _finalize(self, slot: Slot, entry: Entry) -> None:
        if entry.status is Status.VALID and VoteKind.FINALIZE not in slot.voted:
            self._cast(slot, VoteKind.FINALIZE, entry.id, slot.notarization)


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


class LateBoundaryCore(Core):
    """An epoch that is one block too long."""

    def __init__(self, settings: Settings, *rest: Any) -> None:
        super().__init__(replace(settings, boundary=Height(settings.boundary + 1)), *rest)


class FutureCore(Core):
    """R3 without looking whether a timestamp is ahead of the clock."""

    def __init__(self, settings: Settings, *rest: Any) -> None:
        super().__init__(replace(settings, clock_drift_ms=10**9), *rest)


class PastCore(Core):
    """R3 without looking whether a block interval lies between a timestamp and the parent's."""

    def _check(self, entry: Entry, parent_hash: Hash, parent_height: Height, parent_ms: TimeMs) -> Any:
        filler = entry.candidate.block_hash == parent_hash
        return super()._check(entry, parent_hash, parent_height, parent_ms if filler else TimeMs(0))


class HastyCore(Core):
    """R6 on a notarization: final after one round of votes."""

    def _take_certificate(self, certificate: Certificate) -> None:
        super()._take_certificate(certificate)
        if certificate.kind == VoteKind.NOTARIZE and certificate.view > self.finalized_view:
            self.newest_finalization = certificate


class MuteCore(Core):
    """R8 left out: nothing is said twice."""

    def _r8_standstill(self) -> None:
        if self._alarms.due(Alarm.STANDSTILL, self.now_ms):
            self._alarms.set(Alarm.STANDSTILL, self.now_ms + self.settings.standstill_ms)


class PatientCore(Core):
    """R4 without its timer: waits for a leader for ever."""

    def _r4_skip(self) -> None:
        self._alarms.clear(Alarm.VIEW)


class SkipAfterFinalizeCore(Core):
    """R4 without looking whether FINALIZE was sent."""

    def _r4_skip(self) -> None:
        slot = self._slots.at(self.view)
        if self._alarms.due(Alarm.VIEW, self.now_ms) and VoteKind.SKIP not in slot.voted:
            self.fired[Rule.R4] += 1
            self._cast(slot, VoteKind.SKIP, SKIP_ID)
        for view in range(self.final.view + 1, self.view):
            left = self._slots.at(View(view))
            if VoteKind.FINALIZE in left.voted and VoteKind.SKIP not in left.voted:
                self._cast(left, VoteKind.SKIP, SKIP_ID)
