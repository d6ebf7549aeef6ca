"""The table of methods: name, typed parameters, typed result, what carries it out. It serves, validates and documents.

Knows types; nothing of sockets. Rows are in ``methods_*``.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, get_type_hints

import msgspec
from msgspec.structs import replace

from rpc.cursors import seal, unseal
from rpc.errors import SOCKET_ONLY, domain_error
from rpc.jsonrpc import INVALID_PARAMS, METHOD_NOT_FOUND, Call, standard_error

if TYPE_CHECKING:
    from rpc.backend import Backend
    from state.reader import Reader


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of a method, in the order in which they may be given by position."""


class NoParams(Params, frozen=True):
    """No parameters."""


class Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """A result, as it stands in JSON."""


class Session(Protocol):
    """A WebSocket, as subscriptions see it."""

    def open(self, topic: str, address: bytes | None, campaign: int | None, item: int | None) -> str:
        """Starts a subscription and returns its id. Raises RpcError beyond the limit."""

    def close(self, subscription: str) -> bool:
        """Ends a subscription; False where there is none of this id."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a method is given besides its parameters."""

    backend: Backend
    reader: Reader
    """One consistent state for all calls of a batch."""
    session: Session | None
    in_thread: Callable[[Callable[[], Any]], Awaitable[Any]]
    """Runs a read that would hold up the event loop; for methods that wait for something else as well."""


P = TypeVar("P", bound=Params)
Run = Callable[[Context, P], Any]


@dataclass(frozen=True, slots=True)
class Method:
    """A row of the table."""

    name: str
    params: type[Params]
    result: Any
    summary: str
    run: Callable[[Context, Any], Any | Awaitable[Any]]
    is_heavy: bool
    """It reads enough to hold up the event loop, so it runs in a thread."""
    is_async: bool
    needs_socket: bool
    is_side_by_side: bool
    """Calls of it that follow one another in a batch are begun in their order, and not only after the one before has ended."""

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters in the order of their positions."""
        return self.params.__struct_fields__

    def arguments(self, given: Sequence[Any] | Mapping[str, Any]) -> Params:
        """Checked parameters. Raises RpcError (invalid params)."""
        if isinstance(given, Sequence):
            if len(given) > len(self.names):
                raise standard_error(
                    INVALID_PARAMS,
                    "params",
                    "too many parameters",
                    len(given),
                    f"{self.name} takes {', '.join(self.names) or 'none'}",
                )
            given = dict(zip(self.names, given, strict=False))
        try:
            return msgspec.convert(given, self.params)
        except (msgspec.ValidationError, OverflowError) as error:
            raise standard_error(
                INVALID_PARAMS,
                "params",
                str(error),
                remedy=f"{self.name} takes {', '.join(self.names) or 'none'}",
            ) from error


class MethodTable:
    """Methods by name. Filled once, when the modules of methods are imported."""

    def __init__(self) -> None:
        self._methods: Final[dict[str, Method]] = {}

    def method(
        self, name: str, *, heavy: bool = False, socket: bool = False, side_by_side: bool = False
    ) -> Callable[[Run[P]], Run[P]]:
        """Adds a function ``(context, params) -> result``; its annotations say the types, its docstring the summary."""

        def add(run: Run[P]) -> Run[P]:
            hints = get_type_hints(run, include_extras=True)
            _, params = inspect.signature(run).parameters
            assert name not in self._methods, f"two methods are called {name}"
            assert run.__doc__, f"{name} says what it does"
            is_async = inspect.iscoroutinefunction(run)
            assert not (heavy and is_async), "what is heavy blocks, and runs in a thread"
            called: Run[Any] = run
            if "cursor" in hints[params].__struct_fields__:
                assert not is_async, "a list is read, and waits for nothing"
                called = _paged(name, run)
            assert is_async or not side_by_side, "what does not wait gains nothing"
            self._methods[name] = Method(
                name,
                hints[params],
                hints["return"],
                run.__doc__.strip(),
                called,
                heavy,
                is_async,
                socket,
                side_by_side,
            )
            return run

        return add

    def __iter__(self) -> Iterator[Method]:
        return iter(sorted(self._methods.values(), key=lambda method: method.name))

    def __contains__(self, name: object) -> bool:
        return name in self._methods

    def get(self, name: str) -> Method | None:
        return self._methods.get(name)

    def __len__(self) -> int:
        return len(self._methods)

    def find(self, call: Call, has_session: bool) -> Method:
        """The method that a call names. Raises RpcError (method not found; WebSocket only)."""
        method = self._methods.get(call.method)
        if method is None:
            raise standard_error(
                METHOD_NOT_FOUND, "method", "no such method", call.method, "rpc.discover lists them all"
            )
        if method.needs_socket and not has_session:
            raise domain_error(
                SOCKET_ONLY,
                "socket_only",
                "this method needs a WebSocket",
                call.method,
                "connect to /ws and call it there",
            )
        return method


def _paged(name: str, run: Run[Any]) -> Run[Any]:
    """A list whose cursors are sealed: the method itself reads and gives plain ones, ``cursor`` in and ``next`` out."""

    def paged(context: Context, params: Any) -> Any:
        fields = [field for field in params.__struct_fields__ if field not in ("cursor", "limit")]
        of = " ".join([name, *[f"{field}={getattr(params, field)}" for field in fields]])
        if params.cursor is not None:
            params = replace(params, cursor=unseal(of, params.cursor))
        result = run(context, params)
        return result if result.next is None else replace(result, next=seal(of, result.next))

    return paged


TABLE: Final = MethodTable()
"""Every method of the node."""
