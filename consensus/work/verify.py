"""Judges receipts: form, signature, every ticket rebuilt from public rows and weights, rows recomputed, one wrong row shown.

Needs a unit's inputs, the model and hashes of blocks; knows no jobs, no money and no state. Any difference raises WorkError.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from consensus.work.exact import Floats, multiply
from consensus.work.noise import model_left, model_right, model_seed, unit_left, unit_right, unit_seed
from consensus.work.programs import Program, Rows, padded
from consensus.work.tickets import (
    credit_of,
    fold,
    prefilter,
    prefilter_bits,
    ticket_key,
    value_of,
    wins,
)
from omnitensor.protocol import hashing, limits, merkle
from omnitensor.protocol.codec import encode
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.types import Hash
from omnitensor.protocol.work import RECEIPT_BYTES_MAX, FraudProof, Receipt, Ticket, outputs_root


class WorkError(ProtocolError):
    """A receipt or a proof of fraud that does not hold: what is wrong with it, and the value."""

    code = "work"


@dataclass(frozen=True, eq=False)
class Unit:
    """A unit as everybody can know it. ``rows`` is (rows, inputs); ``beacon`` the epoch's; ``anchor`` the hash of a block."""

    job: Hash
    number: int
    program: Program
    rows: Rows
    beacon: Hash
    anchor: Hash
    bits: int


def check_receipt(unit: Unit, receipt: Receipt) -> int:
    """Multiply-accumulates that the receipt's tickets stand for. Raises WorkError where any of them does not hold.

    The signature is for the caller to check (``Receipt.message``), as are anchor height, deadline and nullifier.
    """
    if len(encode(receipt)) > RECEIPT_BYTES_MAX:
        raise WorkError("the receipt is too large", value=len(encode(receipt)))
    if receipt.job != unit.job or receipt.unit != unit.number:
        raise WorkError("the receipt is of another unit", value=receipt.unit)
    values = [_value(unit, receipt, ticket) for ticket in receipt.tickets]
    # In order and all different: one ticket can't be named twice.
    if any(one >= two for one, two in pairwise(values)):
        raise WorkError("the tickets are not in the order of their values")
    return credit_of(tuple(values), unit.bits, unit.program.tile**3)


def _value(unit: Unit, receipt: Receipt, ticket: Ticket) -> int:
    """The value of a ticket, rebuilt. Raises WorkError where it is outside of the unit or does not win."""
    program, t = unit.program, unit.program.tile
    if ticket.layer >= len(program.layers):
        raise WorkError("a ticket is of a layer that the model has not", value=ticket.layer)
    layer = program.layers[ticket.layer]
    m, k, n = padded(len(unit.rows), t), padded(layer.inputs, t), padded(layer.outputs, t)
    for name, index, size in (
        ("row", ticket.row, m),
        ("column", ticket.column, n),
        ("piece", ticket.piece, k),
    ):
        if index * t >= size:
            raise WorkError(f"a ticket's {name} is outside of the unit", value=index)
    model = model_seed(unit.beacon, program.root, ticket.layer, k, n, t)
    seed = unit_seed(
        unit.anchor, receipt.worker, unit.job, unit.number, ticket.layer, m, k, n, model, t
    )  # fmt: skip
    product = np.empty((t, t), np.float32)
    multiply(_left_square(unit, ticket, seed, model), _right_square(unit, ticket, model), product)
    words, key = fold(product), ticket_key(seed)
    passed = bool(prefilter(words, key, prefilter_bits(unit.bits)))
    value = value_of(words, key, ticket)
    if not passed or not wins(value, unit.bits):
        raise WorkError(
            "a ticket does not win", value=(ticket.layer, ticket.row, ticket.column, ticket.piece)
        )
    return value


def _left_square(unit: Unit, ticket: Ticket, seed: Hash, model: Hash) -> Floats:
    """The square of A': rows of the unit run through the layers before, with the unit's noise."""
    t = unit.program.tile
    rows = unit.program.run(unit.rows[ticket.row * t : ticket.row * t + t], ticket.layer)
    start = ticket.piece * t
    part = rows[:, start : start + t]
    square = np.zeros((t, t), np.float32)
    square[: part.shape[0], : part.shape[1]] = part
    right = unit_right(model, ticket.piece, t)
    square += unit_left(seed, ticket.row, t)[:, right.places] * right.signs
    return square


def _right_square(unit: Unit, ticket: Ticket, model: Hash) -> Floats:
    """The square of B': weights with the model's noise."""
    t = unit.program.tile
    down, along = ticket.piece * t, ticket.column * t
    part = unit.program.layers[ticket.layer].weights[down : down + t, along : along + t]
    square = np.zeros((t, t), np.float32)
    square[: part.shape[0], : part.shape[1]] = part
    left = model_left(model, ticket.piece, t)
    square += model_right(model, ticket.column, t)[left.places] * left.signs[:, None]
    return square


# -- outputs


def rows_root(outputs: Rows) -> bytes:
    """The Merkle root over output rows, a leaf each."""
    return merkle.root_of(row.tobytes() for row in outputs)


def check_outputs(unit: Unit, receipt: Receipt, outputs: Rows) -> None:
    """Whether these are the outputs that the receipt named. Raises WorkError."""
    if outputs.shape != (len(unit.rows), unit.program.outputs):
        raise WorkError("the outputs have another shape than the unit's", value=outputs.shape)
    if outputs_root(receipt.worker, rows_root(outputs)) != receipt.outputs_root:
        raise WorkError("the outputs are not those of the receipt")


def audited_rows(beacon: Hash, receipt: Receipt, rows: int) -> tuple[int, ...]:
    """Which rows are recomputed: drawn by the beacon of the block that fixed the outputs, each once, in order."""
    wanted = min(rows, limits.audit_rows)
    seed = hashing.WORK_AUDIT(beacon, receipt.job, receipt.unit.to_bytes(8, "big"), receipt.worker)
    places = list(range(rows))
    for at in range(wanted):  # the first steps of a shuffle
        drawn = int.from_bytes(hashing.DRAW(seed, at.to_bytes(8, "big")), "big")
        other = at + drawn % (rows - at)
        places[at], places[other] = places[other], places[at]
    return tuple(sorted(places[:wanted]))


def first_wrong_row(unit: Unit, outputs: Rows, audited: Sequence[int]) -> int | None:
    """The first of these rows whose output is not what the program gives; None where all are right."""
    chosen = np.array(audited, np.int64)
    differs = (unit.program.run(unit.rows[chosen]) != outputs[chosen]).any(axis=1)
    wrong = np.flatnonzero(differs)
    return audited[int(wrong[0])] if len(wrong) else None


def check_fraud(unit: Unit, receipt: Receipt, proof: FraudProof) -> None:
    """Whether the proof shows that a row of the receipt's outputs is wrong. Raises WorkError where it shows nothing."""
    if (proof.job, proof.unit, proof.worker) != (receipt.job, receipt.unit, receipt.worker):
        raise WorkError("the proof is about another receipt", value=proof.unit)
    if (
        proof.row >= len(unit.rows)
        or proof.inclusion.index != proof.row
        or proof.inclusion.size != len(unit.rows)
    ):
        raise WorkError("the proof is about a row that the unit has not", value=proof.row)
    leaf, inclusion = merkle.leaf_hash(proof.output), proof.inclusion
    root = merkle.root_by_inclusion(leaf, inclusion.index, inclusion.size, inclusion.path)
    if root is None or outputs_root(receipt.worker, root) != receipt.outputs_root:
        raise WorkError("the row is not of the receipt's outputs", value=proof.row)
    right = unit.program.run(unit.rows[proof.row : proof.row + 1])[0].tobytes()
    if right == proof.output:
        raise WorkError("the row is right", value=proof.row)
