"""Records at the extremes of their types: each field in turn at its bounds, with the others as they were.

Made from the annotations that a decoder goes by, so that a field that is added is walked as well. Whatever comes out of here is
such as a decoder takes: what it refuses never gets to the code that is tested.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Any, Final, cast

import msgspec
from msgspec import inspect
from msgspec.structs import replace

from omnitensor.protocol.codec import encode
from omnitensor.protocol.types import BPS, SUPPLY_MAX, U16_MAX, U32_MAX, U64_MAX

NUMBERS: Final = (
    *(0, 1, BPS, BPS + 1, U16_MAX, U16_MAX + 1, 2**31 - 1, 2**31, U32_MAX, U32_MAX + 1),
    *(2**53, 2**53 + 1, SUPPLY_MAX, SUPPLY_MAX + 1, 2**63 - 1, 2**63, U64_MAX - 1, U64_MAX),
)
BYTES_MAX: Final = 1 << 16
"""Longer byte strings and texts are not made: a frame's own limit has tests of its own."""
LIST_MAX: Final = 300
"""Nor are longer lists."""

Path = str


def walk(record: Any, near: tuple[int, ...] = ()) -> Iterator[tuple[Path, Any]]:
    """Every variant of a record that differs in one place, with that place. ``near``: further numbers to try everywhere."""
    return _of_value(inspect.type_info(type(record)), record, tuple(sorted({*NUMBERS, *near})))


def _of_value(kind: Any, value: Any, numbers: tuple[int, ...]) -> Iterator[tuple[Path, Any]]:
    """Variants of one value of a type."""
    match kind:
        case inspect.Metadata():
            yield from _of_value(kind.type, value, numbers)
        case inspect.UnionType():
            yield from _of_union(kind, value, numbers)
        case inspect.IntType():
            low = 0 if kind.ge is None else kind.ge
            if kind.gt is not None:
                low = max(low, kind.gt + 1)
            high = min(
                U64_MAX if kind.le is None else kind.le,
                U64_MAX if kind.lt is None else kind.lt - 1,
            )
            for number in sorted({*numbers, low, low + 1, high - 1, high}):
                if low <= number <= high and number != value:
                    yield f"={number}", number
        case inspect.BoolType():
            yield f"={not value}", not value
        case inspect.EnumType() if issubclass(kind.cls, IntEnum):
            yield from ((f"={member.name}", member) for member in kind.cls if member != value)
        case inspect.BytesType():
            for size in _sizes(kind.min_length, kind.max_length, BYTES_MAX):
                for fill in (b"\0", b"\xff"):
                    if fill * size != value:
                        yield f"={size}*{fill.hex()}", fill * size
        case inspect.StrType():
            for size in _sizes(kind.min_length, kind.max_length, BYTES_MAX):
                for fill in ("a", "\0", "\U0010ffff"):
                    if fill * size != value:
                        yield f"={size}*{ord(fill):x}", fill * size
        case inspect.VarTupleType():
            yield from _of_list(kind, value, numbers)
        case inspect.TupleType():
            for place, (inner, each) in enumerate(zip(kind.item_types, value, strict=True)):
                for path, other in _of_value(inner, each, numbers):
                    yield f"[{place}]{path}", (*value[:place], other, *value[place + 1 :])
        case inspect.StructType():
            for field in kind.fields:
                for path, other in _of_value(field.type, getattr(value, field.name), numbers):
                    try:
                        made = replace(value, **{field.name: other})
                    except ValueError:
                        continue  # a record that its own class refuses, as a decoder would
                    yield f".{field.name}{path}", made
        case inspect.NoneType():
            return
        case _:
            raise AssertionError(f"no extremes are known of {kind}")


def _of_union(kind: inspect.UnionType, value: Any, numbers: tuple[int, ...]) -> Iterator[tuple[Path, Any]]:
    """Variants of the member that the value is, and None or the least of the members that it is not."""
    for member in kind.types:
        if _is_of(member, value):
            yield from _of_value(member, value, numbers)
        elif isinstance(member, inspect.NoneType):
            yield "=None", None
        else:
            try:
                other = least(member)
            except ValueError:
                continue  # its least is none that its own class lets be
            yield f"={type(other).__name__}", other


def _of_list(kind: inspect.VarTupleType, value: Any, numbers: tuple[int, ...]) -> Iterator[tuple[Path, Any]]:
    """None, one, two of the same, and as many as there may be; then each of the first and the last in turn."""
    example = value[0] if value else least(kind.item_type)
    for size in _sizes(kind.min_length, kind.max_length, LIST_MAX):
        if (example,) * size != value:
            yield f"={size} items", (example,) * size
    if not value:
        value = (example,)
    for place in sorted({0, len(value) - 1}):
        for path, other in _of_value(kind.item_type, value[place], numbers):
            yield f"[{place}]{path}", (*value[:place], other, *value[place + 1 :])


def _sizes(low: int | None, high: int | None, most: int) -> list[int]:
    least_, greatest = low or 0, most if high is None else min(high, most)
    return sorted({size for size in (least_, least_ + 1, 2, greatest) if least_ <= size <= greatest})


def _is_of(kind: Any, value: Any) -> bool:
    match kind:
        case inspect.Metadata():
            return _is_of(kind.type, value)
        case inspect.NoneType():
            return value is None
        case inspect.StructType() | inspect.EnumType():
            return type(value) is kind.cls
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.IntType():
            return isinstance(value, int)
        case inspect.BytesType():
            return isinstance(value, bytes)
        case inspect.StrType():
            return isinstance(value, str)
        case inspect.VarTupleType() | inspect.TupleType():
            return isinstance(value, tuple)
    raise AssertionError(f"no extremes are known of {kind}")


def least(kind: Any) -> Any:
    """The least value of a type: numbers at their lower bound, lists and byte strings as short as they may be."""
    match kind:
        case inspect.Metadata():
            return least(kind.type)
        case inspect.UnionType():
            members = kind.types
            return None if any(isinstance(m, inspect.NoneType) for m in members) else least(members[0])
        case inspect.NoneType():
            return None
        case inspect.IntType():
            return max(0, kind.ge or 0, 0 if kind.gt is None else kind.gt + 1)
        case inspect.BoolType():
            return False
        case inspect.EnumType():
            return next(iter(kind.cls))
        case inspect.BytesType():
            return bytes(kind.min_length or 0)
        case inspect.StrType():
            return "a" * (kind.min_length or 0)
        case inspect.VarTupleType():
            return (least(kind.item_type),) * (kind.min_length or 0)
        case inspect.TupleType():
            return tuple(map(least, kind.item_types))
        case inspect.StructType():
            return kind.cls(**{field.name: least(field.type) for field in kind.fields})
    raise AssertionError(f"no extremes are known of {kind}")


def least_of(kind: Any) -> Any:
    """The least record of a class."""
    return least(inspect.type_info(kind))


def is_decodable(record: Any, kind: Any = None) -> bool:
    """Whether a decoder takes the record: one that breaks a bound of several fields together is refused before it counts."""
    try:
        return cast(bool, msgspec.msgpack.decode(encode(record), type=kind or type(record)) == record)
    except (msgspec.MsgspecError, OverflowError):
        return False
