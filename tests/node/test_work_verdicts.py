"""What a validator finds of receipts: honest ones, and every kind of lie, with the rates at which chance finds them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import msgspec
import numpy as np
import pytest

from consensus.work.programs import Program, Rows
from consensus.work.tickets import credit_of
from consensus.work.verify import rows_root
from node.work.task import FINGERPRINT, SYNTHETIC, Task, program_of, rows_of, run_task
from node.work.verdict import Case, Verdict, judge
from omnitensor.protocol import merkle
from omnitensor.protocol.merkle import Inclusion
from omnitensor.protocol.types import ZERO_HASH, Address, Hash, Height, Signature
from omnitensor.protocol.work import FraudProof, Receipt, Ticket, outputs_root
from tests.work.samples import model_of
from tests.work.samples import rows_of as drawn_rows

JOB, ANCHOR, BEACON, AUDIT = (Hash(bytes([n]) * 32) for n in (3, 2, 1, 9))
WORKER, OTHER = Address(bytes(32) + b"\7"), Address(bytes(32) + b"\1")
MODEL = model_of((48, 40, 24), 16)
ROWS = 200


def task_of(worker: Address = WORKER, unit: int = 4) -> Task:
    return Task(JOB, unit, worker, ANCHOR, BEACON, MODEL.encoded(), drawn_rows(ROWS, 48).tobytes(), 3)


def receipt_of(task: Task, outputs: bytes, tickets: tuple[tuple[int, int, int, int], ...]) -> Receipt:
    width = program_of(task.model, task.beacon).outputs
    table = np.frombuffer(outputs, np.int8).reshape(-1, width)
    root = outputs_root(Address(task.worker), rows_root(table))
    signature = Signature(bytes(64))
    named = tuple(Ticket(*ticket) for ticket in tickets)
    return Receipt(Hash(task.job), task.unit, Height(7), Address(task.worker), root, named, signature)


@cache
def honest() -> Case:
    task = task_of()
    done = run_task(task)
    return Case(task, receipt_of(task, done.outputs, done.tickets), done.outputs, AUDIT, None)


def with_wrong_rows(share: float, seed: int) -> Case:
    """Outputs of which a share is garbage, under a root of their own: the tickets are true."""
    case = honest()
    assert case.outputs is not None
    table = np.frombuffer(case.outputs, np.int8).reshape(ROWS, -1).copy()
    drawn = np.random.default_rng(seed)
    wrong = drawn.choice(ROWS, round(share * ROWS), replace=False)
    table[wrong] = -table[wrong] + 1
    outputs = table.clip(-63, 63).tobytes()
    tickets = tuple((t.layer, t.row, t.column, t.piece) for t in case.receipt.tickets)
    return Case(case.task, receipt_of(case.task, outputs, tickets), outputs, AUDIT, None)


def test_honest_work_is_good_for_what_its_tickets_stand_for() -> None:
    found = judge(honest())
    assert found.good
    assert found.macs > 0
    assert found.macs % 16**3 == 0 or len(honest().receipt.tickets) == 4


def test_a_verdict_is_the_same_again() -> None:
    assert len({judge(honest()) for _ in range(3)}) == 1


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_wrong_rows_are_found_as_often_as_rows_are_drawn(share: float) -> None:
    tries = 60
    found = 0
    for seed in range(tries):
        case = with_wrong_rows(share, seed)
        found += not judge(replace(case, audit_beacon=Hash(bytes([seed + 1]) * 32))).good
    expected = 1 - np.prod([1 - round(share * ROWS) / (ROWS - at) for at in range(64)])
    spread = 4 * (tries * expected * (1 - expected)) ** 0.5 + 1
    assert abs(found - tries * expected) <= spread, (found, tries * expected)


def test_a_shown_wrong_row_convicts_whatever_the_draw_missed() -> None:
    case = with_wrong_rows(0.005, 1)
    beacon = next(
        Hash(bytes([n]) * 32)
        for n in range(1, 200)
        if judge(replace(case, audit_beacon=Hash(bytes([n]) * 32))).good
    )
    case = replace(case, audit_beacon=beacon)
    assert case.outputs is not None
    program = Program.of(MODEL)
    right = program.run(drawn_rows(ROWS, 48))
    table = np.frombuffer(case.outputs, np.int8).reshape(ROWS, -1)
    wrong = int(np.flatnonzero((right != table).any(axis=1))[0])
    assert not judge(replace(case, challenge=proof_of(case, table, wrong))).good
    innocent = (wrong + 1) % ROWS
    assert judge(replace(case, challenge=proof_of(case, table, innocent))).good


def proof_of(case: Case, table: Rows, row: int) -> FraudProof:
    leaves = [each.tobytes() for each in table]
    path = merkle.inclusion_proof([merkle.leaf_hash(leaf) for leaf in leaves], row)
    inclusion = Inclusion(row, len(leaves), tuple(Hash(part) for part in path))
    return FraudProof(JOB, case.task.unit, WORKER, row, leaves[row], inclusion)


def test_outputs_that_are_not_the_receipts_are_bad() -> None:
    case = honest()
    assert case.outputs is not None
    changed = bytearray(case.outputs)
    changed[17] ^= 1
    assert not judge(replace(case, outputs=bytes(changed))).good
    assert "length" in judge(replace(case, outputs=case.outputs[:-1])).reason
    assert not judge(replace(case, outputs=case.outputs + b"\0" * 24)).good


def test_tickets_of_another_worker_unit_or_moment_do_not_win() -> None:
    case = honest()
    for other in (
        replace(case.task, worker=OTHER),
        replace(case.task, unit=5),
        replace(case.task, anchor=Hash(bytes(32))),
        replace(case.task, beacon=Hash(bytes(32))),
        replace(case.task, job=Hash(bytes(32))),
    ):
        receipt = msgspec.structs.replace(
            case.receipt, worker=Address(other.worker), unit=other.unit, job=Hash(other.job)
        )
        assert not judge(replace(case, task=other, receipt=receipt)).good


def test_invented_repeated_or_disordered_tickets_are_bad() -> None:
    case, tickets = honest(), honest().receipt.tickets
    assert len(tickets) >= 2
    for named in (
        (tickets[0], tickets[0]),
        (tickets[1], tickets[0]),
        (Ticket(0, 12, 2, 2), *tickets[1:]),
        (Ticket(1, 0, 9, 0),),
        (Ticket(5, 0, 0, 0),),
    ):
        receipt = msgspec.structs.replace(case.receipt, tickets=named)
        assert not judge(replace(case, receipt=receipt)).good, named


def test_fewer_tickets_count_for_less() -> None:
    case = honest()
    receipt = msgspec.structs.replace(case.receipt, tickets=case.receipt.tickets[:1])
    found = judge(replace(case, receipt=receipt))
    assert found == Verdict(True, 16**3 << 3)
    assert found.macs < judge(case).macs


def test_synthetic_work_is_judged_by_its_tickets_alone() -> None:
    task = Task(JOB, 3, WORKER, ANCHOR, BEACON, SYNTHETIC, b"", 6)
    done = run_task(task)
    receipt = Receipt(
        JOB, 3, Height(7), WORKER, ZERO_HASH, tuple(Ticket(*t) for t in done.tickets), Signature(bytes(64))
    )
    found = judge(Case(task, receipt, None, AUDIT, None))
    assert found.good
    assert found.macs > 0
    stolen = msgspec.structs.replace(receipt, worker=OTHER)
    assert not judge(Case(replace(task, worker=OTHER), stolen, None, AUDIT, None)).good


def test_fingerprints_are_judged_as_any_outputs() -> None:
    rows = drawn_rows(3, 1_024)
    task = Task(JOB, 0, WORKER, ANCHOR, BEACON, FINGERPRINT, rows.tobytes(), 0)
    done = run_task(task)
    receipt = receipt_of(task, done.outputs, done.tickets)
    assert judge(Case(task, receipt, done.outputs, AUDIT, None)).good
    program = program_of(FINGERPRINT, BEACON)
    assert done.outputs == program.run(rows_of(task, program)).tobytes()
    assert credit_of((), 0, 1) == 0
