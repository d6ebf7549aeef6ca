"""``fingerprint-v1``: 256 bits of a content, of which near duplicates differ in few. Knows bytes; nothing of media or campaigns.

Letters are folded and white space is joined, so that case and layout say nothing; runs of five bytes are counted in 1,024
buckets; each count's distance from the mean, in sixteenths of its standard deviation, is an operand; a fixed matrix of signs
takes them to 256 sums, and a bit says which are above zero. All in integers, so that a fingerprint is work that can be proven.
"""

from functools import cache
from hashlib import shake_128
from math import isqrt
from typing import Final

import numpy as np
import numpy.typing as npt

from consensus.work.programs import Program, Rows
from omnitensor.protocol.limits import content_constants_max, fingerprint_bytes_max
from omnitensor.protocol.models import IDENTITY, OPERAND_MAX, LayerRecord, ModelFile

FEATURES: Final = 1_024
BITS: Final = 256
RUN_BYTES: Final = 5
"""Length of the runs that are counted."""
COUNTED_AT_ONCE: Final = 1 << 16
TILE: Final = 64
SHIFT: Final = 3
_BASE: Final = 0x9E3779B97F4A7C15
_MIX: Final = 0xBF58476D1CE4E5B9
_SPACE: Final = 0x20


def features(content: bytes) -> npt.NDArray[np.int8]:
    """(1024,): the operands of a content, of its first ``fingerprint_bytes_max`` bytes; zeros where it is shorter than a run."""
    data = folded(content[:fingerprint_bytes_max])
    runs = len(data) - RUN_BYTES + 1
    if runs < 1:
        return np.zeros(FEATURES, np.int8)
    counts = np.zeros(FEATURES, np.int64)
    for start in range(
        0, runs, COUNTED_AT_ONCE
    ):  # numbers of eight bytes for all of it would be many megabytes
        counts += _counts(data[start : start + COUNTED_AT_ONCE + RUN_BYTES - 1])
    # (count - mean) / deviation * 16, of a count whose mean is runs / 1024 and whose deviation is about the root of that.
    scaled = (counts * FEATURES - runs) * 16 // (32 * max(1, isqrt(runs)))
    return np.clip(scaled, -OPERAND_MAX, OPERAND_MAX).astype(np.int8)


def _counts(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """(1024,): how many runs fall into each bucket."""
    runs = len(data) - RUN_BYTES + 1
    hashes = np.zeros(runs, np.uint64)
    wide = data.astype(np.uint64)
    for at in range(RUN_BYTES):
        hashes = hashes * np.uint64(_BASE) + wide[at : at + runs] + np.uint64(1)
    hashes ^= hashes >> np.uint64(32)
    hashes *= np.uint64(_MIX)
    return np.bincount((hashes >> np.uint64(54)).astype(np.int64), minlength=FEATURES)


def folded(data: bytes) -> npt.NDArray[np.uint8]:
    """ASCII capitals as small letters, and each run of ASCII white space as one space."""
    found = np.frombuffer(data.lower(), np.uint8)
    blank = ((found >= 9) & (found <= 13)) | (found == _SPACE)
    found = np.where(blank, np.uint8(_SPACE), found)
    repeated = np.zeros(len(found), np.bool_)
    repeated[1:] = blank[1:] & blank[:-1]
    return found[~repeated]


@cache
def fingerprint_program() -> Program:
    """The fixed matrix of signs: 1024 by 256, from one SHAKE-128 stream, a bit each, the lowest of a byte first."""
    drawn = shake_128(b"omnitensor/fingerprint/1").digest(FEATURES * BITS // 8)
    signs = np.unpackbits(np.frombuffer(drawn, np.uint8), bitorder="little").astype(np.int8) * 2 - 1
    return Program.of(
        ModelFile(1, TILE, (LayerRecord(FEATURES, BITS, IDENTITY, SHIFT, signs.astype(np.int8).tobytes()),))
    )


def content_rows(operands: Rows, inputs: int) -> Rows:
    """Rows for a model that scores contents: (rows, 1024) operands, and constants up to the model's inputs.

    Programs have no biases, so models take constants: all of the columns behind the operands are 63, the last one 1. A model of
    1,024 inputs has none.
    """
    constants = inputs - FEATURES
    assert 0 <= constants <= content_constants_max, "a model takes the operands, and not too many constants"
    rows = np.full((len(operands), inputs), OPERAND_MAX, np.int8)
    rows[:, :FEATURES] = operands
    if constants:
        rows[:, -1] = 1
    return rows


def fingerprints(outputs: Rows) -> list[bytes]:
    """32 bytes for each of the program's output rows: a bit for each sum above zero, the lowest of a byte first."""
    packed = np.packbits(outputs > 0, axis=1, bitorder="little")
    return [row.tobytes() for row in packed]


def fingerprint(content: bytes) -> bytes:
    """The fingerprint of one content."""
    return fingerprints(fingerprint_program().run(features(content)[None, :]))[0]


def distance(one: bytes, two: bytes) -> int:
    """In how many bits two fingerprints differ."""
    return (int.from_bytes(one, "big") ^ int.from_bytes(two, "big")).bit_count()
