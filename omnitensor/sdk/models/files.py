"""Reads and writes what the exporter and its commands work on: tables of numbers (CSV, npy), and rows of operands."""

from __future__ import annotations

import ast
import csv
import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

from omnitensor.protocol.limits import model_rows_bytes_max, model_width_max
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.models.arrays import Matrix

_NPY: Final = b"\x93NUMPY"
_NPY_HEADER_MAX: Final = 10_000
_CODES: Final = {"f2": "e", "f4": "f", "f8": "d", "i1": "b", "i2": "h", "i4": "i", "i8": "q"} | {
    "u1": "B", "u2": "H", "u4": "I", "u8": "Q", "b1": "?",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Rows of numbers, with names of the columns where the file has them, and a label for each row where one was asked for."""

    rows: Matrix
    names: tuple[str, ...]
    labels: list[str] | None


def read_bounded(path: Path, bytes_max: int) -> bytes:
    """A file's bytes. Raises InputError where it is absent or larger."""
    data = read_beginning(path, bytes_max + 1)
    if len(data) > bytes_max:
        raise InputError("the file is too large", value=path, remedy=f"at most {bytes_max} bytes")
    return data


def read_beginning(path: Path, bytes_max: int) -> bytes:
    """A file's first bytes, so many at most. Raises InputError where it is absent."""
    try:
        with path.open("rb") as file:
            return file.read(bytes_max)
    except OSError as error:
        raise InputError(
            f"the file can't be read ({error.strerror})", value=path, remedy="check its name"
        ) from error


def write_new(path: Path, data: bytes, *, replace: bool = False) -> None:
    """Writes a file that is not there yet, or is meant to be replaced: whole, or not at all. Raises InputError."""
    if path.exists() and not replace:
        raise InputError(
            "there is a file already, and it is not overwritten",
            value=path,
            remedy="move it away or choose another name",
        )
    temporary = path.with_name(f".{path.name}.partial")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(
            f"a file can't be written ({error.strerror})", value=path, remedy="check the folder"
        ) from error


def read_table(path: Path, label: str | None = None) -> Table:
    """A table of numbers from CSV, TSV or npy. ``label`` names the column of the truth (of an npy file by its place)."""
    data = read_bounded(path, model_rows_bytes_max)
    if data.startswith(_NPY):
        return _labelled(_npy_rows(data), (), label)
    return _csv_table(data, path, label)


def read_rows(path: Path, width: int) -> list[bytes]:
    """Rows of operands, as jobs have them: signed bytes, row by row, of this width. Raises InputError."""
    data = read_bounded(path, model_rows_bytes_max)
    if not data or len(data) % width:
        raise InputError(
            "the file holds no whole number of rows",
            value=f"{len(data)} bytes",
            remedy=f"a row is {width} bytes",
        )
    return [data[at : at + width] for at in range(0, len(data), width)]


def _csv_table(data: bytes, path: Path, label: str | None) -> Table:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            "the file is neither CSV in UTF-8 nor npy", value=path, remedy="write it as one of these"
        ) from error
    lines = list(_csv_lines(text, "\t" if path.suffix == ".tsv" else ","))
    if not lines:
        raise InputError("the table has no rows", value=path)
    names: tuple[str, ...] = ()
    _, first = lines[0]
    width = len(first)
    named = label is not None and not is_number(label) and label in first
    place = None if label is None else first.index(label) if named else _place(label, width)
    if named or _names_columns(first, place):
        names = tuple(first)
        lines.pop(0)
    rows, labels = [], []
    for number, line in lines:
        if len(line) != width:
            raise InputError(f"line {number} has another number of columns than the first", value=len(line))
        if place is not None:
            labels.append(line.pop(place))
        rows.append([_number(cell, number) for cell in line])
    if place is not None:
        names = names[:place] + names[place + 1 :]
    if not rows or not rows[0]:
        raise InputError("the table has no rows of numbers", value=path)
    return Table(rows, names, labels if place is not None else None)


def _csv_lines(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    try:
        for line in reader:
            if len(line) > model_width_max + 1:
                raise InputError(
                    "the table is too wide", value=len(line), remedy=f"at most {model_width_max}"
                )
            if line:
                yield reader.line_num, line
    except csv.Error as error:
        raise InputError(f"the table can't be read as CSV: {error}", value=reader.line_num) from error


def _names_columns(line: list[str], label: int | None) -> bool:
    """Whether a first line has names: something in it besides the label is no number, or it counts the columns."""
    numbers = [cell for at, cell in enumerate(line) if at != label]
    return (
        not all(map(is_number, numbers))
        or line == [str(at) for at in range(len(line))]
        or (label is not None and not numbers)
    )


def is_number(cell: str) -> bool:
    """Whether a cell is one."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number(cell: str, line: int) -> float:
    if not is_number(cell):
        raise InputError(
            f"line {line} has something that is no number",
            value=cell,
            remedy="name the labels' column with --label",
        )
    return float(cell)


def _place(label: str, width: int) -> int:
    """A column given by its place, from the end where it is negative. Raises InputError."""
    try:
        place = int(label)
    except ValueError as error:
        raise InputError(
            "there is no column of this name", value=label, remedy="take a name of the first line"
        ) from error
    if not -width <= place < width:
        raise InputError("there is no column at this place", value=label, remedy=f"the table has {width}")
    return place % width


def _labelled(rows: Matrix, names: tuple[str, ...], label: str | None) -> Table:
    if label is None:
        return Table(rows, names, None)
    place = _place(label, len(rows[0]))
    labels = [row.pop(place) for row in rows]
    return Table(rows, names, [str(int(each)) if each.is_integer() else str(each) for each in labels])


def _npy_rows(data: bytes) -> Matrix:
    """A numpy array as rows; what has more dimensions is flattened behind the first. Objects are refused: they are pickles."""
    try:
        major = data[6]
        size, at = (
            (struct.unpack_from("<H", data, 8)[0], 10)
            if major == 1
            else (struct.unpack_from("<I", data, 8)[0], 12)
        )
        if size > _NPY_HEADER_MAX:
            raise ValueError("header")
        header: dict[str, Any] = ast.literal_eval(data[at : at + size].decode("latin-1"))
        kind, shape = str(header["descr"]), tuple(int(length) for length in header["shape"])
        code = _CODES[kind[1:]]
        order = {"<": "<", "|": "<", ">": ">"}[kind[0]]
        body = memoryview(data)[at + size :]
        count = prod(shape)
        if (
            header["fortran_order"]
            or not shape
            or min(shape) < 1
            or count * struct.calcsize("=" + code) != len(body)
        ):
            raise ValueError("shape")
        numbers = struct.unpack(f"{order}{count}{code}", body)
    except (
        KeyError,
        IndexError,
        ValueError,
        TypeError,
        SyntaxError,
        MemoryError,
        RecursionError,
        struct.error,
    ) as error:
        raise InputError(
            "this npy file is none of numbers in rows",
            value=error,
            remedy="save it with numpy.save(path, numpy.ascontiguousarray(rows)) of a plain number type",
        ) from error
    width = count // shape[0]
    if width > model_width_max + 1:
        raise InputError("the table is too wide", value=width, remedy=f"at most {model_width_max}")
    return [[float(number) for number in numbers[at : at + width]] for at in range(0, count, width)]
