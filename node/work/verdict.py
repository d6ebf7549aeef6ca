"""What a validator finds of a receipt: tickets rebuilt, outputs held against their root, rows recomputed. Decides no pay.

The same on every node that has the unit's bytes, so that honest votes agree to the last multiply-accumulate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from consensus.work.verify import (
    Unit,
    WorkError,
    audited_rows,
    check_fraud,
    check_outputs,
    check_receipt,
    first_wrong_row,
)
from node.work.task import Task, program_of, rows_of
from omnitensor.protocol.types import Hash
from omnitensor.protocol.work import FraudProof, Receipt, macs_counted


@dataclass(frozen=True, slots=True)
class Verdict:
    """Good, and what its tickets stand for; or bad, and why."""

    good: bool
    macs: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """All that a verdict depends on. ``task`` is the unit as its worker had it."""

    task: Task
    receipt: Receipt
    outputs: bytes | None
    """None for synthetic work, which has none."""
    audit_beacon: Hash
    """Of the block that fixed the outputs."""
    challenge: FraudProof | None


def judge(case: Case) -> Verdict:
    """The verdict. Takes some milliseconds of one processor and, of wide models, some of memory."""
    task, receipt = case.task, case.receipt
    program = program_of(task.model, task.beacon)
    rows = rows_of(task, program)
    unit = Unit(Hash(task.job), task.unit, program, rows, Hash(task.beacon), Hash(task.anchor), task.bits)
    try:
        macs = macs_counted(check_receipt(unit, receipt))
        if case.outputs is not None:
            if len(case.outputs) != len(rows) * program.outputs:
                return Verdict(False, 0, "the outputs have another length than the unit's")
            outputs = np.frombuffer(case.outputs, np.int8).reshape(len(rows), program.outputs)
            check_outputs(unit, receipt, outputs)
            wrong = first_wrong_row(unit, outputs, audited_rows(case.audit_beacon, receipt, len(rows)))
            if wrong is not None:
                return Verdict(False, 0, f"row {wrong} is wrong")
    except WorkError as error:
        return Verdict(False, 0, str(error))
    if case.challenge is not None and _shows_fraud(unit, receipt, case.challenge):
        return Verdict(False, 0, f"row {case.challenge.row} was shown to be wrong")
    return Verdict(True, macs)


def _shows_fraud(unit: Unit, receipt: Receipt, proof: FraudProof) -> bool:
    try:
        check_fraud(unit, receipt, proof)
    except WorkError:
        return False
    return True
