"""One peer's connection after the handshake: reads, writes, asks, answers, pings, ends. Decides nothing about the network.

What a message means is its owner's business (`Owner`, which is the router). Whoever ends it gives a code and a reason;
the other end is told with a Goodbye.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from omnitensor.protocol import limits
from omnitensor.protocol.errors import ProtocolError
from p2p.counters import Counters
from p2p.errors import AskError
from p2p.frames import Outbox, pack_record
from p2p.handshake import Established, clean
from p2p.interface import Head, PeerInfo
from p2p.messages import (
    RESPONSES_OF,
    Ask,
    ChunkRequest,
    Goodbye,
    Hello,
    Lane,
    LeavesRequest,
    NotHeld,
    Notice,
    PeerId,
    Ping,
    Pong,
    Reply,
    Request,
    Response,
    Tell,
    decode_envelope,
    encode_envelope,
    kind_of,
    lane_of,
)
from p2p.rates import KindRates
from p2p.streams import READ_BYTES, Streams, part

log = structlog.get_logger("p2p")

_WATCH_S: Final = 1.0
_YIELD_BYTES: Final = 256 * 1024
"""After so much written in one go, others get their turn on the event loop."""
_BULK_LOW_BYTES: Final = limits.frame_bytes_max // 2


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a connection ended. `told` when the other end said so, or is gone: then it gets no Goodbye."""

    code: str
    reason: str
    told: bool = False


class Owner(Protocol):
    """Who makes sense of a peer's messages."""

    def on_notice(
        self, connection: Connection, message: Notice, frame: bytes
    ) -> Coroutine[Any, Any, None] | None:
        """Takes a notice; what is long to do comes back as a coroutine, of which a bounded number runs."""
        ...

    async def on_ask(self, connection: Connection, request: Request) -> Response:
        """The answer to a request."""
        ...

    def charge(self, peer_id: PeerId, points: int, reason: str) -> None:
        """Counts a fault."""
        ...


class Connection:
    """Owns a socket, its outbox, and the questions that are open on it."""

    def __init__(
        self,
        established: Established,
        streams: Streams,
        owner: Owner,
        counters: Counters,
        clock: Callable[[], int],
        wall: Callable[[], int],
        *,
        outbound: bool,
        address: tuple[str, int],
    ) -> None:
        """`clock` gives monotonic milliseconds, `wall` those since 1970."""
        self.peer_id: Final = established.peer_id
        self.hello: Final = established.hello
        self.outbound: Final = outbound
        self.address: Final = address
        self.head = Head(self.hello.head_height, self.hello.head_hash, self.hello.final_view)
        self.connected_ms: Final = clock()
        self.heard_ms = clock()
        self.rtt_ms: int | None = None
        self.bytes_in = 0
        self.bytes_out = 0
        self.replaced = False
        """Whether another connection of the same peer took its place."""
        self._session = established.session
        self._frames = established.reader
        self._reader, self._writer = streams
        self._owner = owner
        self._counters = counters
        self._clock = clock
        self._wall = wall
        self._outbox = Outbox()
        self._wake = asyncio.Event()
        self._bulk_low = asyncio.Event()
        self._bulk_low.set()
        self._ending: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._stalled_ms: int | None = None
        self._rates = KindRates(clock())
        self._tasks: set[asyncio.Task[None]] = set()
        self._handling = [asyncio.Semaphore(count) for count in limits.handlers_in_flight_max]
        # A disk that is slow with content does not hold up blocks.
        self._bulk_answers = {
            content: asyncio.Semaphore(limits.bulk_answers_in_flight_max) for content in (False, True)
        }
        self._answering = 0
        self._asking = asyncio.Semaphore(limits.asks_in_flight_max)
        self._asking_content = asyncio.Semaphore(limits.content_asks_in_flight_max)
        self._open: dict[int, tuple[tuple[type, ...], asyncio.Future[Response]]] = {}
        self._late: set[int] = set()
        self._number = 0
        self._ping: tuple[int, int] | None = None
        self._pinged_ms = clock()
        self._said: tuple[int, int] | None = None
        """The peer's clock less the monotonic one, and when it was said."""

    # --- For the host ---

    @property
    def ended(self) -> bool:
        return self._ending.done()

    def end(self, code: str, reason: str, *, told: bool = False) -> None:
        """Ends the connection; the first reason counts."""
        if not self._ending.done():
            self._ending.set_result(Ending(code, reason, told))

    def push(self, lane: Lane, frame: bytes, kind: str) -> bool:
        """Queues a frame; False when the lane is full or the connection has ended."""
        if self.ended:
            return False
        before = self._outbox.dropped
        if not self._outbox.push(lane, frame):
            self._counters.add("p2p_frames_refused", lane=lane.name.lower())
            return False
        if self._outbox.dropped > before:
            self._counters.add("p2p_frames_dropped", self._outbox.dropped - before, lane=lane.name.lower())
        self._counters.add("p2p_messages_out", kind=kind)
        self._wake.set()
        return True

    def tell(self, message: Notice) -> bool:
        """Queues a notice."""
        return self.push(lane_of(message), encode_envelope(Tell(message)), kind_of(message))

    async def ask(self, request: Request, timeout_ms: int) -> Response:
        """The peer's answer. Raises AskError."""
        share = self._asking_content if is_for_content(request) else nullcontext()
        try:
            async with asyncio.timeout(timeout_ms / 1_000), share, self._asking:
                return await self._ask(request)
        except TimeoutError:
            raise AskError(
                f"no answer to a {kind_of(request)} in {timeout_ms} ms", value=self.peer_id, code="timeout"
            ) from None

    def info(self, points: int) -> PeerInfo:
        """The peer as it is now; `points` are its charges."""
        return PeerInfo(
            peer_id=self.peer_id,
            name=clean(self.hello.node_name),
            host=self.address[0],
            port=self.address[1],
            listen_port=self.hello.listen_port,
            outbound=self.outbound,
            head=self.head,
            connected_ms=self.connected_ms,
            score=-points,
            rtt_ms=self.rtt_ms,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            clock_ms=self._clock_said(),
        )

    def _clock_said(self) -> int | None:
        said = self._said
        return said[0] if said is not None and self._clock() - said[1] < limits.clock_stale_ms else None

    async def run(self) -> Ending:
        """Serves the connection until it ends; the socket is closed when this returns."""
        loops = [
            asyncio.create_task(self._guard(loop)) for loop in (self._read(), self._write(), self._watch())
        ]
        try:
            ending = await self._ending
        finally:
            for task in (*loops, *self._tasks):
                task.cancel()
            self.end("stopping", "this node stops")
            self._fail_open_asks()
        await asyncio.gather(*loops, *self._tasks, return_exceptions=True)
        if ending.told:
            self._writer.transport.abort()
        else:
            await part((self._reader, self._writer), self._goodbye(ending))
        return ending

    async def _guard(self, loop: Coroutine[Any, Any, None]) -> None:
        """A bug in a loop ends this connection, not the node."""
        try:
            await loop
        except Exception:
            log.exception("a connection failed", peer=self.peer_id.hex())
            self.end("bug", "this node failed to serve the connection")

    # --- Reading ---

    async def _read(self) -> None:
        try:
            while True:
                while not self.ended and (item := self._frames.next_frame()) is not None:
                    await self._on_frame(*item)
                data = await self._reader.read(READ_BYTES)
                if not data:
                    self.end("closed", "the other end closed the connection", told=True)
                    return
                self.heard_ms = self._clock()
                self.bytes_in += len(data)
                self._counters.add("p2p_bytes_in", len(data))
                self._frames.feed(data)
        except ProtocolError as error:
            self._counters.add("p2p_malformed", code=error.code)
            self.end("malformed", str(error))
            self._owner.charge(self.peer_id, limits.malformed_frame_points, str(error))
        except (OSError, asyncio.IncompleteReadError) as error:
            self.end("lost", f"the connection broke: {error}", told=True)

    async def _on_frame(self, lane: Lane, frame: bytes) -> None:
        """Raises ProtocolError for a frame that is no message, or travels in a lane that is not its own."""
        envelope = decode_envelope(frame)
        message = envelope.message
        kind = kind_of(message)
        self._counters.add("p2p_messages_in", kind=kind)
        if lane is not lane_of(message):
            raise ProtocolError(f"a {kind} in the wrong lane", value=lane.name.lower(), code="lane")
        if isinstance(envelope, Reply):
            self._on_reply(envelope)
        elif not self._rates.allow(kind, self._clock(), len(getattr(message, "ids", ()))):
            self._counters.add("p2p_excess_messages", kind=kind)
            self._owner.charge(self.peer_id, limits.excess_message_points, f"too many messages {kind}")
        elif isinstance(envelope, Ask):
            self._on_ask(envelope)
        else:
            await self._on_tell(envelope, lane, frame)

    async def _on_tell(self, envelope: Tell, lane: Lane, frame: bytes) -> None:
        match envelope.message:
            case Ping(number):
                self.tell(Pong(number))
                if limits.clock_said_ms_min <= number <= limits.clock_said_ms_max:
                    now_ms = self._clock()
                    self._said = (number - now_ms, now_ms)
            case Pong(number):
                if self._ping is not None and self._ping[0] == number:
                    self.rtt_ms, self._ping = self._clock() - self._ping[1], None
            case Goodbye(code, reason):
                self.end("goodbye", f"the other end said goodbye: {clean(code)}: {clean(reason)}", told=True)
            case Hello():
                raise ProtocolError("a second Hello", code="malformed")
            case notice:
                work = self._owner.on_notice(self, notice, frame)
                if work is not None:
                    try:
                        await self._handling[lane].acquire()
                    except asyncio.CancelledError:
                        work.close()
                        raise
                    self._spawn(work, self._handling[lane])

    def _spawn(self, work: Coroutine[Any, Any, None], slot: asyncio.Semaphore | None) -> None:
        async def guarded() -> None:
            try:
                await work
            except Exception:
                log.exception("a handler failed", peer=self.peer_id.hex())
                self._counters.add("p2p_handler_failures")
            finally:
                if slot is not None:
                    slot.release()

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: work.close())  # in case it never began

    # --- Questions ---

    def _on_ask(self, ask: Ask) -> None:
        if self._answering >= limits.asks_in_flight_max:
            self._counters.add("p2p_asks_refused")
            self._owner.charge(self.peer_id, limits.excess_message_points, "too many open questions")
            self._reply(ask.number, NotHeld())
            return
        self._answering += 1
        self._spawn(self._answer(ask), None)

    async def _answer(self, ask: Ask) -> None:
        try:
            if lane_of_answer(ask.message) is Lane.BULK:
                async with self._bulk_answers[is_for_content(ask.message)]:
                    await self._bulk_low.wait()
                    self._reply(ask.number, await self._owner.on_ask(self, ask.message))
            else:
                self._reply(ask.number, await self._owner.on_ask(self, ask.message))
        finally:
            self._answering -= 1

    def _reply(self, number: int, response: Response) -> None:
        lane = lane_of(response)
        self.push(lane, encode_envelope(Reply(number, response)), kind_of(response))
        if self._outbox.lane_bytes(Lane.BULK) > _BULK_LOW_BYTES:
            self._bulk_low.clear()

    async def _ask(self, request: Request) -> Response:
        if self.ended:
            raise AskError("the peer is gone", value=self.peer_id, code="gone")
        self._number += 1
        number = self._number
        future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._open[number] = (RESPONSES_OF[type(request)], future)
        try:
            if not self.push(lane_of(request), encode_envelope(Ask(number, request)), kind_of(request)):
                raise AskError("too much waits for the peer already", value=self.peer_id, code="busy")
            return await future
        finally:
            if self._open.pop(number, None) is not None and len(self._late) < 1_024:
                self._late.add(number)

    def _on_reply(self, reply: Reply) -> None:
        expected, future = self._open.pop(reply.number, (None, None))
        if expected is None or future is None:
            if reply.number in self._late:
                self._late.discard(reply.number)
            else:
                self._owner.charge(self.peer_id, limits.unasked_reply_points, "answered what was not asked")
            return
        if future.done():
            return
        if isinstance(reply.message, NotHeld):
            future.set_exception(
                AskError("the peer does not hold what was asked for", value=self.peer_id, code="not_held")
            )
        elif not isinstance(reply.message, expected):
            self._owner.charge(self.peer_id, limits.wrong_answer_points, "an answer of the wrong kind")
            wrong = AskError("an answer of the wrong kind", value=kind_of(reply.message), code="wrong_answer")
            future.set_exception(wrong)
        else:
            future.set_result(reply.message)

    def _fail_open_asks(self) -> None:
        for _, future in self._open.values():
            if not future.done():
                future.set_exception(AskError("the peer is gone", value=self.peer_id, code="gone"))
        self._open.clear()

    # --- Writing ---

    async def _write(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                written = 0
                while (fragment := self._outbox.next_fragment()) is not None:
                    written += await self._write_fragment(fragment)
                    if written >= _YIELD_BYTES:
                        await asyncio.sleep(0)
                        written = 0
        except OSError as error:
            self.end("lost", f"the connection broke: {error}", told=True)

    async def _write_fragment(self, fragment: bytes) -> int:
        data = pack_record(self._session.encrypt(fragment))
        self._writer.write(data)
        self.bytes_out += len(data)
        self._counters.add("p2p_bytes_out", len(data))
        if self._outbox.lane_bytes(Lane.BULK) <= _BULK_LOW_BYTES:
            self._bulk_low.set()
        self._stalled_ms = self._clock()
        await self._writer.drain()
        self._stalled_ms = None
        return len(data)

    # --- Watching ---

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_S)
            now_ms = self._clock()
            silent_ms = now_ms - self.heard_ms
            if silent_ms > limits.silence_ms_max:
                self.end("silent", f"nothing was heard of the peer for {silent_ms} ms")
            elif self._stalled_ms is not None and now_ms - self._stalled_ms > limits.stall_ms_max:
                self.end("stalled", f"the peer has taken nothing for {now_ms - self._stalled_ms} ms")
            elif self._ping is None and self._is_ping_due(now_ms, silent_ms):
                # Any number will do; this one lets the peer see whether its clock is right.
                self._ping, self._pinged_ms = (self._wall(), now_ms), now_ms
                self.tell(Ping(self._ping[0]))

    def _is_ping_due(self, now_ms: int, silent_ms: int) -> bool:
        """At the beginning, when nothing was heard for a while, and now and then for the clock's sake."""
        overdue = now_ms - self._pinged_ms >= limits.clock_ping_ms
        return self.rtt_ms is None or silent_ms > limits.ping_after_ms or overdue

    def _goodbye(self, ending: Ending) -> bytes:
        """The last record, past everything that waits: a frame in CONTROL is one fragment, so none is half sent."""
        outbox = Outbox()
        farewell = Goodbye(ending.code, ending.reason[: limits.reason_chars_max])
        outbox.push(Lane.CONTROL, encode_envelope(Tell(farewell)))
        fragment = outbox.next_fragment()
        assert fragment is not None and not outbox
        return pack_record(self._session.encrypt(fragment))


def lane_of_answer(request: Request) -> Lane:
    """The lane that the answer to a request travels in."""
    return Lane.BULK if type(request).__name__ in _BULK_REQUESTS else Lane.CONTROL


def is_for_content(request: Request) -> bool:
    """Whether a request is for bytes of content, of which many are wanted at once and which nothing else waits for."""
    return isinstance(request, LeavesRequest | ChunkRequest)


_BULK_REQUESTS: Final = frozenset(
    {
        "BlocksRequest",
        "LeavesRequest",
        "ChunkRequest",
        "SnapshotQuery",
        "SnapshotPieceRequest",
        "StepsRequest",
    }
)
