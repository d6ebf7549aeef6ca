"""Who is told what. Decides by ids and peers; judges no message (the node does) and knows no sockets and no clock.

Votes, certificates and proposals are pushed to a mesh of peers as soon as the node found them valid; the others are told the id
(`Have`) and ask (`Want`). Transactions are announced by id and requested. An id is always recomputed here from canonical bytes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from omnitensor.protocol import hashing, limits
from omnitensor.protocol.transactions import SIGNATURE_WIRE_BYTES, transaction_id
from omnitensor.protocol.types import Hash
from p2p.interface import Charge, Judgement, Verdict
from p2p.messages import (
    Have,
    Lane,
    Notice,
    PeerId,
    Tell,
    TransactionAnnounce,
    TransactionRequest,
    Transactions,
    Want,
    encode_envelope,
    lane_of,
)
from p2p.seen import IdSet, SeenCache, Wanted

SMALL_FRAME_BYTES: Final = 4_096
"""One's own message up to this size goes to every peer at once; a larger one to the mesh."""
_TRANSACTIONS_FRAME_BYTES: Final = limits.frame_bytes_max // 4
_JUDGING_MS: Final = 60_000
"""After so long a judgement is not waited for any more: its connection ended before it began."""
UNREQUESTED: Final = Charge(5, "sent a transaction that was not requested")


@dataclass(frozen=True, slots=True)
class Send:
    """A frame to queue for a peer."""

    peer_id: PeerId
    lane: Lane
    frame: bytes


def gossip_id(frame: bytes) -> Hash:
    """Id of a vote, certificate or proposal: tagged hash of its canonical frame, the same at every node."""
    return hashing.GOSSIP(frame)


def frame_of(notice: Notice) -> bytes:
    """The canonical frame of a notice."""
    return encode_envelope(Tell(notice))


def _ids() -> IdSet:
    return IdSet(limits.gossip_known_per_peer_max)


@dataclass(slots=True)
class _Peer:
    """What one peer knows, was offered, was asked for, and is to be told at the next tick."""

    outbound: bool
    rank: bytes
    known: IdSet = field(default_factory=_ids)
    offered: IdSet = field(default_factory=_ids)
    asked: IdSet = field(default_factory=_ids)
    haves: list[Hash] = field(default_factory=list)
    announces: list[Hash] = field(default_factory=list)


class Gossip:
    """The node's side of flooding. Every method that makes something to say returns it as frames to send."""

    def __init__(self, salt: bytes) -> None:
        """`salt` decides, unforeseeably for others, which peers are the mesh."""
        self._salt = salt
        self._peers: dict[PeerId, _Peer] = {}
        self._mesh: frozenset[PeerId] = frozenset()
        self._seen = SeenCache()
        self._judging: OrderedDict[Hash, tuple[int, bytes]] = OrderedDict()
        self._kept: OrderedDict[Hash, tuple[int, bytes]] = OrderedDict()
        self._kept_bytes = 0
        self._wanted = Wanted()
        self._wanted_transactions = Wanted()
        self._announced = _ids()
        self._transactions_judging: set[Hash] = set()
        self._transactions_ignored = SeenCache()
        self.duplicates = 0
        """Copies that were dropped unread."""

    @property
    def mesh(self) -> frozenset[PeerId]:
        """Peers to which new messages are pushed."""
        return self._mesh

    def peer_up(self, peer_id: PeerId, *, outbound: bool) -> None:
        self._peers[peer_id] = _Peer(outbound, sha256(self._salt + peer_id).digest())
        self._choose_mesh()

    def peer_down(self, peer_id: PeerId) -> None:
        if self._peers.pop(peer_id, None) is not None:
            self._wanted.peer_down(peer_id)
            self._wanted_transactions.peer_down(peer_id)
            self._choose_mesh()

    # --- Votes, certificates, proposals ---

    def arrived(self, peer_id: PeerId, frame: bytes, now_ms: int) -> Hash | None:
        """A message came from a peer: its id if the node is to judge it, None for a copy of what was seen lately."""
        key = gossip_id(frame)
        if (peer := self._peers.get(peer_id)) is not None:
            peer.known.add(key)
        self._wanted.got(key, peer_id)
        if not self._seen.add(key, now_ms):
            self.duplicates += 1
            return None
        self._judging.pop(key, None)
        self._judging[key] = (now_ms + _JUDGING_MS, frame)
        return key

    def judged(self, key: Hash, judgement: Judgement, now_ms: int) -> list[Send]:
        """The node's judgement of a message that had `arrived`."""
        _, frame = self._judging.pop(key, (0, None))
        if judgement is Verdict.LATER:
            self._seen.forget(key)
        if judgement is not Verdict.RELAY or frame is None:
            return []
        return self._spread(key, frame, self._mesh, now_ms)

    def publish(self, notice: Notice, now_ms: int) -> list[Send]:
        """The node's own message, or one to be said again: goes out whether or not it was seen."""
        frame = frame_of(notice)
        key = gossip_id(frame)
        self._seen.forget(key)
        self._seen.add(key, now_ms)
        for peer in self._peers.values():
            peer.known.discard(key)
        everybody = len(frame) <= SMALL_FRAME_BYTES
        return self._spread(key, frame, frozenset(self._peers) if everybody else self._mesh, now_ms)

    def on_have(self, peer_id: PeerId, have: Have, now_ms: int) -> None:
        """A peer can give messages; those not seen lately are asked for at the next tick."""
        peer = self._peers.get(peer_id)
        if peer is None:
            return
        for key in have.ids:
            peer.known.add(key)
            if not self._seen.has(key, now_ms):
                self._wanted.announced(peer_id, key)

    def on_want(self, peer_id: PeerId, want: Want) -> list[Send]:
        """A peer asks for what it was offered; each is given once."""
        peer = self._peers.get(peer_id)
        sends = []
        for key in want.ids:
            kept = self._kept.get(key)
            if peer is not None and kept is not None and peer.offered.discard(key):
                peer.known.add(key)
                sends.append(Send(peer_id, Lane.CONSENSUS, kept[1]))
        return sends

    # --- Transactions ---

    def announce(self, ids: Iterable[Hash]) -> None:
        """Transactions that the node holds are announced, at the next tick, to every peer that does not know them."""
        for key in ids:
            self._announced.add(key)
            for peer in self._peers.values():
                _offer(peer, key)

    def greet(self, peer_id: PeerId, held: Callable[[Hash], bool]) -> None:
        """A new peer is told what was announced before it came and is still `held`."""
        peer = self._peers[peer_id]
        for key in list(self._announced):
            if held(key):
                _offer(peer, key)
            else:
                self._announced.discard(key)

    def on_announce(
        self, peer_id: PeerId, announce: TransactionAnnounce, held: Callable[[Hash], bool], now_ms: int
    ) -> None:
        """A peer announces transactions; those that are not `held` are asked for at the next tick."""
        peer = self._peers.get(peer_id)
        if peer is None:
            return
        for key in announce.ids:
            peer.known.add(key)
            if not (
                key in self._transactions_judging or self._transactions_ignored.has(key, now_ms) or held(key)
            ):
                self._wanted_transactions.announced(peer_id, key)

    def on_transaction_request(
        self, peer_id: PeerId, request: TransactionRequest, lookup: Callable[[Hash], bytes | None]
    ) -> list[Send]:
        """A peer asks for transactions that were announced to it; each is given once."""
        peer = self._peers.get(peer_id)
        if peer is None:
            return []
        found = [
            encoded
            for key in request.ids
            if peer.offered.discard(key) and (encoded := lookup(key)) is not None
        ]
        return [_send(peer_id, Transactions(part)) for part in _parts(found)]

    def on_transactions(
        self, peer_id: PeerId, transactions: Transactions
    ) -> tuple[list[tuple[Hash, bytes]], Charge | None]:
        """Transactions came: those for the node to judge, with their recomputed ids, and a charge for unrequested ones.

        Each is to be given back to `transaction_judged`.
        """
        peer = self._peers.get(peer_id)
        fresh, charge = [], None
        for encoded in transactions.encoded:
            key = transaction_id(encoded)
            if peer is None or len(encoded) <= SIGNATURE_WIRE_BYTES or not peer.asked.discard(key):
                charge = UNREQUESTED
                continue
            self._wanted_transactions.got(key, peer_id)
            if key not in self._transactions_judging:
                self._transactions_judging.add(key)
                fresh.append((key, encoded))
        return fresh, charge

    def transaction_judged(self, key: Hash, judgement: Judgement, now_ms: int) -> None:
        """The node's judgement. An invalid one leaves no trace: its id does not cover its signature, the true one may come."""
        self._transactions_judging.discard(key)
        if judgement is Verdict.RELAY:
            self.announce([key])
        elif judgement is Verdict.IGNORE:
            self._transactions_ignored.add(key, now_ms)

    # --- Time ---

    def pending(self) -> bool:
        """Whether `tick` may have something to say, now or later."""
        return (
            self._wanted.pending()
            or self._wanted_transactions.pending()
            or any(peer.haves or peer.announces for peer in self._peers.values())
        )

    def tick(self, now_ms: int) -> list[Send]:
        """What was gathered since the last tick, and second requests for what did not come."""
        sends: list[Send] = []
        for peer_id, ids in self._wanted.due(now_ms).items():
            sends += [_send(peer_id, Want(part)) for part in _slices(ids, limits.gossip_ids_per_message_max)]
        for peer_id, ids in self._wanted_transactions.due(now_ms).items():
            for key in ids:
                self._peers[peer_id].asked.add(key)
            parts = _slices(ids, limits.transaction_ids_per_message_max)
            sends += [_send(peer_id, TransactionRequest(part)) for part in parts]
        for peer_id, peer in self._peers.items():
            parts = _slices(peer.haves, limits.gossip_ids_per_message_max)
            sends += [_send(peer_id, Have(part)) for part in parts]
            parts = _slices(peer.announces, limits.transaction_ids_per_message_max)
            sends += [_send(peer_id, TransactionAnnounce(part)) for part in parts]
            peer.haves, peer.announces = [], []
        self._expire(now_ms)
        return sends

    # --- Inside ---

    def _spread(self, key: Hash, frame: bytes, push_to: frozenset[PeerId], now_ms: int) -> list[Send]:
        self._keep(key, frame, now_ms)
        sends = []
        for peer_id, peer in self._peers.items():
            if key in peer.known:
                continue
            peer.known.add(key)
            if peer_id in push_to:
                sends.append(Send(peer_id, Lane.CONSENSUS, frame))
            elif len(peer.haves) < limits.gossip_known_per_peer_max:
                peer.offered.add(key)
                peer.haves.append(key)
        return sends

    def _keep(self, key: Hash, frame: bytes, now_ms: int) -> None:
        old = self._kept.pop(key, None)
        self._kept_bytes += len(frame) - (len(old[1]) if old else 0)
        self._kept[key] = (now_ms + limits.gossip_seen_ms, frame)
        self._expire(now_ms)

    def _expire(self, now_ms: int) -> None:
        while self._judging and next(iter(self._judging.values()))[0] <= now_ms:
            self._judging.popitem(last=False)
        while self._kept:
            until_ms, frame = next(iter(self._kept.values()))
            if until_ms > now_ms and self._kept_bytes <= limits.gossip_kept_bytes_max:
                return
            self._kept.popitem(last=False)
            self._kept_bytes -= len(frame)

    def _choose_mesh(self) -> None:
        """Half from peers that this node chose itself, half from those that chose it, so that neither can be crowded out."""
        half = limits.gossip_mesh_peers_max // 2
        ranked = sorted(self._peers, key=lambda peer_id: self._peers[peer_id].rank)
        out = [peer_id for peer_id in ranked if self._peers[peer_id].outbound]
        inbound = [peer_id for peer_id in ranked if not self._peers[peer_id].outbound]
        first = out[:half] + inbound[:half]
        rest = [peer_id for peer_id in ranked if peer_id not in first]
        self._mesh = frozenset(first + rest[: limits.gossip_mesh_peers_max - len(first)])


def _offer(peer: _Peer, key: Hash) -> None:
    if key not in peer.known and len(peer.announces) < limits.gossip_known_per_peer_max:
        peer.known.add(key)
        peer.offered.add(key)
        peer.announces.append(key)


def _send(peer_id: PeerId, notice: Notice) -> Send:
    return Send(peer_id, lane_of(notice), frame_of(notice))


def _slices(ids: Sequence[Hash], count_max: int) -> list[tuple[Hash, ...]]:
    return [tuple(ids[start : start + count_max]) for start in range(0, len(ids), count_max)]


def _parts(encoded: Sequence[bytes]) -> list[tuple[bytes, ...]]:
    """Transactions cut into messages: by count, and by bytes so that each leaves room for others on the line."""
    parts: list[list[bytes]] = []
    room = 0
    for transaction in encoded:
        full = not parts or len(parts[-1]) >= limits.transactions_per_message_max
        if full or len(transaction) > room:
            parts.append([])
            room = _TRANSACTIONS_FRAME_BYTES
        parts[-1].append(transaction)
        room -= len(transaction)
    return [tuple(part) for part in parts]
