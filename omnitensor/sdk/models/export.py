"""From a trained model to a file of integers: `export_model`. Needs the model and rows like those that it will judge."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from omnitensor.protocol.limits import model_bytes_max, name_chars_max
from omnitensor.protocol.models import OPERAND_MAX, ModelFile
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.models import from_sklearn, from_torch
from omnitensor.sdk.models.arrays import Matrix, listed, matrix
from omnitensor.sdk.models.card import FORMAT, Card, Outputs, Prediction
from omnitensor.sdk.models.files import write_new
from omnitensor.sdk.models.network import KINDS, Kind, Network
from omnitensor.sdk.models.quantise import Meaning, meaning_of_features, quantise
from omnitensor.sdk.models.report import Report, at_the_end, measure, score
from omnitensor.sdk.models.scoring import IntegerModel, card_path

SAME_MIN: Final = 0.995
"""A network must say the same as the model that it was made of, of so many rows; for values, explain this much."""
ROWS_COMPARED_MAX: Final = 512
Rows = Literal["features", "contents"]


@dataclass(frozen=True)
class Exported:
    """A model in integers, with its card and what was measured."""

    model: ModelFile
    card: Card
    report: Report

    def save(self, path: str | Path, *, replace: bool = False) -> Path:
        """Writes the model's file, and the card beside it. Raises InputError where one is there already."""
        path = Path(path)
        beside = card_path(path)
        if beside.exists() and not replace:
            raise InputError("there is a card already, and it is not overwritten", value=beside)
        write_new(path, self.model.encoded(), replace=replace)
        write_new(beside, self.card.encoded(), replace=True)
        return path

    def integer_model(self) -> IntegerModel:
        """The same, to run."""
        return IntegerModel(self.model, self.card)


def export_model(
    model: Any,
    rows: Any,
    *,
    held_out: Any = None,
    truth: Any = None,
    kind: Kind | None = None,
    names: Sequence[str] = (),
    encoding: Rows = "features",
    tile: int | None = None,
) -> Exported:
    """A model in integers from scikit-learn's, PyTorch's, or a `Network`.

    ``rows`` are examples, as the model takes them: ranges and shifts are chosen by them. The report is of ``held_out`` rows where
    they are given, else of the same ones, against their ``truth`` (classes, label lists or numbers) where that is given. ``kind``
    and ``names`` say what a PyTorch model's outputs mean; scikit-learn's models know. With ``encoding="contents"`` rows are
    operands of contents (`operands_of`). Raises InputError for what can't be exported.
    """
    network = _network(model, kind, names)
    table = matrix(rows, "rows")
    if len(table[0]) != network.inputs:
        raise InputError(
            "rows have another number of features than the model",
            value=len(table[0]),
            remedy=f"it has {network.inputs}",
        )
    if not isinstance(model, Network):
        _same(model, network, table)
    return export_network(
        network,
        table,
        held_out=None if held_out is None else matrix(held_out, "held-out rows"),
        truth=None if truth is None else _truth(network.kind, truth, network.names),
        feature_names=_feature_names(rows),
        encoding=encoding,
        tile=tile,
    )


def export_network(
    network: Network,
    rows: Matrix,
    *,
    held_out: Matrix | None = None,
    truth: Sequence[Prediction] | None = None,
    feature_names: Sequence[str] = (),
    encoding: Rows = "features",
    tile: int | None = None,
) -> Exported:
    """The same from a network."""
    if encoding == "contents":
        operands = _content_operands(rows)
        meaning = Meaning([0.0] * network.inputs, [1.0] * network.inputs)
    else:
        meaning = meaning_of_features(rows)
        operands = []
    scales = [1 / step if step else 0.0 for step in meaning.step]
    blank = Outputs(network.kind, (), (), ())
    offsets = tuple(meaning.offset) if encoding == "features" else ()
    coder = Card(FORMAT, "", encoding, (), offsets, tuple(scales) if offsets else (), (), blank)
    if encoding == "features":
        operands = [memoryview(coder.encode(row, at)).cast("b").tolist() for at, row in enumerate(rows)]
    file, constants, outputs = quantise(network, rows, operands, meaning, tile)
    if len(file.encoded()) > model_bytes_max:
        raise InputError("the model's file is too large", remedy=f"at most {model_bytes_max} bytes")
    card = Card(
        format=FORMAT,
        model=file.root.hex(),
        rows=encoding,
        names=tuple(name[:name_chars_max] for name in feature_names) if offsets else (),
        offsets=offsets,
        scales=coder.scales,
        constants=constants,
        outputs=Outputs(
            network.kind,
            tuple(name[:name_chars_max] for name in network.names),
            tuple(outputs.offset),
            tuple(outputs.step),
        ),
    )
    report = _report(network, IntegerModel(file, card), rows if held_out is None else held_out, truth)
    return Exported(file, _with(card, report), report)


def _with(card: Card, report: Report) -> Card:
    fields = {name: getattr(card, name) for name in Card.__struct_fields__}
    return Card(**fields | {"report": report})


def _network(model: Any, kind: Kind | None, names: Sequence[str]) -> Network:
    if isinstance(model, Network):
        return model
    if kind is not None and kind not in KINDS:
        raise InputError("there is no such kind of outputs", value=kind, remedy=f"one of {', '.join(KINDS)}")
    if from_sklearn.is_sklearn(model):
        return from_sklearn.network_of(model)
    if from_torch.is_torch(model):
        if kind is None:
            raise InputError(
                "what the outputs of a PyTorch model mean has to be said",
                remedy=f"give kind, one of {', '.join(KINDS)}",
            )
        return from_torch.network_of(model, kind, names)
    raise InputError(
        "this is no model of scikit-learn or PyTorch",
        value=type(model).__name__,
        remedy="give the fitted model itself",
    )


def _same(model: Any, network: Network, rows: Matrix) -> None:
    """That the network says what the model itself says. Raises InputError."""
    some = rows[:: -(-len(rows) // ROWS_COMPARED_MAX)]
    found = predictions(network, some)
    if from_torch.is_torch(model):
        own = [predicted(network, row) for row in from_torch.outputs_of(model, some)]
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that rows come without the names of their columns
            own = _truth(network.kind, model.predict(some), network.names)
    if score(network.kind, found, own) < SAME_MIN:
        raise InputError(
            "the network made of the model does not say what the model says",
            value=f"{score(network.kind, found, own):.3f}",
            remedy="this is a kind of model that is not understood; export another one",
        )


def predictions(network: Network, rows: Matrix) -> list[Prediction]:
    """What the network in floating point says of rows."""
    return [predicted(network, row) for row in network.run(rows)]


def predicted(network: Network, output: list[float]) -> Prediction:
    """What one of its output rows says."""
    match network.kind:
        case "classes":
            return network.names[output.index(max(output))]
        case "binary":
            return network.names[output[0] > 0]
        case "labels":
            return [name for name, value in zip(network.names, output, strict=True) if value > 0]
        case "values":
            return output


def _truth(kind: Kind, truth: Any, names: Sequence[str] = ()) -> list[Prediction]:
    """Labels as predictions: classes as text, label rows of 0 and 1 as their names, numbers as lists."""
    found = listed(truth)
    if not isinstance(found, list):
        raise InputError("the truth is no list", value=type(truth).__name__, remedy="give one label a row")
    if kind == "values":
        return [list(row) for row in matrix(found, "the truth")]
    if kind == "labels":
        return [
            [str(name) for name, given in zip(names or range(len(row)), row, strict=True) if given]
            for row in found
        ]
    return [str(each) for each in found]


def _report(
    network: Network, model: IntegerModel, rows: Matrix, truth: Sequence[Prediction] | None
) -> Report:
    if truth is not None and len(truth) != len(rows):
        raise InputError(
            "there is not one truth for each row", value=len(truth), remedy=f"there are {len(rows)} rows"
        )
    encoded = (
        model.encode(rows)
        if model.card.rows == "features"
        else [model.with_constants(row) for row in _content_operands(rows)]
    )
    integers, saturation = [], []
    values = [memoryview(row).cast("b").tolist() for row in encoded]
    saturation.append(at_the_end(values, network.inputs))
    for layer, floats in zip(model.program.layers, network.layers, strict=True):
        values = [layer.run(row) for row in values]
        saturation.append(at_the_end(values, floats.outputs))
    integers = [model.card.decode(bytes(value & 255 for value in row)) for row in values]
    return measure(network.kind, predictions(network, rows), integers, truth, saturation)


def _content_operands(rows: Matrix) -> list[list[int]]:
    found = [[int(value) for value in row] for row in rows]
    for number, (row, given) in enumerate(zip(found, rows, strict=True)):
        if row != given or max(map(abs, row)) > OPERAND_MAX:
            raise InputError(
                f"row {number} holds no operands of a content",
                remedy="make rows with omnitensor.sdk.models.operands_of(content)",
            )
    return found


def _feature_names(rows: Any) -> tuple[str, ...]:
    columns = getattr(rows, "columns", None)
    return () if columns is None else tuple(str(name) for name in listed(columns))
