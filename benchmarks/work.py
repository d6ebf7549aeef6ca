"""Measures the work proof on a synthetic unit of 1024 cubed: receipts, their verification, what proving costs over plain work.

Times are processor times on one thread, the least of several rounds in which everything takes its turn, and shares of them.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Final

import numpy as np

from consensus.work import noise, prover, tickets, verify
from consensus.work.programs import Program, Rows
from consensus.work.synthetic import synthetic_program, synthetic_rows
from omnitensor.protocol.codec import encode
from omnitensor.protocol.types import Address, Hash, Height, Signature
from omnitensor.protocol.work import Receipt, outputs_root

ROUNDS: Final = 9
BITS: Final = 7
"""512 squares of a unit: four tickets of them on average."""
BEACON, ANCHOR, JOB = (Hash(bytes([number]) * 32) for number in (1, 2, 3))
WORKER: Final = Address(bytes(33))


def measure() -> dict[str, float]:
    """In a process of its own, whose BLAS has one thread."""
    environment = os.environ | dict.fromkeys(
        ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"
    )
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.work"],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    *lines, last = done.stdout.splitlines()
    print("\n".join(lines))
    found: dict[str, float] = json.loads(last)
    return found


def _measured() -> dict[str, float]:
    program, rows = synthetic_program(BEACON), synthetic_rows(BEACON, 1)
    layer = program.layers[0]
    one, two = rows.astype(np.float32), layer.weights.astype(np.float32)
    worker = prover.Prover(program, BEACON)
    unit, receipt, run = _with_four_tickets(program, rows, worker)
    noisy = noise.noisy_layer(program, 0, BEACON)
    turned = np.ascontiguousarray(one.T)
    seed = Hash(bytes(32))
    left = np.concatenate([noise.unit_left(seed, row, 128).T for row in range(8)], axis=1)
    sums, words = prover.noisy_product(turned, noisy, seed)
    buffer = np.empty(sums.shape, np.float32)
    audited = verify.audited_rows(BEACON, receipt, len(rows))
    times = _least(
        {
            "plain product": lambda: one @ two,
            "plain unit": lambda: program.run(rows),
            "proven unit": lambda: worker.run(_place(unit), rows, BITS),
            "noisy product": lambda: prover.noisy_product(turned, noisy, seed),
            "peeling": lambda: prover._peel(sums, turned, left, noisy, buffer),
            "noise": lambda: [noise.unit_left(seed, row, 128) for row in range(8)],
            "prefilter": lambda: tickets.prefilter(words.reshape(8, 8, 8, 128), b"key", 6),
            "check tickets": lambda: verify.check_receipt(unit, receipt),
            "check outputs": lambda: verify.check_outputs(unit, receipt, run.outputs),
            "audit": lambda: verify.first_wrong_row(unit, run.outputs, audited),
            "model's noise": lambda: noise.noisy_layer(program, 0, BEACON),
        }
    )
    plain = times["plain product"]
    checked = times["check tickets"] + times["check outputs"] + times["audit"]
    for name, spent in times.items():
        print(f"  {name:34} {spent:>9.2f} ms  {spent / plain:>6.2f} of a plain product")
    return {
        "receipt_bytes": float(len(encode(receipt))),
        "receipt_verify_ms_1024": checked,
        "receipt_verify_share_1024": checked / plain,
        "work_overhead_1024": times["proven unit"] / times["plain unit"] - 1,
        "work_peel_share_1024": times["peeling"] / times["proven unit"],
    }


def _place(unit: verify.Unit) -> prover.UnitPlace:
    return prover.UnitPlace(unit.job, unit.number, WORKER, unit.anchor)


def _with_four_tickets(
    program: Program, rows: Rows, worker: prover.Prover
) -> tuple[verify.Unit, Receipt, prover.Run]:
    """The first unit whose receipt names as many tickets as one can."""
    number = 0
    while True:
        unit = verify.Unit(JOB, number, program, rows, BEACON, ANCHOR, BITS)
        run = worker.run(_place(unit), rows, BITS)
        if len(run.won) == 4:
            root = outputs_root(WORKER, verify.rows_root(run.outputs))
            won = tuple(each.ticket for each in run.won)
            return unit, Receipt(JOB, number, Height(10**7), WORKER, root, won, Signature(bytes(64))), run
        number += 1


def _least(parts: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Milliseconds of processor time, the least of the rounds; parts take turns, so that noise hits all of them."""
    least = dict.fromkeys(parts, float("inf"))
    for _ in range(ROUNDS):
        for name, part in parts.items():
            begun = time.process_time()
            part()
            least[name] = min(least[name], (time.process_time() - begun) * 1_000)
    return least


if __name__ == "__main__":
    print(json.dumps(_measured()))
