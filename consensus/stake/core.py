"""The stake core: ``handle(event) -> effects``. Pure: no clock, no chance, no files, no sockets; cryptography happens outside.

An event is first taken in (what is known changes), then the rules look at what is known and act where they must. So every rule is
written once, and it does not matter which event completed its conditions. Between events nothing is half done.
"""

from typing import Final

from consensus.stake.candidates import Entry
from consensus.stake.effects import Accuse, Broadcast, Charge, Effect, FetchCertificates, SetTimer
from consensus.stake.events import (
    BlockBuilt,
    BlockChecked,
    CandidateReceived,
    CertificateReceived,
    Event,
    Peer,
    ProposalReceived,
    Start,
    Synced,
    Tick,
    VoteReceived,
)
from consensus.stake.evidence import ConflictingCertificates, ConflictingVotes, conflicts
from consensus.stake.knowledge import PROPOSALS_OF_ONE_VIEW_MAX, Rule
from consensus.stake.safety import Kept, SafetyMemory
from consensus.stake.standstill import Standstill
from consensus.stake.timing import Alarm, view_timeout_ms
from omnitensor.protocol import limits
from omnitensor.protocol.types import Hash, View
from omnitensor.protocol.votes import Certificate, Proposal, Vote, VoteKind

CLOCK_STEP_MS: Final = 1_000
"""An event that is older than the one before by more than this tells of a clock that was set back."""


class Core(Standstill):
    """One validator's (or follower's) view of one epoch. The first event is ``Start``.

    Create it from the head's FinalPoint (R0: the boundary block at the root of an epoch). Memory is bounded by ``limits``: votes
    ahead, candidates a view, votes a validator and view, candidates being fetched. It grows with the views since the last final
    block only.
    """

    _started: bool = False
    _timer_ms: int | None = None
    _newest_certified: View = View(0)
    """The newest view that any certificate was seen of."""
    _cast_again_to: View = View(0)
    _asked: int = 0
    """Times that the currently missing certificates were asked for."""

    def handle(self, event: Event) -> tuple[Effect, ...]:
        """Take in one event; returns what is to be done, in order.

        After ``Halt`` nothing is done any more, and nothing after the ``Commit`` of the epoch's boundary.
        """
        if self.halted or self.over:
            return ()
        assert self._started != isinstance(event, Start), "Start comes first, and once"
        self._now(event.now_ms)
        self._take(event)
        self._act()
        out, self._out = tuple(self._out), []
        return out

    # -- taking in

    def _now(self, now_ms: int) -> None:
        if self._started and self.now_ms - CLOCK_STEP_MS <= now_ms < self.now_ms:
            return  # events overtake one another a little on their way here: the later instant holds
        if self._started and now_ms < self.now_ms:
            self._alarms.shift(now_ms - self.now_ms)
            self._candidates.shift(now_ms - self.now_ms)
            if self._behind_again_ms is not None:
                self._behind_again_ms += now_ms - self.now_ms
            self._timer_ms = None
        self.now_ms = now_ms

    def _take(self, event: Event) -> None:
        match event:
            case VoteReceived(_, peer, vote):
                self._take_vote(vote, peer)
            case CertificateReceived(_, _, certificate):
                self._take_certificate(certificate)
            case ProposalReceived(_, peer, proposal):
                self._take_proposal(proposal, peer)
            case CandidateReceived(_, _, candidate, block, certificates):
                for certificate in sorted(certificates, key=lambda c: c.view):
                    self._take_certificate(certificate)
                candidate_id = candidate.id
                if self._candidates.misses(candidate_id):
                    self._arrived(self._candidates.put(candidate_id, candidate, block))
            case BlockChecked(_, candidate_id, fault):
                entry = self._candidates.get(candidate_id)
                if entry is not None and fault is None:
                    self._valid(entry)
                elif entry is not None:
                    self._invalid(entry, fault or "")
            case BlockBuilt(_, view, block):
                self._built(view, block)
            case Tick():
                self._timer_ms = None
            case Synced(_, point):
                if point.height > self.final.height:
                    self.final = point
                    self._prune()
            case Start(_, memory):
                self._start(memory)

    def _start(self, memory: SafetyMemory) -> None:
        """R9: what was signed before counts again, and nothing else is ever signed in those views. R0: begin above the root."""
        self._started = True
        self._floor = memory.floor
        self._slots.remember(memory)
        for kept in memory.kept:
            if kept.candidate.view > self.final.view:
                self._restore(kept)
        for certificate in sorted(memory.certificates, key=lambda c: c.view):
            self._take_certificate(certificate)
        self._alarms.set(Alarm.STANDSTILL, self.now_ms + self.settings.standstill_ms)
        first = View(self.final.view + 1)
        self._emit(FetchCertificates(first, View(first + limits.certificates_per_message_max - 1), attempt=0))
        self._r1_enter(first)

    def _restore(self, kept: Kept) -> None:
        candidate_id = kept.candidate.id
        entry = self._candidates.put(candidate_id, kept.candidate, kept.block)
        slot = self._slots.at(entry.view)
        if slot.voted.get(VoteKind.NOTARIZE) == candidate_id:
            slot.proposal = candidate_id
            if slot.proposed:
                slot.offer = kept

    def _cast_again(self, last: View) -> None:
        """R9: sign again, for all to count, what was signed before the restart in views up to ``last``."""
        for view in range(max(self._cast_again_to, self.final.view) + 1, last + 1):
            for record in self._slots.remembered(View(view)):
                if self._may_sign(View(view)):
                    self.fired[Rule.R9] += 1
                    slot = self._slots.at(View(view))
                    self._emit(self._ballot(slot, record.kind, record.candidate_id))
        self._cast_again_to = max(self._cast_again_to, last)

    def _take_vote(self, vote: Vote, peer: Peer) -> None:
        view = View(vote.view)
        if not self._votes(vote.signer):
            self._take_workers(vote)
            return
        self._heard(vote.signer, min(view, self.view))
        if vote.epoch != self.table.epoch:
            return
        if self._is_late_attendance(vote):
            self._take_late(vote)
        if not self.final.view < view <= self.view + limits.views_ahead_max:
            return
        slot = self._slots.at(view)
        if vote.signer == self.me:
            if slot.voted.get(vote.kind) != vote.candidate_id:
                self._not_mine(vote.kind, view)
                return
            slot.own_votes[vote.kind] = vote
        if slot.book is None:
            return
        counted = slot.book.add(vote)
        if counted.conflict is not None:
            self._emit(Accuse(counted.conflict))
            if (
                vote.signer == self.schedule.leader(view)
                and counted.conflict.first.kind == counted.conflict.second.kind
            ):
                slot.leader_equivocated = True
        if counted.certificate is not None and slot.holds(vote.kind) is None:
            self.fired[Rule.R7] += 1
            self._take_certificate(counted.certificate)

    def _take_workers(self, vote: Vote) -> None:
        """What a worker signed under its proposal. It counts for nothing; with another of that view it ends its lead (R4)."""
        view = View(vote.view)
        if (
            vote.epoch != self.table.epoch
            or vote.kind != VoteKind.NOTARIZE
            or vote.signer != self.schedule.leader(view)
            or not self.final.view < view <= self.view + limits.views_ahead_max
        ):
            return
        slot = self._slots.at(view)
        if vote.signer == self.lead:
            if slot.voted.get(VoteKind.NOTARIZE) != vote.candidate_id:
                self._not_mine(VoteKind.NOTARIZE, view)
                return
            slot.own_votes[VoteKind.NOTARIZE] = vote
        signed = slot.signed_by_worker
        if len(signed) == PROPOSALS_OF_ONE_VIEW_MAX or vote.candidate_id in {v.candidate_id for v in signed}:
            return
        signed.append(vote)
        if len(signed) == PROPOSALS_OF_ONE_VIEW_MAX:
            slot.leader_equivocated = True
            self._emit(Accuse(ConflictingVotes.of(*signed)))

    def _take_late(self, vote: Vote) -> None:
        """A vote for what is final already: the next leader names it, and it may still convict its signer."""
        last = self._slots.last
        assert last is not None and last.book is not None
        counted = last.book.add(vote)
        if counted.conflict is not None:
            self._emit(Accuse(counted.conflict))

    def _remembers(self, certificate: Certificate, signers: tuple[int, ...]) -> bool:
        """Whether this validator is not in a certificate, or did cast that vote. Only a stolen or set back key is unlike that."""
        voted = self._slots.at(View(certificate.view)).voted
        return self.me not in signers or voted.get(certificate.kind) == certificate.candidate_id

    def _not_mine(self, kind: VoteKind, view: View) -> None:
        """R9: a signature of this node's key that this process does not remember, in a view that it should remember."""
        if self._may_lead(view):
            self._halt(
                f"a {kind.name} of view {view} carries this node's signature, but this process has not"
                " made it. Another process uses its key, or its safety store was set back: stop all, keep the newest"
                " store, start one"
            )

    def _take_certificate(self, certificate: Certificate) -> None:
        """Keep a certificate and pass it on, once (R7)."""
        view = View(certificate.view)
        if view <= self.final.view or certificate.epoch != self.table.epoch:
            return
        self._newest_certified = max(self._newest_certified, view)
        if certificate.kind != VoteKind.FINALIZE and view > self.view + limits.certificates_ahead_views_max:
            return
        slot = self._slots.at(view)
        if not self._fits(certificate, slot.certificates()):
            return
        signers = self.table.indexes(certificate.signers) or ()
        for validator in signers:
            self._heard(validator, min(view, self.view))
        if not self._remembers(certificate, signers):
            self._not_mine(certificate.kind, view)
        slot.put(certificate)
        self._emit(Broadcast(certificate))
        if certificate.kind == VoteKind.SKIP:
            return
        self._to_finalize.add(view)
        if view < self.view:
            self._newest_chosen = max(self._newest_chosen, view)
        if certificate.kind == VoteKind.FINALIZE and view > self.finalized_view:
            self.newest_finalization = certificate

    def _fits(self, certificate: Certificate, held: tuple[Certificate, ...]) -> bool:
        """Whether a certificate is new; where it contradicts one that is held, a third of the stake is convicted."""
        for other in held:
            if conflicts(
                other.kind, Hash(other.candidate_id), certificate.kind, Hash(certificate.candidate_id)
            ):
                self._emit(Accuse(ConflictingCertificates.of(other, certificate)))
        return all(other.kind != certificate.kind for other in held)

    def _take_proposal(self, proposal: Proposal, peer: Peer) -> None:
        candidate = proposal.candidate
        view = View(candidate.view)
        if view <= self.final.view or candidate.epoch != self.table.epoch:
            return
        if proposal.leader_vote.signer != self.schedule.leader(view):
            self._emit(Charge(peer, f"a proposal for view {view} that is not its leader's"))
            return
        for certificate in sorted(proposal.justification, key=lambda c: c.view):
            self._take_certificate(certificate)
        self._act_enter()
        self._take_vote(proposal.leader_vote, peer)
        if view > self.view + limits.proposals_ahead_views_max:
            return
        slot = self._slots.at(view)
        candidate_id = Hash(proposal.leader_vote.candidate_id)
        if slot.proposal is None:
            slot.proposal = candidate_id
        elif slot.proposal != candidate_id:
            slot.leader_equivocated = True
            if not self._candidates.misses(candidate_id):
                return
        self._arrived(self._candidates.put(candidate_id, candidate, proposal.block))

    def _arrived(self, entry: Entry) -> None:
        """A candidate is here: what waited for it goes on."""
        self._to_finalize.add(entry.view)
        for child in self._candidates.take_waiting(entry.id):
            waiting = self._candidates.get(child)
            if waiting is not None:
                self._want_checked(waiting)

    # -- acting

    def _act(self) -> None:
        """Every rule looks once. None of them completes another's conditions, except R1, which comes first."""
        for alarm in (Alarm.PACE, Alarm.DRIFT):
            self._alarms.due(alarm, self.now_ms)  # whoever still waits sets it anew
        for rule in (
            self._act_enter,
            self._r3_notarize,
            self._r2_propose,
            self._r4_skip,
            self._r5_finalize,
            self._r6_commit,
            self._r8_standstill,
        ):
            if not (self.halted or self.over):
                rule()
        if self.over:
            self.fired[Rule.R6_BOUNDARY] += 1
        if self.halted or self.over:
            return
        self._ask_for_certificates()
        if self._alarms.due(Alarm.FETCH, self.now_ms):
            self._fetch_due()
        self._arm_fetch()
        wake_ms = self._alarms.next()
        assert wake_ms is None or wake_ms > self.now_ms, "an alarm that stays due would ring for ever"
        if wake_ms is not None and wake_ms != self._timer_ms:
            self._timer_ms = wake_ms
            self._emit(SetTimer(wake_ms))

    def _act_enter(self) -> None:
        while not self.halted and (self._slots.at(self.view).passed or self.finalized_view >= self.view):
            self._r1_enter(View(max(self.view, self.finalized_view) + 1))

    def _r1_enter(self, view: View) -> None:
        """R1 Enter: the next view, with a timer that runs from the instant at which its leader may propose (Pace)."""
        assert view > self.view
        self.fired[Rule.R1] += 1
        self.view = view
        if view - self.final.view > limits.view_slots_max:
            self._halt(
                f"no block became final for {limits.view_slots_max} views. Look at why the others' blocks are not notarized,"
                " then start again"
            )
            return
        below = self._slots.get(View(view - 1))
        if below is not None and below.chosen is not None:
            self._newest_chosen = below.view
        _, parent_id = self._parent()
        idle = max(0, view - self.finalized_view - 2)
        begins_ms = max(self.now_ms, self._pace_ms(parent_id))
        self._alarms.set(Alarm.VIEW, begins_ms + view_timeout_ms(self.settings.delta_ms, idle))
        self._alarms.clear(Alarm.PACE)
        self._alarms.clear(Alarm.DRIFT)
        self._slots.retire(View(view - limits.views_ahead_max))
        self._cast_again(View(view + limits.views_ahead_max - 1))
        self._to_finalize.add(view)

    def _ask_for_certificates(self) -> None:
        """Ask for certificates that others must have: to leave this view (R1), or to judge its proposal (R2, R3)."""
        missing = self._missing_views
        wait_ms = 0
        if self._newest_certified > self.view:
            missing = (self.view, View(self._newest_certified - 1))
            wait_ms = self.settings.delta_ms // 2
        if missing is None:
            self._alarms.clear(Alarm.CERTIFICATES)
            self._asked = 0
            return
        if self._alarms.at(Alarm.CERTIFICATES) is None:
            self._alarms.set(Alarm.CERTIFICATES, self.now_ms + wait_ms)
        if self._alarms.due(Alarm.CERTIFICATES, self.now_ms):
            first, last = missing
            last = View(min(last, first + limits.certificates_per_message_max - 1))
            self._emit(FetchCertificates(first, last, self._asked))
            self._asked += 1
            self._alarms.set(Alarm.CERTIFICATES, self.now_ms + 2 * self.settings.delta_ms)
