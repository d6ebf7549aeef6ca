"""From certificates to committed blocks: which candidates are executed, in what order, what is fetched, and R6.

Executes nothing itself: ``Check`` and ``Commit`` are the driver's work. A block is executed after its parent, and only when it
matters: the leader's candidate of the current view, what a quorum chose, and what lies below that.
"""

from consensus.stake.candidates import Entry, Status
from consensus.stake.effects import Behind, Check, Commit, Disputed, Fetch, Finalized
from consensus.stake.events import FinalPoint
from consensus.stake.knowledge import Knowledge, Rule
from consensus.stake.timing import Alarm
from omnitensor.protocol import limits
from omnitensor.protocol.types import Hash, Height, TimeMs, View
from omnitensor.protocol.votes import FinalityProof

SYNC_AFTER_ATTEMPTS = 2
"""Unanswered requests for a final candidate after which block sync is called for as well."""
WALK_ANYWAY_ATTEMPTS = 8
"""Unanswered calls for block sync before missing blocks are fetched one by one after all: nobody may have committed them."""


class Execution(Knowledge):
    """Candidates on their way to being final."""

    _behind_attempts: int = 0
    _behind_again_ms: int | None = None

    # -- executing, parents first

    def _want_checked(self, entry: Entry) -> None:
        """See to it that a candidate is executed as soon as its parent was."""
        wanted = [entry]
        while wanted:
            wanted.extend(self._walk_down(wanted.pop()))

    def _walk_down(self, entry: Entry) -> tuple[Entry, ...]:
        """From an entry down to the first that can be executed now; returns what waited for it, where that is settled at once."""
        while entry.status is Status.NEW:
            parent_id = Hash(entry.candidate.parent_id)
            if parent_id == self.final.candidate_id:
                return self._check(entry, self.final.block_hash, self.final.height, self.final.timestamp_ms)
            parent = self._candidates.get(parent_id)
            if parent is None:
                self._candidates.wait_for(parent_id, entry.id)
                self._miss(parent_id, View(entry.candidate.parent_view))
                return ()
            match parent.status:
                case Status.VALID:
                    assert parent.timestamp_ms is not None, "what is valid has a time"
                    return self._check(
                        entry, Hash(parent.candidate.block_hash), parent.height, parent.timestamp_ms
                    )
                case Status.INVALID:
                    self._invalid(entry, f"its parent is invalid: {parent.fault}")
                    return ()
                case _:
                    self._candidates.wait_for(parent_id, entry.id)
                    entry = parent
        return ()

    def _check(
        self, entry: Entry, parent_hash: Hash, parent_height: Height, parent_ms: TimeMs
    ) -> tuple[Entry, ...]:
        """Look at what ties a block to its candidate and parent; then have it executed. A filler is settled at once.

        A filler is told by its candidate alone, which names its parent's block: so all see the same, whatever the leader sent
        along with it to some of them. Returns what waited for a filler.
        """
        if entry.candidate.block_hash == parent_hash:
            return self._check_filler(entry, parent_height, parent_ms)
        if entry.block is None:
            self._candidates.drop(entry.id)
            self._miss(entry.id, entry.view)
            return ()
        header = entry.block.header
        leader = self.schedule.leader(entry.view)
        fault = (
            "a block above the epoch's boundary"
            if parent_height >= self.settings.boundary
            else "the header names another parent than the candidate does"
            if header.parent != parent_hash
            else "the height is not the parent's plus one"
            if header.height != parent_height + 1
            else "the epoch is not the candidate's"
            if header.epoch != entry.candidate.epoch
            else "the timestamp is less than a block interval after the parent's"
            if header.timestamp_ms < parent_ms + self.settings.block_interval_ms
            else "the proposer is not the view's leader"
            if header.proposer != self.schedule.address(leader)
            else None
        )
        if fault is not None:
            self._invalid(entry, fault)
            return ()
        entry.status = Status.CHECKING
        self._emit(Check(entry.candidate, entry.block))
        return ()

    def _check_filler(self, entry: Entry, parent_height: Height, parent_ms: TimeMs) -> tuple[Entry, ...]:
        entry.block, entry.height, entry.timestamp_ms = None, parent_height, parent_ms
        if parent_height != self.settings.boundary:
            self._invalid(entry, "a filler that is not above the epoch's boundary")
            return ()
        return self._settle(entry)

    def _settle(self, entry: Entry) -> tuple[Entry, ...]:
        """An entry is valid: those that waited for it are next."""
        entry.status = Status.VALID
        self._to_finalize.add(entry.view)
        waiting = [self._candidates.get(child) for child in self._candidates.take_waiting(entry.id)]
        return tuple(child for child in waiting if child is not None)

    def _valid(self, entry: Entry) -> None:
        if entry.status is not Status.CHECKING:
            return
        for child in self._settle(entry):
            self._want_checked(child)

    def _invalid(self, entry: Entry, fault: str) -> None:
        doomed = [(entry, fault)]
        while doomed:
            bad, why = doomed.pop()
            bad.status, bad.fault = Status.INVALID, why
            self._to_finalize.add(bad.view)
            for child in self._candidates.take_waiting(bad.id):
                waiting = self._candidates.get(child)
                if waiting is not None and waiting.status is Status.NEW:
                    doomed.append((waiting, f"its parent is invalid: {why}"))

    # -- fetching what a certificate names

    def _miss(self, candidate_id: Hash, view: View) -> None:
        """A candidate that a quorum stands behind is not here. The first request waits a little: it may be on its way."""
        if view > self.final.view:
            self._candidates.miss(candidate_id, view, self.now_ms + self.settings.delta_ms // 4)

    def _fetch_due(self) -> None:
        """Ask (again) for what is missing and due."""
        for candidate_id, missing in self._candidates.due(self.now_ms):
            self._emit(Fetch(candidate_id, missing.view, missing.attempt))
            missing.attempt += 1
            missing.ask_at_ms = self.now_ms + 2 * self.settings.delta_ms

    def _arm_fetch(self) -> None:
        ask_ms, again_ms = self._candidates.next_ask_ms(), self._behind_again_ms
        instants = [at for at in (ask_ms, again_ms) if at is not None and at > self.now_ms]
        if instants:
            self._alarms.set(Alarm.FETCH, min(instants))
        else:
            self._alarms.clear(Alarm.FETCH)

    # -- R6

    def _r6_commit(self) -> None:
        """R6 Commit: a finalized candidate and all its ancestors are final, once all are here and executed."""
        finalization = self.newest_finalization
        if finalization is None:
            return
        chain = self._ancestry(Hash(finalization.candidate_id), View(finalization.view))
        if chain is None:
            return
        for entry in chain:
            if entry.status is Status.INVALID:
                self._halt_on_invalid(entry, "finalized")
                return
            self._want_checked(entry)
        if any(entry.status is not Status.VALID for entry in chain):
            return
        self.fired[Rule.R6] += 1
        proof = FinalityProof(chain[-1].candidate, finalization)
        certificates = [finalization]
        for entry in chain:
            slot = self._slots.get(entry.view)
            if slot is not None and slot.notarization is not None:
                certificates.append(slot.notarization)
        last = chain[-1]
        assert last.timestamp_ms is not None, "what is valid has a time"
        self.final = FinalPoint(
            last.view, last.id, Hash(last.candidate.block_hash), last.height, last.timestamp_ms, proof
        )
        self._candidates.finalize(chain)
        self._emit(
            Commit(
                tuple(Finalized(entry.candidate, entry.block) for entry in chain if entry.block is not None),
                proof,
                tuple(certificates),
                self.final.view,
            )
        )
        self._prune()

    def _ancestry(self, candidate_id: Hash, view: View) -> tuple[Entry, ...] | None:
        """The chain from the final point's child to a finalized candidate, oldest first; None while some of it is missing."""
        chain: list[Entry] = []
        while candidate_id != self.final.candidate_id:
            if view <= self.final.view:
                self._halt(
                    f"a quorum finalized a chain without the final block of view {self.final.view}, which a quorum finalized"
                    " too: at least a third of the stake has voted for both. Keep this node's data and report both chains"
                )
                return None
            entry = self._candidates.get(candidate_id)
            if entry is None:
                self._miss(candidate_id, view)
                if self._candidates.attempts(candidate_id) > SYNC_AFTER_ATTEMPTS:
                    # Nobody has it in memory any more: it is committed elsewhere, or its holders are away.
                    self._call_for_sync(Height(self.final.height + 1))
                return None
            if not chain and self._is_behind(entry.height):
                return None
            chain.append(entry)
            candidate_id, view = Hash(entry.candidate.parent_id), View(entry.candidate.parent_view)
        return tuple(reversed(chain))

    def _is_behind(self, height: Height) -> bool:
        """Whether block sync should close the gap; if so it is called for, from time to time."""
        if height - self.final.height <= limits.catch_up_blocks_max:
            return False
        self._call_for_sync(height)
        return self._behind_attempts <= WALK_ANYWAY_ATTEMPTS

    def _call_for_sync(self, height: Height) -> None:
        if self._behind_again_ms is None or self.now_ms >= self._behind_again_ms:
            self._behind_attempts += 1
            self._behind_again_ms = self.now_ms + 4 * self.settings.delta_ms
            self._emit(Behind(height, self.finalized_view))

    def _prune(self) -> None:
        """Forget what the final point has made pointless, and count the standstill from now."""
        self._slots.prune(self.final.view)
        self._candidates.prune(self.final.view)
        self._to_finalize = {view for view in self._to_finalize if view > self.final.view}
        if self.newest_finalization is not None and self.newest_finalization.view <= self.final.view:
            self.newest_finalization = None
        self._behind_attempts, self._behind_again_ms = 0, None
        self._alarms.set(Alarm.STANDSTILL, self.now_ms + self.settings.standstill_ms)

    def _halt_on_invalid(self, entry: Entry, what: str) -> None:
        """R5: a quorum stands behind a block that this node finds invalid, so one of the two computes wrongly."""
        self.fired[Rule.R5_HALT] += 1
        self._halt(
            f"a quorum {what} block {entry.height} ({entry.candidate.block_hash.hex()}) in view {entry.view},"
            f" which is invalid here: {entry.fault}. This node or the others compute wrongly; it stops voting. Report both"
            " versions, the block and this node's state root of its parent to the project's issue tracker",
            self._dispute(entry),
        )

    def _dispute(self, entry: Entry) -> Disputed | None:
        """What helps to find out which of the two; None for a filler, which has nothing to it."""
        if entry.block is None:
            return None
        slot = self._slots.get(entry.view)
        certificate = None if slot is None else slot.finalization or slot.notarization
        return Disputed(entry.candidate, entry.block, entry.fault, certificate)
