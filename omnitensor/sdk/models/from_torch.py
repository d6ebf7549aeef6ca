"""Networks from PyTorch: ``nn.Sequential`` of linear layers and ReLUs, with what folds into them or does nothing when scoring.

Looks at attributes and names of classes; PyTorch itself is not imported.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

from omnitensor.sdk.errors import InputError
from omnitensor.sdk.models.arrays import Matrix, listed, matrix, turned, vector
from omnitensor.sdk.models.network import Kind, Network, Stack

_NOTHING: Final = ("Identity", "Flatten", "Dropout", "AlphaDropout", "FeatureAlphaDropout")
"""Modules that change nothing when scoring."""
_LAST: Final = ("Softmax", "LogSoftmax", "Sigmoid")
"""Modules that keep the order of the outputs; they may stand at the end of a classifier."""
_TAKEN: Final = "nn.Sequential of Linear, ReLU, BatchNorm1d, Flatten, Dropout and Identity"


def is_torch(model: Any) -> bool:
    """Whether a class of PyTorch is among the model's."""
    return any(kind.__module__.partition(".")[0] == "torch" for kind in type(model).__mro__)


def network_of(model: Any, kind: Kind, names: Sequence[str] = ()) -> Network:
    """The network of a ``Sequential`` in evaluation mode. Raises InputError where a model file can't hold it."""
    stack = Stack()
    modules = list(_modules(model))
    for number, module in enumerate(modules):
        name = f"module {number} ({type(module).__name__})"
        match type(module).__name__:
            case "Linear":
                weights = turned(matrix(module.weight, name))
                biases = [0.0] * len(weights[0]) if module.bias is None else vector(module.bias, name)
                stack.linear(weights, biases, name)
            case "ReLU":
                stack.relu(name)
            case "BatchNorm1d":
                stack.columns(*_normalisation(module, name), name)
            case other if other in _NOTHING:
                if module.training and "Dropout" in other:
                    raise InputError(f"{name} is in training mode", remedy="call model.eval() first")
            case other if other in _LAST and number == len(modules) - 1 and kind != "values":
                pass
            case _:
                raise InputError("this module can't be exported", value=name, remedy=f"taken is {_TAKEN}")
    return stack.network(kind, names)


def _modules(model: Any) -> Iterator[Any]:
    if type(model).__name__ == "Sequential":
        for module in model:
            yield from _modules(module)
    else:
        yield model


def _normalisation(module: Any, name: str) -> tuple[list[float], list[float]]:
    """A batch normalisation as factors and offsets: with the statistics that it gathered."""
    if module.training:
        raise InputError(f"{name} is in training mode", remedy="call model.eval() first")
    if module.running_mean is None or module.running_var is None:
        raise InputError(f"{name} keeps no statistics", remedy="make it with track_running_stats=True")
    means, variances = vector(module.running_mean, name), vector(module.running_var, name)
    weights = [1.0] * len(means) if module.weight is None else vector(module.weight, name)
    biases = [0.0] * len(means) if module.bias is None else vector(module.bias, name)
    factors = [
        weight / (variance + module.eps) ** 0.5 for weight, variance in zip(weights, variances, strict=True)
    ]
    offsets = [bias - mean * factor for bias, mean, factor in zip(biases, means, factors, strict=True)]
    return factors, offsets


def outputs_of(model: Any, rows: Matrix) -> Matrix:
    """What the model itself gives for rows, without what keeps only the order of the outputs."""
    torch = sys.modules["torch"]
    modules = list(_modules(model))
    if type(modules[-1]).__name__ in _LAST:
        modules.pop()
    first = next(iter(model.parameters()))
    with torch.no_grad():
        found = torch.tensor(rows, dtype=first.dtype, device=first.device)
        for module in modules:
            found = module(found)
    return matrix(listed(found), "the model's outputs")
