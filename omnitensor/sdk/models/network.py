"""A small network in floating point, as plain lists: layers of weights, biases and ReLUs, and what its outputs mean.

Made from a user's model (``from_sklearn``, ``from_torch``, ``from_tensors``), scalers and normalisations folded into the weights.
Knows no quantisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from typing import Final, Literal

from omnitensor.protocol.limits import model_layers_max, model_width_max
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.models.arrays import Matrix, turned

Kind = Literal["classes", "binary", "labels", "values"]
"""What outputs mean: the greatest names a class; one, above zero or not, names one of two; each above zero a label; numbers."""
KINDS: Final[tuple[Kind, ...]] = ("classes", "binary", "labels", "values")


@dataclass(frozen=True)
class FloatLayer:
    """``y = act(x @ weights + biases)``; ``weights`` is (inputs, outputs)."""

    weights: Matrix
    biases: list[float]
    relu: bool

    @property
    def inputs(self) -> int:
        return len(self.weights)

    @property
    def outputs(self) -> int:
        return len(self.biases)


@dataclass(frozen=True)
class Network:
    """Layers, the kind of their outputs, and names of classes or labels (none for values)."""

    layers: tuple[FloatLayer, ...]
    kind: Kind
    names: tuple[str, ...]

    @property
    def inputs(self) -> int:
        return self.layers[0].inputs

    @property
    def outputs(self) -> int:
        return self.layers[-1].outputs

    def run(self, rows: Matrix) -> Matrix:
        """(rows, inputs) -> (rows, outputs)."""
        for layer in self.layers:
            rows = run_layer(layer, rows)
        return rows


def run_layer(layer: FloatLayer, rows: Matrix) -> Matrix:
    """(rows, inputs) -> (rows, outputs)."""
    columns = turned(layer.weights)
    found = [
        [bias + sum(map(mul, row, column)) for bias, column in zip(layer.biases, columns, strict=True)]
        for row in rows
    ]
    return [[value if value > 0 else 0.0 for value in row] for row in found] if layer.relu else found


class Stack:
    """Puts a network together, step by step; factors and offsets of single columns go into the layers beside them."""

    def __init__(self) -> None:
        self._layers: list[FloatLayer] = []
        self._scale: list[float] | None = None
        self._offset: list[float] = []

    def columns(self, scale: Sequence[float], offset: Sequence[float], name: str) -> None:
        """``x * scale + offset``, a factor and an offset a column."""
        if len(scale) != len(offset):
            raise InputError(f"{name} has as many factors as offsets, but does not", value=len(offset))
        if self._layers and not self._layers[-1].relu and self._scale is None:
            last = self._layers.pop()
            self._fits(last.outputs, len(scale), name)
            weights = [list(map(mul, row, scale)) for row in last.weights]
            biases = [b * s + o for b, s, o in zip(last.biases, scale, offset, strict=True)]
            self._layers.append(FloatLayer(weights, biases, relu=False))
            return
        if self._scale is None:
            if self._layers:
                self._fits(self._layers[-1].outputs, len(scale), name)
            self._scale, self._offset = list(scale), list(offset)
            return
        self._fits(len(self._scale), len(scale), name)
        self._offset = [a * s + o for a, s, o in zip(self._offset, scale, offset, strict=True)]
        self._scale = list(map(mul, self._scale, scale))

    def linear(self, weights: Matrix, biases: list[float], name: str) -> None:
        """``x @ weights + biases``."""
        if len(biases) != len(weights[0]):
            raise InputError(f"{name} has not a bias for each output", value=len(biases))
        if self._layers:
            self._fits(self._layers[-1].outputs, len(weights), name)
        if self._scale is not None:
            self._fits(len(self._scale), len(weights), name)
            biases = [
                bias + sum(map(mul, self._offset, column))
                for bias, column in zip(biases, turned(weights), strict=True)
            ]
            weights = [
                [factor * weight for weight in row] for factor, row in zip(self._scale, weights, strict=True)
            ]
            self._scale = None
        if max(len(weights), len(biases)) > model_width_max:
            raise InputError(
                f"{name} is too wide",
                value=max(len(weights), len(biases)),
                remedy=f"at most {model_width_max}",
            )
        self._layers.append(FloatLayer(weights, biases, relu=False))
        if len(self._layers) > model_layers_max:
            raise InputError("the model has too many layers", remedy=f"at most {model_layers_max}")

    def relu(self, name: str) -> None:
        """The greater of a number and zero."""
        if not self._layers or self._scale is not None:
            raise InputError(
                f"{name} comes before any layer of weights", remedy="put a linear layer in front of it"
            )
        last = self._layers.pop()
        self._layers.append(FloatLayer(last.weights, last.biases, relu=True))

    def network(self, kind: Kind, names: Sequence[str]) -> Network:
        """The whole. Raises InputError where it is none, or the names don't fit."""
        if not self._layers:
            raise InputError("the model has no layer of weights")
        if self._scale is not None:
            raise InputError(
                "the model ends with a scaler behind a ReLU", remedy="put a linear layer behind it"
            )
        outputs = self._layers[-1].outputs
        wanted = {"classes": outputs, "binary": 2, "labels": outputs, "values": len(names)}[kind]
        if (kind == "binary" and outputs != 1) or (kind == "classes" and outputs < 2):
            raise InputError(
                f"a model with {outputs} outputs is not of the kind {kind}",
                remedy=f"one of {', '.join(KINDS)}",
            )
        names = tuple(names) or tuple(str(number) for number in range(wanted))
        if len(names) != wanted:
            raise InputError("there is not a name for each class", value=len(names), remedy=f"give {wanted}")
        return Network(tuple(self._layers), kind, names)

    def _fits(self, before: int, here: int, name: str) -> None:
        if before != here:
            raise InputError(
                f"{name} takes another width than it is given", value=f"{here} instead of {before}"
            )
