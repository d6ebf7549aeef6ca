"""Carries out messages of JSON-RPC: reads, checks, calls methods, answers. Knows the table and the node; nothing of sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

import structlog

from omnitensor.protocol import limits
from omnitensor.protocol.errors import ProtocolError
from rpc import jsonrpc
from rpc.backend import Backend
from rpc.errors import LIMIT, UNAVAILABLE, domain_error, error_of
from rpc.jsonrpc import INTERNAL_ERROR, Call, Refused, RpcError, standard_error
from rpc.table import Context, Method, MethodTable, Session

T = TypeVar("T")

_log: Final = structlog.get_logger("rpc")

UNKNOWN: Final = "unknown"
"""What an observer hears as the method of a call that names none of the table."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back (None after notifications alone), and the error's number where the message was refused as a whole."""

    body: bytes | None
    refused: int = 0


class Dispatcher:
    """Answers whole messages. Bounds heavy reads, time and the size of answers."""

    def __init__(
        self, table: MethodTable, backend: Backend, observe: Callable[[str, str], None] | None = None
    ) -> None:
        """``observe`` hears of every call: method and outcome (``ok`` or the error's code)."""
        self._table: Final = table
        self._backend: Final = backend
        # Threads of its own: reads of strangers never take those that consensus waits for.
        self._threads: Final = ThreadPoolExecutor(limits.rpc_heavy_calls_max, thread_name_prefix="rpc")
        self._observe: Final = observe or (lambda method, outcome: None)

    async def handle(
        self, body: bytes, session: Session | None = None, admit: Callable[[int], None] | None = None
    ) -> Answer:
        """Answers a message. ``admit`` gets the number of calls that it counts as, what reading it costs before it is read, and
        may raise RpcError for all of it."""
        try:
            counted = jsonrpc.weight(body)
            if admit is not None:
                admit(counted)
            request = jsonrpc.parse(body)
            if admit is not None and len(request.calls) > counted:
                admit(len(request.calls) - counted)
        except RpcError as error:
            return Answer(jsonrpc.error_bytes(error, None), error.code)
        context = Context(self._backend, self._backend.reader(), session, self._in_thread)
        responses: list[bytes] = []
        size = 0
        for calls in self._groups(request.calls):
            answers = await asyncio.gather(*[self._answer(call, context, size) for call in calls])
            found = [response for response in answers if response is not None]
            responses += found
            size += sum(map(len, found))
        if not responses:
            return Answer(None)
        return Answer(jsonrpc.batch_bytes(responses) if request.is_batch else responses[0])

    def close(self) -> None:
        """Lets go of the threads; what waits for one is given up."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _groups(self, calls: Sequence[Call | Refused]) -> list[list[Call | Refused]]:
        """The calls in their order; such as may go side by side and follow one another are together."""
        groups: list[list[Call | Refused]] = []
        before: Method | None = None
        for call in calls:
            method = self._table.get(call.method) if isinstance(call, Call) else None
            if method is not None and method is before and method.is_side_by_side:
                groups[-1].append(call)
            else:
                groups.append([call])
            before = method
        return groups

    async def _answer(self, call: Call | Refused, context: Context, size: int) -> bytes | None:
        """The response to one call; None to a notification."""
        if isinstance(call, Refused):
            self._observe(UNKNOWN, call.error.data.code)
            return jsonrpc.error_bytes(call.error, call.id)
        try:
            if size > limits.rpc_response_bytes_max:
                raise domain_error(
                    LIMIT, "limit", "the answers to this batch are too large", remedy="send smaller batches"
                )
            result = await self._run(call, context)
            response = jsonrpc.result_bytes(result, call.id)
        except RpcError as error:
            # Only names of the table: a stranger's would make metrics grow.
            self._observe(call.method if call.method in self._table else UNKNOWN, error.data.code)
            return None if call.is_notification else jsonrpc.error_bytes(error, call.id)
        self._observe(call.method, "ok")
        return None if call.is_notification else response

    async def _run(self, call: Call, context: Context) -> Any:
        """The method's result. Every failure leaves as RpcError."""
        method = self._table.find(call, context.session is not None)
        try:
            params = method.arguments(call.params)
            if method.is_heavy:
                return await self._bounded(self._in_thread(partial(method.run, context, params)))
            if method.is_async:
                return await self._bounded(method.run(context, params))
            return method.run(context, params)
        except RpcError:
            raise
        except ProtocolError as fault:
            raise error_of(fault) from fault
        except TimeoutError as error:
            raise domain_error(
                UNAVAILABLE, "timeout", "the node took too long", call.method, "call again, or ask for less"
            ) from error
        except Exception as bug:
            _log.exception("rpc.bug", method=call.method)
            raise standard_error(
                INTERNAL_ERROR, "internal", "the node has a fault", remedy="its log says more"
            ) from bug

    async def _in_thread(self, read: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, read)

    async def _bounded(self, work: Awaitable[Any]) -> Any:
        async with asyncio.timeout(limits.rpc_timeout_ms / 1_000):
            return await work
