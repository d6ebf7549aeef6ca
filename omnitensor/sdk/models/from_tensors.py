"""Networks from a safetensors file: named tensors as PyTorch's ``state_dict`` has them. Reads data only; nothing in it can run.

The file is the length of a JSON header in eight bytes, little-endian, the header (name, dtype, shape, offsets), and the numbers.
Layers are taken in the order of the numbers in their names. A ReLU stands behind each linear layer but the last, or, with
``activation="identity"``, none. Weights are outputs by inputs.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Final, Literal

import msgspec

from omnitensor.protocol.limits import model_header_bytes_max, model_source_bytes_max
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.models.arrays import matrix, turned, vector
from omnitensor.sdk.models.files import read_bounded
from omnitensor.sdk.models.network import Kind, Network, Stack

Activation = Literal["relu", "identity"]
_CODES: Final = {"F64": "d", "F32": "f", "F16": "e", "I64": "q", "I32": "i"}
_PICKLES: Final = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""How files of pickle, joblib and torch.save begin."""


class _Tensor(msgspec.Struct, frozen=True):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


class Tensor(msgspec.Struct, frozen=True):
    """A tensor of the file: its shape, and its numbers in order."""

    shape: tuple[int, ...]
    numbers: list[float]


def network_in(path: Path, kind: Kind, names: Sequence[str] = (), activation: Activation = "relu") -> Network:
    """The network in a safetensors file. Raises InputError."""
    data = read_bounded(path, model_source_bytes_max)
    if data.startswith(_PICKLES):
        raise InputError(
            "a pickle (of pickle, joblib or torch.save) can run anything when it is read, so it is not",
            value=path,
            remedy="write the weights with safetensors.torch.save_file(model.state_dict(), ...), or call"
            " omnitensor.sdk.models.export_model(model, rows) where the model was trained",
        )
    return network_of(tensors_of(data), kind, names, activation)


def tensors_of(data: bytes) -> dict[str, Tensor]:
    """The tensors of a file's bytes. Raises InputError."""
    if len(data) < 8 or not 2 <= (length := int.from_bytes(data[:8], "little")) <= len(data) - 8:
        raise InputError("this is no safetensors file", remedy="write it with safetensors")
    if length > model_header_bytes_max:
        raise InputError("the header is too large", value=length, remedy=f"at most {model_header_bytes_max}")
    try:
        header = msgspec.json.decode(data[8 : 8 + length], type=dict[str, msgspec.Raw])
        header.pop("__metadata__", None)
        entries = {name: msgspec.json.decode(raw, type=_Tensor) for name, raw in header.items()}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(
            f"the header of the safetensors file can't be read: {error}", remedy="write it with safetensors"
        ) from error
    body = memoryview(data)[8 + length :]
    return {name: _tensor(name, entry, body) for name, entry in entries.items()}


def _tensor(name: str, entry: _Tensor, body: memoryview) -> Tensor:
    begin, end = entry.data_offsets
    code = "h" if entry.dtype == "BF16" else _CODES.get(entry.dtype)
    if code is None:
        raise InputError(
            f"the tensor {name} is of a type that is not read",
            value=entry.dtype,
            remedy=f"one of {', '.join(_CODES)}, BF16",
        )
    count = prod(entry.shape)
    if any(size < 0 for size in entry.shape) or not 0 <= begin <= end <= len(body):
        raise InputError(f"the tensor {name} lies outside of the file", value=entry.data_offsets)
    if count * struct.calcsize("<" + code) != end - begin:
        raise InputError(f"the tensor {name} has another size than its shape", value=entry.shape)
    part = body[begin:end]
    if entry.dtype == "BF16":  # the upper half of a float32
        wide = b"".join(b"\0\0" + part[at : at + 2] for at in range(0, len(part), 2))
        return Tensor(entry.shape, list(struct.unpack(f"<{count}f", wide)))
    return Tensor(entry.shape, [float(number) for number in struct.unpack(f"<{count}{code}", part)])


def network_of(
    tensors: Mapping[str, Tensor], kind: Kind, names: Sequence[str] = (), activation: Activation = "relu"
) -> Network:
    """The network that the tensors' names and shapes tell. Raises InputError."""
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        layer, _, part = name.rpartition(".")
        if part not in ("weight", "bias"):
            raise InputError(
                "a tensor is neither weight nor bias of a linear layer",
                value=name,
                remedy="where a normalisation stands can't be told from names: call omnitensor.sdk.models.export_model"
                " with the model itself",
            )
        layers.setdefault(layer, {})[part] = tensor
    stack = Stack()
    order = sorted(layers, key=_order)
    for name in order:
        weight = layers[name].get("weight")
        if weight is None or len(weight.shape) != 2 or not weight.numbers:
            raise InputError("a layer has no matrix of weights", value=name, remedy="outputs by inputs")
        outputs, inputs = weight.shape
        rows = [weight.numbers[at : at + inputs] for at in range(0, outputs * inputs, inputs)]
        bias = layers[name].get("bias")
        biases = [0.0] * outputs if bias is None else vector(bias.numbers, f"{name}.bias")
        stack.linear(turned(matrix(rows, f"{name}.weight")), biases, name)
        if activation == "relu" and name != order[-1]:
            stack.relu(name)
    return stack.network(kind, names)


def _order(name: str) -> list[tuple[int, str]]:
    """Names in the order of the numbers in them, as people count."""
    parts = re.split(r"([0-9]{1,18})", name)
    return [(int(part), "") if place % 2 else (-1, part) for place, part in enumerate(parts)]
