"""Every small change to a record: each field by itself, in every way that its type allows. Knows records, not their meaning."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Any

import msgspec

U64_MAX = 2**64 - 1


def alterations(value: Any) -> Iterator[Any]:
    """Values of the same type, each another than the one given."""
    for changed in _changes(value):
        if changed != value:
            yield changed


def _changes(value: Any) -> Iterator[Any]:
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            for changed in alterations(getattr(value, name)):
                yield msgspec.structs.replace(value, **{name: changed})
    elif isinstance(value, bytes):
        for place in {0, len(value) // 2, len(value) - 1} if value else ():
            for bit in (0x01, 0x80):
                yield value[:place] + bytes([value[place] ^ bit]) + value[place + 1 :]
        yield from (b"", bytes(len(value)), b"\xff" * len(value), value + b"\0", value[:-1], value[::-1])
    elif isinstance(value, IntEnum):
        yield from type(value)
    elif isinstance(value, int):
        yield from (value + 1, max(value - 1, 0), 0, 1, value * 2, U64_MAX)
    elif isinstance(value, str):
        yield from (value + "x", value[:-1], value.upper(), "")
    elif isinstance(value, tuple):
        yield from (value[1:], value[:-1], value[::-1], (*value, *value[-1:]), ())
        for place, each in enumerate(value):
            for changed in alterations(each):
                yield (*value[:place], changed, *value[place + 1 :])
    elif value is not None:
        raise AssertionError(f"no way to alter {value!r}")
