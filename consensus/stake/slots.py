"""What the core knows of each view above the final one: own votes, the votes of others, certificates, the leader's candidate.

Holds and prunes; decides nothing. Bounded: views ahead, candidates a view, votes a validator.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from consensus.stake.safety import Kept, SafetyMemory, VoteRecord
from consensus.stake.scheme import Scheme
from consensus.stake.tally import VoteBook
from omnitensor.protocol.types import Hash, View
from omnitensor.protocol.votes import Certificate, ValidatorTable, Vote, VoteKind


@dataclass(slots=True)
class Slot:
    """One view. ``voted`` is what this validator has signed or asked the driver to sign; it only grows."""

    view: View
    book: VoteBook | None
    """None once nothing can come of further votes: they cost nothing then."""
    voted: dict[VoteKind, Hash] = field(default_factory=dict)
    own_votes: dict[VoteKind, Vote] = field(default_factory=dict)
    """Own votes as signed, for sending again (R8)."""
    proposed: bool = False
    """This validator has proposed here, in this process or before a restart (R2)."""
    building: tuple[View, Hash] | None = None
    """View and id of the parent that the driver is building a block on."""
    offer: Kept | None = None
    """The own candidate, for sending again (R8)."""
    proposal: Hash | None = None
    """The first candidate that the leader sent."""
    leader_equivocated: bool = False
    given_up: bool = False
    """No block could be built for the own lead, by a worker: it has no SKIP to say so, and the others' timers run out."""
    signed_by_worker: list[Vote] = field(default_factory=list)
    """What a leader that does not vote signed under its proposals, two at most. In no tally and in no certificate."""
    notarization: Certificate | None = None
    skip: Certificate | None = None
    finalization: Certificate | None = None

    @property
    def passed(self) -> bool:
        """Whether the view can be left (R1)."""
        return self.notarization is not None or self.skip is not None or self.finalization is not None

    @property
    def chosen(self) -> Hash | None:
        """The candidate that a quorum chose here, if any; there is only one."""
        certificate = self.finalization or self.notarization
        return Hash(certificate.candidate_id) if certificate is not None else None

    def certificates(self) -> tuple[Certificate, ...]:
        """Those that are there: finalization, notarization, skip."""
        return tuple(c for c in (self.finalization, self.notarization, self.skip) if c is not None)

    def holds(self, kind: VoteKind) -> Certificate | None:
        match kind:
            case VoteKind.NOTARIZE:
                return self.notarization
            case VoteKind.SKIP:
                return self.skip
            case VoteKind.FINALIZE:
                return self.finalization

    def put(self, certificate: Certificate) -> None:
        match certificate.kind:
            case VoteKind.NOTARIZE:
                self.notarization = certificate
            case VoteKind.SKIP:
                self.skip = certificate
            case VoteKind.FINALIZE:
                self.finalization = certificate
        if self.book is not None:
            self.book.close(certificate.kind, Hash(certificate.candidate_id))


class Slots:
    """The views above the final one, made when first needed and filled with what the safety store remembers of them."""

    def __init__(self, table: ValidatorTable, scheme: Scheme) -> None:
        self._table = table
        self._scheme = scheme
        self._slots: dict[View, Slot] = {}
        self._remembered: dict[View, list[VoteRecord]] = {}
        self._proposed: set[View] = set()
        self.last: Slot | None = None
        """The final view, where it was seen: late votes for what became final in it are still attendance."""

    def remember(self, memory: SafetyMemory) -> None:
        """Take in what was signed before a restart (R9)."""
        for record in memory.votes:
            self._remembered.setdefault(record.view, []).append(record)
        self._proposed = set(memory.proposed)

    def remembered(self, view: View) -> tuple[VoteRecord, ...]:
        """What was signed in a view before a restart, in that order."""
        return tuple(self._remembered.get(view, ()))

    def get(self, view: View) -> Slot | None:
        return self._slots.get(view)

    def at(self, view: View) -> Slot:
        slot = self._slots.get(view)
        if slot is None:
            slot = self._slots[view] = Slot(view, VoteBook(view, self._table, self._scheme))
            slot.voted = {record.kind: record.candidate_id for record in self._remembered.get(view, ())}
            slot.proposed = view in self._proposed
        return slot

    def ascending(self) -> Iterator[Slot]:
        for view in sorted(self._slots):
            yield self._slots[view]

    def retire(self, view: View) -> None:
        """A view far behind that a quorum skipped can never be finalized: forget who voted what there."""
        slot = self._slots.get(view)
        if slot is not None and slot.skip is not None:
            slot.book = None
            slot.offer = None

    def prune(self, final_view: View) -> None:
        """Forget all views up to the final one (R6), but for the votes of that."""
        if self.last is None or self.last.view != final_view:
            self.last = self._slots.get(final_view)
        for view in [view for view in self._slots if view <= final_view]:
            del self._slots[view]
        for view in [view for view in self._remembered if view <= final_view]:
            del self._remembered[view]
        self._proposed = {view for view in self._proposed if view > final_view}

    def __len__(self) -> int:
        return len(self._slots)
