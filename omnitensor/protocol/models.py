"""Files of quantised models: layers of small integers, as one canonical record. Knows no arithmetic: ``consensus/work`` has it.

A model of form ``mlp-int7-v1`` is a chain of layers over rows that don't depend on one another. The root of a model is a tagged
hash of its file's bytes, so it binds every weight, shift and dimension.
"""

from typing import Annotated, Final

from msgspec import Meta

from omnitensor.protocol import hashing
from omnitensor.protocol.codec import Record, decode, encode
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.limits import (
    model_bytes_max,
    model_layers_max,
    model_width_max,
)
from omnitensor.protocol.types import Hash

OPERAND_MAX: Final = 63
"""Weights, inputs and outputs are in [-63, 63]."""
TILES: Final = (16, 32, 64, 128)
"""Widths that a model's tile may have."""
SHIFT_MAX: Final = 24

IDENTITY: Final = 0
RELU: Final = 1


class ModelError(ProtocolError):
    """A file that is no model."""

    code = "model"


class LayerRecord(Record, frozen=True):
    """``Y = requant(act(X @ W))``: ``inputs`` by ``outputs`` weights, row by row, one signed byte each."""

    inputs: Annotated[int, Meta(ge=1, le=model_width_max)]
    outputs: Annotated[int, Meta(ge=1, le=model_width_max)]
    activation: Annotated[int, Meta(ge=IDENTITY, le=RELU)]
    shift: Annotated[int, Meta(ge=1, le=SHIFT_MAX)]
    weights: bytes


class ModelFile(Record, frozen=True):
    """A whole model. ``tile`` is the width of the squares that work on it is proven in (see docs/specification/work.md)."""

    version: Annotated[int, Meta(ge=1, le=1)]
    tile: Annotated[int, Meta(ge=TILES[0], le=TILES[-1])]
    layers: Annotated[tuple[LayerRecord, ...], Meta(min_length=1, max_length=model_layers_max)]

    def encoded(self) -> bytes:
        return encode(self)

    @property
    def root(self) -> Hash:
        """Names the model."""
        return hashing.MODEL(self.encoded())


def read_model(data: bytes) -> ModelFile:
    """A model from its file's bytes, checked. Raises ModelError, CodecError, LimitError."""
    return checked(decode(ModelFile, data, model_bytes_max))


def checked(model: ModelFile) -> ModelFile:
    """The model itself, when its parts fit one another. Raises ModelError."""
    if model.tile not in TILES:
        raise ModelError("the tile has no width of the list", value=model.tile, remedy=f"take one of {TILES}")
    width = model.layers[0].inputs
    for number, layer in enumerate(model.layers):
        if layer.inputs != width:
            raise ModelError(f"layer {number} takes another width than it is given", value=layer.inputs)
        if len(layer.weights) != layer.inputs * layer.outputs:
            raise ModelError(f"layer {number} has another number of weights", value=len(layer.weights))
        # As signed bytes -128..-64 are 0x80..0xc0, and 64..127 are 0x40..0x7f.
        if layer.weights.translate(None, _ALLOWED):
            raise ModelError(
                f"a weight of layer {number} is beyond {OPERAND_MAX}", remedy="quantise it again"
            )
        width = layer.outputs
    return model


_ALLOWED: Final = bytes(range(OPERAND_MAX + 1)) + bytes(range(256 - OPERAND_MAX, 256))
