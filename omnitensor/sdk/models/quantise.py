"""Makes integers of a network: operands of the rows, weights, biases and shifts, chosen by trying them on given rows.

The program has no biases, so every row ends with constants: some columns of 63, and one of 1. A layer's bias is a sum of weights
on them, exact to the last unit, and hidden layers hand them on. Each hidden output and each row's feature has a step of its own,
which the next layer's weights take up. docs/specification/work.md says it in full; knows no files.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from math import floor, isfinite
from typing import Final

from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.limits import model_width_max
from omnitensor.protocol.models import (
    IDENTITY,
    OPERAND_MAX,
    RELU,
    TILES,
    LayerRecord,
    ModelFile,
    checked,
)
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.models.arrays import Matrix, turned
from omnitensor.sdk.models.network import FloatLayer, Kind, Network, run_layer
from omnitensor.sdk.models.program import PlainLayer

ROWS_TRIED_MAX: Final = 512
"""Rows on which shifts and ranges are tried; ranges are looked for in all."""
SHIFTS: Final = range(1, 13)
LANES_MAX: Final = 66
"""Columns of 63 before a layer: so many hand on 63 and 1 at the largest shift."""
assert OPERAND_MAX << SHIFTS[-1] <= LANES_MAX * OPERAND_MAX**2
_RANGES: Final = (0.85, 0.7, 0.55, 0.4)
"""Shares of the widest range that are tried: what is beyond is cut off, and what is within is finer."""
_NOTHING: Final = 1e-100
"""A range no wider is none."""
_PADDING_MAX: Final = 1.25
"""Work with whole tiles over work without that a wider tile may cost."""
Ints = list[list[int]]


@dataclass(frozen=True)
class Meaning:
    """What an operand q of a column stands for: ``offset + step * q``."""

    offset: list[float]
    step: list[float]


@dataclass(frozen=True)
class Chosen:
    """A layer in integers, its biases still apart."""

    weights: Ints
    biases: list[int]
    relu: bool
    shift: int
    outputs: Meaning

    def plain(self) -> PlainLayer:
        return PlainLayer(self.weights, self.relu, self.shift, self.biases)


def meaning_of_features(rows: Matrix) -> Meaning:
    """For each feature its mean, and a step with which all of the rows is within reach. Step 0 where it never changes."""
    offsets, steps = [], []
    for column in turned(rows):
        mean = sum(column) / len(column)
        far = max(max(column) - mean, mean - min(column))
        offsets.append(mean)
        steps.append(far / OPERAND_MAX if far > _NOTHING else 0.0)
    return Meaning(offsets, steps)


def quantise(
    network: Network, rows: Matrix, operands: Ints, meaning: Meaning, tile: int | None = None
) -> tuple[ModelFile, tuple[int, ...], Meaning]:
    """The model's file, the constants of its rows, and what its outputs stand for.

    ``rows`` are examples as the network takes them, ``operands`` the same encoded, ``meaning`` what these stand for. Raises
    InputError where the network does not fit into a file.
    """
    layers: list[Chosen] = []
    tried = operands[:: -(-len(operands) // ROWS_TRIED_MAX)]
    floats = rows
    for number, layer in enumerate(network.layers):
        floats = run_layer(layer, floats)
        if not all(map(isfinite, chain.from_iterable(floats))):
            raise InputError(
                f"layer {number} gives numbers that are not finite", remedy="weights or rows are too large"
            )
        sample = floats[:: -(-len(operands) // ROWS_TRIED_MAX)]
        last = number == len(network.layers) - 1
        kind = network.kind if last else None
        weighted = None if last else [sum(w * w for w in row) for row in network.layers[number + 1].weights]
        chosen = _choose(_taken_up(layer, meaning), tried, floats, sample, kind, weighted)
        layers.append(chosen)
        plain = chosen.plain()
        tried = [plain.run(row) for row in tried]
        meaning = chosen.outputs
    records, constants = _assembled(layers, network.inputs)
    return _filed(records, tile), constants, meaning


def _taken_up(layer: FloatLayer, meaning: Meaning) -> FloatLayer:
    """The layer as one of operands: their steps and offsets go into weights and biases."""
    biases = [
        bias + sum(weight * offset for weight, offset in zip(column, meaning.offset, strict=True))
        for bias, column in zip(layer.biases, turned(layer.weights), strict=True)
    ]
    weights = [[w * step for w in row] for row, step in zip(layer.weights, meaning.step, strict=True)]
    return FloatLayer(weights, biases, layer.relu)


# -- choosing shift and ranges


def _choose(
    layer: FloatLayer,
    operands: Ints,
    floats: Matrix,
    sample: Matrix,
    kind: Kind | None,
    weighted: list[float] | None,
) -> Chosen:
    """The best shift at the widest range, then the best of narrower ranges at it: least error on the sample."""
    largest = [max(map(abs, column), default=0.0) for column in turned(layer.weights)]

    def tried(share: float, shift: int) -> tuple[tuple[float, ...], float, int, Chosen]:
        centres, steps = _ranges(layer, floats, kind, share)
        chosen = _in_integers(layer, largest, centres, steps, shift, kind)
        plain = chosen.plain()
        error = _error(chosen, [plain.run(row) for row in operands], sample, kind, weighted)
        return error, share, shift, chosen

    widest = min((tried(1.0, shift) for shift in SHIFTS), key=lambda found: found[0])
    shifts = [shift for shift in (widest[2], widest[2] + 1) if shift in SHIFTS]
    shares = _RANGES[:1] if kind == "classes" else _RANGES
    narrower = [tried(share, shift) for share in shares for shift in shifts]
    return min([widest, *narrower], key=lambda found: found[0])[3]


def _ranges(
    layer: FloatLayer, floats: Matrix, kind: Kind | None, share: float
) -> tuple[list[float], list[float]]:
    """Of each output, what operand 0 stands for, and the step with which this share of its range is within reach."""
    columns = turned(floats)
    outputs = len(columns)
    match kind:
        case "classes":  # one range for all, which always holds the two greatest: those decide
            high, low = max(map(max, columns)), min(map(min, columns))
            if share < 1:
                low = min(sorted(row)[-2] for row in floats)
            return [(high + low) / 2] * outputs, [_step((high - low) / 2)] * outputs
        case "values":
            middles = [(max(column) + min(column)) / 2 for column in columns]
            return middles, [_step((max(column) - min(column)) / 2) for column in columns]
        case _:
            reach = [max(abs(max(column)), abs(min(column))) for column in columns]
            if layer.relu:  # an output that never fires in these rows might elsewhere
                reach = [max(far, abs(bias) / 8) for far, bias in zip(reach, layer.biases, strict=True)]
            return [0.0] * outputs, [_step(far * share) for far in reach]


def _step(far: float) -> float:
    return far / OPERAND_MAX if far > _NOTHING else 1.0


def _in_integers(
    layer: FloatLayer,
    largest: list[float],
    centres: list[float],
    steps: list[float],
    shift: int,
    kind: Kind | None,
) -> Chosen:
    """With steps no finer than weights and biases at this shift allow."""
    room = (LANES_MAX - 1) * OPERAND_MAX**2
    steps = [
        max(
            step,
            weight * (1 << shift) / OPERAND_MAX,
            abs(bias - centre) * (1 << shift) / room,
        )
        for step, weight, bias, centre in zip(steps, largest, layer.biases, centres, strict=True)
    ]
    if kind == "classes":
        steps = [max(steps)] * len(steps)
    factors = [(1 << shift) / step for step in steps]
    weights = [
        [_near(w * factor, OPERAND_MAX) for w, factor in zip(row, factors, strict=True)]
        for row in layer.weights
    ]
    # Half an output more, so that an output is above zero exactly where the sum is.
    half = 1 << (shift - 1) if kind in ("binary", "labels") else 0
    biases = [
        _near((bias - centre) * factor, room) + half
        for bias, centre, factor in zip(layer.biases, centres, factors, strict=True)
    ]
    offsets = [centre - step / 2 for centre, step in zip(centres, steps, strict=True)] if half else centres
    return Chosen(weights, biases, layer.relu, shift, Meaning(offsets, steps))


def _near(value: float, far: int) -> int:
    return max(-far, min(far, floor(value + 0.5)))


def _error(
    chosen: Chosen, found: Ints, wanted: Matrix, kind: Kind | None, weighted: list[float] | None
) -> tuple[float, ...]:
    """How far the integers are from the network: wrong answers first, where there are answers, then squares of differences."""
    offsets, steps = chosen.outputs.offset, chosen.outputs.step
    wrong, gap = 0, 0.0
    if kind == "classes":
        for row, want in zip(found, wanted, strict=True):
            first = want.index(max(want))
            rival = max((value, at) for at, value in enumerate(want) if at != first)[1]
            wrong += row.index(max(row)) != first
            gap += _squared(steps[0] * (row[first] - row[rival]) - (want[first] - want[rival]))
        return wrong, gap
    if kind in ("binary", "labels"):
        for row, want in zip(found, wanted, strict=True):
            for q, value, offset, step in zip(row, want, offsets, steps, strict=True):
                wrong += (q > 0) != (value > 0)
                far = OPERAND_MAX * step
                gap += _squared(offset + step * q - max(-far, min(far, value)))
        return wrong, gap
    scales = [weight**0.5 for weight in weighted] if weighted else [1 / far for far in _spreads(wanted)]
    for row, want in zip(found, wanted, strict=True):
        for q, value, offset, step, scale in zip(row, want, offsets, steps, scales, strict=True):
            gap += _squared((offset + step * q - value) * scale)
    return (gap,)


def _squared(value: float) -> float:
    return value * value  # a power would raise where this becomes infinite


def _spreads(wanted: Matrix) -> list[float]:
    spreads = (max(column) - min(column) for column in turned(wanted))
    return [spread if spread > _NOTHING else 1.0 for spread in spreads]


# -- putting together


def _assembled(layers: Sequence[Chosen], features: int) -> tuple[list[LayerRecord], tuple[int, ...]]:
    """The layers with columns of constants in the place of biases, and the constants of the rows."""
    last = len(layers) - 1
    lanes = [0] * len(layers)
    """Columns of 63 before each layer; one of 1 stands behind them."""
    for number in range(last, -1, -1):
        largest = max(map(abs, layers[number].biases))
        if number < last and lanes[number + 1]:
            largest = max(largest, OPERAND_MAX << layers[number].shift)
        # What the last of them leaves is for the column of 1.
        lanes[number] = -(-max(largest - OPERAND_MAX, 0) // OPERAND_MAX**2) or int(largest > 0)
    records = []
    for number, layer in enumerate(layers):
        handed = lanes[number + 1] if number < last else 0
        sums = [*layer.biases, *[OPERAND_MAX << layer.shift] * handed, *[1 << layer.shift] * bool(handed)]
        columns = [_on_constants(value, lanes[number]) for value in sums]
        rows = [row + [0] * (len(sums) - len(row)) for row in layer.weights]
        rows += turned_ints(columns) if lanes[number] else []
        records.append(_record(rows, layer))
    width = max(max(record.inputs, record.outputs) for record in records)
    if width > model_width_max:
        raise InputError(
            "with its constants the model is too wide",
            value=width,
            remedy=f"at most {model_width_max}; take fewer",
        )
    return records, (OPERAND_MAX,) * lanes[0] + (1,) * bool(lanes[0])


def _on_constants(value: int, lanes: int) -> list[int]:
    """Weights on so many columns of 63 and one of 1 that sum to the value, exactly."""
    if not lanes:
        assert not value, "a bias without a column for it"
        return []
    whole = (value + OPERAND_MAX // 2) // OPERAND_MAX
    most = lanes * OPERAND_MAX
    whole = max(-most, min(most, whole))
    each, more = divmod(abs(whole), lanes)
    sign = 1 if whole >= 0 else -1
    weights = [sign * (each + (at < more)) for at in range(lanes)]
    rest = value - OPERAND_MAX * whole
    assert abs(rest) <= OPERAND_MAX, "more than the columns hold"
    return [*weights, rest]


def turned_ints(rows: Ints) -> Ints:
    """Rows as columns."""
    return [list(column) for column in zip(*rows, strict=True)]


def _record(rows: Ints, layer: Chosen) -> LayerRecord:
    data = array("b", [weight for row in rows for weight in row]).tobytes()
    return LayerRecord(len(rows), len(rows[0]), RELU if layer.relu else IDENTITY, layer.shift, data)


def _filed(records: Sequence[LayerRecord], tile: int | None) -> ModelFile:
    """With the widest tile that fills little up with zeros: wide ones are quicker to prove."""

    def work(tile: int) -> int:
        return sum(-(-r.inputs // tile) * -(-r.outputs // tile) * tile * tile for r in records)

    plain = sum(record.inputs * record.outputs for record in records)
    fitting = [width for width in TILES if work(width) <= plain * _PADDING_MAX]
    file = ModelFile(1, tile or (max(fitting) if fitting else TILES[0]), tuple(records))
    try:
        return checked(file)
    except ProtocolError as error:
        raise InputError(f"the model does not fit into a file: {error}") from error
