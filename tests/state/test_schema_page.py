"""The specification's table of tables is the schema's."""

from __future__ import annotations

import re
from pathlib import Path

from state.ledger.accounts import Pot
from state.schema import TABLES

PAGE = (Path(__file__).resolve().parents[2] / "docs/specification/ledger.md").read_text(encoding="utf-8")
WIDTHS = {"address": 33, "hash": 32, "int": 8, "BLS key": 48, "place": 33, "bytes": 0}
ROW = re.compile(r"\| `0x(?P<prefix>[0-9a-f]{2})` \| (?P<name>[^|]+) \| (?P<kind>\w+) \| (?P<key>[^|]+) \|")


def test_every_table_is_on_the_page() -> None:
    written = {
        int(row["prefix"], 16): (
            row["name"],
            row["kind"],
            tuple(WIDTHS[part] for part in row["key"].split(", ")),
        )
        for row in ROW.finditer(PAGE)
    }
    assert written == {
        prefix: (table.name, table.kind.value, table.parts) for prefix, table in TABLES.items()
    }, "write the table in docs/specification/ledger.md anew"


def test_every_pot_is_on_the_page() -> None:
    for pot in Pot:
        assert f"`{pot.value.decode()}`" in PAGE
