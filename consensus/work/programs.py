"""Programs of exact integers: what a model computes from rows, to the bit. Knows no proofs.

``Y = requant(act(X @ W))`` a layer, rows independent of one another; ``requant(c) = clip((c + 2**(s-1)) >> s, -63, 63)``, where
``>>`` rounds down.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from consensus.work.exact import product
from omnitensor.protocol.models import OPERAND_MAX, RELU, LayerRecord, ModelFile, read_model
from omnitensor.protocol.types import Hash

Rows = npt.NDArray[np.int8]
"""Rows of a unit: (rows, width), entries in [-63, 63]."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer; ``weights`` is (inputs, outputs), entries in [-63, 63]."""

    weights: npt.NDArray[np.int8]
    activation: int
    shift: int

    @classmethod
    def of(cls, record: LayerRecord) -> "Layer":
        weights = np.frombuffer(record.weights, np.int8).reshape(record.inputs, record.outputs)
        return cls(weights, record.activation, record.shift)

    @property
    def inputs(self) -> int:
        return int(self.weights.shape[0])

    @property
    def outputs(self) -> int:
        return int(self.weights.shape[1])

    def finish(self, sums: npt.NDArray[np.int32]) -> Rows:
        """What becomes of the products' sums: activation, then requantisation."""
        if self.activation == RELU:
            sums = np.maximum(sums, 0)
        rounded = (sums + np.int32(1 << (self.shift - 1))) >> np.int32(self.shift)
        rows: Rows = np.clip(rounded, -OPERAND_MAX, OPERAND_MAX).astype(np.int8)
        return rows

    def run(self, rows: Rows) -> Rows:
        """(rows, inputs) -> (rows, outputs)."""
        return self.finish(product(rows, self.weights))


@dataclass(frozen=True, eq=False)
class Program:
    """A model that can be run. ``tile`` is the width of the squares in which its work is proven."""

    file: ModelFile
    layers: tuple[Layer, ...]

    @classmethod
    def of(cls, file: ModelFile) -> "Program":
        """Of a checked model."""
        return cls(file, tuple(Layer.of(record) for record in file.layers))

    @classmethod
    def read(cls, data: bytes) -> "Program":
        """From a model's file. Raises as ``read_model``."""
        return cls.of(read_model(data))

    @cached_property
    def root(self) -> Hash:
        return self.file.root

    @property
    def tile(self) -> int:
        return self.file.tile

    @property
    def inputs(self) -> int:
        return self.layers[0].inputs

    @property
    def outputs(self) -> int:
        return self.layers[-1].outputs

    def run(self, rows: Rows, layers: int | None = None) -> Rows:
        """Outputs of the last layer, or after the first ``layers`` of them."""
        for layer in self.layers[:layers]:
            rows = layer.run(rows)
        return rows

    def macs(self, rows: int) -> int:
        """Multiply-accumulates that the products of so many rows take, without noise."""
        return rows * sum(layer.inputs * layer.outputs for layer in self.layers)


def padded(size: int, tile: int) -> int:
    """The size rounded up to whole tiles: noise and tickets are over whole squares, the rest of them zeros."""
    return -(-size // tile) * tile


def tiles_of(program: Program, rows: int) -> int:
    """Square products in a unit of so many rows: each has one chance at a ticket."""
    t: Final = program.tile
    down = padded(rows, t) // t
    return down * sum(
        (padded(layer.inputs, t) // t) * (padded(layer.outputs, t) // t) for layer in program.layers
    )
