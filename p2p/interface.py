"""What the network asks of a node (`Handler`) and offers to it (`Network`). Signatures and values; does nothing.

`p2p.host.Host` is the `Network` over TCP. All of it is called from one event loop.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from omnitensor.protocol.types import Hash, Height, View
from p2p.messages import Gossip, PeerId, Request, Response, StatusUpdate


class Verdict(Enum):
    """What a node finds of a message that others passed on. Nothing is relayed before the node says RELAY."""

    RELAY = "relay"
    """Valid: passed on to others, and its copies are dropped for a while."""
    IGNORE = "ignore"
    """Of no use, and no fault: not passed on, its copies are dropped for a while."""
    LATER = "later"
    """Not judged (for instance a view too far ahead): not passed on, a copy that arrives later is judged again."""


@dataclass(frozen=True, slots=True)
class Charge:
    """The sender is at fault. Points add up and fade; at `limits.peer_charge_points_max` the peer is dropped and banned."""

    points: int
    reason: str


Judgement = Verdict | Charge


@dataclass(frozen=True, slots=True)
class Head:
    """The last final block of a node."""

    height: Height
    hash: Hash
    view: View


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """A connected peer as it is now."""

    peer_id: PeerId
    name: str
    host: str
    port: int
    """Remote port of the connection."""
    listen_port: int
    """Where it takes connections; 0 for nowhere."""
    outbound: bool
    head: Head
    """What it last said of itself."""
    connected_ms: int
    """Since when, milliseconds of the monotonic clock."""
    score: int
    """0 for a good peer, falling to -limits.peer_charge_points_max."""
    rtt_ms: int | None
    bytes_in: int
    bytes_out: int
    clock_ms: int | None = None
    """By how much its clock, as it says, is ahead of this machine's monotonic one; None where it says nothing, or did long ago.

    Short of the truth by the time that the message took.
    """


class Handler(Protocol):
    """The node, as the network sees it.

    The calls for messages of one peer start in the order of arrival, and several may be under way at once. An exception
    out of a handler is a bug: it is logged with its traceback, and the message counts as IGNORE or NotHeld.
    """

    def head(self) -> Head:
        """The last final block, for handshakes."""
        ...

    def has_transaction(self, transaction_id: Hash) -> bool:
        """Whether a transaction is in the mempool or was in a recent block. Cheap: called for every announced id."""
        ...

    def transaction(self, transaction_id: Hash) -> bytes | None:
        """Canonical bytes of a transaction in the mempool. Cheap."""
        ...

    async def on_gossip(self, peer_id: PeerId, message: Gossip) -> Judgement:
        """A vote, certificate or proposal that was not seen lately."""
        ...

    async def on_transactions(self, peer_id: PeerId, encoded: tuple[bytes, ...]) -> tuple[Judgement, ...]:
        """Transactions that this node asked for; one judgement each, in order."""
        ...

    async def on_status(self, peer_id: PeerId, status: StatusUpdate) -> None:
        """A peer says how far it is."""
        ...

    async def on_request(self, peer_id: PeerId, request: Request) -> Response | Charge | None:
        """The answer to a request (never a PeersRequest: the host answers it); None when it is not held."""
        ...

    async def on_peer_up(self, peer: PeerInfo) -> None:
        """A peer of this chain is connected."""
        ...

    async def on_peer_down(self, peer_id: PeerId, reason: str) -> None:
        """It is not connected any more."""
        ...


class Network(Protocol):
    """What a node can do with its peers."""

    @property
    def peer_id(self) -> PeerId:
        """This node's own id."""
        ...

    @property
    def listen_port(self) -> int:
        """The port that it listens on; 0 when it does not listen."""
        ...

    async def start(self) -> None:
        """Listens and begins to dial. Raises errors.NetworkError when the port is taken."""
        ...

    async def stop(self) -> None:
        """Says goodbye, closes every connection, saves the address book. May be called twice."""
        ...

    def broadcast(self, message: Gossip) -> int:
        """Pushes one's own vote, certificate or proposal (again, if it was sent before); how many peers it is queued for."""
        ...

    def broadcast_status(self, status: StatusUpdate) -> int:
        """Tells every peer how far this node is."""
        ...

    def announce_transactions(self, transaction_ids: Iterable[Hash]) -> None:
        """Offers transactions that the mempool has taken in other ways than `on_transactions`."""
        ...

    def send(self, peer_id: PeerId, message: Gossip | StatusUpdate) -> bool:
        """Queues a message for one peer; False when it is not connected or its queue is full."""
        ...

    async def ask(self, peer_id: PeerId, request: Request, timeout_ms: int | None = None) -> Response:
        """A peer's answer, which is of the request's kind. Raises errors.AskError."""
        ...

    def peers(self) -> tuple[PeerInfo, ...]:
        """Connected peers, sorted by id."""
        ...

    def charge(self, peer_id: PeerId, points: int, reason: str) -> None:
        """Counts a fault against a peer; at the limit it is dropped and banned for a while."""
        ...

    def drop(self, peer_id: PeerId, reason: str) -> None:
        """Closes a peer's connection, saying why."""
        ...

    def metrics(self) -> dict[str, int]:
        """Counters and gauges by name, labels appended as `name{label=value}`."""
        ...
