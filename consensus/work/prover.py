"""Runs a unit on noisy matrices: exact outputs, and the tickets that the products won. Knows no jobs, no money and no network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from consensus.work.exact import SUM_MAX, Floats, WideFloats, multiply
from consensus.work.noise import NoisyLayer, noisy_layer, unit_left, unit_seed
from consensus.work.programs import Layer, Program, Rows, padded
from consensus.work.tickets import Words, prefilter, prefilter_bits, ticket_key, value_of, wins
from omnitensor.protocol.limits import receipt_tickets_max
from omnitensor.protocol.types import Address, Hash
from omnitensor.protocol.work import Ticket

BLOCK_ROWS: Final = 512
"""Rows that go through all of a layer before the next ones: what they need stays near the processor."""

TURNED_ROWS: Final = 64
"""Rows that are written as columns, or rounded, at once: no more memory than the processor has near it."""


@dataclass(frozen=True, slots=True)
class UnitPlace:
    """What one unit is and who runs it, when: all that its noise binds besides dimensions and model."""

    job: Hash
    unit: int
    worker: Address
    anchor: Hash
    """Hash of the anchor block."""


@dataclass(frozen=True, slots=True)
class Won:
    """A ticket and its value."""

    value: int
    ticket: Ticket


@dataclass(frozen=True, eq=False)
class Run:
    """A unit that was run: (rows, outputs) of the program, and the best tickets, the best first."""

    outputs: Rows
    won: tuple[Won, ...]


class Prover:
    """Runs units of one program in one epoch. The model's noise is made once."""

    device: str = "cpu"
    """What multiplies, as people read it."""

    def __init__(self, program: Program, beacon: Hash) -> None:
        self.program: Final = program
        self._layers: Final[Sequence[NoisyLayer]] = [
            noisy_layer(program, number, beacon) for number in range(len(program.layers))
        ]

    def run(self, place: UnitPlace, rows: Rows, bits: int) -> Run:
        """Runs a unit at a difficulty; ``rows`` is (rows, inputs)."""
        won: list[Won] = []
        for number, noisy in enumerate(self._layers):
            layer = self.program.layers[number]
            m = padded(len(rows), noisy.tile)
            seed = unit_seed(
                place.anchor, place.worker, place.job, place.unit, number, m, noisy.k, noisy.n,
                noisy.seed, noisy.tile,
            )  # fmt: skip
            sums, words = self._product(_turned(rows, noisy.k, m), noisy, seed)
            won += _winners(words, seed, number, noisy.tile, bits)
            rows = _finished(layer, sums, len(rows))
        won.sort(key=lambda each: each.value)
        return Run(rows, tuple(won[:receipt_tickets_max]))

    @staticmethod
    def _product(turned: Floats, noisy: NoisyLayer, seed: Hash) -> tuple[WideFloats, Words]:
        """As ``noisy_product``; a prover on other hardware has its own."""
        return noisy_product(turned, noisy, seed)


def noisy_product(turned: Floats, noisy: NoisyLayer, seed: Hash) -> tuple[WideFloats, Words]:
    """The exact product of rows, given transposed as (k, m), with the layer's weights: (m, n); and each square's folded columns.

    The words are (pieces, row tiles, n). The noisy product is made piece by piece of the inner dimension, each folded as it
    comes. Sums are float32 where that holds them exactly, else float64.
    """
    t, k, n = noisy.tile, noisy.k, noisy.n
    m = turned.shape[1]
    words = np.empty((k // t, m // t, n), np.uint32)
    sums: WideFloats = np.empty((m, n), np.float32) if k <= SUM_MAX else np.empty((m, n), np.float64)
    block = min(BLOCK_ROWS, m)
    buffer = np.empty((block, n), np.float32)
    noisy_part = np.empty((t, block), np.float32)
    for start in range(0, m, block):
        stop = min(start + block, m)
        total, tiles, given = sums[start:stop], slice(start // t, stop // t), turned[:, start:stop]
        out, rows = buffer[: stop - start], noisy_part[:, : stop - start]
        left = np.concatenate([unit_left(seed, row, t).T for row in range(tiles.start, tiles.stop)], axis=1)
        noise = np.concatenate([left, -left])
        for piece in range(k // t):
            part = slice(piece * t, piece * t + t)
            # Unlike the default, this mode writes into its target; every index is within.
            np.take(noise, noisy.left_order[part], axis=0, out=rows, mode="clip")
            rows += given[part]
            multiply(rows.T, noisy.weights[part], out)
            bits = out.view(np.uint32).reshape(-1, t, n)
            np.bitwise_xor.reduce(bits, axis=1, out=words[piece, tiles])
            if piece:
                total += out
            else:
                total[:] = out
        _peel(total, given, left, noisy, out)
    return sums, words


def _peel(total: WideFloats, given: Floats, left: Floats, noisy: NoisyLayer, buffer: Floats) -> None:
    """Takes off what the noise added to the products of some rows: ``A F_L F_R + E_L E_R B'``."""
    t = noisy.tile
    gathered = np.zeros((t, given.shape[1]), np.float32)  # (A F_L), transposed
    for places, signs in zip(noisy.right_places, noisy.right_signs, strict=True):
        gathered += given[places] * signs[:, None]
    factor = np.concatenate([gathered, left])
    if total.dtype == np.float32:
        multiply(factor.T, noisy.peel, buffer)
        total -= buffer
    else:
        wide: WideFloats = np.empty(total.shape, np.float64)
        multiply(factor.T.astype(np.float64), noisy.peel.astype(np.float64), wide)
        total -= wide


def _turned(rows: Rows, k: int, m: int) -> Floats:
    """Rows as columns, with zeros up to whole tiles: (k, m)."""
    count, inputs = rows.shape
    turned: Floats = (np.empty if (inputs, count) == (k, m) else np.zeros)((k, m), np.float32)
    for start in range(0, count, TURNED_ROWS):
        stop = min(start + TURNED_ROWS, count)
        turned[:inputs, start:stop] = rows[start:stop].T
    return turned


def _finished(layer: Layer, sums: WideFloats, count: int) -> Rows:
    """The layer's outputs of sums, without what fills up tiles: (count, outputs)."""
    rows = np.empty((count, layer.outputs), np.int8)
    for start in range(0, count, TURNED_ROWS):
        stop = min(start + TURNED_ROWS, count)
        rows[start:stop] = layer.finish(sums[start:stop, : layer.outputs].astype(np.int32))
    return rows


def _winners(words: Words, seed: Hash, layer: int, tile: int, bits: int) -> list[Won]:
    key = ticket_key(seed)
    pieces, row_tiles, n = words.shape
    squares = words.reshape(pieces, row_tiles, n // tile, tile)
    passed: npt.NDArray[np.int64] = np.argwhere(prefilter(squares, key, prefilter_bits(bits)))
    found = []
    for piece, row, column in passed.tolist():
        ticket = Ticket(layer, row, column, piece)
        value = value_of(squares[piece, row, column], key, ticket)
        if wins(value, bits):
            found.append(Won(value, ticket))
    return found
