"""Orders as people write them: a kind and named values, made into a body by the types of its fields. Knows no chain.

Amounts are in OMNIT, addresses ``omnit1…``, other bytes hexadecimal; records and lists are JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Final, Union, cast, get_args, get_origin, get_type_hints

import msgspec

from omnitensor.protocol import bodies
from omnitensor.protocol.amounts import parse_omnit
from omnitensor.protocol.bodies import BodyBase
from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.errors import CodecError
from omnitensor.protocol.keys import format_address, parse_address
from omnitensor.protocol.types import Address, Amount
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.results import omnit

KINDS: Final[dict[str, type[BodyBase]]] = {
    kind.KIND: kind for kind in bodies.BODY_KINDS if kind is not bodies.MultisigExecute
}
"""What a multisignature account can order, by name."""


def values_of(pairs: Sequence[str]) -> dict[str, str]:
    """``name=value`` texts by name. Raises InputError."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name or name in found:
            raise InputError(
                "not a value of the order" if name not in found else "a value was given twice",
                value=pair,
                remedy="write each once as name=value",
            )
        found[name] = value
    return found


def body_from(kind: str, values: Mapping[str, Any]) -> bodies.Order:
    """The order of a kind. Raises InputError, AmountError or KeyFormatError naming what can't be used."""
    wanted = KINDS.get(kind)
    if wanted is None:
        raise InputError("there is no such kind of order", value=kind, remedy=f"choose {', '.join(KINDS)}")
    made = _record(wanted, values)
    try:
        return cast(bodies.Order, decode(wanted, encode(made)))
    except (CodecError, OverflowError) as error:
        raise InputError(f"not a valid {kind}: {error}", remedy="correct its values") from error


def _record(kind: Any, values: Any) -> Any:
    names = kind.__struct_fields__
    if not isinstance(values, Mapping):
        raise InputError(f"a {kind.__name__} is written as a JSON object", value=values)
    if strange := [name for name in values if name not in names]:
        raise InputError(
            f"a {_name(kind)} has no such value",
            value=strange[0],
            remedy=f"it has {', '.join(names) or 'none'}",
        )
    hints = get_type_hints(kind, include_extras=True)
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    made = {}
    for name in names:
        if name in values:
            made[name] = _value(hints[name], values[name], name)
        elif fields[name].required and _may_be_left_out(hints[name]):
            made[name] = None
        elif fields[name].required:
            raise InputError(f"a {_name(kind)} needs {name}", remedy=f"its values are {', '.join(names)}")
    return kind(**made)


def _may_be_left_out(hint: Any) -> bool:
    """Whether a field may be None, which stands for what is said where it is described."""
    return get_origin(hint) in (Union, UnionType) and NoneType in get_args(hint)


def _value(hint: Any, given: Any, name: str) -> Any:
    """A value of a field's type, from text or JSON."""
    if hasattr(hint, "__metadata__"):
        hint = hint.__origin__
    if hint is Amount:
        return parse_omnit(str(given))
    if hint is Address:
        return parse_address(str(given))
    while hasattr(hint, "__supertype__"):
        hint = hint.__supertype__
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        kinds = [part for part in get_args(hint) if part is not NoneType]
        if given in (None, "null") and NoneType in get_args(hint):
            return None
        return _value(kinds[0], given, name) if len(kinds) == 1 else _tagged(hint, given, name)
    if hint is bytes:
        return _bytes(given, name)
    if hint is str:
        return str(given)
    given = _json(given, name) if isinstance(given, str) else given
    if origin is tuple:
        if not isinstance(given, list):
            raise InputError(f"{name} is a list", value=given, remedy="write it as JSON: [1, 2]")
        inner = get_args(hint)
        hints = [inner[0]] * len(given) if Ellipsis in inner else list(inner)
        if len(hints) != len(given):
            raise InputError(f"{name} has {len(hints)} values", value=given)
        return tuple(_value(each, one, name) for each, one in zip(hints, given, strict=True))
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return _record(hint, given)
    if hint is bool and isinstance(given, bool):
        return given
    if (
        isinstance(hint, type)
        and issubclass(hint, int)
        and isinstance(given, int)
        and not isinstance(given, bool)
    ):
        return given
    raise InputError(
        f"{name} can't be read", value=given, remedy=f"it is of type {getattr(hint, '__name__', hint)}"
    )


def _tagged(hint: Any, given: Any, name: str) -> Any:
    """One of several records: a JSON object with its kind, or its canonical bytes."""
    if isinstance(given, str) and given.lstrip().startswith("{"):
        given = _json(given, name)
    if isinstance(given, Mapping):
        body = body_from(
            str(given.get("kind", "")), {key: each for key, each in given.items() if key != "kind"}
        )
        if not isinstance(body, get_args(hint)):
            raise InputError(f"{name} can't be a {body.KIND}", remedy=f"it is one of {_kinds(hint)}")
        return body
    try:
        return decode(hint, _bytes(given, name))
    except CodecError as error:
        raise InputError(
            f"{name} can't be read: {error.reason}", remedy="give its canonical bytes"
        ) from error


def _kinds(hint: Any) -> str:
    return ", ".join(_name(part) for part in get_args(hint))


def _bytes(given: Any, name: str) -> bytes:
    try:
        return bytes.fromhex(str(given).removeprefix("0x"))
    except ValueError:
        raise InputError(f"{name} is written in hexadecimal digits", value=given) from None


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise InputError(f"{name} is neither a number nor JSON", value=text) from None


def _name(kind: Any) -> str:
    return str(getattr(kind, "KIND", kind.__name__))


def fields_of(body: BodyBase) -> dict[str, Any]:
    """A body's values as ``body_from`` reads them."""
    return _shown_record(body)


def _shown_record(value: Any) -> dict[str, Any]:
    hints = get_type_hints(type(value), include_extras=True)
    return {name: _shown(hints[name], getattr(value, name)) for name in value.__struct_fields__}


def _shown(hint: Any, value: Any) -> Any:
    if hasattr(hint, "__metadata__"):
        hint = hint.__origin__
    if value is None:
        return None
    if hint is Amount:
        return omnit(value)
    if hint is Address:
        return format_address(value)
    while hasattr(hint, "__supertype__"):
        hint = hint.__supertype__
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        kinds = [part for part in get_args(hint) if part is not NoneType]
        if len(kinds) == 1:
            return _shown(kinds[0], value)
        return (
            {"kind": value.KIND, **fields_of(value)} if isinstance(value, BodyBase) else encode(value).hex()
        )
    if origin is tuple:
        inner = get_args(hint)
        hints = [inner[0]] * len(value) if Ellipsis in inner else list(inner)
        return [_shown(each, one) for each, one in zip(hints, value, strict=True)]
    if isinstance(value, bytes):
        return value.hex()
    return _shown_record(value) if isinstance(value, msgspec.Struct) else value
