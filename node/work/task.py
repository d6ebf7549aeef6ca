"""One unit as a process of its own computes it: all it needs as plain bytes, and what comes back. Knows no chain and no money.

Such a process may be on another machine, so a task carries no object of ours but numbers and bytes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from consensus.work.fingerprint import fingerprint_program
from consensus.work.programs import Program
from consensus.work.prover import Prover, UnitPlace
from consensus.work.synthetic import ROWS, WIDTH, synthetic_program, synthetic_rows
from omnitensor.protocol.types import Address, Hash

FINGERPRINT: Final = b"fingerprint-v1"
"""In place of a model's file: the program that every node has."""
SYNTHETIC: Final = b"synthetic"
"""In place of a model's file: the epoch's synthetic one; its rows are drawn, not given."""
PROVERS_KEPT: Final = 2
"""A model with its noise is four times as large as its float32 weights: at most 256 MiB."""


@dataclass(frozen=True, slots=True)
class Task:
    """A unit to run. ``rows`` are row by row, a signed byte each; none for synthetic work."""

    job: bytes
    unit: int
    worker: bytes
    anchor: bytes
    """Hash of the anchor block."""
    beacon: bytes
    """Of the anchor's epoch."""
    model: bytes
    """A model's file, ``FINGERPRINT`` or ``SYNTHETIC``."""
    rows: bytes
    bits: int


@dataclass(frozen=True, slots=True)
class Done:
    """A unit that was run: outputs row by row, and the best tickets as (layer, row, column, piece), the best first."""

    outputs: bytes
    tickets: tuple[tuple[int, int, int, int], ...]
    macs: int
    """Multiply-accumulates that plain work on it would have taken."""
    seconds: float
    device: str
    """What computed it: ``cpu``, or a GPU's name."""


def program_of(model: bytes, beacon: bytes) -> Program:
    """The program that a task names. Raises as ``read_model``."""
    if model == FINGERPRINT:
        return fingerprint_program()
    if model == SYNTHETIC:
        return synthetic_program(Hash(beacon))
    return Program.read(model)


def rows_of(task: Task, program: Program) -> np.ndarray[tuple[int, int], np.dtype[np.int8]]:
    """(rows, inputs) of a task."""
    if task.model == SYNTHETIC:
        return synthetic_rows(Hash(task.beacon), task.unit).reshape(ROWS, WIDTH)
    flat = np.frombuffer(task.rows, np.int8)
    return flat.reshape(len(flat) // program.inputs, program.inputs)


@lru_cache(maxsize=PROVERS_KEPT)
def _prover(model: bytes, beacon: bytes, gpu: bool) -> Prover:
    program = program_of(model, beacon)
    if gpu:
        from node.work.gpu import GpuProver

        return GpuProver(program, Hash(beacon))
    return Prover(program, Hash(beacon))


def run_task(task: Task, gpu: bool = False) -> Done:
    """Runs a unit here. Raises as ``read_model``."""
    began = time.perf_counter()
    prover = _prover(task.model, task.beacon, gpu)
    rows = rows_of(task, prover.program)
    place = UnitPlace(Hash(task.job), task.unit, Address(task.worker), Hash(task.anchor))
    run = prover.run(place, rows, task.bits)
    tickets = tuple(
        (won.ticket.layer, won.ticket.row, won.ticket.column, won.ticket.piece) for won in run.won
    )
    return Done(
        run.outputs.tobytes(),
        tickets,
        prover.program.macs(len(rows)),
        time.perf_counter() - began,
        prover.device,
    )
