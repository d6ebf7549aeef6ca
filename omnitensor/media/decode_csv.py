"""In the child: tables of text (CSV, TSV). Rows, columns, what is ragged, empty, repeated or computed; the first rows to show."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field

from msgspec.structs import replace

from omnitensor.media.facts import Job, Measures, Seen
from omnitensor.media.kinds import TSV
from omnitensor.media.shown import TableView
from omnitensor.protocol import limits

PIECE_CHARS = 256 * 1024
REPEATS_LOOKED_FOR = 200_000
"""Rows whose hash is kept to find the same row again."""
_FORMULA = ("=", "+", "-", "@")


class NoTable(Exception):
    """Why a text is no table."""


@dataclass
class _Counts:
    """What is counted over all rows."""

    rows: int = 0
    columns: int = 0
    ragged: int = 0
    cells: int = 0
    empty: int = 0
    repeated: int = 0
    formulas: int = 0
    seen: set[bytes] = field(default_factory=set)

    def add(self, row: list[str]) -> None:
        if not self.rows:
            self.columns = len(row)
            if self.columns > limits.table_columns_max:
                raise NoTable(f"{self.columns} columns, over {limits.table_columns_max}")
        self.rows += 1

    def measure(self, row: list[str]) -> None:
        self.ragged += len(row) != self.columns
        self.cells += max(len(row), self.columns)
        self.empty += sum(not cell.strip() for cell in row) + max(0, self.columns - len(row))
        self.formulas += sum(_is_formula(cell) for cell in row)
        mark = hashlib.blake2b("\0".join(row).encode(), digest_size=8).digest()
        if mark in self.seen:
            self.repeated += 1
        elif len(self.seen) < REPEATS_LOOKED_FOR:
            self.seen.add(mark)


def see(job: Job, source: io.BufferedReader, seen: Seen, wanted: str) -> Seen:
    """A text as a table. Raises NoTable. The first row counts as a row: whether it is a heading bytes don't tell."""
    counts, view = _Counts(), TableView()
    delimiter = _delimiter(source, wanted)
    csv.field_size_limit(limits.table_cell_bytes_max)
    try:
        for row in csv.reader(_lines(source), delimiter=delimiter, strict=True):
            if not row:
                continue  # an empty line is no row
            counts.add(row)
            if job.whole:
                counts.measure(row)
            if job.previews:
                view.add(row)
    except csv.Error as error:
        raise NoTable(f"row {counts.rows + 1}: {error}") from error
    if not counts.rows:
        raise NoTable("it has no rows")
    facts = replace(
        seen.facts, media_type=wanted, rows=counts.rows, columns=counts.columns, language="", words=0
    )
    if not job.whole:
        return Seen(facts)
    measures = Measures(
        ragged_rows=counts.ragged,
        empty_bps=counts.empty * 10_000 // max(1, counts.cells),
        repeated_rows=counts.repeated,
        formula_cells=counts.formulas,
    )
    return Seen(facts, measures, text=view.text(counts.rows, counts.columns) if job.previews else "")


def _delimiter(source: io.BufferedReader, wanted: str) -> str:
    """Tabs in TSV; in CSV commas, or semicolons where the first line has more of them."""
    if wanted == TSV:
        return "\t"
    first = source.peek(4_096)[:4_096].partition(b"\n")[0]
    return ";" if first.count(b";") > first.count(b",") else ","


def _lines(source: io.BufferedReader) -> Iterator[str]:
    """Lines without a byte order mark. Raises NoTable for one that could not be a row: it is not read into memory whole."""
    text = io.TextIOWrapper(source, "utf-8-sig", newline="")
    most = limits.table_cell_bytes_max * 4
    while line := text.readline(most):
        if len(line) == most and not line.endswith("\n"):
            raise NoTable(f"a line of more than {most} characters")
        yield line
    text.detach()


def _is_formula(cell: str) -> bool:
    """Whether a spreadsheet that opens the table would compute the cell; a number with a sign it would not."""
    if not cell.startswith(_FORMULA) or len(cell) < 2:
        return False
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return True
    return False
