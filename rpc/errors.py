"""Numbers of this project's errors in JSON-RPC responses, and which typed error gets which. One table; knows no method."""

from __future__ import annotations

from typing import Final

from datalayer.upload import ContentError
from omnitensor.protocol.errors import (
    CodecError,
    KeyFormatError,
    LimitError,
    ProtocolError,
    SignatureError,
    StorageError,
    TransactionError,
)
from rpc.jsonrpc import INVALID_PARAMS, ErrorData, RpcError, standard_error
from state.reader import PrunedError

REFUSED: Final = -32000
NOT_FOUND: Final = -32001
TRANSACTION_REFUSED: Final = -32002
LIMIT: Final = -32003
NOT_AUTHORISED: Final = -32004
TOO_MANY_REQUESTS: Final = -32005
UNAVAILABLE: Final = -32006
STORAGE: Final = -32007
CONTENT: Final = -32008
SOCKET_ONLY: Final = -32009
PRUNED: Final = -32010

ERRORS: Final[dict[int, tuple[str, str]]] = {
    REFUSED: ("Refused", "A rule of the protocol that has no number of its own."),
    NOT_FOUND: ("Not found", "Nothing has this id, height or name."),
    TRANSACTION_REFUSED: (
        "Transaction refused",
        "The transaction can't wait for a block; its code says why.",
    ),
    LIMIT: ("Limit exceeded", "Something is larger than this node takes or gives."),
    NOT_AUTHORISED: ("Not authorised", "A signature, a token or a scope is missing or does not fit."),
    TOO_MANY_REQUESTS: ("Too many requests", "This client called too often; wait and call again."),
    UNAVAILABLE: ("Unavailable", "The node can't answer now, and may later."),
    STORAGE: ("Storage error", "The node's disk or database has a fault."),
    CONTENT: ("Content refused", "Content or a chunk that can't be taken or given."),
    PRUNED: (
        "Pruned",
        "It was here, or below where this node began, and is not kept; ask a node that archives.",
    ),
    SOCKET_ONLY: ("WebSocket only", "Subscriptions need a connection that stays: call it at /ws."),
}
"""Message and meaning by number, all within -32000..-32099."""

_KINDS: Final[tuple[tuple[type[ProtocolError], int], ...]] = (
    (TransactionError, TRANSACTION_REFUSED),
    (CodecError, TRANSACTION_REFUSED),  # the only bytes that callers encode are transactions
    (KeyFormatError, INVALID_PARAMS),
    (LimitError, LIMIT),
    (SignatureError, NOT_AUTHORISED),
    (ContentError, CONTENT),
    (PrunedError, PRUNED),
    (StorageError, STORAGE),
)


def domain_error(number: int, code: str, reason: str, value: str = "", remedy: str = "") -> RpcError:
    return RpcError(
        number, ERRORS[number][0], ErrorData(code=code, reason=reason, value=value, remedy=remedy)
    )


def error_of(fault: ProtocolError) -> RpcError:
    """The error response for a typed error."""
    number = next((number for kind, number in _KINDS if isinstance(fault, kind)), REFUSED)
    if number == INVALID_PARAMS:
        return standard_error(INVALID_PARAMS, fault.code, fault.reason, fault.value, fault.remedy)
    return domain_error(number, fault.code, fault.reason, fault.value, fault.remedy)


def not_found(what: str, value: object, remedy: str = "") -> RpcError:
    return domain_error(NOT_FOUND, "not_found", f"no such {what}", str(value), remedy)
