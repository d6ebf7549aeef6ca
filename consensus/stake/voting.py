"""When this validator notarizes, skips and finalizes: R3, R4, R5. Each acts once a view at most."""

from enum import Enum

from consensus.stake.candidates import Entry, Status
from consensus.stake.effects import Keep
from consensus.stake.execution import Execution
from consensus.stake.knowledge import Rule
from consensus.stake.slots import Slot
from consensus.stake.timing import Alarm
from omnitensor.protocol.types import Hash, View
from omnitensor.protocol.votes import SKIP_ID, Candidate, VoteKind


class Grounds(Enum):
    """Whether a candidate's place in the chain is justified by certificates in hand (R3)."""

    SOUND = "parent's certificate and all skip certificates in hand"
    INCOMPLETE = "a certificate is missing"
    HOPELESS = "no certificate that can exist justifies it"


class Voting(Execution):
    """Own votes in the current view and below."""

    _missing_views: tuple[View, View] | None = None
    """First and last view whose certificates the current candidate lacks."""
    _crossed: tuple[View, View] = (View(0), View(0))
    """(u, v): skip certificates of all views above u and below v were seen; remembered so that long gaps are walked once."""

    # -- R3

    def _r3_notarize(self) -> None:
        """R3 Notarize: in the current view, once, the leader's candidate, when grounded, executed and valid."""
        slot = self._slots.at(self.view)
        self._missing_views = None
        if slot.proposal is None or VoteKind.NOTARIZE in slot.voted:
            return
        entry = self._candidates.get(slot.proposal)
        if entry is None or entry.status is Status.INVALID:
            return
        match self._grounds(entry.candidate):
            case Grounds.HOPELESS:
                self._invalid(
                    entry,
                    "its parent is not what a quorum chose: if a quorum stands behind both, a third of the stake voted twice",
                )
                return
            case Grounds.INCOMPLETE:
                return
            case Grounds.SOUND:
                self._want_checked(entry)
        if entry.status is not Status.VALID or not self._may_sign(self.view):
            return
        assert entry.timestamp_ms is not None, "what is valid has a time"
        near_enough_ms = entry.timestamp_ms - self.settings.clock_drift_ms
        if near_enough_ms > self.now_ms:
            # Not invalid, only early by this clock: others may rightly notarize it.
            self._alarms.set(Alarm.DRIFT, near_enough_ms)
            return
        self.fired[Rule.R3] += 1
        if entry.block is None:
            self.fired[Rule.R3_FILLER] += 1
        if entry.candidate.parent_view == 0:
            self.fired[Rule.R0] += 1
        self._emit(Keep(entry.candidate, entry.block))
        self._cast(slot, VoteKind.NOTARIZE, entry.id)

    def _grounds(self, candidate: Candidate) -> Grounds:
        """Whether the certificates in hand allow a candidate of the current view on its parent (R0, R3)."""
        parent_view = View(candidate.parent_view)
        if parent_view < self.finalized_view:
            return Grounds.HOPELESS
        if parent_view == self.final.view:
            chosen: Hash | None = self.final.candidate_id
        else:
            parent_slot = self._slots.get(parent_view)
            chosen = parent_slot.chosen if parent_slot is not None else None
        if chosen is None:
            self._missing_views = (parent_view, parent_view)
            return Grounds.INCOMPLETE
        if chosen != candidate.parent_id:
            return Grounds.HOPELESS
        return Grounds.SOUND if self._skips_in_hand(parent_view, View(candidate.view)) else Grounds.INCOMPLETE

    def _skips_in_hand(self, parent_view: View, view: View) -> bool:
        """Whether every view between parent and candidate has its skip certificate; notes which are missing."""
        low, high = self._crossed
        start = high if low == parent_view and high > parent_view else View(parent_view + 1)
        for crossed in range(start, view):
            slot = self._slots.get(View(crossed))
            if slot is None or slot.skip is None:
                self._crossed = (parent_view, View(crossed))
                self._missing_views = (View(crossed), View(view - 1))
                return False
        self._crossed = (parent_view, view)
        return True

    # -- R4

    def _r4_skip(self) -> None:
        """R4 Skip: when the timer has run out, or at once when waiting can bring nothing good."""
        slot = self._slots.at(self.view)
        if VoteKind.SKIP in slot.voted or VoteKind.FINALIZE in slot.voted or not self._may_sign(self.view):
            self._alarms.clear(Alarm.VIEW)
            return
        if self._alarms.due(Alarm.VIEW, self.now_ms):
            self.fired[Rule.R4] += 1
        elif self._pointless(slot):
            self.fired[Rule.R4_EARLY] += 1
        else:
            return
        self._alarms.clear(Alarm.VIEW)
        self._cast(slot, VoteKind.SKIP, SKIP_ID)

    def _pointless(self, slot: Slot) -> bool:
        """Whether the view can be given up before its timer: safe always, and no correct leader is wronged."""
        leader = self.leader
        if leader == self.lead:
            return False
        if slot.leader_equivocated:
            return True
        entry = self._candidates.get(slot.proposal) if slot.proposal is not None else None
        if entry is not None and entry.status is Status.INVALID:
            return True
        if VoteKind.NOTARIZE in slot.voted:
            return False
        if slot.book is not None and any(v.kind == VoteKind.SKIP for v in slot.book.of_signer(leader)):
            return True
        return slot.proposal is None and self.is_inactive(leader)

    # -- R5

    def _r5_finalize(self) -> None:
        """R5 Finalize: a notarized block that is valid here, in a view that was not skipped; also after leaving the view."""
        for view in sorted(self._to_finalize):
            if view > self.view or self.halted:
                continue
            self._to_finalize.discard(view)
            slot = self._slots.get(view)
            if slot is None or slot.notarization is None:
                continue
            entry = self._candidates.get(Hash(slot.notarization.candidate_id))
            if entry is None:
                self._miss(Hash(slot.notarization.candidate_id), view)
            elif entry.status is Status.INVALID:
                self._halt_on_invalid(entry, "notarized")
            else:
                self._want_checked(entry)
                self._finalize(slot, entry)

    def _finalize(self, slot: Slot, entry: Entry) -> None:
        if (
            entry.status is Status.VALID
            and self._may_sign(slot.view)
            and VoteKind.SKIP not in slot.voted
            and VoteKind.FINALIZE not in slot.voted
        ):
            self.fired[Rule.R5] += 1
            self._cast(slot, VoteKind.FINALIZE, entry.id, slot.notarization)
