"""How results are shown: tables and sentences for people on a terminal, one JSON object for programs. Knows no command."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from omnitensor.protocol.amounts import format_omnit
from omnitensor.sdk.results import omnit

PLAIN_COLUMNS: Final = 200
"""Width of a table that goes into a file or a pipe: nothing is cut."""

_COLOURS: Final = {
    "accepted": "green",
    "paid": "green",
    "open": "green",
    "final": "green",
    "ok": "green",
    "revealed": "cyan",
    "queued": "cyan",
    "in_review": "cyan",
    "committed": "cyan",
    "pending": "cyan",
    "undecided": "yellow",
    "closing": "yellow",
    "rejected": "red",
    "missed": "red",
    "expired": "red",
}


def console(to_error: bool = False) -> Console:
    """Standard output, or standard error."""
    file = sys.stderr if to_error else sys.stdout
    width = None if file.isatty() else PLAIN_COLUMNS
    return Console(file=file, width=width, highlight=False, soft_wrap=not file.isatty())


def say(text: str) -> None:
    """A sentence on standard output."""
    console().print(Text(printable(text)))


def note(text: str) -> None:
    """A sentence on standard error: warnings and progress, never results."""
    Console(file=sys.stderr, highlight=False, soft_wrap=True).print(Text(printable(text)))


def print_json(value: Any) -> None:
    """One JSON object on standard output."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "", to_error: bool = False
) -> None:
    """A table on standard output (or error); statuses are coloured on a terminal."""
    shown = Table(title=title or None, title_justify="left", show_edge=False, pad_edge=False, box=None)
    for name in columns:
        numeric = name.rstrip(")").endswith(("OMNIT", "items", "height", "score"))
        shown.add_column(name, justify="right" if numeric else "left", header_style="bold", overflow="fold")
    for row in rows:
        shown.add_row(*(_cell(value) for value in row))
    console(to_error).print(shown)


def pairs(rows: Iterable[tuple[str, Any]], *, to_error: bool = False) -> None:
    """Names and values, a line each."""
    shown = Table(show_header=False, show_edge=False, pad_edge=False, box=None)
    shown.add_column(style="bold", no_wrap=True)
    shown.add_column(overflow="fold")
    for name, value in rows:
        shown.add_row(name, _cell(value))
    console(to_error).print(shown)


def printable(text: str) -> str:
    """Text from the chain, where strangers write, without what would steer the terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "�" for letter in text)


def _cell(value: Any) -> Text:
    text = "" if value is None else printable(str(value))
    return Text(text, style=_COLOURS.get(text, ""))


CALENDAR_MS_END = 253_402_300_800_000
"""The first millisecond of the year 10000."""


def money(nano: int) -> str:
    """An amount for people."""
    return format_omnit(nano)


def money_json(nano: int) -> str:
    """An amount for programs: decimal text in OMNIT, exact."""
    return omnit(nano)


def moment(timestamp_ms: int) -> str:
    """A time of the chain, in UTC. A calendar ends with the year 9999, and what vaults are granted until does not."""
    if not timestamp_ms:
        return ""
    if not 0 < timestamp_ms < CALENDAR_MS_END:
        return f"{timestamp_ms} ms since 1970"
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def share(bps: int | None) -> str:
    """A ratio as a percentage."""
    return "" if bps is None else f"{bps / 100:g} %"


def short(text: str, head: int = 10) -> str:
    """A hash shortened for a table."""
    return text if len(text) <= head + 2 else text[:head] + "…"
