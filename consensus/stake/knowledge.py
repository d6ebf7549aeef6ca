"""What the core knows, and how it says what it wants: the ground floor of ``core``. Decides nothing.

The core is one object in floors, each a class that extends the one below it: ``Knowledge`` (this), ``Execution`` (candidates,
R6), ``Voting`` (R3, R4, R5), ``Leading`` (R2), ``Standstill`` (R8), ``Core`` (events, R1, R7, R9).
"""

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import Final

from consensus.schedule.leaders import LeaderSchedule
from consensus.stake.candidates import Candidates
from consensus.stake.effects import Cast, Disputed, Effect, Halt
from consensus.stake.events import FinalPoint
from consensus.stake.safety import ROOT_VIEW, Kept
from consensus.stake.scheme import Scheme
from consensus.stake.slots import Slot, Slots
from consensus.stake.timing import Alarms
from omnitensor.protocol import limits
from omnitensor.protocol.epochs import boundary_of
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import Epoch, Hash, Height, TimeMs, View
from omnitensor.protocol.votes import Certificate, Proposal, ValidatorTable, Vote, VoteKind


class Rule(Enum):
    """The rules of the specification, by name; counted as they fire."""

    R0 = "genesis: a proposal on the epoch's root"
    R1 = "enter a view"
    R2 = "propose"
    R2_FILLER = "propose a filler above the epoch's boundary"
    R2_WORKER = "propose as a worker, which does not vote"
    R3 = "notarize"
    R3_FILLER = "notarize a filler"
    R4 = "skip"
    R4_EARLY = "skip at once"
    R5 = "finalize"
    R5_HALT = "halt on an invalid block with a quorum"
    R6 = "commit"
    R6_BOUNDARY = "commit the boundary, and end the epoch"
    R7 = "build a certificate"
    R8 = "send again in a standstill"
    R9 = "cast again after a restart"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a core is told about its chain and itself. Times in milliseconds."""

    me: int | None
    """Index of this validator in the epoch's table; None for a node that only follows."""
    block_interval_ms: int
    delta_ms: int
    standstill_ms: int
    clock_drift_ms: int
    boundary: Height
    """Height of the epoch's last block: above it there are fillers alone, and with it final the core's work is done."""
    lead: int | None = None
    """Index of this node in the schedule where it leads as a worker and does not vote; None for all others."""

    @classmethod
    def of(cls, params: Params, me: int | None, epoch: Epoch, lead: int | None = None) -> "Settings":
        """``lead``: index in the schedule of a node that may lead, also a validator's."""
        return cls(
            me,
            params.block_interval_ms,
            params.delta_ms,
            params.standstill_ms,
            params.clock_drift_ms,
            boundary_of(epoch, params),
            lead if me is None else None,
        )


class Knowledge:
    """State of a core and the small questions that every rule asks. One owner: the core that extends it."""

    def __init__(
        self,
        settings: Settings,
        table: ValidatorTable,
        schedule: LeaderSchedule,
        scheme: Scheme,
        root: FinalPoint,
    ) -> None:
        assert root.height < settings.boundary, "an epoch whose boundary is final needs no core"
        assert settings.me is None or 0 <= settings.me < len(table), "this validator must be in the table"
        assert settings.lead is None or (
            settings.me is None and len(table) <= settings.lead < len(schedule)
        ), "a worker leads from beyond the table, and has no seat in it"
        self.settings: Final = settings
        self.table: Final = table
        self.schedule: Final = schedule
        self.me: Final = settings.me
        """Index in the table of a validator, which votes."""
        self.lead: Final = settings.me if settings.me is not None else settings.lead
        """Index in the schedule of whoever may lead: a validator's own, or a worker's, which is beyond the table."""
        self.now_ms: int = root.timestamp_ms
        self.view: View = root.view
        self.final: FinalPoint = root
        """The newest committed point."""
        self.newest_finalization: Certificate | None = None
        """A finalization above ``final`` whose blocks are not all here and executed yet; the newest there is."""
        self.halted: bool = False
        self.fired: Counter[Rule] = Counter()
        self._floor: View = ROOT_VIEW
        self._scheme: Final = scheme
        self._slots: Final = Slots(table, scheme)
        self._candidates: Final = Candidates(
            limits.final_candidates_kept_max, limits.candidates_missing_max, settings.boundary
        )
        self._alarms: Final = Alarms()
        self._newest_chosen: View = root.view
        """The newest view below the current one in which a quorum chose a candidate; all views above it were skipped."""
        self._to_finalize: set[View] = set()
        """Views whose notarization or block came, for R5 to look at."""
        self._last_active: list[View] = [root.view] * len(table)
        """The newest view in which each validator was heard, by its own vote or in a certificate."""
        self._out: list[Effect] = []

    # -- what peers and the driver may ask, without changing anything

    @property
    def over(self) -> bool:
        """Whether the epoch's boundary is final here: the next epoch has a core of its own, and this one only answers."""
        return self.final.height >= self.settings.boundary

    @property
    def finalized_view(self) -> View:
        """The newest view known to be final, committed here or not."""
        certificate = self.newest_finalization
        return View(certificate.view) if certificate is not None else self.final.view

    @property
    def leader(self) -> int:
        """Index in the schedule of the current view's leader."""
        return self.schedule.leader(self.view)

    def find(self, candidate_id: Hash) -> Kept | None:
        """Candidate and block for a peer that fetches it; None when it is not (or no longer) in memory."""
        return self._candidates.find(candidate_id)

    def certificates(self, first: View, last: View) -> tuple[Certificate, ...]:
        """Certificates of views ``first..last``, oldest first, at most ``certificates_per_message_max``.

        Where some of these views are final already, the newest finalization stands for them all; at the end of the epoch for any.
        """
        found: list[Certificate] = []
        if (first <= self.final.view or self.over) and self.final.proof is not None:
            found.append(self.final.proof.certificate)
        for view in range(
            max(first, self.final.view + 1), min(last, self.final.view + limits.view_slots_max) + 1
        ):
            slot = self._slots.get(View(view))
            if slot is not None:
                found.extend(slot.certificates())
            if len(found) >= limits.certificates_per_message_max:
                break
        return tuple(found[: limits.certificates_per_message_max])

    def wants_vote(self, vote: Vote) -> bool:
        """Whether a vote is worth verifying; decided in O(1) before any cryptography."""
        if self.over or vote.epoch != self.table.epoch or not 0 <= vote.signer < len(self.table):
            return False
        if vote.view <= self.final.view:
            # Too late to count, but a slow validator must not be taken for one that is gone.
            return self._is_late_attendance(vote) or (
                vote.view > self._last_active[vote.signer] and self.is_inactive(vote.signer)
            )
        if vote.view > self.view + limits.views_ahead_max:
            return False
        slot = self._slots.get(View(vote.view))
        return slot is None or (slot.book is not None and not slot.book.knows(vote))

    def _is_late_attendance(self, vote: Vote) -> bool:
        """Whether a vote finalizes the newest final candidate, and its proof and the votes in hand lack it: the next block may
        still name it."""
        last, proof = self._slots.last, self.final.proof
        return (
            last is not None
            and last.book is not None
            and proof is not None
            and vote.view == last.view == self.final.view
            and vote.kind == VoteKind.FINALIZE
            and vote.candidate_id == self.final.candidate_id
            and not proof.certificate.signers[vote.signer // 8] >> (vote.signer % 8) & 1
            and not last.book.knows(vote)
        )

    def wants_certificate(self, certificate: Certificate) -> bool:
        """Whether a certificate is worth verifying; decided in O(1) before any cryptography."""
        if self.over or certificate.epoch != self.table.epoch or certificate.view <= self.final.view:
            return False
        return not self.has_certificate(certificate)

    def has_certificate(self, certificate: Certificate) -> bool:
        """Whether one for the same thing was taken in already: such a one needs no verification again."""
        if (
            self.final.proof is not None
            and certificate.kind == VoteKind.FINALIZE
            and certificate.candidate_id == self.final.candidate_id
        ):
            return certificate.view == self.final.view and certificate.epoch == self.table.epoch
        slot = self._slots.get(View(certificate.view))
        held = slot.holds(certificate.kind) if slot is not None else None
        return (
            held is not None
            and held.epoch == certificate.epoch
            and held.candidate_id == certificate.candidate_id
        )

    def is_flooded(self, proposal: Proposal) -> bool:
        """Whether its leader has signed two other candidates in that view already: a third adds nothing, and is not passed on."""
        vote = proposal.leader_vote
        slot = self._slots.get(View(vote.view))
        if slot is None:
            return False
        if not self._votes(vote.signer):
            known = [signed.candidate_id for signed in slot.signed_by_worker]
            return len(known) >= PROPOSALS_OF_ONE_VIEW_MAX and vote.candidate_id not in known
        if slot.book is None or not slot.book.knows(vote):
            return False
        return all(known.candidate_id != vote.candidate_id for known in slot.book.of_signer(vote.signer))

    def is_inactive(self, validator: int) -> bool:
        """Whether a validator was not heard of for so many views that its lead is not waited for (R4).

        Never a worker: it says nothing but its proposals, so its silence shows nothing.
        """
        return self._votes(validator) and self.view - self._last_active[validator] > LEADER_INACTIVE_VIEWS

    # -- small helpers of the rules

    def _emit(self, effect: Effect) -> None:
        self._out.append(effect)

    def _halt(self, report: str, disputed: Disputed | None = None) -> None:
        self.halted = True
        where = f"[epoch {self.table.epoch}, view {self.view}, final view {self.final.view}]"
        self._emit(Halt(f"{report} {where}", disputed))

    def _votes(self, index: int) -> bool:
        """Whether an index of the schedule is a validator's. Beyond the table are workers, whose signatures count nowhere."""
        return index < len(self.table)

    def _may_sign(self, view: View) -> bool:
        """Whether this node votes at all in a view: it is a validator, and remembers the view (R9)."""
        return self.me is not None and view > self._floor

    def _may_lead(self, view: View) -> bool:
        """Whether this node may propose in a view that it leads: it is a validator or a worker, and remembers the view (R9)."""
        return self.lead is not None and view > self._floor

    def _cast(self, slot: Slot, kind: VoteKind, candidate_id: Hash, basis: Certificate | None = None) -> None:
        """Have a vote signed. ``voted`` is set at once: what was asked for is never asked for differently."""
        assert kind not in slot.voted and self._may_sign(slot.view)
        slot.voted[kind] = candidate_id
        self._emit(self._ballot(slot, kind, candidate_id, basis))

    def _ballot(
        self, slot: Slot, kind: VoteKind, candidate_id: Hash, basis: Certificate | None = None
    ) -> Cast:
        assert self.lead is not None
        return Cast(kind, self.table.epoch, slot.view, candidate_id, self.lead, basis)

    def _heard(self, validator: int, view: View) -> None:
        if view > self._last_active[validator]:
            self._last_active[validator] = view

    def _timestamp_of(self, candidate_id: Hash) -> TimeMs | None:
        """Timestamp of a candidate's block, where it is here."""
        if candidate_id == self.final.candidate_id:
            return self.final.timestamp_ms
        entry = self._candidates.get(candidate_id)
        return entry.timestamp_ms if entry is not None else None


PROPOSALS_OF_ONE_VIEW_MAX: Final = 2
"""Of one leader: two show that it contradicts itself, more say nothing new."""
LEADER_INACTIVE_VIEWS: Final = 10
"""R4: a leader not heard of for more than this many views is skipped at once."""
