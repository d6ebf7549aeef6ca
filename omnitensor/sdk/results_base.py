"""What all results of a node have in common. Data only."""

from __future__ import annotations

from typing import Any

import msgspec

from omnitensor.protocol.types import Hash
from omnitensor.sdk.errors import ResponseError

Cursor = str | int | None


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all results."""

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values, for JSON."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


def bytes_of(text: str) -> bytes:
    """Bytes of hexadecimal text. Raises ResponseError."""
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise ResponseError("not hexadecimal text", value=text[:64]) from error


def hash_of(text: str) -> Hash:
    """32 bytes of hexadecimal text. Raises ResponseError."""
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != 32:
        raise ResponseError("not the hexadecimal text of 32 bytes", value=text)
    return Hash(found)
