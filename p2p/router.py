"""Brings messages to whom they concern: gossip, the node, the address book. Owns no connection and no socket."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import structlog

from omnitensor.protocol import limits
from omnitensor.protocol.types import Hash
from p2p.address_book import AddressBook
from p2p.connection import Connection
from p2p.counters import Counters
from p2p.gossip import Gossip, Send
from p2p.interface import Charge, Handler, Head, Judgement, Verdict
from p2p.messages import (
    CertificateNotice,
    EvidenceNotice,
    GossipNotice,
    Have,
    NotHeld,
    Notice,
    PeerId,
    Peers,
    PeersRequest,
    ProposalNotice,
    Request,
    Response,
    StatusUpdate,
    TransactionAnnounce,
    TransactionRequest,
    Transactions,
    VoteNotice,
    Want,
    gossip_of,
)
from p2p.peers import LOCAL, network_group

log = structlog.get_logger("p2p")


class Router:
    """The `Owner` of every connection."""

    def __init__(
        self,
        handler: Handler,
        gossip: Gossip,
        connections: dict[PeerId, Connection],
        book: AddressBook,
        counters: Counters,
        charge: Callable[[PeerId, int, str], None],
        clock: Callable[[], int],
        wake: Callable[[], None],
    ) -> None:
        """`wake` is called when gossip has something to say at its next tick."""
        self._handler = handler
        self._gossip = gossip
        self._connections = connections
        self._book = book
        self._counters = counters
        self._charge = charge
        self._clock = clock
        self._wake = wake
        self._rng = random.Random()  # chooses addresses to hand out; nothing depends on it being secret

    def charge(self, peer_id: PeerId, points: int, reason: str) -> None:
        self._charge(peer_id, points, reason)

    def emit(self, sends: Iterable[Send], kind: str = "gossip") -> int:
        """Queues frames; for how many peers there was room."""
        queued = 0
        for send in sends:
            connection = self._connections.get(send.peer_id)
            if connection is not None and connection.push(send.lane, send.frame, kind):
                queued += 1
        return queued

    def tick(self) -> bool:
        """Lets gossip say what it gathered; whether there may be more to say later."""
        self.emit(self._gossip.tick(self._clock()))
        return self._gossip.pending()

    def on_notice(
        self, connection: Connection, message: Notice, frame: bytes
    ) -> Coroutine[Any, Any, None] | None:
        peer_id = connection.peer_id
        match message:
            case VoteNotice() | CertificateNotice() | ProposalNotice() | EvidenceNotice():
                key = self._gossip.arrived(peer_id, frame, self._clock())
                return None if key is None else self._judge(peer_id, key, message)
            case Transactions():
                return self._on_transactions(peer_id, message)
            case StatusUpdate(height, block_hash, view):
                connection.head = Head(height, block_hash, view)
                return self._handler.on_status(peer_id, message)
            case Have():
                self._gossip.on_have(peer_id, message, self._clock())
                self._wake()
            case Want():
                self.emit(self._gossip.on_want(peer_id, message))
            case TransactionAnnounce():
                held = self._handler.has_transaction
                self._gossip.on_announce(peer_id, message, held, self._clock())
                self._wake()
            case TransactionRequest():
                lookup = self._handler.transaction
                self.emit(self._gossip.on_transaction_request(peer_id, message, lookup), "Transactions")
            case _:
                raise AssertionError(f"a connection keeps {type(message).__name__} to itself")
        return None

    async def on_ask(self, connection: Connection, request: Request) -> Response:
        if isinstance(request, PeersRequest):
            local = network_group(connection.address[0]) == LOCAL
            return Peers(self._book.sample(limits.peer_addresses_per_message_max, self._rng, local=local))
        try:
            answer = await self._handler.on_request(connection.peer_id, request)
        except Exception:
            self._failed(connection.peer_id, "on_request")
            answer = None
        if isinstance(answer, Charge):
            self._charge(connection.peer_id, answer.points, answer.reason)
            answer = None
        return NotHeld() if answer is None else answer

    async def _judge(self, peer_id: PeerId, key: Hash, message: GossipNotice) -> None:
        judgement: Judgement = Verdict.LATER
        try:
            judgement = await self._handler.on_gossip(peer_id, gossip_of(message))
        except Exception:
            self._failed(peer_id, "on_gossip")
            judgement = Verdict.IGNORE
        finally:
            # Also when the connection ends meanwhile: an id must not stay "being judged".
            sends = self._gossip.judged(key, judgement, self._clock())
        self._count(judgement)
        self.emit(sends, type(message).__name__)
        self._wake()
        if isinstance(judgement, Charge):
            self._charge(peer_id, judgement.points, judgement.reason)

    async def _on_transactions(self, peer_id: PeerId, message: Transactions) -> None:
        fresh, charge = self._gossip.on_transactions(peer_id, message)
        if charge is not None:
            self._charge(peer_id, charge.points, charge.reason)
        if not fresh:
            return
        judgements: tuple[Judgement, ...] = (Verdict.LATER,) * len(fresh)
        try:
            judgements = await self._handler.on_transactions(peer_id, tuple(encoded for _, encoded in fresh))
            assert len(judgements) == len(fresh), "one judgement for each transaction"
        except Exception:
            self._failed(peer_id, "on_transactions")
            judgements = (Verdict.IGNORE,) * len(fresh)
        finally:
            for (key, _), judgement in zip(fresh, judgements, strict=True):
                self._gossip.transaction_judged(key, judgement, self._clock())
        for judgement in judgements:
            self._count(judgement)
            if isinstance(judgement, Charge):
                self._charge(peer_id, judgement.points, judgement.reason)
        self._wake()

    def _count(self, judgement: Judgement) -> None:
        verdict = "charge" if isinstance(judgement, Charge) else judgement.value
        self._counters.add("p2p_judged", verdict=verdict)

    def _failed(self, peer_id: PeerId, call: str) -> None:
        log.exception("a handler failed", call=call, peer=peer_id.hex())
        self._counters.add("p2p_handler_failures")
