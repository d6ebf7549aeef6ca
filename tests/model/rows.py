"""Rows in memory as decoded records, sorted by key: what a block is executed on in long histories. Knows no model."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Any

from omnitensor.protocol.codec import decode, encode
from state.overlay import Overlay, keys_in_range
from state.schema import TABLES, Kind, Table

Change = tuple[bytes, bytes | None]


class Rows:
    """A base of overlays. Every row that comes in is encoded and decoded, so none is kept that a database could not hold."""

    def __init__(self) -> None:
        self.tables: dict[int, dict[bytes, Any]] = {prefix: {} for prefix in TABLES}
        self.keys: dict[int, list[bytes]] = {prefix: [] for prefix in TABLES}

    def row(self, table: Table[Any], key: bytes) -> Any:
        return self.tables[table.prefix].get(key)

    def rows(
        self, table: Table[Any], prefix: bytes, start: bytes, reverse: bool
    ) -> Iterator[tuple[bytes, Any]]:
        held = self.tables[table.prefix]
        if prefix or start or reverse:
            return (
                (key, held[key]) for key in keys_in_range(self.keys[table.prefix], prefix, start, reverse)
            )
        return ((key, held[key]) for key in list(self.keys[table.prefix]))

    def apply(self, overlay: Overlay) -> list[Change]:
        """Takes an overlay's changes in; says what they are as bytes, of tables of kind *state*."""
        changes: list[Change] = []
        for prefix, key, value in overlay.changes():
            table, held = TABLES[prefix], self.tables[prefix]
            data = None if value is None else encode(value)
            if table.kind is Kind.STATE:
                changes.append((table.prefix_bytes + key, data))
            if data is None:
                if held.pop(key, None) is not None:
                    del self.keys[prefix][bisect_left(self.keys[prefix], key)]
                continue
            if key not in held:
                insort(self.keys[prefix], key)
            held[key] = decode(table.value_type, data)
        return changes

    def entries(self) -> dict[bytes, bytes]:
        """All rows of kind *state*, encoded."""
        return {
            TABLES[prefix].prefix_bytes + key: encode(value)
            for prefix, held in self.tables.items()
            if TABLES[prefix].kind is Kind.STATE
            for key, value in held.items()
        }
