"""Numbers from whatever holds them: lists, numpy arrays, tensors, tables, sparse matrices. Imports none of these libraries."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any, Final

from omnitensor.sdk.errors import InputError

Matrix = list[list[float]]

NUMBER_MAX: Final = 1e100
"""Larger numbers are taken for a mistake: what is made of them would leave floating point."""


def listed(value: Any) -> Any:
    """Nested lists of what an array, a tensor, a table or a sparse matrix holds."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    if hasattr(value, "toarray"):
        value = value.toarray()
    if hasattr(value, "to_numpy"):
        value = value.to_numpy()
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [listed(part) for part in value]
    return value


def vector(value: Any, name: str) -> list[float]:
    """(n,) of finite numbers up to 1e100. Raises InputError."""
    found = listed(value)
    if isinstance(found, int | float):
        found = [found]
    if not isinstance(found, list):
        raise InputError(f"{name} is no list of numbers", value=type(value).__name__)
    try:
        numbers = [float(number) for number in found]
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} holds something that is no number", value=error) from error
    for at, number in enumerate(numbers):
        if not isfinite(number) or abs(number) > NUMBER_MAX:
            raise InputError(f"number {at} of {name} is not finite, or very large", value=number)
    return numbers


def matrix(value: Any, name: str) -> Matrix:
    """(rows, columns) of finite numbers; what has more dimensions is flattened behind the first. Raises InputError."""
    found = listed(value)
    if not isinstance(found, list) or not found:
        raise InputError(f"{name} has no rows", remedy="give a table of numbers, a row for each example")
    rows = [vector(_flat(row), f"row {at} of {name}") for at, row in enumerate(found)]
    width = len(rows[0])
    for at, row in enumerate(rows):
        if len(row) != width or not width:
            raise InputError(f"row {at} of {name} has another width than the first", value=len(row))
    return rows


def _flat(row: Any) -> list[Any]:
    if not isinstance(row, list):
        return [row]
    if row and isinstance(row[0], list):
        return [number for part in row for number in _flat(part)]
    return row


def turned(rows: Matrix) -> Matrix:
    """Rows as columns."""
    return [list(column) for column in zip(*rows, strict=True)]
