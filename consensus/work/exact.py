"""Exact products of matrices of small integers, by float32 BLAS where that is exact here, else by int64. Knows no programs.

Products of operands of at most 127 summed over at most 1,040 of them stay below 2**24, where float32 has every integer, so
that neither the order of additions nor fused operations can change a bit. That the library at hand keeps to this is not taken on
trust: known answers are asked once, and a library that fails them is not used.
"""

from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int8] | npt.NDArray[np.int16] | npt.NDArray[np.int32] | npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
WideFloats = npt.NDArray[np.float32] | npt.NDArray[np.float64]

OPERAND_MAX: Final = 127
SUM_MAX: Final = 1_040
"""Most terms of one sum: 127 * 127 * 1,040 is below 2**24."""
assert OPERAND_MAX * OPERAND_MAX * SUM_MAX < 1 << 24


@cache
def float32_is_exact() -> bool:
    """Whether this machine's float32 products are exact on known answers, of many shapes and of the largest operands."""
    state = 1
    for rows, inner, columns in (
        (64, SUM_MAX, 64),
        (1, 1024, 257),
        (257, 16, 1),
        (128, 128, 1024),
        (33, 1000, 65),
    ):
        for largest in (False, True):
            left, state = _known(rows * inner, state, largest)
            right, state = _known(inner * columns, state, largest)
            one, two = left.reshape(rows, inner), right.reshape(inner, columns)
            wanted = one @ two
            given = one.astype(np.float32) @ two.astype(np.float32)
            turned = np.ascontiguousarray(one.T).astype(np.float32).T @ two.astype(np.float32)
            for found in (given, turned):
                # Bit patterns, since tickets are made of them: a negative zero would be another one.
                if not np.array_equal(found.view(np.uint32), wanted.astype(np.float32).view(np.uint32)):
                    return False
    return True


def _known(count: int, state: int, largest: bool) -> tuple[npt.NDArray[np.int64], int]:
    """Operands from a linear congruential generator, or only the largest of both signs, and the generator's next state."""
    values = np.empty(count, np.int64)
    for at in range(count):
        state = (state * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) & (1 << 64) - 1
        drawn = state >> 33
        values[at] = OPERAND_MAX if largest else drawn % (2 * OPERAND_MAX + 1) - OPERAND_MAX
    return values, state


def product(left: Ints, right: Ints) -> npt.NDArray[np.int32]:
    """The exact product, int32, of matrices whose entries are at most 127; any inner dimension up to 130,000."""
    inner = left.shape[1]
    if not float32_is_exact():
        return (left.astype(np.int64) @ right.astype(np.int64)).astype(np.int32)
    if inner <= SUM_MAX:
        return (left.astype(np.float32) @ right.astype(np.float32)).astype(np.int32)
    total = np.zeros((left.shape[0], right.shape[1]), np.int32)
    for start in range(0, inner, SUM_MAX):
        stop = start + SUM_MAX
        part = left[:, start:stop].astype(np.float32) @ right[start:stop].astype(np.float32)
        total += part.astype(np.int32)
    return total


def multiply(left: WideFloats, right: WideFloats, out: WideFloats) -> None:
    """The exact product into ``out``, its zeros positive. Integers as floats; in float32 no sum of magnitudes reaches 2**24."""
    if float32_is_exact():
        np.matmul(left, right, out=out)
    else:
        out[:] = left.astype(np.int64) @ right.astype(np.int64)
