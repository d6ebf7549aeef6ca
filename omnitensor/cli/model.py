"""Commands of models: model export, show, run, check. None of them needs a node."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from omnitensor.cli.app import App, Command, Group, pass_app
from omnitensor.cli.output import pairs, print_json, say
from omnitensor.protocol.limits import fingerprint_bytes_max, model_bytes_max
from omnitensor.protocol.models import RELU, TILES, ModelError, ModelFile, read_model
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.models import Card, Exported, IntegerModel, Prediction, Report
from omnitensor.sdk.models.arrays import vector
from omnitensor.sdk.models.export import Rows, export_network
from omnitensor.sdk.models.files import (
    Table,
    is_number,
    read_beginning,
    read_bounded,
    read_rows,
    read_table,
    write_new,
)
from omnitensor.sdk.models.from_tensors import Activation, network_in
from omnitensor.sdk.models.network import KINDS, Kind
from omnitensor.sdk.models.program import PlainProgram, macs
from omnitensor.sdk.models.report import score
from omnitensor.sdk.models.scoring import card_path

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_NEW = click.Path(path_type=Path, dir_okay=False)
_MODEL = click.argument("model", type=_FILE)
_TABLE = click.option("--rows", "table", type=_FILE, metavar="FILE", help="Rows of numbers: CSV, TSV or npy.")
_OPERANDS = click.option(
    "--operands", type=_FILE, metavar="FILE", help="Rows as jobs have them: a signed byte an operand."
)
_CONTENTS = click.option(
    "--content", "contents", type=_FILE, metavar="FILE", multiple=True, help="A content; may be repeated."
)
_LABEL = click.option(
    "--label",
    metavar="COLUMN",
    help="The column with the right answer, by name, or by place: 0 is the first, -1 the last.",
)


@click.group(cls=Group)
def model() -> None:
    """Make models of integers from trained ones, and run them to the bit as workers do. Needs no node."""


@model.command(cls=Command)
@click.option(
    "--from", "source", required=True, type=_FILE, metavar="FILE", help="Weights: a safetensors file."
)
@click.option("--rows", "table", required=True, type=_FILE, metavar="FILE", help="Examples: CSV, TSV or npy.")
@click.option("--to", "target", required=True, type=_NEW, metavar="FILE", help="The model's file, a new one.")
@click.option("--kind", required=True, type=click.Choice(KINDS), help="What the outputs mean.")
@click.option(
    "--names", metavar="A,B,...", default="", help="Names of the classes or labels  [default: 0,1,...]"
)
@click.option("--held-out", type=_FILE, metavar="FILE", help="Other examples, for the report.")
@_LABEL
@click.option("--activation", type=click.Choice(["relu", "identity"]), default="relu", show_default=True,
              help="What stands between the layers.")  # fmt: skip
@click.option(
    "--of-contents",
    is_flag=True,
    help="Rows are operands of contents, for a model that scores a campaign's items.",
)
@click.option(
    "--tile",
    type=click.Choice([str(tile) for tile in TILES]),
    help="Width of the squares that work is proven in.",
)
@pass_app
def export(
    app: App,
    source: Path,
    table: Path,
    target: Path,
    kind: Kind,
    names: str,
    held_out: Path | None,
    label: str | None,
    activation: Activation,
    of_contents: bool,
    tile: str | None,
) -> None:
    """Make a model of integers from weights in a safetensors file, and say what accuracy that costs.

    Examples choose ranges and shifts; a few hundred will do. With --label the report is against the right answers.
    """
    if target.exists() or card_path(target).exists():
        raise InputError(
            "there is a file already, and it is not overwritten", value=target, remedy="choose another name"
        )
    network = network_in(source, kind, [name for name in names.split(",") if name], activation)
    examples = read_table(table, label)
    _fits(examples, network.inputs)
    tried = examples if held_out is None else read_table(held_out, label)
    _fits(tried, network.inputs)
    encoding: Rows = "contents" if of_contents else "features"
    done = export_network(
        network, examples.rows, held_out=tried.rows, truth=_truth(network.kind, network.names, tried),
        feature_names=examples.names, encoding=encoding, tile=int(tile) if tile else None,
    )  # fmt: skip
    done.save(target)
    if app.as_json:
        print_json(_shown(target, done.model) | {"report": done.report})
        return
    _tell_exported(target, done)


@model.command(cls=Command)
@_MODEL
@pass_app
def show(app: App, model: Path) -> None:
    """Say what a model's file holds."""
    file = read_model(read_bounded(model, model_bytes_max))
    card = IntegerModel.open(model).card if card_path(model).exists() else None
    if app.as_json:
        print_json(_shown(model, file) | {"card": card})
        return
    plain, whole = macs(file)
    pairs([("root", file.root.hex()), ("tile", file.tile), ("inputs", file.layers[0].inputs)])
    for number, layer in enumerate(file.layers):
        activation = "relu" if layer.activation == RELU else "none"
        pairs([(f"layer {number}", f"{layer.inputs} by {layer.outputs}, {activation}, shift {layer.shift}")])
    pairs([("work for a row", f"{plain} multiply-accumulates, {whole} with whole tiles")])
    if card is not None:
        pairs([("rows", f"{card.features} {card.rows}, {len(card.constants)} constants")])
        pairs([("outputs", f"{card.outputs.kind}: {', '.join(card.outputs.names)}".rstrip(": "))])
        if card.report is not None:
            say("measured by whoever made it:")
            _tell_report(card.report)


@model.command(cls=Command)
@_MODEL
@_TABLE
@_OPERANDS
@_CONTENTS
@_LABEL
@click.option(
    "--to", "target", type=_NEW, metavar="FILE", help="Write the output rows, a signed byte an output."
)
@click.option("--rows-to", type=_NEW, metavar="FILE", help="Write the encoded rows: what a job's data is.")
@pass_app
def run(
    app: App, model: Path, table: Path | None, operands: Path | None, contents: tuple[Path, ...], label: str | None,
    target: Path | None, rows_to: Path | None,
) -> None:  # fmt: skip
    """Run a model on rows, exactly as workers do: what it says of each, a line a row.

    Rows are numbers (--rows), already encoded (--operands), or contents (--content). The card beside the model says how they are
    encoded and what outputs mean; rows already encoded need none, and then the outputs themselves are printed.
    """
    if sum((table is not None, operands is not None, bool(contents))) != 1:
        raise InputError("rows are needed, of one kind", remedy="give --rows, --operands or --content")
    if operands is not None and not card_path(model).exists():
        program, card = PlainProgram(read_model(read_bounded(model, model_bytes_max))), None
    else:
        whole = IntegerModel.open(model)
        program, card = whole.program, whole.card
    if operands is not None:
        rows = read_rows(operands, program.inputs)
    elif table is not None:
        rows = IntegerModel(program.file, _card(card)).encode(read_table(table, label).rows)
    else:
        rows = [_card(card).encode_content(read_beginning(path, fingerprint_bytes_max)) for path in contents]
    outputs = list(program.run(rows))
    for path, data in ((rows_to, rows), (target, outputs)):
        if path is not None:
            write_new(path, b"".join(data))
    said = [list(memoryview(row).cast("b")) if card is None else card.decode(row) for row in outputs]
    if app.as_json:
        print_json({"model": program.file.root.hex(), "rows": len(rows), "predictions": said})
        return
    for each in said:
        say(_line(each))


@model.command(cls=Command)
@_MODEL
@_TABLE
@_LABEL
@_OPERANDS
@click.option(
    "--outputs",
    type=_FILE,
    metavar="FILE",
    help="Output rows that somebody says the model gave for --operands.",
)
@click.option("--root", metavar="HEX", help="The root that the model must have.")
@pass_app
def check(
    app: App, model: Path, table: Path | None, label: str | None, operands: Path | None, outputs: Path | None,
    root: str | None,
) -> None:  # fmt: skip
    """Check a model's file and card; with labelled rows, how often it is right; with a worker's outputs, that they are its own.

    Exit status 1 where something does not hold.
    """
    file = read_model(read_bounded(model, model_bytes_max))
    if root is not None and root.lower() != file.root.hex():
        raise ModelError(
            "the model has another root", value=file.root.hex(), remedy="this is not the one you mean"
        )
    found: dict[str, Any] = _shown(model, file)
    if card_path(model).exists() or table is not None:
        whole = IntegerModel.open(model)
        found["card"] = "fits"
        if table is not None:
            found |= _scored(whole, read_table(table, label))
    if (operands is None) != (outputs is None):
        raise InputError(
            "outputs are checked with the rows that they are of", remedy="give --operands and --outputs"
        )
    if operands is not None and outputs is not None:
        found |= _compared(PlainProgram(file), operands, outputs)
    if app.as_json:
        print_json(found)
    else:
        pairs(
            [
                (name.replace("_", " "), value)
                for name, value in found.items()
                if name not in ("layers", "file")
            ]
        )
    if found.get("first_wrong_row") is not None:
        raise ModelError(
            "the outputs are not what the model gives; the first wrong row", value=found["first_wrong_row"]
        )


def _scored(whole: IntegerModel, table: Table) -> dict[str, Any]:
    truth = _truth(whole.card.outputs.kind, whole.card.outputs.names, table)
    if truth is None:
        raise InputError("the rows have no right answers", remedy="name their column with --label")
    found = whole.predict(table.rows)
    measure = "r2" if whole.card.outputs.kind == "values" else "accuracy"
    return {"rows": len(found), measure: score(whole.card.outputs.kind, found, truth)}


def _compared(program: PlainProgram, operands: Path, outputs: Path) -> dict[str, Any]:
    rows, given = read_rows(operands, program.inputs), read_rows(outputs, program.outputs)
    if len(rows) != len(given):
        raise InputError(
            "there is not one output for each row", value=len(given), remedy=f"there are {len(rows)} rows"
        )
    wrong = [
        at for at, (own, theirs) in enumerate(zip(program.run(rows), given, strict=True)) if own != theirs
    ]
    return {"rows": len(rows), "wrong_rows": len(wrong), "first_wrong_row": wrong[0] if wrong else None}


def _card(card: Card | None) -> Card:
    assert card is not None, "a model is opened with its card"
    return card


def _fits(table: Table, inputs: int) -> None:
    if len(table.rows[0]) != inputs:
        raise InputError(
            "the rows have another number of columns than the model has inputs",
            value=len(table.rows[0]),
            remedy=f"it has {inputs}; name the column of right answers with --label",
        )


def _truth(kind: Kind, names: Sequence[str], table: Table) -> list[Prediction] | None:
    """The right answers of a table, as predictions are. Labels of a row are separated by spaces."""
    if table.labels is None:
        return None
    match kind:
        case "values":
            return [
                vector(float(cell) if is_number(cell) else cell, "the right answers") for cell in table.labels
            ]
        case "labels":
            return [cell.split() for cell in table.labels]
        case _:
            return [cell if cell in names else _whole(cell) for cell in table.labels]


def _whole(cell: str) -> str:
    """A class that is a whole number, however it is written: 3.0 is 3."""
    return str(int(float(cell))) if is_number(cell) and float(cell).is_integer() else cell


def _shown(path: Path, file: ModelFile) -> dict[str, Any]:
    plain, whole = macs(file)
    return {
        "file": str(path),
        "root": file.root.hex(),
        "tile": file.tile,
        "inputs": file.layers[0].inputs,
        "outputs": file.layers[-1].outputs,
        "layers": [
            {
                "inputs": layer.inputs,
                "outputs": layer.outputs,
                "activation": "relu" if layer.activation == RELU else "none",
                "shift": layer.shift,
            }
            for layer in file.layers
        ],
        "macs": plain,
        "macs_in_tiles": whole,
    }


def _tell_exported(path: Path, done: Exported) -> None:
    say(f"{path} and {card_path(path).name} are written; root {done.model.root.hex()}")
    _tell_report(done.report)


def _tell_report(report: Report) -> None:
    if report.float_score is not None and report.integer_score is not None and report.loss_points is not None:
        pairs(
            [
                (f"{report.measure}, floating point", f"{report.float_score:.4f} of {report.rows} rows"),
                (f"{report.measure}, integers", f"{report.integer_score:.4f}"),
                ("lost", f"{report.loss_points:.2f} points"),
            ]
        )
    ends = ["rows", *(f"layer {number}" for number in range(len(report.saturation) - 1))]
    shares = [f"{name} {share * 100:.1f} %" for name, share in zip(ends, report.saturation, strict=True)]
    pairs(
        [("both say the same", f"{report.agreement:.4f}"), ("at the end of their range", ", ".join(shares))]
    )


def _line(said: Any) -> str:
    return " ".join(str(part) for part in said) if isinstance(said, list) else str(said)
