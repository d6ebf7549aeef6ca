"""Work for when no job waits: a model and rows drawn from the beacon, of which nobody can have made a choice. Knows no jobs."""

from hashlib import shake_128
from typing import Final

import numpy as np

from consensus.work.programs import Program, Rows
from omnitensor.protocol import hashing
from omnitensor.protocol.models import IDENTITY, OPERAND_MAX, LayerRecord, ModelFile
from omnitensor.protocol.types import Hash

WIDTH: Final = 1_024
ROWS: Final = 1_024
TILE: Final = 128
SHIFT: Final = 11


def synthetic_program(beacon: Hash) -> Program:
    """One layer of uniform weights: (WIDTH, WIDTH)."""
    weights = _uniform(hashing.WORK_SYNTHETIC(b"model", beacon), WIDTH * WIDTH).tobytes()
    return Program.of(ModelFile(1, TILE, (LayerRecord(WIDTH, WIDTH, IDENTITY, SHIFT, weights),)))


def synthetic_rows(beacon: Hash, unit: int) -> Rows:
    """Rows of a numbered unit: (ROWS, WIDTH)."""
    seed = hashing.WORK_SYNTHETIC(b"rows", beacon, unit.to_bytes(8, "big"))
    return _uniform(seed, ROWS * WIDTH).reshape(ROWS, WIDTH)


def _uniform(seed: Hash, count: int) -> Rows:
    """Integers in [-63, 63]: a byte's low seven bits less 64, and 0 for -64."""
    drawn = (np.frombuffer(shake_128(seed).digest(count), np.uint8) & 127).astype(np.int16) - 64
    return np.where(drawn < -OPERAND_MAX, 0, drawn).astype(np.int8)
