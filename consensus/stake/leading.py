"""What a leader does: R2. Finds the parent, waits for the pace, has a block built, and offers it once."""

from consensus.stake.candidates import Status
from consensus.stake.effects import Build, Propose
from consensus.stake.knowledge import Rule
from consensus.stake.roll import fullest
from consensus.stake.safety import Kept
from consensus.stake.slots import Slot
from consensus.stake.timing import Alarm
from consensus.stake.voting import Voting
from omnitensor.protocol import limits
from omnitensor.protocol.blocks import Block
from omnitensor.protocol.types import Hash, TimeMs, View
from omnitensor.protocol.votes import SKIP_ID, Attendance, Candidate, Certificate, VoteKind


class Leading(Voting):
    """The leader's part of a view."""

    def _parent(self) -> tuple[View, Hash]:
        """R2: the first view, back from the one before, in which a quorum chose a candidate, and that candidate.

        R1 lets no view be left without a certificate, so every view between has its skip certificate here.
        """
        slot = self._slots.get(self._newest_chosen) if self._newest_chosen > self.final.view else None
        if slot is not None and slot.chosen is not None:
            return slot.view, slot.chosen
        return self.final.view, self.final.candidate_id

    def _pace_ms(self, parent_id: Hash) -> int:
        """When a child of this parent is due: the parent's timestamp plus the block interval, or now when it is not here.

        A filler above the boundary waits for nothing: it makes no block, it only helps one to become final.
        """
        entry = self._candidates.get(parent_id)
        if entry is not None and entry.height >= self.settings.boundary:
            return self.now_ms
        timestamp_ms = self._timestamp_of(parent_id)
        return self.now_ms if timestamp_ms is None else timestamp_ms + self.settings.block_interval_ms

    def _may_propose(self, slot: Slot) -> bool:
        return (
            self.leader == self.lead
            and self._may_lead(slot.view)
            and not slot.proposed
            and not slot.given_up
            and VoteKind.NOTARIZE not in slot.voted
            and VoteKind.SKIP not in slot.voted
        )

    def _r2_propose(self) -> None:
        """R2 Propose: build on the newest chosen parent, not before the block interval has passed; see ``_built``."""
        slot = self._slots.at(self.view)
        if slot.building is not None or not self._may_propose(slot):
            return
        parent_view, parent_id = self._parent()
        if parent_id == self.final.candidate_id:
            parent_hash, height, timestamp_ms = (
                self.final.block_hash,
                self.final.height,
                self.final.timestamp_ms,
            )
        else:
            entry = self._candidates.get(parent_id)
            if entry is None:
                self._miss(parent_id, parent_view)
                return
            self._want_checked(entry)
            if entry.status is not Status.VALID:
                return
            assert entry.timestamp_ms is not None, "what is valid has a time"
            parent_hash, height, timestamp_ms = (
                Hash(entry.candidate.block_hash),
                entry.height,
                entry.timestamp_ms,
            )
        if height >= self.settings.boundary:
            self._offer(
                slot, Candidate(self.table.epoch, slot.view, parent_view, parent_id, parent_hash), None
            )
            return
        due_ms = timestamp_ms + self.settings.block_interval_ms
        if self.now_ms < due_ms:
            self._alarms.set(Alarm.PACE, due_ms)
            return
        slot.building = (parent_view, parent_id)
        attendance = self._attendance(parent_view, parent_id)
        self._emit(Build(self.view, parent_id, parent_hash, height, TimeMs(self.now_ms), attendance))

    def _attendance(self, parent_view: View, parent_id: Hash) -> Attendance | None:
        """Who voted for the parent, as far as is known here: a certificate at least, since R2 chose it; None at the root."""
        if parent_id != self.final.candidate_id:
            entry, slot = self._candidates.get(parent_id), self._slots.get(parent_view)
            assert entry is not None and slot is not None, "R2 builds on what is here"
            return fullest(entry.candidate, slot.certificates(), slot.book, self.table, self._scheme)
        proof, last = self.final.proof, self._slots.last
        if proof is None:
            return None
        certificates, book = [proof.certificate], None
        if last is not None and last.view == self.final.view:
            certificates, book = [*certificates, *last.certificates()], last.book
        return fullest(proof.candidate, certificates, book, self.table, self._scheme)

    def _built(self, view: View, block: Block | None) -> None:
        """The answer to ``Build``: offer the block if the view still is ours to lead; without one skip it at once (R4).

        A worker has no SKIP: it lets the view go, and the others' timers end it.
        """
        slot = self._slots.at(view) if view == self.view else None
        if slot is None or slot.building is None or not self._may_propose(slot):
            return
        (parent_view, parent_id), slot.building = slot.building, None
        if parent_view < self.finalized_view:
            return  # a later view became final meanwhile: R2 begins anew
        if block is None and not self._may_sign(view):
            slot.given_up = True
            return
        if block is None:
            self.fired[Rule.R4_EARLY] += 1
            self._alarms.clear(Alarm.VIEW)
            self._cast(slot, VoteKind.SKIP, SKIP_ID)
            return
        self._offer(slot, Candidate(self.table.epoch, view, parent_view, parent_id, block.hash), block)

    def _offer(self, slot: Slot, candidate: Candidate, block: Block | None) -> None:
        """Propose a candidate with the block that was built for it, or a filler without one."""
        candidate_id = candidate.id
        entry = self._candidates.put(candidate_id, candidate, block)
        if block is None:
            self.fired[Rule.R2_FILLER] += 1
            self._want_checked(entry)
            assert entry.status is Status.VALID, "a filler stands on the boundary"
        entry.status = Status.VALID
        self.fired[Rule.R2] += 1
        if self.me is None:
            self.fired[Rule.R2_WORKER] += 1
        if candidate.parent_view == 0:
            self.fired[Rule.R0] += 1
        slot.proposed = True
        slot.proposal = candidate_id
        slot.offer = Kept(candidate, block)
        slot.voted[VoteKind.NOTARIZE] = candidate_id
        vote = self._ballot(slot, VoteKind.NOTARIZE, candidate_id)
        justification = self._justification(candidate)
        assert justification is not None, (
            "R1 lets no view be left, and R2 no parent be chosen, without a certificate"
        )
        self._emit(Propose(candidate, block, justification, vote))

    def _justification(self, candidate: Candidate) -> tuple[Certificate, ...] | None:
        """R2: the parent's certificate, then the newest skip certificates of the views crossed that go inline, oldest first.

        None while one is not in hand, as after a restart: what was proposed then can't be justified again yet.
        """
        parent_view, parent_id = View(candidate.parent_view), Hash(candidate.parent_id)
        inline: list[Certificate] = []
        if parent_view == self.final.view:
            if self.final.proof is not None:
                inline.append(self.final.proof.certificate)
        else:
            parent = self._slots.get(parent_view)
            if parent is None or parent.chosen != parent_id:
                return None
            inline.extend(parent.certificates()[:1])  # finalization or notarization: it was chosen
        room = limits.justification_certificates_max - len(inline)
        for crossed in range(max(parent_view + 1, candidate.view - room), candidate.view):
            slot = self._slots.get(View(crossed))
            if slot is None or slot.skip is None:
                return None
            inline.append(slot.skip)
        return tuple(inline)
