"""The card of a model: how rows are made for it, what its outputs mean, what was measured. A JSON file beside the model's.

Whoever has the card encodes the same row to the same bytes: all of it is single operations in binary64, in the order that
docs/specification/work.md gives. Knows no layers.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import floor, isfinite
from typing import Annotated, Final, Literal

import msgspec

from omnitensor.protocol.limits import (
    content_constants_max,
    model_card_bytes_max,
    model_width_max,
    name_chars_max,
)
from omnitensor.protocol.models import OPERAND_MAX, ModelFile
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.models.contents import FEATURES, operands_of
from omnitensor.sdk.models.network import Kind
from omnitensor.sdk.models.report import Report

FORMAT: Final = "omnitensor-model-card/1"

Name = Annotated[str, msgspec.Meta(max_length=name_chars_max)]
Operand = Annotated[int, msgspec.Meta(ge=-OPERAND_MAX, le=OPERAND_MAX)]
Width = msgspec.Meta(max_length=model_width_max)
Prediction = str | list[str] | list[float]
"""A class; labels; numbers."""


class Outputs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an output row says. Output q of column j stands for ``offsets[j] + steps[j] * q``."""

    kind: Kind
    names: Annotated[tuple[Name, ...], Width]
    offsets: Annotated[tuple[float, ...], Width]
    steps: Annotated[tuple[float, ...], Width]


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything about a model that its file does not say."""

    format: Literal["omnitensor-model-card/1"]
    model: str
    """Root of the model's file, in hex."""
    rows: Literal["features", "contents"]
    """Whether a row is made of numbers, or of a content's bytes (see ``contents``)."""
    names: Annotated[tuple[Name, ...], Width]
    """Names of the features; none where they have none."""
    offsets: Annotated[tuple[float, ...], Width]
    scales: Annotated[tuple[float, ...], Width]
    """A feature x becomes ``clip(floor((x - offset) * scale + 0.5), -63, 63)``. Both are empty for rows of contents."""
    constants: Annotated[tuple[Operand, ...], msgspec.Meta(max_length=content_constants_max)]
    """Operands that stand behind those of the features in every row."""
    outputs: Outputs
    report: Report | None = None
    """What was measured when the model was made. Nobody has to believe it: ``otensor-cli model check`` measures again."""

    @property
    def features(self) -> int:
        """Numbers of a row before it is encoded."""
        return FEATURES if self.rows == "contents" else len(self.scales)

    def encode(self, row: Sequence[float], number: int = 0) -> bytes:
        """A row of features as the operands that the model takes. Raises InputError."""
        if self.rows == "contents":
            raise InputError("this model takes contents, not rows of numbers", remedy="give it files")
        if len(row) != len(self.scales):
            raise InputError(
                f"row {number} has another number of features than the model",
                value=len(row),
                remedy=f"the model has {len(self.scales)}",
            )
        found = array("b")
        for x, offset, scale in zip(row, self.offsets, self.scales, strict=True):
            if not isfinite(x):
                raise InputError(f"row {number} has a number that is not finite", value=x)
            found.append(_operand((x - offset) * scale) if scale else 0)
        found.extend(self.constants)
        return found.tobytes()

    def encode_content(self, content: bytes) -> bytes:
        """A content as the operands that the model takes. Raises InputError."""
        if self.rows != "contents":
            raise InputError("this model takes rows of numbers, not contents", remedy="give it a table")
        return array("b", [*operands_of(content), *self.constants]).tobytes()

    def decode(self, output: bytes) -> Prediction:
        """What an output row says: a class, labels, or numbers. The first of several greatest names the class."""
        values, meaning = memoryview(output).cast("b").tolist(), self.outputs
        match meaning.kind:
            case "classes":
                return meaning.names[values.index(max(values))]
            case "binary":
                return meaning.names[values[0] > 0]
            case "labels":
                return [name for name, value in zip(meaning.names, values, strict=True) if value > 0]
            case "values":
                return self.numbers(output)

    def numbers(self, output: bytes) -> list[float]:
        """The numbers that an output row stands for; for classes, what the class with the greatest wins by."""
        values = memoryview(output).cast("b").tolist()
        return [
            offset + step * value
            for offset, step, value in zip(self.outputs.offsets, self.outputs.steps, values, strict=True)
        ]

    def encoded(self) -> bytes:
        """The file."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


def _operand(value: float) -> int:
    if value >= OPERAND_MAX:
        return OPERAND_MAX
    return -OPERAND_MAX if value <= -OPERAND_MAX else floor(value + 0.5)


def read_card(data: bytes, model: ModelFile) -> Card:
    """A card from its file's bytes, checked against its model. Raises InputError."""
    if len(data) > model_card_bytes_max:
        raise InputError(
            "the card is too large", value=len(data), remedy=f"at most {model_card_bytes_max} bytes"
        )
    try:
        card = msgspec.json.decode(data, type=Card)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"this is no card of a model: {error}", remedy="export the model again") from error
    fits = (
        len(card.offsets) == len(card.scales)
        and len(card.names) in (0, card.features)
        and (card.rows == "features" or not card.scales)
        and card.features + len(card.constants) == model.layers[0].inputs
        and len(card.outputs.offsets) == len(card.outputs.steps) == model.layers[-1].outputs
        and len(card.outputs.names) == _names_wanted(card.outputs, model)
    )
    if card.model != model.root.hex():
        raise InputError(
            "the card is of another model", value=card.model, remedy=f"the model's root is {model.root.hex()}"
        )
    if not fits:
        raise InputError("the card's numbers don't fit its model", remedy="export the model again")
    return card


def _names_wanted(outputs: Outputs, model: ModelFile) -> int:
    wanted = {"binary": 2, "values": len(outputs.names)}.get(outputs.kind, model.layers[-1].outputs)
    return wanted if outputs.kind != "binary" or model.layers[-1].outputs == 1 else -1
