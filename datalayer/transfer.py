"""Fetches content from several peers at once, as a state machine: what to ask whom, what to keep, whom to blame.

Knows queries, answers and time as it is told; nothing of sockets, messages on the wire or disks. Whoever runs it sends
each ``Ask``, gives back the answer under the ask's number, stores what ``Keep`` holds, and calls ``poll`` now and then.

A chunk comes whole from one peer, in pieces, and is checked by its leaf hash: so it is known who lied. The leaf hashes are
checked by the chunk root, which is the content's name.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from datalayer.upload import Range, are_leaves_of
from omnitensor.protocol import limits, merkle
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.limits import chunk_bytes, piece_bytes_max

PeerKey = bytes
ANSWER_MS: Final = 10_000
"""How long a peer may give nothing of what it is asked before another one is asked."""


@dataclass(frozen=True, slots=True)
class HoldsQuery:
    """Whether a peer holds the content."""


@dataclass(frozen=True, slots=True)
class LeavesQuery:
    """The leaf hashes of all chunks."""

    count: int


@dataclass(frozen=True, slots=True)
class PieceQuery:
    """``size`` bytes at ``offset`` of chunk ``index``."""

    index: int
    offset: int
    size: int


Query = HoldsQuery | LeavesQuery | PieceQuery


@dataclass(frozen=True, slots=True)
class Ask:
    """Send the query to the peer; give the answer back under the number."""

    number: int
    peer: PeerKey
    query: Query


@dataclass(frozen=True, slots=True)
class Keep:
    """A chunk whose bytes are right."""

    index: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Blame:
    """The peer lied or broke the rules; it is asked no more in this fetch."""

    peer: PeerKey
    reason: str


@dataclass(frozen=True, slots=True)
class Slow:
    """The peer gives nothing, or too little of what it says it has; it is asked no more in this fetch."""

    peer: PeerKey


@dataclass(frozen=True, slots=True)
class Done:
    """Every chunk was given out to keep."""


@dataclass(frozen=True, slots=True)
class Stuck:
    """No peer is left to ask; adding one goes on."""


Action = Ask | Keep | Blame | Slow | Done | Stuck


@dataclass(slots=True)
class _Chunk:
    """A chunk on its way from one peer."""

    index: int
    buffer: bytearray
    waiting: list[PieceQuery]
    """Pieces not asked for yet, last first."""
    open: int = 0


@dataclass(slots=True)
class _Peer:
    """What is known of a peer; ``holds`` is None until it has said so."""

    holds: bool | None = None
    strikes: int = 0
    open: dict[int, tuple[Query, int]] = field(default_factory=dict)
    """Asks without an answer: query and deadline by number."""
    chunk: _Chunk | None = None
    since_ms: int | None = None
    """Since when its pace is taken; None while it owes no piece."""
    gave: int = 0
    """Bytes of pieces since then."""


class Fetch:
    """One content being fetched. Each method returns what to do next, in order."""

    def __init__(
        self,
        content: ContentId,
        missing: tuple[Range, ...],
        leaf_hashes: tuple[bytes, ...] = (),
        *,
        answer_ms: int = ANSWER_MS,
    ) -> None:
        """``missing`` are the chunks still to be had; ``leaf_hashes``, where known, are the content's own."""
        assert not leaf_hashes or are_leaves_of(content, leaf_hashes)
        self.content: Final = content
        self._answer_ms: Final = answer_ms
        self._leaves = (bytes(content.chunk_root),) if content.chunks == 1 else leaf_hashes
        self._todo: Final[OrderedDict[int, None]] = OrderedDict(
            (index, None) for first, end in missing for index in range(first, end)
        )
        self._left = len(self._todo)
        self._peers: Final[dict[PeerKey, _Peer]] = {}
        self._numbers: Final[dict[int, PeerKey]] = {}
        self._next_number = 0
        self._stuck = False
        self._now_ms = 0

    @property
    def done(self) -> bool:
        return self._left == 0

    @property
    def peers(self) -> tuple[PeerKey, ...]:
        """Peers that are asked or may be."""
        return tuple(self._peers)

    def is_open(self, number: int) -> bool:
        """Whether an ask's answer is still waited for."""
        return number in self._numbers

    def add_peer(self, peer: PeerKey, now_ms: int) -> tuple[Action, ...]:
        """A peer that may hold the content; beyond the limit on peers, or known already, it changes nothing."""
        if peer not in self._peers and len(self._peers) < limits.fetch_peers_max:
            self._peers[peer] = _Peer()
            self._stuck = False
        return self.poll(now_ms)

    def remove_peer(self, peer: PeerKey, now_ms: int) -> tuple[Action, ...]:
        """The peer is gone; what it was to bring is asked of others."""
        self._forget(peer)
        return self.poll(now_ms)

    def on_offer(self, number: int, content: ContentId, now_ms: int) -> tuple[Action, ...]:
        """The peer says that it holds ``content``."""
        answered = self._answered(number, HoldsQuery)
        if answered is None:
            return self._unasked(number, now_ms)
        peer, _ = answered
        if content != self.content:
            return self._blame(peer, "offers other content", now_ms)
        self._peers[peer].holds = True
        return self.poll(now_ms)

    def on_absent(self, number: int, now_ms: int) -> tuple[Action, ...]:
        """The peer does not hold, or does not give, what was asked for."""
        peer = self._numbers.get(number)
        if peer is not None:
            self._forget(peer)
        return self.poll(now_ms)

    def on_leaves(self, number: int, hashes: tuple[bytes, ...], now_ms: int) -> tuple[Action, ...]:
        """The leaf hashes, as the peer says."""
        answered = self._answered(number, LeavesQuery)
        if answered is None:
            return self._unasked(number, now_ms)
        if not are_leaves_of(self.content, hashes):
            return self._blame(answered[0], "wrong leaf hashes", now_ms)
        self._leaves = hashes
        return self.poll(now_ms)

    def on_piece(self, number: int, data: bytes, now_ms: int) -> tuple[Action, ...]:
        """The bytes of a piece, as the peer says."""
        answered = self._answered(number, PieceQuery)
        if answered is None:
            return self._unasked(number, now_ms)
        key, query = answered
        assert isinstance(query, PieceQuery)
        if len(data) != query.size:
            return self._blame(key, "a piece of the wrong length", now_ms)
        peer = self._peers[key]
        chunk = peer.chunk
        assert chunk is not None and chunk.index == query.index, "a piece belongs to its peer's chunk"
        chunk.buffer[query.offset : query.offset + query.size] = data
        chunk.open -= 1
        peer.gave += len(data)
        # Pieces come one after the other: those behind this one are not late because it took its time.
        for later, (asked, _) in peer.open.items():
            peer.open[later] = (asked, max(now_ms, self._now_ms) + self._answer_ms)
        if chunk.open or chunk.waiting:
            return self.poll(now_ms)
        whole = bytes(chunk.buffer)
        if merkle.leaf_hash(whole) != self._leaves[chunk.index]:
            return self._blame(key, "a wrong chunk", now_ms)
        peer.chunk, peer.strikes = None, 0
        self._left -= 1
        keep = Keep(chunk.index, whole)
        return (keep, Done()) if self.done else (keep, *self.poll(now_ms))

    def poll(self, now_ms: int) -> tuple[Action, ...]:
        """What time has changed, and what can be asked now."""
        self._now_ms = max(now_ms, self._now_ms)
        if self.done:
            return ()
        actions = self._expire()
        for key, peer in self._peers.items():
            actions += self._asks_of(key, peer)
            if peer.chunk is None:
                peer.since_ms = None
        if not self._peers and not self._stuck:
            self._stuck = True
            actions.append(Stuck())
        return tuple(actions)

    # Inside

    def _asks_of(self, key: PeerKey, peer: _Peer) -> list[Action]:
        if peer.holds is None:
            return [] if peer.open else [self._ask(key, peer, HoldsQuery())]
        if not self._leaves:
            return [] if self._leaves_asked() else [self._ask(key, peer, LeavesQuery(self.content.chunks))]
        if peer.chunk is None and self._todo:
            index, _ = self._todo.popitem(last=False)
            peer.chunk = _Chunk(index, bytearray(self.content.chunk_size(index)), self._pieces(index))
        asks: list[Action] = []
        while peer.chunk and peer.chunk.waiting and len(peer.open) < limits.fetch_requests_per_peer_max:
            peer.chunk.open += 1
            if peer.since_ms is None:
                peer.since_ms, peer.gave = self._now_ms, 0
            asks.append(self._ask(key, peer, peer.chunk.waiting.pop()))
        return asks

    def _ask(self, key: PeerKey, peer: _Peer, query: Query) -> Ask:
        number = self._next_number
        self._next_number += 1
        self._numbers[number] = key
        peer.open[number] = (query, self._now_ms + self._answer_ms)
        return Ask(number, key, query)

    def _pieces(self, index: int) -> list[PieceQuery]:
        size = self.content.chunk_size(index)
        assert size <= chunk_bytes
        offsets = range(0, size, piece_bytes_max)
        return [PieceQuery(index, at, min(piece_bytes_max, size - at)) for at in reversed(offsets)]

    def _leaves_asked(self) -> bool:
        return any(
            isinstance(query, LeavesQuery) for peer in self._peers.values() for query, _ in peer.open.values()
        )

    def _answered(self, number: int, kind: type) -> tuple[PeerKey, Query] | None:
        """Closes an ask; None where there is no such ask of this kind."""
        key = self._numbers.get(number)
        if key is None or not isinstance(self._peers[key].open[number][0], kind):
            return None
        del self._numbers[number]
        return key, self._peers[key].open.pop(number)[0]

    def _unasked(self, number: int, now_ms: int) -> tuple[Action, ...]:
        """A late answer is nobody's fault; one of the wrong kind is."""
        key = self._numbers.get(number)
        return self.poll(now_ms) if key is None else self._blame(key, "an answer of the wrong kind", now_ms)

    def _blame(self, key: PeerKey, reason: str, now_ms: int) -> tuple[Action, ...]:
        self._forget(key)
        return (Blame(key, reason), *self.poll(now_ms))

    def _expire(self) -> list[Action]:
        """What takes too long is asked of another; who is late too often, or gives too little, is asked no more."""
        slow: list[Action] = []
        for key, peer in tuple(self._peers.items()):
            late = any(deadline <= self._now_ms for _, deadline in peer.open.values())
            peer.strikes += late
            if self._trickles(peer) or (late and self._is_hopeless(peer)):
                self._forget(key)
                slow.append(Slow(key))
            elif late:
                self._drop_asks(peer)
                self._peers[key] = self._peers.pop(key)  # the others choose first
        return slow

    def _is_hopeless(self, peer: _Peer) -> bool:
        return peer.strikes >= limits.fetch_strikes_max or peer.holds is None

    def _trickles(self, peer: _Peer) -> bool:
        """Whether a peer has given too little for as long as its pace is taken. What it gave before that is no credit."""
        if peer.since_ms is None or self._now_ms - peer.since_ms < limits.fetch_window_ms:
            return False
        least = limits.fetch_peer_bytes_per_second_min * (self._now_ms - peer.since_ms)
        if peer.gave * 1_000 < least:
            return True
        peer.since_ms, peer.gave = self._now_ms, 0
        return False

    def _drop_asks(self, peer: _Peer) -> None:
        for number in peer.open:
            del self._numbers[number]
        peer.open.clear()
        if peer.chunk is not None:
            self._todo[peer.chunk.index] = None
            self._todo.move_to_end(peer.chunk.index, last=False)
            peer.chunk = None

    def _forget(self, key: PeerKey) -> None:
        peer = self._peers.pop(key, None)
        if peer is not None:
            self._drop_asks(peer)
