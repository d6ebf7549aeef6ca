"""A table as plain text for a reviewer: its first rows in columns, and what each column holds. Pure; bounded whatever comes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from omnitensor.protocol import limits

DISTINCT_MAX: Final = 1_000


@dataclass
class _Column:
    """Of one column: what its cells are. The first row is taken for a heading here, and not counted."""

    heading: str
    filled: int = 0
    numbers: int = 0
    least: float = math.inf
    most: float = -math.inf
    longest: int = 0
    distinct: set[int] = field(default_factory=set)

    def add(self, cell: str) -> None:
        if not (text := cell.strip()):
            return
        self.filled += 1
        self.longest = max(self.longest, len(text))
        if len(self.distinct) < DISTINCT_MAX:
            self.distinct.add(hash(text))
        if len(text) <= 32:
            try:
                number = float(text)
            except ValueError:
                return
            if math.isfinite(number):
                self.numbers += 1
                self.least, self.most = min(self.least, number), max(self.most, number)

    def line(self, place: int, rows: int) -> str:
        share = f"{self.filled} of {rows} filled"
        most = "+" if len(self.distinct) >= DISTINCT_MAX else ""
        kind = f"text of up to {self.longest} characters"
        if self.filled and self.numbers == self.filled:
            kind = f"numbers from {self.least:g} to {self.most:g}"
        return f"{place:>5}  {cut(self.heading)}: {share}, {len(self.distinct)}{most} different, {kind}"


class TableView:
    """Takes rows one by one; gives the text in the end."""

    def __init__(self) -> None:
        self._head: list[list[str]] = []
        self._columns: list[_Column] = []

    def add(self, row: list[str]) -> None:
        shown = row[: limits.preview_columns_max]
        if len(self._head) < limits.preview_rows_max:
            self._head.append([cut(cell) for cell in shown])
        if not self._columns:
            self._columns = [_Column(cell) for cell in shown]
            return
        for column, cell in zip(self._columns, shown, strict=False):
            column.add(cell)

    def text(self, rows: int, columns: int) -> str:
        """The whole preview."""
        lines = [f"{rows} rows, {columns} columns; the first rows:", ""]
        lines += _aligned(self._head)
        if len(self._head) < rows:
            lines.append("...")
        lines += ["", "columns (the first row taken for a heading):", ""]
        lines += [column.line(place, rows - 1) for place, column in enumerate(self._columns, 1)]
        if columns > len(self._columns):
            lines.append(f"... and {columns - len(self._columns)} more")
        return "\n".join(lines) + "\n"


def cut(cell: str) -> str:
    """A cell on one line, without control characters, cut where it is long."""
    text = "".join(
        letter if letter.isprintable() else " " for letter in cell[: limits.preview_cell_chars_max]
    )
    return text + ("…" if len(cell) > limits.preview_cell_chars_max else "")


def _aligned(rows: list[list[str]]) -> list[str]:
    widths: list[int] = []
    for row in rows:
        widths += [0] * (len(row) - len(widths))
        for place, cell in enumerate(row):
            widths[place] = max(widths[place], len(cell))
    return [
        " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in rows
    ]
