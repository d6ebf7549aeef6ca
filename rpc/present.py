"""Turns the protocol's records into the JSON of the interface. Pure; knows types, not methods.

Amounts become decimal text of nanoOMNIT (they do not fit the numbers of every JSON reader), addresses ``omnit1…``, all other
bytes lowercase hexadecimal. A record becomes an object of its fields, by their types and not by their values.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

import msgspec

from omnitensor.protocol import keys
from omnitensor.protocol.blocks import Event, Header
from omnitensor.protocol.bodies import BodyBase, Scope
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.types import ADDRESS_BYTES, Address, Amount, ParameterNumber

Show = Callable[[Any], Any]

AMOUNTS_IN_EVENTS: Final = frozenset(
    "abstain allowance amount available bond bond_cost budget burned commission delegators deposit escrow fee no paid pending"
    " power refund refunded reward pool shares slashed stake veto yes".split()
)
"""Names of event fields that hold nanoOMNIT; an event's fields have no types of their own."""


@lru_cache(maxsize=8_192)
def address_text(address: Address) -> str:
    return keys.format_address(address)


def amount_text(amount: int) -> str:
    """nanoOMNIT as decimal text."""
    return str(int(amount))


def record(value: Any) -> dict[str, Any]:
    """A record as an object of its fields."""
    shown: dict[str, Any] = _show_record(type(value))(value)
    return shown


def body(value: BodyBase) -> dict[str, Any]:
    """A transaction's body: its kind, then its fields."""
    return {"kind": value.KIND, **record(value)}


def header(value: Header, block_hash: bytes) -> dict[str, Any]:
    return {"hash": block_hash.hex(), **record(value)}


def event(value: Event) -> dict[str, Any]:
    """An event: its kind, then its named values."""
    return {"kind": value.kind, **{name: _event_value(name, field) for name, field in value.fields}}


def scopes(mask: int) -> list[str]:
    """Names of the scopes in a mask."""
    return [scope.name.lower() for scope in Scope if mask & scope]


def _event_value(name: str, value: int | str | bytes) -> int | str:
    if isinstance(value, bytes):
        return address_text(Address(value)) if len(value) == ADDRESS_BYTES else value.hex()
    if isinstance(value, int) and name in AMOUNTS_IN_EVENTS:
        return str(value)
    return value


def _show_record(kind: type) -> Show:
    """How records of a kind are shown; worked out once a kind."""
    known = _SHOWS.get(kind)
    if known is None:
        known = _SHOWS[kind] = _make_show(kind)
    return known


_SHOWS: Final[dict[type, Show]] = {}


def _make_show(kind: type) -> Show:
    hints = get_type_hints(kind, include_extras=True)
    fields = [(name, _show_of(hints[name])) for name in kind.__struct_fields__]  # type: ignore[attr-defined]  # a Struct

    def show(value: Any) -> dict[str, Any]:
        return {name: shown(getattr(value, name)) for name, shown in fields}

    if kind is ContentId:
        return lambda value: {"cid": value.cid, **show(value)}
    return show


def _show_of(hint: Any) -> Show:
    """How values of a type are shown."""
    if hasattr(hint, "__metadata__"):  # Annotated
        hint = hint.__origin__
    if hint in (Amount, ParameterNumber):
        return amount_text
    if hint is Address:
        return address_text
    while hasattr(hint, "__supertype__"):  # NewType
        hint = hint.__supertype__
    if hint is bytes:
        return bytes.hex
    origin = get_origin(hint)
    if origin is tuple:
        inner = get_args(hint)
        shown = [_show_of(part) for part in inner if part is not Ellipsis]
        if len(shown) == 1:
            return lambda values: [shown[0](value) for value in values]
        return lambda values: [show(value) for show, value in zip(shown, values, strict=True)]
    if origin in (Union, UnionType):
        kinds = [part for part in get_args(hint) if part is not NoneType]
        if all(isinstance(part, type) and issubclass(part, msgspec.Struct) for part in kinds):
            return lambda value: None if value is None else _show_record(type(value))(value)
        (only,) = kinds
        show = _show_of(only)
        return lambda value: None if value is None else show(value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return lambda value: value.name.lower()
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return _show_record(hint)
    assert hint in (int, str, bool), f"no way to show {hint}"
    return lambda value: value
