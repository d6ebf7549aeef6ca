"""Models, rows and units for tests of the work proof; seeded, so the same in every run."""

from __future__ import annotations

import itertools
import random

import numpy as np

from consensus.work.programs import Program, Rows
from consensus.work.prover import Prover, Run, UnitPlace
from consensus.work.verify import Unit, rows_root
from omnitensor.protocol.models import LayerRecord, ModelFile, checked
from omnitensor.protocol.types import Address, Hash, Height, Signature
from omnitensor.protocol.work import Receipt, outputs_root
from tests.work.plain_work import Matrix, PlainLayer

BEACON, ANCHOR, JOB = (Hash(bytes([n]) * 32) for n in (1, 2, 3))
WORKER, OTHER = Address(bytes(33)), Address(bytes(32) + b"\1")
UNSIGNED = Signature(bytes(64))


def model_of(widths: tuple[int, ...], tile: int, seed: int = 0, shift: int = 8) -> ModelFile:
    chance = random.Random(seed)
    layers = []
    for number, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        weights = bytes(chance.randrange(-63, 64) & 255 for _ in range(inputs * outputs))
        layers.append(LayerRecord(inputs, outputs, number % 2, shift, weights))
    return checked(ModelFile(1, tile, tuple(layers)))


def rows_of(count: int, width: int, seed: int = 0) -> Rows:
    return np.random.default_rng(seed).integers(-63, 64, (count, width)).astype(np.int8)


def plain_layers(model: ModelFile) -> list[PlainLayer]:
    found = []
    for layer in model.layers:
        values = [byte - 256 if byte > 127 else byte for byte in layer.weights]
        weights = [values[at : at + layer.outputs] for at in range(0, len(values), layer.outputs)]
        found.append(PlainLayer(weights, layer.activation == 1, layer.shift))
    return found


def plain_rows(rows: Rows) -> Matrix:
    return [[int(value) for value in row] for row in rows]


def unit_of(program: Program, rows: Rows, bits: int, number: int = 5) -> Unit:
    return Unit(JOB, number, program, rows, BEACON, ANCHOR, bits)


def run_unit(unit: Unit, worker: Address = WORKER, prover: Prover | None = None) -> Run:
    prover = prover or Prover(unit.program, unit.beacon)
    return prover.run(UnitPlace(unit.job, unit.number, worker, unit.anchor), unit.rows, unit.bits)


def receipt_of(unit: Unit, run: Run, worker: Address = WORKER) -> Receipt:
    root = outputs_root(worker, rows_root(run.outputs))
    tickets = tuple(won.ticket for won in run.won)
    return Receipt(unit.job, unit.number, Height(77), worker, root, tickets, UNSIGNED)
