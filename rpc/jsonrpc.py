"""JSON-RPC 2.0 as bytes: reads requests strictly, writes responses. Knows the standard; nothing of methods or sockets.

JSON is read more strictly than Python's parser does by itself: UTF-8 only, no duplicate names, no NaN or infinity, no half
characters, bounded depth. Sections named below are of the JSON-RPC 2.0 specification.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from omnitensor.protocol import limits
from omnitensor.protocol.errors import shorten
from omnitensor.protocol.json_depth import is_deep

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603

MESSAGES: Final[Mapping[int, str]] = {
    PARSE_ERROR: "Parse error",
    INVALID_REQUEST: "Invalid Request",
    METHOD_NOT_FOUND: "Method not found",
    INVALID_PARAMS: "Invalid params",
    INTERNAL_ERROR: "Internal error",
}

Id = str | int | float | None


class ErrorData(msgspec.Struct, frozen=True, kw_only=True):
    """What an error says beyond its number: a stable code, what is wrong, with which value, and what to do."""

    code: str
    reason: str
    value: str = ""
    remedy: str = ""


class RpcError(Exception):
    """An error response. ``code`` is the number of the standard or of this project's table."""

    def __init__(self, code: int, message: str, data: ErrorData) -> None:
        self.code = code
        self.message = message
        self.data = data
        super().__init__(code, message, data.reason)


def standard_error(number: int, code: str, reason: str, value: object = None, remedy: str = "") -> RpcError:
    """One of the five errors of section 5.1."""
    data = ErrorData(code=code, reason=reason, value=shorten(value), remedy=remedy)
    return RpcError(number, MESSAGES[number], data)


@dataclass(frozen=True, slots=True)
class Call:
    """A request (with an id, that may be null) or a notification."""

    method: str
    params: Sequence[Any] | Mapping[str, Any]
    id: Id
    is_notification: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """A part of a batch that is no request, and the error it gets."""

    error: RpcError
    id: Id


@dataclass(frozen=True, slots=True)
class Request:
    """A whole message: one call, or a batch of them."""

    calls: tuple[Call | Refused, ...]
    is_batch: bool


def parse(body: bytes) -> Request:
    """The calls in a message. Raises RpcError where the message as a whole can't be read (its response has a null id)."""
    value = parse_json(body)
    if not isinstance(value, list):
        return Request((_call_of(value),), is_batch=False)
    if not value:
        raise standard_error(INVALID_REQUEST, "batch", "a batch has at least one call")
    if len(value) > limits.rpc_batch_calls_max:
        raise standard_error(
            INVALID_REQUEST,
            "limit",
            "a batch has too many calls",
            len(value),
            f"send at most {limits.rpc_batch_calls_max}",
        )
    return Request(tuple(_call_of(part) for part in value), is_batch=True)


def weight(body: bytes) -> int:
    """Calls that a message counts as before it is read, by what reading it costs: at least one."""
    values = min(_values(body), limits.rpc_values_max)  # with more it is not read
    return 1 + max(values // limits.rpc_values_per_call, len(body) // limits.rpc_bytes_per_call)


def _values(body: bytes) -> int:
    """No fewer values than there are in a document: each but the first follows a comma or a bracket. Text may add to it."""
    return body.count(b",") + body.count(b"[") + body.count(b"{")


def parse_json(body: bytes) -> Any:
    """The value in strict JSON. Raises RpcError (parse error, or invalid request beyond a limit)."""
    if len(body) > limits.rpc_body_bytes_max:
        raise too_large(len(body))
    if (values := _values(body)) > limits.rpc_values_max:
        raise standard_error(
            PARSE_ERROR,
            "limit",
            "the JSON has too many values",
            values,
            f"at most {limits.rpc_values_max} are read",
        )
    try:
        text = body.decode("utf-8")
        if is_deep(body, limits.rpc_depth_max):
            raise standard_error(
                PARSE_ERROR,
                "depth",
                "the JSON is nested too deep",
                remedy=f"at most {limits.rpc_depth_max} levels are read",
            )
        return _DECODER.decode(text)
    except UnicodeDecodeError as error:
        raise standard_error(PARSE_ERROR, "json", "the body is not UTF-8", f"byte {error.start}") from error
    except (ValueError, RecursionError) as error:
        raise standard_error(PARSE_ERROR, "json", f"the body is not JSON: {error}"[:200]) from error


def too_large(size: int) -> RpcError:
    return standard_error(
        INVALID_REQUEST,
        "limit",
        "the request is too large",
        f"{size} bytes",
        f"send at most {limits.rpc_body_bytes_max} bytes",
    )


def result_bytes(result: Any, id_: Id) -> bytes:
    """A response with a result (section 5)."""
    return b'{"jsonrpc":"2.0","result":' + _encoder.encode(result) + b',"id":' + _encoder.encode(id_) + b"}"


def error_bytes(error: RpcError, id_: Id) -> bytes:
    """A response with an error (section 5.1)."""
    shown = {"code": error.code, "message": error.message, "data": error.data}
    return b'{"jsonrpc":"2.0","error":' + _encoder.encode(shown) + b',"id":' + _encoder.encode(id_) + b"}"


def notification_bytes(method: str, params: bytes) -> bytes:
    """A notification to a client, around parameters that are JSON already."""
    return b'{"jsonrpc":"2.0","method":' + _encoder.encode(method) + b',"params":' + params + b"}"


def batch_bytes(responses: Sequence[bytes]) -> bytes:
    return b"[" + b",".join(responses) + b"]"


_encoder: Final = msgspec.json.Encoder()
_MEMBERS: Final = frozenset({"jsonrpc", "method", "params", "id"})


def _call_of(value: Any) -> Call | Refused:
    if not isinstance(value, dict):
        return Refused(standard_error(INVALID_REQUEST, "request", "a request is an object", value), None)
    id_ = value.get("id")
    if not _is_id(id_):
        reason = f"an id is a number, null, or text of at most {limits.rpc_id_chars_max} characters"
        return Refused(standard_error(INVALID_REQUEST, "request", reason, id_), None)
    if value.get("jsonrpc") != "2.0":
        return _refused(id_, 'a request says "jsonrpc": "2.0"', value.get("jsonrpc"))
    method = value.get("method")
    if not isinstance(method, str):
        return _refused(id_, "a request names its method", method)
    params = value.get("params", {})
    if not isinstance(params, list | dict):
        return _refused(id_, "parameters are an array or an object", params)
    unknown = value.keys() - _MEMBERS
    if unknown:
        return _refused(id_, "a request has a member that means nothing", min(unknown))
    return Call(method, params, id_, is_notification="id" not in value)


def _refused(id_: Id, reason: str, value: object) -> Refused:
    return Refused(standard_error(INVALID_REQUEST, "request", reason, value), id_)


def _is_id(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= limits.rpc_id_chars_max
    if isinstance(value, bool):
        return False
    return value is None or (isinstance(value, int | float) and abs(value) <= 2**63)


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]  # add returns None
        raise ValueError(f"the name {shorten(twice)!r} stands twice in an object")
    return found


def _float_of(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {shorten(text)} is too large")
    return value


def _int_of(text: str) -> int:
    if len(text) > 40:
        raise ValueError("a number has too many digits")
    return int(text)


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


class _Decoder(json.JSONDecoder):
    """Python's parser, and after it a check for half characters, which can't be written out again."""

    def decode(self, s: str, _w: Any = None) -> Any:
        value = super().decode(s)
        if "\\u" in s:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value


_DECODER: Final = _Decoder(
    object_pairs_hook=_object_of, parse_float=_float_of, parse_int=_int_of, parse_constant=_no_constant
)
