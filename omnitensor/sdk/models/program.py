"""Runs models of form ``mlp-int7-v1`` in plain Python integers, to the bit as nodes do. Knows no files and no meanings.

Each row of a layer's weights is packed into one long integer, 32 bits a weight, so that a row of operands takes as many
multiplications as it has operands. No sum leaves its 32 bits, so no field reaches into another one.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from operator import mul
from typing import Final

from omnitensor.protocol.limits import model_width_max
from omnitensor.protocol.models import OPERAND_MAX, RELU, LayerRecord, ModelFile
from omnitensor.sdk.errors import InputError

_FIELD: Final = 32
_MIDDLE: Final = 1 << _FIELD - 1
BIAS_MAX: Final = 1 << 30
"""Largest number that may be added to a sum."""
assert model_width_max * OPERAND_MAX * OPERAND_MAX + BIAS_MAX < _MIDDLE


class PlainLayer:
    """One layer. ``weights`` holds the weights from one input to all outputs, an input after the other."""

    def __init__(
        self, weights: Sequence[Sequence[int]], relu: bool, shift: int, biases: Sequence[int] | None = None
    ) -> None:
        """``biases``, one an output, are added to the sums: no model's file has them, but whoever makes one tries them out."""
        self.inputs: Final = len(weights)
        self.outputs: Final = len(weights[0])
        self.shift: Final = shift
        self._relu = relu
        self._rows: Final = [_packed(row) for row in weights]
        self._base: Final = _packed([_MIDDLE + bias for bias in biases or [0] * self.outputs])

    @classmethod
    def of(cls, record: LayerRecord) -> PlainLayer:
        """Of a checked model's layer."""
        signed, width = memoryview(record.weights).cast("b"), record.outputs
        rows = [signed[at : at + width].tolist() for at in range(0, len(signed), width)]
        return cls(rows, record.activation == RELU, record.shift)

    def sums(self, row: Sequence[int]) -> list[int]:
        """The products' sums: (outputs,)."""
        total = sum(map(mul, row, self._rows), self._base)
        fields = array("I", total.to_bytes(self.outputs * 4, "little"))
        if sys.byteorder == "big":
            fields.byteswap()
        return [field - _MIDDLE for field in fields]

    def run(self, row: Sequence[int]) -> list[int]:
        """(inputs,) -> (outputs,): activation, then requantisation."""
        half, shift, relu = 1 << (self.shift - 1), self.shift, self._relu
        found = []
        for value in self.sums(row):
            if relu and value < 0:
                value = 0
            value = (value + half) >> shift
            found.append(
                OPERAND_MAX if value > OPERAND_MAX else -OPERAND_MAX if value < -OPERAND_MAX else value
            )
        return found


assert array("I").itemsize * 8 == _FIELD


def _packed(values: Sequence[int]) -> int:
    """The values, of either sign, as fields of one integer: their sum with powers of 2**32."""
    least = min(0, *values) if values else 0
    fields = array("I", [value - least for value in values])
    if sys.byteorder == "big":
        fields.byteswap()
    ones = int.from_bytes(b"\1\0\0\0" * len(values), "little")
    return int.from_bytes(fields.tobytes(), "little") + least * ones


class PlainProgram:
    """A model that can be run without numpy."""

    def __init__(self, file: ModelFile) -> None:
        """Of a checked model."""
        self.file: Final = file
        self.layers: Final = tuple(PlainLayer.of(record) for record in file.layers)

    @property
    def inputs(self) -> int:
        """Operands of a row."""
        return self.layers[0].inputs

    @property
    def outputs(self) -> int:
        """Operands of an output row."""
        return self.layers[-1].outputs

    def run(self, rows: Iterable[bytes]) -> Iterator[bytes]:
        """Each row's output: ``inputs`` signed bytes in, ``outputs`` out. Raises InputError for a row that is none."""
        for number, row in enumerate(rows):
            values = self.operands(row, number)
            for layer in self.layers:
                values = layer.run(values)
            yield array("b", values).tobytes()

    def operands(self, row: bytes, number: int = 0) -> list[int]:
        """The operands of a row. Raises InputError."""
        if len(row) != self.inputs:
            raise InputError(
                f"row {number} has another width than the model takes",
                value=len(row),
                remedy=f"the model takes {self.inputs} operands, a signed byte each",
            )
        values = memoryview(row).cast("b").tolist()
        if max(values) > OPERAND_MAX or min(values) < -OPERAND_MAX:
            raise InputError(
                f"row {number} has a number beyond {OPERAND_MAX}",
                value=max(values, key=abs),
                remedy="encode rows as the model's card says",
            )
        return values


def macs(file: ModelFile) -> tuple[int, int]:
    """Multiply-accumulates that a row takes, and how many with the zeros that fill whole tiles."""

    def whole(size: int) -> int:
        return -(-size // file.tile) * file.tile

    layers = file.layers
    plain = sum(layer.inputs * layer.outputs for layer in layers)
    return plain, sum(whole(layer.inputs) * whole(layer.outputs) for layer in layers)
