"""Types of parameters and results as they stand in JSON, and their reading. Each raises RpcError (invalid params) by name.

Knows text and numbers; nothing of methods.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from omnitensor.protocol import keys, limits
from omnitensor.protocol.errors import KeyFormatError
from omnitensor.protocol.types import U64_MAX, Address, Hash
from rpc import present
from rpc.cursors import bad_cursor
from rpc.jsonrpc import INVALID_PARAMS, standard_error

AmountText = Annotated[str, Meta(pattern="^[0-9]+$", description="nanoOMNIT, as decimal text")]
AddressText = Annotated[str, Meta(max_length=120, description="An address, omnit1…")]
HashText = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="32 bytes as lowercase hexadecimal")]
HexText = Annotated[str, Meta(pattern="^([0-9a-f]{2})*$", description="Bytes as lowercase hexadecimal")]
Count = Annotated[int, Meta(ge=0)]
Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
NumberText = Annotated[str, Meta(pattern="^[0-9]{1,18}$")]
TaskId = Number | NumberText
"""A campaign's number, or the same as decimal text (the ``task_id`` of the SDK)."""
Limit = Annotated[int, Meta(ge=1, le=limits.rpc_page_max, description="Rows of a page at the most")]
Cursor = Annotated[
    str, Meta(max_length=160, description="Where to go on: the ``next`` of the page before, as it is")
]
WithProof = Annotated[bool, Meta(description="Whether a proof against the last block's header is wanted too")]
Place = tuple[int, int]

LIMIT_DEFAULT: Final = limits.rpc_page_default


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What a file is."""

    cid: str
    sha256: HashText
    size: Count
    chunk_root: HashText


def address_of(text: str) -> Address:
    """The address that a parameter names."""
    try:
        return keys.parse_address(text)
    except KeyFormatError as error:
        raise standard_error(INVALID_PARAMS, error.code, error.reason, error.value, error.remedy) from error


def number_of(value: int | str) -> int:
    """The number in a ``TaskId``."""
    return int(value)


def hash_of(text: str) -> Hash:
    """The hash in a ``HashText``, whose pattern was checked."""
    return Hash(bytes.fromhex(text))


def place_of(cursor: str | None) -> Place | None:
    """Two numbers in a cursor, as ``height:index``."""
    if cursor is None:
        return None
    first, colon, second = cursor.partition(":")
    if colon and _is_number(first) and _is_number(second):
        return int(first), int(second)
    raise bad_cursor(cursor)


def place_text(place: Place) -> str:
    return f"{place[0]}:{place[1]}"


def number_cursor(cursor: str | None) -> int | None:
    """The number in a cursor."""
    if cursor is None:
        return None
    if not _is_number(cursor):
        raise bad_cursor(cursor)
    return int(cursor)


def content_of(value: Any) -> Content:
    """A ContentId as JSON."""
    return Content(
        cid=value.cid, sha256=value.sha256.hex(), size=value.size, chunk_root=value.chunk_root.hex()
    )


def shown(address: Address) -> str:
    return present.address_text(address)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 20 and int(text) <= U64_MAX
