"""The HTTP server: JSON-RPC at /, WebSocket at /ws, content, health and metrics. Guards the door; knows no method.

Before a handler runs: number of connections, time to the first request, Host (against DNS rebinding), Origin, rate by client.
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import msgspec
import structlog
from aiohttp import hdrs, web

from omnitensor.protocol import limits
from omnitensor.protocol.errors import LimitError, ProtocolError
from rpc import jsonrpc
from rpc.backend import Backend
from rpc.dispatch import Dispatcher
from rpc.errors import TOO_MANY_REQUESTS, domain_error, error_of
from rpc.jsonrpc import INTERNAL_ERROR, RpcError, standard_error
from rpc.limiter import RateLimiter, client_of, has_place
from rpc.methods import TABLE
from rpc.uploads import HTTP_STATUS, Uploads, read_body
from rpc.websocket import Sockets

_log: Final = structlog.get_logger("rpc")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
KEEPALIVE_S: Final = 60.0
SHUTDOWN_S: Final = 3.0
JSON: Final = "application/json"
METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class RpcConfig:
    """Where to listen, and who may call."""

    host: str = "127.0.0.1"
    port: int = 9644
    """0 takes any free one; ``RpcServer.port`` says which."""
    hosts: Sequence[str] = ()
    """Names that a Host header may give besides localhost and addresses."""
    origins: Sequence[str] = ()
    """Web origins that may call from a browser, as ``https://example.org``; none by default."""
    calls_per_second: int = limits.rpc_calls_per_second_max
    """By client; 0 lets everybody call as often as they like."""
    calls_burst: int = limits.rpc_calls_burst_max


def wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


class RpcServer:
    """Serves a node. ``start`` listens, ``stop`` ends connections and lets go of the port."""

    def __init__(
        self,
        backend: Backend,
        config: RpcConfig | None = None,
        *,
        observe: Callable[[str, str], None] | None = None,
        clock_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        """``observe`` hears of every call: method and outcome (``ok`` or an error's code). ``clock_ms`` judges upload orders."""
        self._backend: Final = backend
        self._config: Final = config or RpcConfig()
        self._dispatcher: Final = Dispatcher(TABLE, backend, observe)
        self._limiter: Final = RateLimiter(self._config.calls_per_second, self._config.calls_burst)
        self._sockets: Final = Sockets(self._dispatcher, backend.feed, self._admit)
        self._uploads: Final = Uploads(backend, clock_ms, self._admit)
        self._silent: Final[dict[object, asyncio.TimerHandle]] = {}
        """Connections without a request so far, and when each is closed."""
        self._run: Final = secrets.token_hex(4)
        self._numbers: Final = itertools.count(1)
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port that is listened on."""
        assert self._server is not None, "the server was started"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        """Begins to serve. Raises OSError where the address is taken."""
        app = web.Application(middlewares=[self._guard], client_max_size=limits.rpc_body_bytes_max)
        app.add_routes(
            [
                web.post("/", self._post),
                web.get("/ws", self._websocket, allow_head=False),
                web.get("/health", self._health),
                web.get("/ready", self._ready),
                web.get("/metrics", self._metrics),
                *self._uploads.routes(),
            ]
        )
        self._runner = web.AppRunner(
            app,
            access_log=None,
            keepalive_timeout=KEEPALIVE_S,
            shutdown_timeout=SHUTDOWN_S,
            auto_decompress=False,
        )
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, self._config.host, self._config.port)
        _log.info("rpc.listening", host=self._config.host, port=self.port)

    async def stop(self) -> None:
        """Takes no more connections, ends those there are, and returns when they have ended."""
        if self._server is not None:
            self._server.close()
        await self._sockets.stop()
        for timer in self._silent.values():
            timer.cancel()
        if self._runner is not None:
            await self._runner.cleanup()
        self._dispatcher.close()
        self._uploads.close()

    # The door

    def _connection(self) -> asyncio.Protocol:
        return _Door(self._hand_over, self._is_full)

    def _is_full(self, transport: asyncio.BaseTransport) -> bool:
        """Whether there is no place for a new connection, or none for one more of its client."""
        assert self._runner is not None and self._runner.server is not None
        connected = self._runner.server.connections
        if len(connected) >= limits.rpc_connections_max:
            return True
        return not has_place(_host_of(transport), [_host_of(each.transport) for each in connected])

    def _hand_over(self, transport: asyncio.Transport) -> None:
        """Gives a new connection to aiohttp, and closes it when its first request takes too long to arrive."""
        assert self._runner is not None and self._runner.server is not None
        handler = self._runner.server()
        transport.set_protocol(handler)
        handler.connection_made(transport)

        def too_late() -> None:
            del self._silent[handler]
            transport.abort()

        later = asyncio.get_running_loop().call_later
        self._silent[handler] = later(limits.rpc_request_ms_max / 1_000, too_late)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Runs before every handler, and turns what it raises into an answer."""
        silent = self._silent.pop(request.protocol, None)
        if silent is not None:
            silent.cancel()
        request_id = f"{self._run}-{next(self._numbers)}"
        client, began = client_of(request.remote), time.perf_counter()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            response = self._refusal(request, client) or await handler(request)
        except RpcError as error:
            response = _error_response(error)
        except ProtocolError as fault:
            response = _error_response(error_of(fault))
        except web.HTTPException as answer:
            response = _refuse(answer.status, "http", answer.reason, f"{request.method} {request.path}")
            if hdrs.ALLOW in answer.headers:
                response.headers[hdrs.ALLOW] = answer.headers[hdrs.ALLOW]
        except (ConnectionResetError, asyncio.CancelledError):
            raise
        except Exception:
            _log.exception("rpc.bug", path=request.path)
            bug = standard_error(
                INTERNAL_ERROR, "internal", "the node has a fault", remedy="its log says more"
            )
            response = _error_response(bug)
        finally:
            structlog.contextvars.unbind_contextvars("request_id")
        if not response.prepared:
            response.headers["X-Request-Id"] = request_id
            self._allow_origin(request, response)
        _log.debug(
            "rpc.request",
            request_id=request_id,
            client=client,
            verb=request.method,
            path=request.path,
            status=response.status,
            ms=round((time.perf_counter() - began) * 1_000, 2),
        )
        return response

    def _refusal(self, request: web.Request, client: str) -> web.StreamResponse | None:
        """An answer without asking a handler, or None."""
        if not self._is_known_host(request.headers.get(hdrs.HOST, "")):
            return _refuse(
                403, "host", "the Host header names another host", request.headers.get(hdrs.HOST, "")
            )
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and not self._is_known_origin(origin, request):
            return _refuse(403, "origin", "this web origin may not call", origin)
        if hdrs.CONTENT_ENCODING in request.headers:
            return _refuse(
                415, "encoding", "bodies are not compressed", request.headers[hdrs.CONTENT_ENCODING]
            )
        if request.method == hdrs.METH_OPTIONS and origin is not None:
            return web.Response(
                status=204,
                headers={
                    hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, HEAD, POST, PUT, DELETE",
                    hdrs.ACCESS_CONTROL_ALLOW_HEADERS: "Content-Type, Authorization, Range",
                    hdrs.ACCESS_CONTROL_MAX_AGE: "600",
                },
            )
        # Calls of JSON-RPC are counted one by one when the message has been read.
        if request.path != "/":
            self._admit(client, limits.rpc_metrics_calls if request.path == "/metrics" else 1)
        return None

    def _is_known_host(self, host: str) -> bool:
        """A page of another name that resolves to this node gets no answer: it can't forge the Host header."""
        name = _host_name(host)
        return name == "localhost" or name in self._config.hosts or _is_address(name)

    def _is_known_origin(self, origin: str, request: web.Request) -> bool:
        own = f"{request.scheme}://{request.headers.get(hdrs.HOST, '')}"
        return origin in self._config.origins or origin == own

    def _allow_origin(self, request: web.Request, response: web.StreamResponse) -> None:
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and origin in self._config.origins:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.VARY] = "Origin"
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = "X-Request-Id, Content-Range"

    def _admit(self, client: str, calls: int) -> None:
        """Raises RpcError where the client calls too often."""
        if not self._limiter.take(client, calls, time.monotonic()):
            raise domain_error(
                TOO_MANY_REQUESTS,
                "rate",
                "this client calls too often",
                client,
                f"at most {self._config.calls_per_second} calls a second",
            )

    # Handlers

    async def _post(self, request: web.Request) -> web.StreamResponse:
        """``POST /``: JSON-RPC."""
        # Another content type could come from a page of any origin without a question first.
        if request.content_type != JSON:
            return _refuse(415, "content_type", "JSON-RPC is application/json", request.content_type)
        try:
            body = await read_body(request, limits.rpc_body_bytes_max)
        except LimitError as error:
            size = request.content_length or limits.rpc_body_bytes_max + 1
            return web.Response(
                status=413,
                body=jsonrpc.error_bytes(jsonrpc.too_large(size), None),
                content_type=JSON,
                reason=error.reason,
            )
        client = client_of(request.remote)
        answer = await self._dispatcher.handle(body, admit=lambda calls: self._admit(client, calls))
        if answer.body is None:
            return web.Response(status=204)
        if answer.refused == TOO_MANY_REQUESTS:
            return web.Response(status=429, body=answer.body, content_type=JSON, headers={"Retry-After": "1"})
        return web.Response(body=answer.body, content_type=JSON)

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        return await self._sockets.serve(request, client_of(request.remote))

    async def _health(self, request: web.Request) -> web.StreamResponse:
        """The process lives and answers."""
        return web.json_response({"status": "ok", "height": self._backend.reader().head.height})

    async def _ready(self, request: web.Request) -> web.StreamResponse:
        """Whether clients should be sent here; 503 and why where not."""
        node = self._backend.status()
        shown = {"ready": node.ready, "reason": node.not_ready_reason}
        return web.json_response(shown, status=200 if node.ready else 503)

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=self._backend.metrics(), headers={hdrs.CONTENT_TYPE: METRICS_TYPE})


class _Door(asyncio.Protocol):
    """Stands where a connection arrives: turns it away where there are too many, else hands it over at once."""

    def __init__(
        self,
        hand_over: Callable[[asyncio.Transport], None],
        is_full: Callable[[asyncio.BaseTransport], bool],
    ) -> None:
        self._hand_over: Final = hand_over
        self._is_full: Final = is_full

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "set_protocol")
        if self._is_full(transport):
            _log.warning("rpc.full", connections=limits.rpc_connections_max, host=_host_of(transport))
            transport.abort()  # type: ignore[attr-defined]  # every transport of a TCP server has it
        else:
            self._hand_over(transport)  # type: ignore[arg-type]  # the same


def _host_of(transport: asyncio.BaseTransport | None) -> str | None:
    """The address at the other end; None where it is gone."""
    name = None if transport is None else transport.get_extra_info("peername")
    return str(name[0]) if name else None


def _host_name(host: str) -> str:
    """The name in a Host header, without port and brackets, in lower case."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


@lru_cache(maxsize=256)
def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _error_response(error: RpcError) -> web.Response:
    """An error outside JSON-RPC messages, as ``{"error": …}`` with an HTTP status."""
    shown = {"code": error.code, "message": error.message, "data": error.data}
    status = 429 if error.code == TOO_MANY_REQUESTS else HTTP_STATUS.get(error.data.code, 400)
    headers = {"Retry-After": "1"} if status in (429, 503) else None
    return web.Response(
        status=status, body=msgspec.json.encode({"error": shown}), content_type=JSON, headers=headers
    )


def _refuse(status: int, code: str, reason: str, value: str) -> web.Response:
    remedies = {
        "host": "call by address, or let the node know the name with rpc.hosts",
        "origin": "let the node know the origin with rpc.origins",
    }
    error = standard_error(jsonrpc.INVALID_REQUEST, code, reason, value, remedies.get(code, ""))
    response = _error_response(error)
    response.set_status(status)
    return response
