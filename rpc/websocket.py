"""WebSockets: JSON-RPC over a connection that stays, and subscriptions. Sends in order; a client that can't keep up is dropped.

Each connection has one bounded queue for responses and events, so a response to ``subscribe.open`` comes before the first
event of the subscription. Knows sockets and the dispatcher; what an event is, ``topics`` says.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from aiohttp import WSCloseCode, WSMsgType, web

from omnitensor.protocol import limits
from rpc import jsonrpc
from rpc.dispatch import Dispatcher
from rpc.errors import LIMIT, domain_error
from rpc.feed import BlockFeed, CommittedBlock
from rpc.topics import BlockEvents, Filter

_log: Final = structlog.get_logger("rpc")

HEARTBEAT_S: Final = 30.0
SEND_S: Final = 20.0
"""How long one message may take to leave before the client counts as gone."""


class Socket:
    """One WebSocket: its queue and its subscriptions. Implements ``table.Session``."""

    def __init__(self, response: web.WebSocketResponse, client: str) -> None:
        self._response: Final = response
        self.client: Final = client
        self._queue: Final[asyncio.Queue[bytes]] = asyncio.Queue(limits.rpc_queue_events_max)
        self._waiting_bytes = 0
        self._has_room: Final = asyncio.Event()
        self._has_room.set()
        self._subscriptions: Final[dict[str, Filter]] = {}
        self._next = 1
        self.dropped = ""
        """Why the connection is to end; empty while it is well."""

    def open(self, topic: str, address: bytes | None, campaign: int | None, item: int | None) -> str:
        if len(self._subscriptions) >= limits.rpc_subscriptions_max:
            raise domain_error(
                LIMIT,
                "limit",
                "this connection has too many subscriptions",
                str(len(self._subscriptions)),
                f"close one; at most {limits.rpc_subscriptions_max}",
            )
        wanted = Filter(topic, address, campaign, item)
        for known, other in self._subscriptions.items():
            if other == wanted:  # said sixteen times, it would cost sixteen times as much
                raise domain_error(
                    LIMIT, "duplicate", "this connection has this subscription already", known, "use that one"
                )
        name = str(self._next)
        self._next += 1
        self._subscriptions[name] = wanted
        return name

    def close(self, subscription: str) -> bool:
        return self._subscriptions.pop(subscription, None) is not None

    def on_block(self, events: BlockEvents) -> None:
        """Queues what the subscriptions of this connection want of a block."""
        for name, wanted in self._subscriptions.items():
            for event in events.matching(wanted):
                if self.dropped:
                    return
                head = b'{"subscription":"' + name.encode() + b'","topic":"' + wanted.topic.encode()
                self.send(jsonrpc.notification_bytes("subscribe.event", head + b'","event":' + event + b"}"))

    def send(self, message: bytes) -> None:
        """Queues a message; where the queue is full the client is dropped."""
        if self.dropped:
            return
        if self._waiting_bytes > limits.rpc_queue_bytes_max:
            self.drop(f"too slow: {self._waiting_bytes} bytes waited")
            return
        try:
            self._queue.put_nowait(message)
        except asyncio.QueueFull:
            self.drop(f"too slow: {self._queue.qsize()} messages waited")
            return
        self._waits(len(message))

    def _waits(self, more: int) -> None:
        self._waiting_bytes += more
        if self._waiting_bytes > limits.rpc_queue_answers_bytes_max:
            self._has_room.clear()
        else:
            self._has_room.set()

    def drop(self, reason: str) -> None:
        """Ends the connection without waiting for the client."""
        if not self.dropped:
            self.dropped = reason
            _log.info("rpc.socket_dropped", client=self.client, reason=reason)
            # The socket may be stuck in a send: whoever waits for the next message is woken first.
            self._writer.cancel()

    async def run(self, receive: Callable[[bytes], Awaitable[bytes | None]]) -> None:
        """Serves the connection until either side ends it."""
        self._writer: asyncio.Task[None] = asyncio.create_task(self._write())
        self._reader = asyncio.create_task(self._read(receive))
        try:
            await asyncio.wait((self._writer, self._reader), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (self._writer, self._reader):
                task.cancel()
            await asyncio.gather(self._writer, self._reader, return_exceptions=True)
            with contextlib.suppress(Exception):
                async with asyncio.timeout(1):
                    code = WSCloseCode.TRY_AGAIN_LATER if self.dropped else WSCloseCode.OK
                    await self._response.close(code=code, message=self.dropped.encode()[:120])

    async def _write(self) -> None:
        while True:
            message = await self._queue.get()
            try:
                async with asyncio.timeout(SEND_S):
                    await self._response.send_str(message.decode())
            except TimeoutError:
                self.drop("too slow: a message took too long to leave")
                return
            self._waits(-len(message))

    async def _read(self, receive: Callable[[bytes], Awaitable[bytes | None]]) -> None:
        async for message in self._response:
            if message.type is not WSMsgType.TEXT:
                self.drop("only text messages are read")
                return
            answer = await receive(message.data.encode())
            if answer is not None:
                self.send(answer)
            # A client that asks and does not listen: its answers must not pile up here.
            await self._has_room.wait()


class Sockets:
    """All WebSockets of the server; hands them each final block."""

    def __init__(self, dispatcher: Dispatcher, feed: BlockFeed, admit: Callable[[str, int], None]) -> None:
        """``admit`` gets client and number of calls, and raises RpcError where they are too many."""
        self._dispatcher: Final = dispatcher
        self._admit: Final = admit
        self._sockets: Final[set[Socket]] = set()
        self._clients: Final[Counter[str]] = Counter()
        self._empty: Final = asyncio.Event()
        self._empty.set()
        self._unsubscribe: Final = feed.subscribe(self._on_block)

    def __len__(self) -> int:
        return len(self._sockets)

    async def serve(self, request: web.Request, client: str) -> web.StreamResponse:
        """Answers an upgrade. Refuses with 503 beyond the limits."""
        if (
            len(self._sockets) >= limits.rpc_websockets_max
            or self._clients[client] >= limits.rpc_websockets_per_client_max
        ):
            raise web.HTTPServiceUnavailable(reason="too many WebSockets")
        response = web.WebSocketResponse(
            heartbeat=HEARTBEAT_S, max_msg_size=limits.rpc_body_bytes_max, compress=False
        )
        socket = Socket(response, client)
        self._sockets.add(socket)
        self._empty.clear()
        self._clients[client] += 1
        try:
            await response.prepare(request)

            async def receive(body: bytes) -> bytes | None:
                answer = await self._dispatcher.handle(body, socket, lambda calls: self._admit(client, calls))
                return answer.body

            await socket.run(receive)
        finally:
            self._sockets.discard(socket)
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]
            if not self._sockets:
                self._empty.set()
        return response

    def _on_block(self, committed: CommittedBlock) -> None:
        if not self._sockets:
            return
        events = BlockEvents(committed)
        for socket in tuple(self._sockets):
            socket.on_block(events)

    async def stop(self) -> None:
        """Ends all connections, saying that the node goes down."""
        self._unsubscribe()
        for socket in tuple(self._sockets):
            socket.drop("the node is shutting down")
        await self._empty.wait()
