"""Proofs of work against a second verifier in plain Python, and what an attacker may try with them."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.work import exact, noise
from consensus.work.programs import Program, tiles_of
from consensus.work.prover import Prover
from consensus.work.tickets import credit_of
from consensus.work.verify import (
    Unit,
    WorkError,
    audited_rows,
    check_fraud,
    check_outputs,
    check_receipt,
    first_wrong_row,
    rows_root,
)
from omnitensor.protocol import merkle
from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.keys import SigningKey
from omnitensor.protocol.types import Address, Hash, Height, Signature
from omnitensor.protocol.work import FraudProof, Receipt, Ticket, outputs_root
from tests.work import plain_work
from tests.work.samples import (
    ANCHOR,
    BEACON,
    JOB,
    OTHER,
    UNSIGNED,
    WORKER,
    model_of,
    plain_layers,
    plain_rows,
    receipt_of,
    rows_of,
    run_unit,
    unit_of,
)

SHAPES = [((16, 16), 16, 16), ((20, 33), 16, 18), ((40, 17, 9), 16, 35), ((64, 64), 32, 64)]


def plain_winners(unit: Unit, worker: bytes = WORKER) -> list[tuple[int, tuple[int, int, int, int]]]:
    return plain_work.squares_that_win(
        plain_layers(unit.program.file), unit.program.root, unit.beacon, unit.anchor, worker, unit.job,
        unit.number, plain_rows(unit.rows), unit.program.tile, unit.bits,
    )  # fmt: skip


def sample(shape: int = 2, bits: int = 1) -> Unit:
    widths, tile, rows = SHAPES[shape]
    return unit_of(Program.of(model_of(widths, tile)), rows_of(rows, widths[0]), bits)


@pytest.mark.parametrize("shape", range(len(SHAPES)))
@pytest.mark.parametrize("bits", [0, 2, 7])
def test_prover_and_verifier_agree_with_plain_python(shape: int, bits: int) -> None:
    unit = sample(shape, bits)
    run = run_unit(unit)
    assert (run.outputs == unit.program.run(unit.rows)).all()
    wanted = plain_winners(unit)
    if bits == 0:
        assert len(wanted) == tiles_of(unit.program, len(unit.rows))
    assert [(won.value, tuple(msgspec.structs.astuple(won.ticket))) for won in run.won] == wanted[:4]
    credit = check_receipt(unit, receipt_of(unit, run))
    assert credit == credit_of(tuple(value for value, _ in wanted[:4]), bits, unit.program.tile**3)


def test_inner_dimensions_above_one_sum_are_exact() -> None:
    unit = unit_of(Program.of(model_of((2_100, 32), 32)), rows_of(40, 2_100), 2)
    run = run_unit(unit)
    assert (run.outputs == unit.program.run(unit.rows)).all()
    assert check_receipt(unit, receipt_of(unit, run)) > 0


def test_without_exact_float32_the_proof_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    unit = sample(2, 1)
    run = run_unit(unit)
    monkeypatch.setattr(exact, "float32_is_exact", lambda: False)
    again = run_unit(unit)
    assert again.won == run.won
    assert (again.outputs == run.outputs).all()
    assert check_receipt(unit, receipt_of(unit, run)) > 0


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_noise_of_every_piece_has_full_rank(seed: int) -> None:
    one = noise.signed_permutation(Hash(seed.to_bytes(32, "big")), b"ER", seed % 7, 16)
    square = np.zeros((16, 16))
    square[one.places, range(16)] = one.signs
    assert abs(np.linalg.det(square)) == pytest.approx(1)


# -- every field is bound


ANOTHER: dict[str, Any] = {
    "job": Hash(b"\x09" * 32),
    "number": 6,
    "beacon": Hash(b"\x08" * 32),
    "anchor": Hash(b"\x07" * 32),
}


@pytest.mark.parametrize("field", sorted(ANOTHER))
def test_a_ticket_is_of_one_unit_alone(field: str) -> None:
    unit = sample(2, 4)
    receipt = receipt_of(unit, run_unit(unit))
    assert check_receipt(unit, receipt)
    other = dataclasses.replace(unit, **{field: ANOTHER[field]})
    named = msgspec.structs.replace(receipt, job=other.job, unit=other.number)
    with pytest.raises(WorkError, match=r"does not win|order"):
        check_receipt(other, named)


def test_a_stolen_ticket_does_not_win() -> None:
    unit = sample(2, 4)
    receipt = receipt_of(unit, run_unit(unit))
    with pytest.raises(WorkError):
        check_receipt(unit, msgspec.structs.replace(receipt, worker=OTHER))


def test_each_dimension_layer_and_tile_is_in_the_seeds() -> None:
    def seeds(**changed: int) -> tuple[Hash, Hash]:
        given = {"layer": 0, "m": 64, "k": 64, "n": 64, "tile": 16, "unit": 3} | changed
        model = noise.model_seed(BEACON, JOB, given["layer"], given["k"], given["n"], given["tile"])
        return model, noise.unit_seed(
            ANCHOR,
            WORKER,
            JOB,
            given["unit"],
            given["layer"],
            given["m"],
            given["k"],
            given["n"],
            model,
            given["tile"],
        )

    plain = seeds()
    for name in ("layer", "m", "k", "n", "tile", "unit"):
        assert seeds(**{name: 32})[1] != plain[1], name
    for name in ("layer", "k", "n", "tile"):
        assert seeds(**{name: 32})[0] != plain[0], name
    # No split of the same bytes over two fields gives the same seed.
    assert noise.model_seed(BEACON, JOB, 1, 2, 3, 16) != noise.model_seed(BEACON, JOB, 1, 2, 16, 3)


def test_another_model_or_other_rows_void_the_tickets() -> None:
    unit = sample(2, 4)
    receipt = receipt_of(unit, run_unit(unit))
    for other in (
        dataclasses.replace(unit, program=Program.of(model_of(SHAPES[2][0], 16, seed=1))),
        dataclasses.replace(unit, rows=rows_of(len(unit.rows), unit.program.inputs, seed=1)),
    ):
        with pytest.raises(WorkError):
            check_receipt(other, receipt)


# -- what a receipt can't claim


def test_tickets_are_named_once_and_in_order() -> None:
    unit = sample(2, 0)
    receipt = receipt_of(unit, run_unit(unit))
    first, second, *rest = receipt.tickets
    for tickets in ((first, first), (second, first, *rest)):
        with pytest.raises(WorkError, match="order"):
            check_receipt(unit, msgspec.structs.replace(receipt, tickets=tickets))


@pytest.mark.parametrize(
    ("ticket", "says"),
    [
        (Ticket(2, 0, 0, 0), "layer"),
        (Ticket(0, 3, 0, 0), "row"),
        (Ticket(0, 0, 2, 0), "column"),
        (Ticket(1, 0, 0, 2), "piece"),
        (Ticket(0, 65_535, 65_535, 65_535), "row"),
    ],
)
def test_tickets_outside_of_the_unit_are_refused(ticket: Ticket, says: str) -> None:
    unit = sample(2, 0)
    receipt = msgspec.structs.replace(receipt_of(unit, run_unit(unit)), tickets=(ticket,))
    with pytest.raises(WorkError, match=says):
        check_receipt(unit, receipt)


def test_leaving_tickets_out_never_pays() -> None:
    unit = sample(3, 0)
    run = run_unit(unit)
    values = tuple(won.value for won in run.won)
    best = credit_of(values, 0, 1 << 20)
    every = sorted(value for value, _ in plain_winners(unit))
    for kept in ([], values[:1], values[:3], values[1:], tuple(every[1:5]), tuple(every[-4:])):
        assert credit_of(tuple(kept), 0, 1 << 20) <= best


def test_receipts_are_small_whatever_they_say() -> None:
    most = 2**16 - 1
    tickets = tuple(Ticket(7, most, most, most) for _ in range(4))
    receipt = Receipt(
        JOB, 2**32 - 1, Height(2**32), Address(b"\xff" * 33), Hash(b"\xff" * 32), tickets, UNSIGNED
    )
    assert len(encode(receipt)) <= 256


def test_receipts_of_every_wrong_length_are_refused() -> None:
    unit = sample(2, 0)
    data = encode(receipt_of(unit, run_unit(unit)))
    assert decode(Receipt, data, 256)
    for length in [*range(len(data)), *range(len(data) + 1, 260)]:
        with pytest.raises(ProtocolError):
            decode(Receipt, (data + bytes(260))[:length], 256)


def test_the_signature_covers_every_field() -> None:
    key = SigningKey(bytes(32))
    unit = sample(2, 0)
    receipt = receipt_of(unit, run_unit(unit))
    signed = msgspec.structs.replace(receipt, signature=Signature(key.sign(receipt.message("here"))))
    messages = [signed.message("here"), signed.message("there")]
    for change in (
        {"job": BEACON}, {"unit": 9}, {"anchor": Height(78)}, {"worker": OTHER}, {"outputs_root": BEACON},
        {"tickets": signed.tickets[:-1]},
    ):  # fmt: skip
        messages.append(msgspec.structs.replace(signed, **change).message("here"))
    assert len(set(messages)) == len(messages)
    assert msgspec.structs.replace(signed, signature=UNSIGNED).message("here") == messages[0]


# -- inputs that might make the work cheap


@pytest.mark.parametrize("kind", ["zero", "one row again and again", "minus the noise"])
def test_easy_inputs_leave_the_noisy_matrices_full(kind: str) -> None:
    """Squares of A' and B' have as much rank, and a product no fewer different entries, as for random inputs."""
    t, size = 16, 64
    model = model_of((size, size), t)
    program = Program.of(model)
    rows = np.zeros((size, size), np.int8)
    if kind == "one row again and again":
        rows[:] = rows_of(1, size)
    if kind == "minus the noise":
        # An input can't know its own noise: the seed binds the model and the anchor, which come later. Take an older anchor's.
        seed = noise.unit_seed(
            Hash(bytes(32)),
            WORKER,
            JOB,
            5,
            0,
            size,
            size,
            size,
            noise.model_seed(BEACON, program.root, 0, size, size, t),
            t,
        )
        left = np.concatenate([noise.unit_left(seed, row, t) for row in range(size // t)])
        rows = np.clip(-np.tile(left, size // t), -63, 63).astype(np.int8)
    unit = unit_of(program, rows, 0)
    model_seed = noise.model_seed(BEACON, program.root, 0, size, size, t)
    seed = noise.unit_seed(ANCHOR, WORKER, JOB, 5, 0, size, size, size, model_seed, t)
    weights = plain_layers(model)[0].weights
    seen = set()
    for place in [(i, j, c) for i in range(4) for j in range(4) for c in range(4)]:
        one, two = plain_work.noisy_square(plain_rows(rows), weights, seed, model_seed, place, t)
        assert np.linalg.matrix_rank(np.array(one)) >= t - 1
        seen.add(str(one))
        seen.add(str(two))
    # 16 squares of A' and 16 of B': none repeats, so no product can be used twice.
    assert len(seen) == 32
    assert check_receipt(unit, receipt_of(unit, run_unit(unit))) > 0


def test_inputs_that_know_their_own_noise_would_leave_nothing_to_multiply() -> None:
    """Why the ledger takes no anchor that is older than its job: rows named after it undo it, all but an entry in 128."""
    t, size = 16, 64
    program = Program.of(model_of((size, size), t))
    model = noise.model_seed(BEACON, program.root, 0, size, size, t)
    seed = noise.unit_seed(ANCHOR, WORKER, JOB, 5, 0, size, size, size, model, t)
    left = np.concatenate([noise.unit_left(seed, row, t) for row in range(size // t)]).astype(int)
    pieces = [noise.unit_right(model, piece, t) for piece in range(size // t)]
    added = np.concatenate([left[:, each.places] * each.signs for each in pieces], axis=1).astype(int)
    rows = np.clip(-added, -63, 63).astype(np.int8)
    remains = np.count_nonzero(rows + added) / rows.size
    assert remains < 0.02
    unit = unit_of(program, rows, 0)
    assert (
        check_receipt(unit, receipt_of(unit, run_unit(unit))) > 0
    )  # and yet its tickets hold, and count in full


# -- outputs, audits, fraud


def test_outputs_of_another_worker_are_no_ones_elses() -> None:
    unit = sample(2, 0)
    run = run_unit(unit)
    receipt = receipt_of(unit, run)
    check_outputs(unit, receipt, run.outputs)
    copied = msgspec.structs.replace(receipt, worker=OTHER)
    with pytest.raises(WorkError, match="not those of the receipt"):
        check_outputs(unit, copied, run.outputs)
    with pytest.raises(WorkError, match="shape"):
        check_outputs(unit, receipt, run.outputs[:-1])


@pytest.mark.parametrize(("wrong_percent", "trials"), [(1, 1_500), (5, 600), (20, 300)])
def test_wrong_rows_are_caught_at_the_rate_they_should_be(wrong_percent: int, trials: int) -> None:
    """64 of 1,024 rows, drawn without replacement: a share of wrong rows slips through as often as that says, within 4 sigma."""
    program = Program.of(model_of((4, 2), 16, shift=2))
    rows = rows_of(1_024, 4)
    unit = unit_of(program, rows, 8)
    right = program.run(rows)
    receipt = Receipt(JOB, 5, Height(1), WORKER, Hash(bytes(32)), (), UNSIGNED)
    chance = np.random.default_rng(wrong_percent)
    wrong = 1_024 * wrong_percent // 100
    caught = 0
    for trial in range(trials):
        outputs = right.copy()
        spoilt = chance.choice(1_024, wrong, replace=False)
        outputs[spoilt, 0] ^= 1
        found = first_wrong_row(unit, outputs, audited_rows(Hash(trial.to_bytes(32, "big")), receipt, 1_024))
        assert found is None or found in spoilt
        caught += found is not None
    missed = 1.0
    for at in range(64):
        missed *= (1_024 - wrong - at) / (1_024 - at)
    expected = trials * (1 - missed)
    assert abs(caught - expected) <= 4 * (trials * missed * (1 - missed)) ** 0.5 + 1e-9


def test_audited_rows_are_different_ones_of_the_unit_and_not_the_workers_choice() -> None:
    unit = sample(2, 0)
    receipt = receipt_of(unit, run_unit(unit))
    drawn = audited_rows(BEACON, receipt, 1_000)
    assert len(set(drawn)) == 64
    assert list(drawn) == sorted(drawn)
    assert drawn[-1] < 1_000
    # Neither root nor tickets are in the draw: nothing that a worker could grind.
    other = msgspec.structs.replace(receipt, outputs_root=BEACON, tickets=(), anchor=Height(3))
    assert audited_rows(BEACON, other, 1_000) == drawn
    assert audited_rows(ANCHOR, receipt, 1_000) != drawn
    assert audited_rows(BEACON, receipt, 10) == tuple(range(10))


def proof_of(receipt: Receipt, outputs: np.ndarray[Any, np.dtype[np.int8]], row: int) -> FraudProof:
    leaves = [merkle.leaf_hash(each.tobytes()) for each in outputs]
    path = tuple(Hash(each) for each in merkle.inclusion_proof(leaves, row))
    inclusion = merkle.Inclusion(row, len(leaves), path)
    return FraudProof(receipt.job, receipt.unit, receipt.worker, row, outputs[row].tobytes(), inclusion)


def test_one_wrong_row_convicts_and_a_right_one_does_not() -> None:
    unit = sample(2, 0)
    outputs = unit.program.run(unit.rows)
    outputs[11, 2] ^= 3
    root = outputs_root(WORKER, rows_root(outputs))
    receipt = msgspec.structs.replace(receipt_of(unit, run_unit(unit)), outputs_root=root)
    check_fraud(unit, receipt, proof_of(receipt, outputs, 11))
    with pytest.raises(WorkError, match="the row is right"):
        check_fraud(unit, receipt, proof_of(receipt, outputs, 10))
    good = proof_of(receipt, outputs, 11)
    for change, says in (
        ({"output": unit.program.run(unit.rows)[11].tobytes()}, "not of the receipt"),
        ({"row": 10}, "that the unit has not"),
        ({"worker": OTHER}, "another receipt"),
        ({"unit": 4}, "another receipt"),
        ({"inclusion": merkle.Inclusion(11, 99, good.inclusion.path)}, "that the unit has not"),
        ({"inclusion": merkle.Inclusion(11, 35, good.inclusion.path[:-1])}, "not of the receipt"),
    ):
        with pytest.raises(WorkError, match=says):
            check_fraud(unit, receipt, msgspec.structs.replace(good, **change))


def test_provers_reuse_the_models_noise_between_units() -> None:
    unit = sample(2, 1)
    prover = Prover(unit.program, unit.beacon)
    for number in (1, 2):
        one = dataclasses.replace(unit, number=number)
        run = run_unit(one, prover=prover)
        assert run.won == run_unit(one).won
        assert check_receipt(one, receipt_of(one, run)) == check_receipt(one, receipt_of(one, run_unit(one)))
