"""JSON-RPC 2.0 to a node over HTTP and WebSocket: requests, retries with back-off, subscriptions, content by HTTP.

Knows envelopes and connections; nothing of campaigns or money. Only requests that may be repeated pass through here:
reads, and the sending of bytes that were signed once.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

import aiohttp
import msgspec

from omnitensor.protocol.keys import shown_addresses
from omnitensor.protocol.limits import MIB
from omnitensor.sdk.errors import (
    ClosedError,
    ConnectionFailed,
    InputError,
    NotFoundError,
    ResponseError,
    RpcError,
)

DEFAULT_ENDPOINT: Final = "http://127.0.0.1:9644"
response_bytes_max: Final = 32 * MIB
"""What a node may answer to one request."""
event_bytes_max: Final = 4 * MIB
"""What a node may send as one notification."""

_RETRIED_STATUS: Final = frozenset({429, 502, 503, 504})
_RETRIED_CODES: Final = frozenset({-32005, -32006})
"""Too many requests; the node can't answer now."""
_CONNECTION_FAULTS: Final = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError, OSError)


class Retry(msgspec.Struct, frozen=True):
    """How often and how patiently a request is repeated when no answer came. Seconds."""

    attempts: int = 5
    first_delay_s: float = 0.2
    delay_max_s: float = 3.0
    timeout_s: float = 30.0
    """For one attempt."""

    def delay(self, attempt: int) -> float:
        """Pause after attempt number `attempt` (from 0), spread so that clients do not knock together."""
        return min(self.delay_max_s, self.first_delay_s * 2.0**attempt) * random.uniform(0.7, 1.0)


class _Error(msgspec.Struct):
    code: int
    message: str = ""
    data: Any = None


class _Response(msgspec.Struct):
    id: int | str | None = None
    result: Any = msgspec.UNSET
    error: _Error | None = None
    method: str = ""
    params: Any = None


def check_endpoint(text: str) -> str:
    """The address of a node without a trailing slash. Raises InputError."""
    text = text.strip().rstrip("/")
    try:
        parts = urlsplit(text)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise InputError("not the address of a node", value=text, remedy=f"write it like {DEFAULT_ENDPOINT}")
    return text


class Transport:
    """A node at one endpoint. Belongs to the event loop that first used it."""

    def __init__(self, endpoint: str, retry: Retry | None = None) -> None:
        self.endpoint: Final = check_endpoint(endpoint)
        self.retry: Final = retry or Retry()
        self._ids = itertools.count(1)
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False

    async def close(self) -> None:
        """Close connections, for good."""
        self._is_closed = True
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """The result of a method, as decoded JSON. Raises RpcError, NotFoundError, ResponseError or ConnectionFailed."""
        for attempt in range(self.retry.attempts):
            try:
                return await self._call_once(method, params)
            except RpcError as error:
                if error.rpc_code not in _RETRIED_CODES or attempt + 1 == self.retry.attempts:
                    raise
                await asyncio.sleep(self.retry.delay(attempt))
        raise AssertionError("the last attempt returns or raises")

    async def _call_once(self, method: str, params: Mapping[str, Any] | None) -> Any:
        number = next(self._ids)
        request = {"jsonrpc": "2.0", "id": number, "method": method, "params": dict(params or {})}
        status, body = await self.http("POST", "/", data=msgspec.json.encode(request), what=method)
        try:
            answer = msgspec.json.decode(body, type=_Response)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise ResponseError(
                f"the node's answer to {method} is no JSON-RPC (HTTP {status})",
                value=body[:80].decode("utf-8", "replace"),
                remedy=f"check that {self.endpoint} is an OmniTensor node",
            ) from error
        return _result(answer, method)

    async def http(
        self,
        verb: str,
        path: str,
        *,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        what: str = "",
    ) -> tuple[int, bytes]:
        """Status and bounded body of an HTTP request that may be repeated. Raises ConnectionFailed."""
        fault = ""
        sent = {"Content-Type": "application/json", **(headers or {})}
        for attempt in range(self.retry.attempts):
            if attempt:
                await asyncio.sleep(self.retry.delay(attempt - 1))
            try:
                async with self._http().request(
                    verb, self.endpoint + path, data=data, headers=sent, allow_redirects=False
                ) as response:
                    if response.status in _RETRIED_STATUS and attempt + 1 < self.retry.attempts:
                        fault = f"HTTP {response.status}"
                        continue
                    return response.status, await _read(response, what or path)
            except _CONNECTION_FAULTS as error:
                fault = _words(error)
        self._unreachable(fault)

    @asynccontextmanager
    async def stream(self, path: str, headers: Mapping[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """An open response whose body the caller reads, within limits of its own. Raises ConnectionFailed."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=self.retry.timeout_s * 4)
        try:
            async with self._http().get(
                self.endpoint + path, headers=dict(headers), timeout=timeout, allow_redirects=False
            ) as response:
                yield response
        except _CONNECTION_FAULTS as error:
            self._unreachable(_words(error), error)

    @asynccontextmanager
    async def subscribe(
        self, topic: str, filters: Mapping[str, Any] | None = None
    ) -> AsyncIterator[AsyncIterator[Any]]:
        """Events of a topic as they come, until the connection ends. Raises ConnectionFailed where it can't be opened."""
        try:
            async with self._http().ws_connect(
                self.endpoint + "/ws",
                heartbeat=20,
                max_msg_size=event_bytes_max,
                timeout=aiohttp.ClientWSTimeout(ws_close=2),
            ) as socket:
                params = {"topic": topic, **({"filter": dict(filters)} if filters else {})}
                request = {"jsonrpc": "2.0", "id": 1, "method": "subscribe.open", "params": params}
                await socket.send_str(msgspec.json.encode(request).decode())
                yield _events(socket)
        except (*_CONNECTION_FAULTS, aiohttp.WSServerHandshakeError) as error:
            self._unreachable(_words(error), error)

    def _http(self) -> aiohttp.ClientSession:
        if self._is_closed:
            raise ClosedError("the client was closed", value=self.endpoint, remedy="make another one")
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self.retry.timeout_s, sock_connect=10),
                connector=aiohttp.TCPConnector(limit=16),
                auto_decompress=False,
            )
        return self._session

    def _unreachable(self, fault: str, cause: BaseException | None = None) -> NoReturn:
        raise ConnectionFailed(
            f"no answer from the node ({fault})",
            value=self.endpoint,
            remedy="start a node, or name another with --endpoint or OMNITENSOR_RPC",
        ) from cause


async def _events(socket: aiohttp.ClientWebSocketResponse) -> AsyncIterator[Any]:
    async for message in socket:
        if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            return
        try:
            answer = msgspec.json.decode(message.data, type=_Response)
        except (msgspec.MsgspecError, RecursionError):
            return
        if answer.method == "subscribe.event" and isinstance(answer.params, dict):
            yield answer.params.get("event")
        else:
            _result(answer, "subscribe.open")


async def _read(response: aiohttp.ClientResponse, what: str) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_chunked(256 * 1024):
        body += piece
        if len(body) > response_bytes_max:
            raise ResponseError(
                f"the node's answer to {what} is too large", value=f"over {response_bytes_max} bytes"
            )
    return bytes(body)


def _result(answer: _Response, method: str) -> Any:
    if answer.error is not None:
        raise error_of(answer.error.code, answer.error.message, answer.error.data, method)
    if answer.result is msgspec.UNSET:
        raise ResponseError(f"the node's answer to {method} has neither result nor error")
    return answer.result


def error_of(rpc_code: int, message: str, data: Any, method: str) -> RpcError | NotFoundError:
    """The typed error of a JSON-RPC error object."""
    if not isinstance(data, dict):
        data = {}
    reason = shown_addresses(str(data.get("reason") or message or f"the node refused {method}"))
    value, remedy = data.get("value") or None, str(data.get("remedy") or "")
    code = str(data.get("code") or "rpc")
    if code == "not_found":
        return NotFoundError(reason, value=value, remedy=remedy)
    return RpcError(reason, value=value, remedy=remedy, code=code, rpc_code=rpc_code)


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "no machine of this name is known"
    if isinstance(error, aiohttp.ClientConnectorError):
        return os.strerror(error.os_error.errno).lower() if error.os_error.errno else "connection failed"
    return str(error) or type(error).__name__
