"""R8: when nothing becomes final, say again what one knows, bounded in bytes a second. Repeats; decides nothing new."""

from collections.abc import Iterator

from consensus.stake.effects import Broadcast
from consensus.stake.knowledge import Rule
from consensus.stake.leading import Leading
from consensus.stake.slots import Slot
from consensus.stake.timing import Alarm
from omnitensor.protocol import limits
from omnitensor.protocol.codec import encode
from omnitensor.protocol.types import View
from omnitensor.protocol.votes import Certificate, Proposal, Vote, VoteKind

SECOND_MS = 1_000


class Standstill(Leading):
    """Sending again."""

    _repeat_from: View = View(0)
    """Where the last burst stopped for want of budget."""

    def _r8_standstill(self) -> None:
        """R8 Standstill: newest finalization (at a root the boundary's), every certificate above it, own votes, own proposal."""
        if not self._alarms.due(Alarm.STANDSTILL, self.now_ms):
            return
        self.fired[Rule.R8] += 1
        sent_bytes = 0
        for view, message in self._backlog():
            size = len(encode(message))
            if sent_bytes and sent_bytes + size > limits.standstill_bytes_per_second_max:
                self._repeat_from = view
                pause_ms = SECOND_MS * sent_bytes // limits.standstill_bytes_per_second_max + 1
                self._alarms.set(Alarm.STANDSTILL, self.now_ms + pause_ms)
                return
            sent_bytes += size
            self._emit(Broadcast(message))
        self._repeat_from = View(0)
        # One message may exceed a second's budget by itself; the pause pays for it.
        pause_ms = SECOND_MS * sent_bytes // limits.standstill_bytes_per_second_max
        self._alarms.set(Alarm.STANDSTILL, self.now_ms + max(self.settings.standstill_ms, pause_ms))

    def _backlog(self) -> Iterator[tuple[View, Vote | Certificate | Proposal]]:
        """What is worth saying, most useful first: the end of the chain, the current view, then the views between in order."""
        if self.final.inherited is not None:
            # Whoever is left in the epoch below needs this one to come after.
            yield self.final.view, self.final.inherited.certificate
        if self.final.proof is not None:
            yield self.final.view, self.final.proof.certificate
        if self.newest_finalization is not None:
            yield View(self.newest_finalization.view), self.newest_finalization
        current = self._slots.at(self.view)
        for message in self._said_in(current):
            yield self._repeat_from, message
        for slot in self._slots.ascending():
            if slot.view >= self._repeat_from and slot is not current:
                for message in self._said_in(slot):
                    yield slot.view, message

    def _said_in(self, slot: Slot) -> Iterator[Vote | Certificate | Proposal]:
        """Certificates of a view, and of the own votes those that could still complete one."""
        yield from slot.certificates()
        for kind, vote in slot.own_votes.items() if self.me is not None else ():
            if slot.holds(kind) is None and not (slot.skip is not None and kind == VoteKind.FINALIZE):
                yield vote
        offer, vote_of_offer = slot.offer, slot.own_votes.get(VoteKind.NOTARIZE)
        if slot.view == self.view and offer is not None and vote_of_offer is not None:
            justification = self._justification(offer.candidate)
            if justification is not None:
                yield Proposal(offer.candidate, offer.block, justification, vote_of_offer)
