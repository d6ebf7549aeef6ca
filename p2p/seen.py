"""Bounded memories of ids: what was seen lately, and who can give what is wanted. Keyed by recomputed hashes; time is told."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator

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

    Bounded in all, by peer, and in announcers of one id; what does not fit is not asked for (another announcement may come).
    """

    def __init__(self) -> None:
        self._wishes: dict[Hash, _Wish] = {}
        self._fresh: deque[Hash] = deque()
        self._waiting: deque[tuple[int, Hash]] = deque()
        self._load: dict[PeerId, int] = {}

    def __len__(self) -> int:
        return len(self._wishes)

    def __contains__(self, key: Hash) -> bool:
        return key in self._wishes

    def announced(self, peer_id: PeerId, key: Hash) -> None:
        """A peer says that it can give an id that is not here."""
        wish = self._wishes.get(key)
        if self._load.get(peer_id, 0) >= limits.wanted_ids_per_peer_max:
            return
        if wish is None:
            if len(self._wishes) >= limits.wanted_ids_max:
                return
            wish = self._wishes[key] = _Wish()
            self._fresh.append(key)
        elif (
            len(wish.sources) >= limits.wanted_sources_max or peer_id in wish.sources or peer_id == wish.asked
        ):
            return
        wish.sources.append(peer_id)
        self._load[peer_id] = self._load.get(peer_id, 0) + 1

    def got(self, key: Hash) -> None:
        """It is here, or not wanted any more."""
        wish = self._wishes.pop(key, None)
        if wish is not None:
            self._unload(wish.sources)
            self._unload([wish.asked] if wish.asked is not None else [])

    def peer_down(self, peer_id: PeerId) -> None:
        """A peer is gone: what it was asked for is asked of others."""
        if peer_id not in self._load:
            return
        for key, wish in list(self._wishes.items()):
            if peer_id in wish.sources:
                wish.sources.remove(peer_id)
            if wish.asked == peer_id:
                wish.asked = None
                self._fresh.append(key)
            if not wish.sources and wish.asked is None:
                del self._wishes[key]
        del self._load[peer_id]

    def due(self, now_ms: int) -> dict[PeerId, list[Hash]]:
        """Whom to ask for what now. Ids whose announcers all failed are given up."""
        while self._waiting and self._waiting[0][0] <= now_ms:
            deadline_ms, key = self._waiting.popleft()
            wish = self._wishes.get(key)
            if wish is not None and wish.asked is not None and wish.deadline_ms == deadline_ms:
                self._unload([wish.asked])
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
            wish.asked, wish.deadline_ms = wish.sources.popleft(), now_ms + limits.want_ms_max
            self._waiting.append((wish.deadline_ms, key))
            asks.setdefault(wish.asked, []).append(key)
        return asks

    def pending(self) -> bool:
        """Whether `due` may have something to say, now or later."""
        return bool(self._wishes)

    def _unload(self, peers: Iterable[PeerId]) -> None:
        for peer_id in peers:
            load = self._load.get(peer_id, 0) - 1
            if load > 0:
                self._load[peer_id] = load
            else:
                self._load.pop(peer_id, None)
