"""Which contents nearly repeat an earlier one, by the fingerprints that nodes take (``fingerprint-v1``), in plain Python.

For whoever reads what nodes can't: the sponsor of a private campaign. Knows bytes; nothing of campaigns or keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import shake_128
from pathlib import Path
from typing import Final

import msgspec

from omnitensor.protocol.limits import (
    fingerprint_bytes_max,
    near_duplicate_bytes_min,
    near_duplicates_compared_max,
)
from omnitensor.sdk.models.contents import FEATURES, operands_of
from omnitensor.sdk.models.program import PlainLayer

BITS: Final = 256
_SHIFT: Final = 3


class Nearest(msgspec.Struct, frozen=True):
    """A content by its number, and the earlier one that it is nearest to: in how many bits of 256 they differ."""

    item: int
    of: int
    distance: int


def fingerprint(content: bytes) -> bytes:
    """The fingerprint of one content, 32 bytes: a bit for each sum above zero, the lowest of a byte first."""
    sums = _layer().run(operands_of(content))
    bits = sum(1 << place for place, value in enumerate(sums) if value > 0)
    return bits.to_bytes(BITS // 8, "little")


def fingerprint_of(path: Path) -> bytes | None:
    """The fingerprint of a file; None for one of too few bytes to say anything. Raises OSError."""
    with path.open("rb") as file:
        beginning = file.read(fingerprint_bytes_max)
    return fingerprint(beginning) if len(beginning) >= near_duplicate_bytes_min else None


def near_duplicates(prints: Sequence[tuple[int, bytes]], bits_max: int) -> list[Nearest]:
    """For each content, by number and fingerprint in order of time, the nearest earlier one within ``bits_max``.

    Of several equally near the earliest. Each is held against so many before it: ``near_duplicates_compared_max``.
    """
    numbers = [number for number, _ in prints]
    values = [int.from_bytes(each, "little") for _, each in prints]
    found = []
    for place, value in enumerate(values):
        start = max(0, place - near_duplicates_compared_max)
        distances = [(value ^ other).bit_count() for other in values[start:place]]
        least = min(distances, default=BITS + 1)
        if least <= bits_max:
            found.append(Nearest(numbers[place], numbers[start + distances.index(least)], least))
    return found


@cache
def _layer() -> PlainLayer:
    """The fixed matrix of signs: 1024 by 256, from one SHAKE-128 stream, a bit each, the lowest of a byte first."""
    drawn = int.from_bytes(shake_128(b"omnitensor/fingerprint/1").digest(FEATURES * BITS // 8), "little")
    signs = [1 if digit == "1" else -1 for digit in reversed(f"{drawn:0{FEATURES * BITS}b}")]
    rows = [signs[at : at + BITS] for at in range(0, len(signs), BITS)]
    return PlainLayer(rows, False, _SHIFT)
