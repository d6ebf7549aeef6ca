"""The network over TCP: listens, dials, keeps one connection for each peer, and serves the node (`p2p.interface.Network`).

Owns the sockets and the table of peers. Decisions are elsewhere: gossip, admission, scores, address book, dialer.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

import structlog

from omnitensor.protocol import limits
from omnitensor.protocol.disk import told
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.keys import SigningKey
from omnitensor.protocol.types import Hash
from p2p.address_book import AddressBook, write_book
from p2p.config import HostConfig, Seed
from p2p.connection import Connection
from p2p.counters import Counters
from p2p.dialer import Dialer, Learn, failure_label
from p2p.errors import AskError, HandshakeError, HandshakeTimeout, NetworkError
from p2p.gossip import Gossip
from p2p.handshake import Established, Handshake
from p2p.interface import Handler, PeerInfo
from p2p.messages import Gossip as GossipMessage
from p2p.messages import (
    Hello,
    PeerAddress,
    PeerId,
    Peers,
    PeersRequest,
    Request,
    Response,
    StatusUpdate,
    kind_of,
    notice_of,
)
from p2p.noise import generate_static_key
from p2p.peers import Admission, Scores
from p2p.router import Router
from p2p.streams import READ_BYTES, Streams, part, tune

log = structlog.get_logger("p2p")

_TICK_S: Final = 0.025
"""How long announcements are gathered before they leave."""
_EXCHANGE_S: Final = 10.0
_SAVE_ROUNDS: Final = 30
_STOP_S: Final = 3.0
_HANDSHAKE_READ_BYTES: Final = 4_096


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Host:
    """A node's place in the network. All calls from one event loop, that of `start`."""

    def __init__(
        self,
        identity: SigningKey,
        chain_id: str,
        genesis_hash: Hash,
        handler: Handler,
        config: HostConfig,
        clock: Callable[[], int] = _monotonic_ms,
        wall: Callable[[], int] = _wall_ms,
    ) -> None:
        """`clock` gives monotonic milliseconds, `wall` those since 1970, which peers are told.

        Raises StorageError for an address book that can't be read.
        """
        self._identity = identity
        self._chain_id = chain_id
        self._genesis_hash = genesis_hash
        self._handler = handler
        self._config = config
        self._clock = clock
        self._wall = wall
        self._static_key = generate_static_key()
        self._counters = Counters()
        self._connections: dict[PeerId, Connection] = {}
        self._book = (
            AddressBook.load(config.address_book, self.peer_id)
            if config.address_book
            else AddressBook(self.peer_id)
        )
        self._scores = Scores()
        self._admission = Admission(config.peers_inbound_max, config.peers_per_subnet_max)
        self._gossip = Gossip(os.urandom(16))
        self._wake = asyncio.Event()
        self._router = Router(
            handler,
            self._gossip,
            self._connections,
            self._book,
            self._counters,
            self.charge,
            clock,
            self._wake.set,
        )
        self._dialer = Dialer(
            config, self._book, self._connections, self._counters, self._meet_dialled, clock
        )
        self._reserved = {seed.peer_id for seed in config.persistent if seed.peer_id}
        self._server: asyncio.Server | None = None
        self._loops: list[asyncio.Task[None]] = []
        self._serving: set[asyncio.Task[None]] = set()
        self._stopping = False

    # --- Life ---

    @property
    def peer_id(self) -> PeerId:
        return PeerId(self._identity.public)

    @property
    def listen_port(self) -> int:
        if self._server is None or not self._server.sockets:
            return 0
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listens and begins to dial. Raises NetworkError when the address can't be listened on."""
        if self._config.listen is not None:
            address, port = self._config.listen
            try:
                self._server = await asyncio.start_server(self._accept, address, port, limit=READ_BYTES)
            except (OSError, UnicodeError) as error:
                raise NetworkError(
                    f"can't listen: {error}",
                    value=f"{address}:{port}",
                    remedy="stop what uses this port, or choose another one to listen on",
                    code="listen",
                ) from error
        loops = [self._dialer.run(), self._tick(), self._keep_book()]
        self._loops = [asyncio.create_task(loop) for loop in loops]
        log.info("network started", peer=self.peer_id.hex(), port=self.listen_port)

    async def stop(self) -> None:
        """Says goodbye to every peer, closes all, saves the address book. May be called again."""
        if self._stopping:
            return
        self._stopping = True
        if self._server is not None:
            self._server.close()
        for task in self._loops:
            task.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        for connection in list(self._connections.values()):
            connection.end("stopping", "the node stops")
        if self._serving:
            _, late = await asyncio.wait(self._serving, timeout=_STOP_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._save_book()
        log.info("network stopped", peer=self.peer_id.hex())

    # --- For the node ---

    def broadcast(self, message: GossipMessage) -> int:
        notice = notice_of(message)
        sends = self._gossip.publish(notice, self._clock())
        self._wake.set()
        return self._router.emit(sends, kind_of(notice))

    def broadcast_status(self, status: StatusUpdate) -> int:
        return sum(connection.tell(status) for connection in self._connections.values())

    def announce_transactions(self, transaction_ids: Iterable[Hash]) -> None:
        self._gossip.announce(transaction_ids)
        self._wake.set()

    def send(self, peer_id: PeerId, message: GossipMessage | StatusUpdate) -> bool:
        connection = self._connections.get(peer_id)
        if connection is None:
            return False
        return connection.tell(message if isinstance(message, StatusUpdate) else notice_of(message))

    async def ask(self, peer_id: PeerId, request: Request, timeout_ms: int | None = None) -> Response:
        connection = self._connections.get(peer_id)
        if connection is None:
            raise AskError("the peer is not connected", value=peer_id, code="gone")
        return await connection.ask(request, timeout_ms or limits.ask_ms_max)

    def peers(self) -> tuple[PeerInfo, ...]:
        now_ms = self._clock()
        return tuple(
            connection.info(self._scores.points(peer_id, now_ms))
            for peer_id, connection in sorted(self._connections.items())
        )

    def charge(self, peer_id: PeerId, points: int, reason: str) -> None:
        self._counters.add("p2p_charges", points)
        banned = self._scores.charge(peer_id, points, self._clock())
        log.debug("charged a peer", peer=peer_id.hex(), points=points, reason=reason)
        connection = self._connections.get(peer_id)
        if banned and connection is not None:
            connection.end("charged", reason)

    def drop(self, peer_id: PeerId, reason: str) -> None:
        connection = self._connections.get(peer_id)
        if connection is not None:
            connection.end("dropped", reason)

    def metrics(self) -> dict[str, int]:
        outbound = self._dialer.outbound
        return self._counters.snapshot() | {
            "p2p_peers{direction=outbound}": outbound,
            "p2p_peers{direction=inbound}": len(self._connections) - outbound,
            "p2p_addresses": len(self._book),
            "p2p_duplicate_messages": self._gossip.duplicates,
        }

    # --- Connections ---

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Runs in a task of the server's for each incoming connection; every error ends here."""
        name = writer.get_extra_info("peername")
        if self._stopping or not name:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            await self._meet_incoming((reader, writer), str(name[0]), int(name[1]))
        except ProtocolError as error:
            self._counters.add("p2p_handshakes_failed", code=failure_label(error))
            log.info("refused a connection", host=name[0], code=error.code, reason=str(error))
        except Exception:
            log.exception("serving a connection failed", host=name[0])
            writer.transport.abort()
        finally:
            self._serving.discard(task)

    async def _meet_incoming(self, streams: Streams, host: str, port: int) -> None:
        try:
            self._admission.begin_handshake(host, self._clock())
        except HandshakeError:
            streams[1].transport.abort()
            raise
        try:
            tune(streams[1])
            admit = self._admission_of(host, outbound=False)
            established = await self._shake(streams, None, admit, initiator=False)
        finally:
            self._admission.end_handshake(host)
        connection = self._connection(established, streams, outbound=False, address=(host, port))
        if established.hello.listen_port:
            heard = PeerAddress(established.peer_id, host, established.hello.listen_port)
            self._book.hear([heard], host, _wall_ms())
        self._admission.add_inbound(host)
        try:
            await self._serve(connection)
        finally:
            self._admission.remove_inbound(host)

    async def _meet_dialled(self, streams: Streams, seed: Seed, learn: Learn) -> Connection:
        """Makes a peer of a dialled connection, and leaves it being served. Raises HandshakeError or FrameError."""
        may_enter = self._admission_of(seed.host, outbound=True)

        def admit(peer_id: PeerId) -> None:
            learn(peer_id)
            may_enter(peer_id)

        established = await self._shake(streams, seed.peer_id, admit, initiator=True)
        remote = streams[1].get_extra_info("peername") or (seed.host, seed.port)
        address = (str(remote[0]), int(remote[1]))
        connection = self._connection(established, streams, outbound=True, address=address)
        task = asyncio.create_task(self._serve(connection))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        return connection

    async def _shake(
        self, streams: Streams, expected: PeerId | None, admit: Callable[[PeerId], None], *, initiator: bool
    ) -> Established:
        reader, writer = streams
        handshake = Handshake(
            self._identity,
            self._hello(),
            static_key=self._static_key,
            initiator=initiator,
            expected=expected,
            admit=admit,
        )
        try:
            async with asyncio.timeout(limits.handshake_ms_max / 1_000):
                while handshake.established is None:
                    writer.write(handshake.data_to_send())
                    data = await reader.read(_HANDSHAKE_READ_BYTES)
                    if not data:
                        raise HandshakeError("the other end closed the connection during the handshake")
                    handshake.receive(data)
                writer.write(handshake.data_to_send())
                admit(handshake.established.peer_id)
            return handshake.established
        except TimeoutError:
            writer.transport.abort()
            raise HandshakeTimeout(
                f"the handshake took longer than {limits.handshake_ms_max} ms",
                value=writer.get_extra_info("peername"),
            ) from None
        except ProtocolError as error:
            handshake.goodbye(error.code, error.reason)
            await part(streams, handshake.data_to_send())
            raise
        except OSError as error:
            writer.transport.abort()
            raise HandshakeError(f"the connection broke during the handshake: {error}") from error
        except asyncio.CancelledError:
            writer.transport.abort()
            raise

    def _hello(self) -> Hello:
        head = self._handler.head()
        return Hello(
            chain_id=self._chain_id,
            genesis_hash=self._genesis_hash,
            head_height=head.height,
            head_hash=head.hash,
            final_view=head.view,
            listen_port=self.listen_port,
            node_name=self._config.node_name[: limits.node_name_chars_max],
        )

    def _admission_of(self, host: str, *, outbound: bool) -> Callable[[PeerId], None]:
        def admit(peer_id: PeerId) -> None:
            if self._stopping:
                raise HandshakeError("the node stops", code="stopping")
            if self._scores.banned(peer_id, self._clock()):
                raise HandshakeError("the peer is banned for a while", value=peer_id, code="banned")
            self._check_duplicate(peer_id, outbound=outbound)
            if not outbound:
                self._admission.check_inbound(host, reserved=peer_id in self._reserved)

        return admit

    def _check_duplicate(self, peer_id: PeerId, *, outbound: bool) -> None:
        """Raises HandshakeError (`duplicate`) unless a new connection of a connected peer is to take the old one's place.

        Of two in opposite directions both ends keep the one that the smaller id dialled; of two in the same direction
        the older. But one on which nothing was heard for so long that it is likely dead gives way to any.
        """
        old = self._connections.get(peer_id)
        if old is None or old.ended:
            return
        likely_dead = self._clock() - old.heard_ms > limits.silence_ms_max // 3
        preferred = old.outbound != outbound and outbound == (self.peer_id < peer_id)
        if not (likely_dead or preferred):
            raise HandshakeError("the peer is connected already", value=peer_id, code="duplicate")

    def _connection(
        self, established: Established, streams: Streams, *, outbound: bool, address: tuple[str, int]
    ) -> Connection:
        return Connection(
            established,
            streams,
            self._router,
            self._counters,
            self._clock,
            self._wall,
            outbound=outbound,
            address=address,
        )

    async def _serve(self, connection: Connection) -> None:
        """A connection's life as a peer, from entry into the table to the last goodbye."""
        peer_id = connection.peer_id
        old = self._connections.get(peer_id)
        self._connections[peer_id] = connection
        if old is not None:
            old.replaced = True
            old.end("duplicate", "another connection of this peer takes its place")
        else:
            self._gossip.peer_up(peer_id, outbound=connection.outbound)
            self._gossip.greet(peer_id, lambda key: self._handler.transaction(key) is not None)
            self._wake.set()
        reason = "this node stops"
        try:
            if old is None:
                await self._call_handler(self._handler.on_peer_up(connection.info(0)), "on_peer_up")
            host, head = connection.address[0], connection.head
            log.info("peer connected", peer=peer_id.hex(), host=host, height=head.height)
            ending = await connection.run()
            reason = ending.reason
            self._counters.add("p2p_disconnects", code=ending.code)
            log.info("peer disconnected", peer=peer_id.hex(), code=ending.code, reason=reason)
        finally:
            if not connection.replaced:
                del self._connections[peer_id]
                self._gossip.peer_down(peer_id)
        if not connection.replaced:
            await self._call_handler(self._handler.on_peer_down(peer_id, reason), "on_peer_down")

    # --- Loops ---

    async def _tick(self) -> None:
        """Lets gossip speak when it has something to say, gathered over a moment."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            await asyncio.sleep(_TICK_S)
            self._wake.clear()
            if self._router.tick():
                loop.call_later(4 * _TICK_S, self._wake.set)

    async def _keep_book(self) -> None:
        """Asks for addresses while outbound peers are missing, and saves the book now and then."""
        rounds = 0
        while True:
            await asyncio.sleep(_EXCHANGE_S)
            rounds += 1
            if self._config.exchange and self._dialer.outbound < self._config.peers_outbound_target:
                await self._ask_for_addresses()
            if rounds % _SAVE_ROUNDS == 0:
                await self._save_book()

    async def _ask_for_addresses(self) -> None:
        connection = random.choice(list(self._connections.values()) or [None])
        if connection is None:
            return
        try:
            answer = await connection.ask(PeersRequest(), limits.ask_ms_max)
        except AskError as error:
            log.debug("a peer gave no addresses", peer=connection.peer_id.hex(), reason=error.reason)
            return
        assert isinstance(answer, Peers)
        self._book.hear(answer.addresses, connection.address[0], _wall_ms())

    async def _save_book(self) -> None:
        if self._config.address_book is None:
            return
        try:
            await asyncio.to_thread(write_book, self._config.address_book, self._book.dump())
        except OSError as error:
            fault = told(error, self._config.address_book)
            log.warning("can't save the address book", path=str(self._config.address_book), reason=fault)

    async def _call_handler(self, call: Coroutine[Any, Any, None], name: str) -> None:
        try:
            await call
        except Exception:
            log.exception("a handler failed", call=name)
            self._counters.add("p2p_handler_failures")
