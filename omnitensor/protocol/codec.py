"""Canonical bytes: msgpack of array-like typed records, one encoding for one value.

Knows bytes and types; nothing of meaning. A record's class says ``frozen=True`` again, for type checkers.
"""

from collections.abc import Hashable
from functools import lru_cache
from typing import Any, TypeVar, cast

import msgspec

from omnitensor.protocol.errors import CodecError, LimitError

T = TypeVar("T")


class Record(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """A frozen typed record; on the wire an array of its fields in order.

    Members of a union carry an integer ``tag`` as the first element of the array. Fields hold integers, byte strings, text,
    records and tuples of these: no floats, no maps, nothing unordered.
    """


_encoder = msgspec.msgpack.Encoder()


@lru_cache(maxsize=512)
def _decoder(kind: Any) -> "msgspec.msgpack.Decoder[Any]":
    return msgspec.msgpack.Decoder(kind)


def encode(value: Any) -> bytes:
    """Canonical bytes of a record (or of an integer, bytes, text, or tuple of these)."""
    return _encoder.encode(value)


def decode(kind: type[T], data: bytes, bytes_max: int | None = None) -> T:
    """Record of type ``kind`` from its canonical bytes.

    Raises LimitError above ``bytes_max``; CodecError when the bytes are no such record or not its one canonical encoding
    (decoding is followed by encoding, and the bytes must be the same).
    """
    if bytes_max is not None and len(data) > bytes_max:
        raise LimitError(
            f"{_name(kind)} is too large",
            value=f"{len(data)} bytes",
            remedy=f"at most {bytes_max} bytes are taken",
        )
    try:
        value: T = _decoder(cast(Hashable, kind)).decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise CodecError(f"not a {_name(kind)}: {error}", value=bytes(data[:48])) from error
    if _encoder.encode(value) != data:
        raise CodecError(f"not the canonical encoding of a {_name(kind)}", value=bytes(data[:48]))
    return value


def _name(kind: object) -> str:
    return getattr(kind, "__name__", str(kind))
