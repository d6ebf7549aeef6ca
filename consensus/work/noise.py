"""The noise that ties a product to its worker, unit and moment: seeds that bind every field, and the matrices drawn from them.

After Komargodski and Weinstein, "Proofs of Useful Work from Arbitrary Matrix Multiplication" (arXiv 2504.09971):
``A' = A + E_L E_R`` and ``B' = W + F_L F_R``, of rank r, the tile's width. E_L and F_R are uniform in [-64, 63]; E_R and F_L are,
for each piece of r of the inner dimension, a signed permutation, so that the noise has full rank and every entry stays within
[-127, 127].
"""

from dataclasses import dataclass
from hashlib import shake_128
from typing import Final

import numpy as np
import numpy.typing as npt

from consensus.work.exact import Floats
from consensus.work.programs import Layer, Program, padded
from omnitensor.protocol import hashing
from omnitensor.protocol.types import Address, Hash

_E_LEFT: Final = b"EL"
_E_RIGHT: Final = b"ER"
_F_LEFT: Final = b"FL"
_F_RIGHT: Final = b"FR"


def model_seed(beacon: Hash, model_root: Hash, layer: int, k: int, n: int, tile: int) -> Hash:
    """Seed of a model's own noise: drawn once an epoch, from the beacon at its beginning. Dimensions are the padded ones."""
    return hashing.WORK_MODEL(beacon, model_root, *_numbers(layer, k, n, tile))


def unit_seed(
    anchor: Hash,
    worker: Address,
    job: Hash,
    unit: int,
    layer: int,
    m: int,
    k: int,
    n: int,
    model: Hash,
    tile: int,
) -> Hash:
    """Seed of a unit's noise: binds the moment, whose it is, what it is, every dimension, and the model's seed."""
    return hashing.WORK_UNIT(anchor, worker, job, *_numbers(unit, layer, m, k, n, tile), model)


def _numbers(*values: int) -> tuple[bytes, ...]:
    return tuple(value.to_bytes(8, "big") for value in values)


@dataclass(frozen=True)
class SignedPermutation:
    """A square matrix with one entry, 1 or -1, in each row and column. Column u has it in row ``places[u]``."""

    places: npt.NDArray[np.int64]
    signs: Floats


def signed_permutation(seed: Hash, kind: bytes, piece: int, tile: int) -> SignedPermutation:
    """From eight bytes a column, little-endian: their order by all bits but the lowest gives places, the lowest bit a sign."""
    raw = np.frombuffer(_stream(seed, kind, piece, 8 * tile), "<u8")
    places = np.argsort(raw >> np.uint64(1), kind="stable")
    signs = np.where(raw & np.uint64(1), np.float32(-1), np.float32(1))
    return SignedPermutation(places, signs)


def uniform(seed: Hash, kind: bytes, index: int, rows: int, columns: int) -> Floats:
    """A matrix of integers in [-64, 63], row by row: the low seven bits of a byte each, less 64."""
    drawn = np.frombuffer(_stream(seed, kind, index, rows * columns), np.uint8)
    return ((drawn & 127).astype(np.int16) - 64).reshape(rows, columns).astype(np.float32)


def _stream(seed: Hash, kind: bytes, index: int, count: int) -> bytes:
    return shake_128(seed + kind + index.to_bytes(4, "big")).digest(count)


def unit_left(seed: Hash, row_tile: int, tile: int) -> Floats:
    """E_L of one tile of rows: (tile, tile)."""
    return uniform(seed, _E_LEFT, row_tile, tile, tile)


def unit_right(seed: Hash, piece: int, tile: int) -> SignedPermutation:
    """E_R of one piece of the inner dimension. It depends on the model's seed alone, so that peeling is cheap."""
    return signed_permutation(seed, _E_RIGHT, piece, tile)


def model_left(seed: Hash, piece: int, tile: int) -> SignedPermutation:
    """F_L of one piece, given by rows: row u of it has its entry in column ``places[u]``."""
    return signed_permutation(seed, _F_LEFT, piece, tile)


def model_right(seed: Hash, column_tile: int, tile: int) -> Floats:
    """F_R of one tile of columns: (tile, tile)."""
    return uniform(seed, _F_RIGHT, column_tile, tile, tile)


@dataclass(frozen=True, eq=False)
class NoisyLayer:
    """A layer's weights with an epoch's noise, and all that follows from them without a unit's rows."""

    tile: int
    seed: Hash
    weights: Floats
    """B' = W + F_L F_R: (k, n), padded."""
    peel: Floats
    """The right factor of what is peeled off: F_R above E_R B'; (2 tile, n)."""
    left_order: npt.NDArray[np.int64]
    """For each inner index, the row of (E_L above -E_L), transposed, that is added to the rows' column there; (k,)."""
    right_places: npt.NDArray[np.int64]
    """For each piece and row of F_R, the inner index that F_L takes it to; (pieces, tile)."""
    right_signs: Floats
    """Its sign; (pieces, tile)."""

    @property
    def k(self) -> int:
        return int(self.weights.shape[0])

    @property
    def n(self) -> int:
        return int(self.weights.shape[1])


def noisy_layer(program: Program, number: int, beacon: Hash) -> NoisyLayer:
    """The noise of an epoch on one layer's weights."""
    layer, t = program.layers[number], program.tile
    k, n = padded(layer.inputs, t), padded(layer.outputs, t)
    seed = model_seed(beacon, program.root, number, k, n, t)
    pieces = k // t
    right = np.concatenate([model_right(seed, column, t) for column in range(n // t)], axis=1)
    weights = _padded_weights(layer, k, n)
    left_order = np.empty(k, np.int64)
    right_places, right_signs = np.empty((pieces, t), np.int64), np.empty((pieces, t), np.float32)
    turned = np.zeros((t, n), np.float32)  # E_R B'
    for piece in range(pieces):
        start = piece * t
        part = weights[start : start + t]
        left = model_left(seed, piece, t)
        part += right[left.places] * left.signs[:, None]
        inverse = np.argsort(left.places)
        right_places[piece] = inverse + start
        right_signs[piece] = left.signs[inverse]
        turning = unit_right(seed, piece, t)
        left_order[start : start + t] = np.where(turning.signs > 0, turning.places, turning.places + t)
        inverse = np.argsort(turning.places)
        turned += part[inverse] * turning.signs[inverse][:, None]
    return NoisyLayer(
        t, seed, weights, np.concatenate([right, turned]), left_order, right_places, right_signs
    )


def _padded_weights(layer: Layer, k: int, n: int) -> Floats:
    weights = np.zeros((k, n), np.float32)
    weights[: layer.inputs, : layer.outputs] = layer.weights
    return weights
