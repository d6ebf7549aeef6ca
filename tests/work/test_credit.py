"""Credit is an unbiased estimate of work, whatever shape and difficulty; and what burning changes in it."""

from __future__ import annotations

import random
from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.work.credit import counted
from consensus.work.programs import Program, tiles_of
from consensus.work.prover import Prover, UnitPlace
from consensus.work.tickets import credit_of
from omnitensor.protocol.types import Address
from tests.work.samples import ANCHOR, BEACON, JOB, model_of, rows_of


def mean_and_error(values: list[float]) -> tuple[float, float]:
    found = np.array(values, float)
    return float(found.mean()), float(found.std(ddof=1) / len(found) ** 0.5)


@pytest.mark.parametrize(
    ("squares", "bits"), [(1, 0), (3, 1), (4, 0), (40, 3), (40, 6), (1_000, 9), (500, 2)]
)
def test_drawn_values_give_unbiased_credit(squares: int, bits: int) -> None:
    """Ten thousand units of values drawn at random, as hashes are: mean within three standard errors of the work."""
    chance = random.Random(squares * 100 + bits)
    first = min(bits, 6)
    credits: list[float] = []
    for _ in range(10_000):
        # Values of those that pass the prefilter, uniform below 2**256; below the target they win.
        won = []
        for _ in range(how_many_win(chance, squares, bits)):
            won.append(chance.getrandbits(256) >> (bits - first))
        credits.append(credit_of(tuple(sorted(won)[:4]), bits, 4_096) / 4_096)
    mean, error = mean_and_error(credits)
    if error == 0:  # one square of no difficulty
        assert mean == squares
    assert abs(mean - squares) <= 3 * error


def how_many_win(chance: random.Random, count: int, bits: int) -> int:
    return int(np.random.default_rng(chance.getrandbits(63)).binomial(count, 2.0**-bits))


@pytest.mark.parametrize(
    ("widths", "rows", "bits"), [((16, 16), 16, 0), ((32, 48), 32, 2), ((16, 32, 16), 40, 3)]
)
def test_units_that_are_run_give_unbiased_credit(widths: tuple[int, ...], rows: int, bits: int) -> None:
    """The same over real units, each of another number: noise, folding, prefilter and hash together are as good as chance."""
    program = Program.of(model_of(widths, 16))
    prover = Prover(program, BEACON)
    inputs = rows_of(rows, widths[0])
    squares = tiles_of(program, rows)
    credits: list[float] = []
    for unit in range(1_200):
        place = UnitPlace(JOB, unit, Address(bytes(33)), ANCHOR)
        run = prover.run(place, inputs, bits)
        credits.append(credit_of(tuple(won.value for won in run.won), bits, 4_096) / 4_096)
    mean, error = mean_and_error(credits)
    assert abs(mean - squares) <= 3 * error if error else mean == squares


@given(st.integers(0, 2**50), st.integers(0, 10**18), st.integers(1, 10**9), st.integers(0, 10_000))
def test_burning_raises_credit_to_the_whole_and_no_further(
    macs: int, burned: int, price: int, discount: int
) -> None:
    found = counted(macs, burned, price, discount)
    whole = ceil(Fraction(macs * price, 2**30))
    share = Fraction(10_000) if burned >= whole else Fraction(burned * 10_000 // whole)
    gamma = Fraction(discount, 10_000)
    assert found == int(macs * (gamma + (1 - gamma) * share / 10_000))
    assert macs * discount // 10_000 <= found <= macs
    assert counted(macs, burned + 1, price, discount) >= found
