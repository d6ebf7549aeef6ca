"""Contents as operands, in plain Python: counts of hashed runs of five bytes, as a fingerprint takes them (``fingerprint-v1``).

A model that scores a campaign's items takes these 1,024 numbers: which words and patterns a content has, not their order.
"""

from __future__ import annotations

import re
from math import isqrt
from typing import Final

from omnitensor.protocol.limits import fingerprint_bytes_max
from omnitensor.protocol.models import OPERAND_MAX

FEATURES: Final = 1_024
_RUN: Final = 5
_MASK: Final = (1 << 64) - 1
_BASE: Final = 0x9E3779B97F4A7C15
_MIX: Final = 0xBF58476D1CE4E5B9
_SPACES: Final = re.compile(rb"[\t-\r ]+")
_TERMS: Final = [
    [(byte + 1) * pow(_BASE, _RUN - 1 - place, 1 << 64) & _MASK for byte in range(256)]
    for place in range(_RUN)
]
"""What a byte at each place of a run adds to the run's hash."""


def operands_of(content: bytes) -> list[int]:
    """(1024,) in [-63, 63]: of the first 4 MiB; zeros for a content of fewer than five bytes."""
    data = _SPACES.sub(b" ", content[:fingerprint_bytes_max].lower())
    runs = len(data) - _RUN + 1
    if runs < 1:
        return [0] * FEATURES
    counts = [0] * FEATURES
    first, second, third, fourth, fifth = _TERMS
    for a, b, c, d, e in zip(data, data[1:], data[2:], data[3:], data[4:], strict=False):
        mixed = first[a] + second[b] + third[c] + fourth[d] + fifth[e] & _MASK
        mixed ^= mixed >> 32
        counts[(mixed * _MIX & _MASK) >> 54] += 1
    spread = 32 * max(1, isqrt(runs))
    return [max(-OPERAND_MAX, min(OPERAND_MAX, (count * FEATURES - runs) * 16 // spread)) for count in counts]
