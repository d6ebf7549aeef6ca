"""Whom to ask for which final blocks, for a node that is new or was away. Judges no block; knows no sockets and no clock.

The node runs `next` and asks what it says; gives back what came (`received`, `failed`); takes ranges in order (`ready`), verifies
and applies them, and says so (`applied`, `invalid`). Every fault costs its peer one of `limits.sync_faults_max`, a bad range or
a height taken back costs it everything, and a peer that has lost them is neither asked nor believed: so a liar can't keep
a node syncing, and when no honest peer is ahead the sync is over.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from omnitensor.protocol import limits
from omnitensor.protocol.types import Height
from p2p.messages import BlocksRequest, BlocksResponse, PeerId


@dataclass(frozen=True, slots=True)
class Fetch:
    """Ask `peer_id` this, giving up at `deadline_ms`, and report with `ticket`."""

    ticket: int
    peer_id: PeerId
    request: BlocksRequest
    deadline_ms: int


@dataclass(frozen=True, slots=True)
class DropPeer:
    """The peer is of no use for syncing, or lied: close its connection."""

    peer_id: PeerId
    reason: str


SyncAction = Fetch | DropPeer


@dataclass(frozen=True, slots=True)
class Range:
    """Blocks that came, the next to verify and apply."""

    ticket: int
    peer_id: PeerId
    from_height: int
    response: BlocksResponse


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the node is, for people."""

    height: int
    target: int
    """The highest height that a believed peer claims."""
    syncing: bool
    blocks_per_second: float
    remaining_ms: int | None
    """Estimate; None while nothing was applied yet."""


@dataclass(slots=True)
class _Source:
    """A peer's claim, and what it owes."""

    height: int
    faults: int = 0
    asked: int = 0
    first: int = 0
    """The first block that it keeps, as it said when it was asked for one below."""


@dataclass(slots=True)
class _Slot:
    """A range of the window: to be asked for, asked, or here."""

    from_height: int
    count: int
    refused_by: set[PeerId] = field(default_factory=set)
    fetches: list[Fetch] = field(default_factory=list)
    """Under way: one, or two where everything waits for this range and the first peer is slow."""
    answered: Fetch | None = None
    response: BlocksResponse | None = None

    @property
    def end(self) -> int:
        return self.from_height + self.count

    def fetch(self, ticket: int) -> Fetch | None:
        """The fetch of that number, while it is under way."""
        return next((fetch for fetch in self.fetches if fetch.ticket == ticket), None)


class Sync:
    """One node's sync. `height` is the last block that the node applied."""

    def __init__(self, height: int, now_ms: int, range_blocks: int = limits.blocks_per_response_max) -> None:
        self._height = height
        self._range_blocks = range_blocks
        self._sources: dict[PeerId, _Source] = {}
        self._excluded: set[PeerId] = set()
        self._slots: list[_Slot] = []
        self._tickets = 0
        self._drops: list[DropPeer] = []
        self._behind_since_ms: int | None = None
        self._started: tuple[int, int] | None = None
        self._rate = (height, now_ms, 0.0)

    # --- What the node hears ---

    def peer_status(self, peer_id: PeerId, height: int) -> None:
        """A peer claims a height. Final heights never fall: one that takes a claim back is dropped."""
        source = self._sources.get(peer_id)
        if peer_id in self._excluded:
            return
        if source is None:
            self._sources[peer_id] = _Source(height)
        elif height < source.height:
            self._exclude(peer_id, f"reported height {source.height}, then {height}")
        else:
            source.height = height

    def peer_gone(self, peer_id: PeerId) -> None:
        """A peer is not connected any more. It may come back with a clean slate: its bans are the host's business."""
        self._forget(peer_id)
        self._excluded.discard(peer_id)

    def received(self, ticket: int, response: BlocksResponse) -> None:
        """The answer to a Fetch. Fewer blocks than asked for are taken; the rest is asked for anew."""
        slot, fetch = self._under_way(ticket)
        if slot is None or fetch is None:
            return
        self._end(slot, fetch)
        count, asked = len(response.blocks), fetch.request.count
        if count > asked:
            self._fault(slot, fetch, f"sent {count} blocks where {asked} were asked for")
            return
        self._end_all(slot)
        if count < slot.count:
            rest = _Slot(slot.from_height + count, slot.count - count)
            self._slots.insert(self._slots.index(slot) + 1, rest)
            slot.count = count
        slot.answered, slot.response = fetch, response
        self._pop_applied()

    def failed(self, ticket: int, reason: str) -> None:
        """A Fetch had no answer, or the peer does not hold what it claimed: the range is asked of another."""
        slot, fetch = self._under_way(ticket)
        if slot is not None and fetch is not None:
            self._end(slot, fetch)
            self._fault(slot, fetch, reason)

    def pruned(self, ticket: int, first: int) -> None:
        """The peer does not keep blocks so old, which is no fault: it is asked for none below ``first`` any more."""
        slot, fetch = self._under_way(ticket)
        if slot is None or fetch is None:
            return
        source = self._sources.get(fetch.peer_id)
        if source is None or not slot.from_height < first <= source.height:
            self.failed(ticket, "says that it has pruned blocks that it keeps")
            return
        self._end(slot, fetch)
        source.first = max(source.first, first)

    @property
    def unheld(self) -> int | None:
        """The next block that this node needs, where peers are ahead and every one of them has pruned it; else None."""
        wanted = self._height + 1
        ahead = [source for source in self._sources.values() if source.height >= wanted]
        return wanted if ahead and all(source.first > wanted for source in ahead) else None

    def ready(self) -> Range | None:
        """The range with the block after the last one applied, when it is here. The same until `applied` or `invalid`.

        Where the node moved on by itself meanwhile, its first blocks may be applied already: skip these.
        """
        if not self._slots or self._slots[0].response is None:
            return None
        slot = self._slots[0]
        if slot.from_height > self._height + 1:
            return None
        assert slot.answered is not None and slot.response is not None
        return Range(slot.answered.ticket, slot.answered.peer_id, slot.from_height, slot.response)

    def applied(self, height: int, now_ms: int) -> None:
        """The node's last block is now `height`, by a range or in any other way."""
        if height <= self._height:
            return
        since, since_ms, rate = self._rate
        if now_ms - since_ms >= 1_000:
            fresh = (height - since) * 1_000 / (now_ms - since_ms)
            self._rate = (height, now_ms, fresh if rate == 0 else 0.7 * rate + 0.3 * fresh)
        self._height = height
        self._pop_applied()

    def invalid(self, ticket: int, reason: str) -> None:
        """The node found a range to be wrong: whoever sent it is dropped, and the range asked of others."""
        for slot in self._slots:
            if slot.answered is not None and slot.answered.ticket == ticket:
                peer_id = slot.answered.peer_id
                slot.refused_by.add(peer_id)
                slot.answered = slot.response = None
                self._exclude(peer_id, reason)
                return

    # --- What the node shall do ---

    def next(self, now_ms: int) -> list[SyncAction]:
        """What to do now. Call it after every event and a few times a second."""
        self._time_out(now_ms)
        self._watch(now_ms)
        self._fill_window()
        actions: list[SyncAction] = []
        for slot in self._slots:
            if slot.response is None and (not slot.fetches or self._is_held_up(slot, now_ms)):
                peer_id = self._choose(slot)
                if peer_id is not None:
                    actions.append(self._begin_fetch(slot, peer_id, now_ms))
        actions += self._drops
        self._drops = []
        return actions

    @property
    def target(self) -> int:
        """The highest height that a believed peer claims, or the node's own. What a peer has pruned too far for this node to
        follow counts for nothing: no block of it could ever show the claim to be true."""
        wanted = self._height + 1
        claims = [source.height for source in self._sources.values() if source.first <= wanted]
        return max(claims, default=self._height)

    @property
    def syncing(self) -> bool:
        """Whether the node is so far behind that it fetches blocks."""
        return self._started is not None

    def progress(self) -> Progress:
        """How far the node is, and how long the rest will take at the pace so far."""
        target, rate = max(self.target, self._height), self._rate[2]
        remaining_ms = int((target - self._height) * 1_000 / rate) if rate > 0 else None
        if target == self._height:
            remaining_ms = 0
        return Progress(self._height, target, self.syncing, rate, remaining_ms)

    # --- Inside ---

    def _watch(self, now_ms: int) -> None:
        """Starts when clearly or lastingly behind; ends when the height of the believed peers is reached."""
        behind = self.target - self._height
        if behind <= 0:
            self._behind_since_ms = self._started = None
            self._empty_window()
            return
        if self._behind_since_ms is None:
            self._behind_since_ms = now_ms
        lasting = now_ms - self._behind_since_ms >= limits.sync_behind_ms_min
        if self._started is None and (behind >= limits.sync_behind_blocks_min or lasting):
            self._started = (self._height, now_ms)
            self._rate = (self._height, now_ms, 0.0)

    def _pop_applied(self) -> None:
        """Drops ranges without a block above the node's: of an answer that was shorter than asked for nothing may be news."""
        while self._slots and self._slots[0].end <= self._height + 1:
            self._end_all(self._slots.pop(0))

    def _fill_window(self) -> None:
        if self._started is None:
            return
        target = self.target
        start = max(self._height + 1, self._slots[-1].end if self._slots else 0)
        while start <= target and len(self._slots) < limits.sync_window_ranges_max:
            count = min(self._range_blocks, target - start + 1)
            self._slots.append(_Slot(start, count))
            start += count

    def _empty_window(self) -> None:
        """Forgets what was asked and what came. Late answers are ignored."""
        for slot in self._slots:
            self._end_all(slot)
        self._slots.clear()

    def _is_held_up(self, slot: _Slot, now_ms: int) -> bool:
        """Whether all waits for this range and its peer takes long: it need not be lying, and is not charged for it."""
        if slot is not self._slots[0] or len(slot.fetches) != 1:
            return False
        asked_ms = slot.fetches[0].deadline_ms - limits.sync_range_ms_max
        return now_ms - asked_ms >= limits.sync_held_up_ms_min

    def _choose(self, slot: _Slot) -> PeerId | None:
        """The least busy peer that claims the range's first block; one that refused it only when nobody else is left.

        Never one that is asked for it now.
        """
        asked = [fetch.peer_id for fetch in slot.fetches]
        able = [
            (peer_id in slot.refused_by, source.asked, source.faults, peer_id)
            for peer_id, source in self._sources.items()
            if source.first <= slot.from_height <= source.height
            and source.asked < limits.sync_ranges_per_peer_max
            and peer_id not in asked
        ]
        return min(able)[3] if able else None

    def _begin_fetch(self, slot: _Slot, peer_id: PeerId, now_ms: int) -> Fetch:
        self._tickets += 1
        source = self._sources[peer_id]
        source.asked += 1
        # A peer is asked for no more than it claims; what is missing of the range is asked of another.
        count = min(slot.count, source.height - slot.from_height + 1)
        request = BlocksRequest(Height(slot.from_height), count)
        fetch = Fetch(self._tickets, peer_id, request, now_ms + limits.sync_range_ms_max)
        slot.fetches.append(fetch)
        return fetch

    def _end(self, slot: _Slot, fetch: Fetch) -> None:
        """Takes a fetch off its range and its peer."""
        slot.fetches.remove(fetch)
        source = self._sources.get(fetch.peer_id)
        if source is not None:
            source.asked -= 1

    def _end_all(self, slot: _Slot) -> None:
        for fetch in list(slot.fetches):
            self._end(slot, fetch)

    def _time_out(self, now_ms: int) -> None:
        late = [(slot, f) for slot in self._slots for f in slot.fetches if f.deadline_ms <= now_ms]
        for slot, fetch in late:
            if fetch in slot.fetches:  # unless its peer was excluded for another
                self._end(slot, fetch)
                self._fault(slot, fetch, "did not answer a request for blocks in time")

    def _fault(self, slot: _Slot, fetch: Fetch, reason: str) -> None:
        peer_id = fetch.peer_id
        slot.refused_by.add(peer_id)
        source = self._sources.get(peer_id)
        if source is not None:
            source.faults += 1
            if source.faults >= limits.sync_faults_max:
                self._exclude(peer_id, f"owes ranges of blocks that it claims to hold, lastly: {reason}")

    def _exclude(self, peer_id: PeerId, reason: str) -> None:
        """Neither asked nor believed again while connected, and to be dropped. What it sent and is not applied is asked anew."""
        self._forget(peer_id)
        for slot in self._slots:
            if slot.answered is not None and slot.answered.peer_id == peer_id:
                slot.answered = slot.response = None
        self._excluded.add(peer_id)
        self._drops.append(DropPeer(peer_id, reason))

    def _forget(self, peer_id: PeerId) -> None:
        self._sources.pop(peer_id, None)
        for slot in self._slots:
            slot.fetches = [fetch for fetch in slot.fetches if fetch.peer_id != peer_id]

    def _under_way(self, ticket: int) -> tuple[_Slot | None, Fetch | None]:
        """The fetch of that number and its range, where an answer is still waited for."""
        for slot in self._slots:
            fetch = slot.fetch(ticket)
            if fetch is not None:
                return slot, fetch
        return None, None
