"""A model's file and its card together: rows are encoded, run, and their outputs read. In plain Python integers."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from omnitensor.protocol.limits import model_bytes_max, model_card_bytes_max
from omnitensor.protocol.models import ModelFile, read_model
from omnitensor.sdk.models.arrays import matrix
from omnitensor.sdk.models.card import Card, Prediction, read_card
from omnitensor.sdk.models.files import read_bounded
from omnitensor.sdk.models.program import PlainProgram


def card_path(path: Path) -> Path:
    """Where the card of a model's file is: beside it, with ``.json`` behind the name."""
    return path.with_name(path.name + ".json")


class IntegerModel:
    """A model that can be run. What `run` gives is what nodes and workers compute, to the bit."""

    def __init__(self, file: ModelFile, card: Card) -> None:
        """Of a checked model and its card."""
        self.file: Final = file
        self.card: Final = card
        self.program: Final = PlainProgram(file)

    @classmethod
    def open(cls, path: str | Path) -> IntegerModel:
        """Reads a model's file and the card beside it. Raises ProtocolError."""
        path = Path(path)
        file = read_model(read_bounded(path, model_bytes_max))
        return cls(file, read_card(read_bounded(card_path(path), model_card_bytes_max), file))

    def encode(self, rows: Iterable[Sequence[float]]) -> list[bytes]:
        """Rows of features as rows of operands: what a job's data is made of. Raises InputError."""
        return [self.card.encode(row, number) for number, row in enumerate(matrix(list(rows), "rows"))]

    def encode_contents(self, contents: Iterable[bytes]) -> list[bytes]:
        """The same for contents."""
        return [self.card.encode_content(content) for content in contents]

    def with_constants(self, operands: Sequence[int]) -> bytes:
        """Operands of a content, already counted, as a row."""
        return array("b", [*operands, *self.card.constants]).tobytes()

    def run(self, rows: Iterable[bytes]) -> list[bytes]:
        """Output rows of rows of operands. Raises InputError."""
        return list(self.program.run(rows))

    def predict(self, rows: Iterable[Sequence[float]]) -> list[Prediction]:
        """What the model says of rows of features."""
        return [self.card.decode(output) for output in self.run(self.encode(rows))]

    def predict_contents(self, contents: Iterable[bytes]) -> list[Prediction]:
        """What the model says of contents."""
        return [self.card.decode(output) for output in self.run(self.encode_contents(contents))]
