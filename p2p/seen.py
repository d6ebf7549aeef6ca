"""Bounded memories of ids: what was seen lately, and who can give what is wanted. Keyed by recomputed hashes; time is told."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator

from omnitensor.protocol import limits
from omnitensor.protocol.types import Hash
from p2p.messages import PeerId


class IdSet:
    """The ids added last, at most `count_max`."""

    __slots__ = ("_count_max", "_ids")

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._ids: OrderedDict[Hash, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, key: Hash) -> bool:
        return key in self._ids

    def __iter__(self) -> Iterator[Hash]:
        return iter(self._ids)

    def add(self, key: Hash) -> None:
        self._ids[key] = None
        if len(self._ids) > self._count_max:
            self._ids.popitem(last=False)

    def discard(self, key: Hash) -> bool:
        """Removes an id; whether it was there."""
        if key not in self._ids:
            return False
        del self._ids[key]
        return True


class SeenCache:
    """Ids of the last `ttl_ms`, at most `count_max`; the oldest gives way."""

    __slots__ = ("_count_max", "_ids", "_ttl_ms")

    def __init__(self, count_max: int = limits.gossip_seen_max, ttl_ms: int = limits.gossip_seen_ms) -> None:
        self._count_max = count_max
        self._ttl_ms = ttl_ms
        self._ids: OrderedDict[Hash, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._ids)

    def has(self, key: Hash, now_ms: int) -> bool:
        until_ms = self._ids.get(key)
        return until_ms is not None and until_ms > now_ms

    def add(self, key: Hash, now_ms: int) -> bool:
        """Remembers an id from now on; False when it was remembered already, which then stays as it is."""
        if self.has(key, now_ms):
            return False
        self._ids.pop(key, None)
        self._ids[key] = now_ms + self._ttl_ms
        self._trim(now_ms)
        return True

    def forget(self, key: Hash) -> None:
        self._ids.pop(key, None)

    def _trim(self, now_ms: int) -> None:
        while self._ids:
            oldest = next(iter(self._ids))
            if len(self._ids) <= self._count_max and self._ids[oldest] > now_ms:
                return
            del self._ids[oldest]


class _Wish:
    """An id that is wanted: who else announced it, and whom we asked until when."""

    __slots__ = ("asked", "deadline_ms", "sources")

    def __init__(self) -> None:
        self.sources: deque[PeerId] = deque()
        self.asked: PeerId | None = None
        self.deadline_ms = 0


class Wanted:
    """Announced ids that are not here yet: asks one announcer at a time, the next when it is silent for `limits.want_ms_max`.

    Of several announcers the one that owes least is asked first: whoever announces and does not give comes last. Bounded in all,
    by peer, and in announcers of one id. Where all room is taken, those with the most in it give way to others, so that strangers
    who announce what there is not can't crowd out what there is. What does not fit is not asked for (it may be announced again).
    """

    def __init__(self) -> None:
        self._wishes: dict[Hash, _Wish] = {}
        self._fresh: deque[Hash] = deque()
        self._waiting: deque[tuple[int, Hash]] = deque()
        self._of: dict[PeerId, dict[Hash, None]] = {}
        """Ids by who announced them and may be asked, or is; each in order."""
        self._debts: dict[PeerId, int] = {}
        """Announced ids that a peer was asked for and did not give, less those that it gave; bounded both ways."""

    def __len__(self) -> int:
        return len(self._wishes)

    def __contains__(self, key: Hash) -> bool:
        return key in self._wishes

    def load(self, peer_id: PeerId) -> int:
        """Ids that a peer announced and that are still wanted."""
        return len(self._of.get(peer_id, ()))

    def announced(self, peer_id: PeerId, key: Hash) -> None:
        """A peer says that it can give an id that is not here."""
        if self.load(peer_id) >= limits.wanted_ids_per_peer_max or key in self._of.get(peer_id, ()):
            return
        wish = self._wishes.get(key)
        if wish is None:
            if len(self._wishes) >= limits.wanted_ids_max and not self._make_room(peer_id):
                return
            wish = self._wishes[key] = _Wish()
            self._fresh.append(key)
        elif len(wish.sources) >= limits.wanted_sources_max and not self._displace(wish, key, peer_id):
            return
        wish.sources.append(peer_id)
        self._of.setdefault(peer_id, {})[key] = None

    def got(self, key: Hash, peer_id: PeerId | None = None) -> None:
        """It is here, from a peer where one is named, or not wanted any more."""
        wish = self._wishes.pop(key, None)
        if wish is None:
            return
        if wish.asked is not None:
            if wish.asked == peer_id:
                self._owes(peer_id, -1)
            self._unload(wish.asked, key)
        for source in wish.sources:
            self._unload(source, key)

    def peer_down(self, peer_id: PeerId) -> None:
        """A peer is gone: what it was asked for is asked of others."""
        self._debts.pop(peer_id, None)
        for key in tuple(self._of.get(peer_id, ())):
            self._let_go(peer_id, key)

    def due(self, now_ms: int) -> dict[PeerId, list[Hash]]:
        """Whom to ask for what now. Ids whose announcers all failed are given up."""
        while self._waiting and self._waiting[0][0] <= now_ms:
            deadline_ms, key = self._waiting.popleft()
            wish = self._wishes.get(key)
            if wish is not None and wish.asked is not None and wish.deadline_ms == deadline_ms:
                self._owes(wish.asked, 1)
                self._unload(wish.asked, key)
                wish.asked = None
                self._fresh.append(key)
        asks: dict[PeerId, list[Hash]] = {}
        while self._fresh:
            key = self._fresh.popleft()
            wish = self._wishes.get(key)
            if wish is None or wish.asked is not None:
                continue
            if not wish.sources:
                del self._wishes[key]
                continue
            wish.asked = min(wish.sources, key=self._debt)
            wish.sources.remove(wish.asked)
            wish.deadline_ms = now_ms + limits.want_ms_max
            self._waiting.append((wish.deadline_ms, key))
            asks.setdefault(wish.asked, []).append(key)
        return asks

    def pending(self) -> bool:
        """Whether `due` may have something to say, now or later."""
        return bool(self._wishes)

    # --- Inside ---

    def _make_room(self, peer_id: PeerId) -> bool:
        """Takes the newest of whoever has the most off, until an id less is wanted; False where nobody has more than the peer."""
        while len(self._wishes) >= limits.wanted_ids_max:
            most = max(self._of, key=self.load)
            if self.load(most) <= self.load(peer_id) + 1:
                return False
            self._let_go(most, next(reversed(self._of[most])))
        return True

    def _displace(self, wish: _Wish, key: Hash, peer_id: PeerId) -> bool:
        """Takes the announcer that owes most off an id; False where none owes more than the peer."""
        worst = max(wish.sources, key=self._debt)
        if self._debt(worst) <= self._debt(peer_id):
            return False
        self._let_go(worst, key)
        return True

    def _let_go(self, peer_id: PeerId, key: Hash) -> None:
        """An announcer of an id is not asked for it any more; with the last of them goes the wish."""
        wish = self._wishes[key]
        if wish.asked == peer_id:
            wish.asked = None
            self._fresh.append(key)
        else:
            wish.sources.remove(peer_id)
        if not wish.sources and wish.asked is None:
            del self._wishes[key]
        self._unload(peer_id, key)

    def _debt(self, peer_id: PeerId) -> int:
        return self._debts.get(peer_id, 0)

    def _owes(self, peer_id: PeerId, more: int) -> None:
        least, most = -limits.wanted_debt_max, limits.wanted_debt_max
        self._debts[peer_id] = min(max(self._debt(peer_id) + more, least), most)

    def _unload(self, peer_id: PeerId, key: Hash) -> None:
        of = self._of[peer_id]
        del of[key]
        if not of:
            del self._of[peer_id]
