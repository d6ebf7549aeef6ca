"""Coefficients of agreement against a published implementation and another's figures, worked examples, and by hand."""

from __future__ import annotations

import random
from collections import Counter
from itertools import permutations
from typing import Any, Literal

import krippendorff
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from omnitensor.sdk.agreement import Unit, ac1, alpha, counted, observed, t_quantile
from omnitensor.sdk.agreements import agreement_of
from omnitensor.sdk.errors import ResponseError
from omnitensor.sdk.results import SpecInfo, read
from omnitensor.sdk.results_report import BatchLine, MemberInfo
from rpc import present
from tests.ledger.world import SPEC

Ratings = list[list[int]]
"""By unit, who rated it."""

units_of_bits = st.lists(st.lists(st.integers(0, 1), max_size=7), min_size=2, max_size=40)
units_of_scores = st.lists(st.lists(st.integers(0, 100), max_size=7), min_size=2, max_size=40)


def matrix(ratings: Ratings) -> Any:
    """Reviewers by units, what is missing as NaN."""
    width = max(map(len, ratings))
    return np.array([[row[n] if n < len(row) else np.nan for row in ratings] for n in range(width)])


def oracle_alpha(ratings: Ratings, level: Literal["nominal", "interval"]) -> float | None:
    paired = [row for row in ratings if len(row) >= 2]
    if len(paired) < 2 or len({value for row in paired for value in row}) < 2:
        return None
    return float(krippendorff.alpha(reliability_data=matrix(paired), level_of_measurement=level))


@settings(max_examples=150, deadline=None)
@given(units_of_bits)
def test_alpha_of_bits(ratings: Ratings) -> None:
    found, expected = alpha(counted(ratings)).value, oracle_alpha(ratings, "nominal")
    assert found == pytest.approx(expected, abs=1e-9)


@settings(max_examples=150, deadline=None)
@given(units_of_scores)
def test_alpha_of_scores(ratings: Ratings) -> None:
    found, expected = alpha(counted(ratings)).value, oracle_alpha(ratings, "interval")
    assert found == pytest.approx(expected, abs=1e-9)


def ac1_by_pairs(ratings: Ratings) -> float | None:
    """AC1 from its definition, pair by pair."""
    shares = [
        sum(a == b for a, b in permutations(row, 2)) / (len(row) * (len(row) - 1))
        for row in ratings
        if len(row) >= 2
    ]
    if not shares:
        return None
    rated = [row for row in ratings if row]
    ones = sum(sum(row) / len(row) for row in rated) / len(rated)
    chance = ones * (1 - ones) + (1 - ones) * ones
    return (sum(shares) / len(shares) - chance) / (1 - chance)


@settings(max_examples=150, deadline=None)
@given(units_of_bits)
def test_ac1(ratings: Ratings) -> None:
    assert ac1(counted(ratings)).value == pytest.approx(ac1_by_pairs(ratings), abs=1e-12)


FIGURES = [
    ("001 110 001 111 000 11.", 0.3414634146, -0.4610613851, 1.0),
    (
        "1111. 0.010 01111 11110 10110 0.000 1111. 11011 110.1 00000 111.1 1111.",
        *(0.58, 0.2647096772, 0.8952903228),
    ),
    (
        "0.000 11111 11111 11111 00000 11111 11111 11.11 .11.1 11.11 .0000 1.111 11111 1.111 11..1 00111 11.11 11110"
        " 11111 10111 .1111 .0000 .11.1 11101 00000 11.01 11111 11111 .1111 01111 1.111 00.00 1.111 ..000 1..11 1111."
        " 11111 .0000 11111 .00.0",
        *(0.8900657061, 0.8011377892, 0.978993623),
    ),
    (
        "10..100 1001111 0110..0 1110001 1110.1. 0100011 .111.10 1101011 .1.0.11 1.01111 0.01111 00101.1 0110100"
        " 1.01000 1111001 1010111 00010.1 11....0 1111101 0101001 1100110 10.0.0. 1.1000. 0.0.111 111.000",
        *(-0.0208120768, -0.1288105572, 0.0871864037),
    ),
    (".1 01 11 00 10 .0 1. 01 01", -0.3170731707, -1.0, 0.6534557515),
]
"""Units, AC1 and its 95 % interval, as the package irrCAC 0.4.4 gives them (which asks for older scientific packages than
ours, so it is not among the dependencies); its lower end below -1 is cut here."""


@pytest.mark.parametrize(("text", "value", "low", "high"), FIGURES)
def test_ac1_and_its_interval_as_another_implementation_has_them(
    text: str, value: float, low: float, high: float
) -> None:
    found = ac1(counted([[int(each) for each in unit if each != "."] for unit in text.split()]))
    assert found.value == pytest.approx(value, abs=1e-9)
    assert found.low == pytest.approx(low, abs=1e-9)
    assert found.high == pytest.approx(high, abs=1e-9)


def test_published_example_of_alpha() -> None:
    """Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", C: four observers, twelve units, missing data;
    interval alpha is 0.849. And A: two observers, ten units of two values; nominal alpha is 0.095."""
    raw = """
    1 2 3 3 2 1 4 1 2 . . .
    1 2 3 3 2 2 4 1 2 5 . 3
    . 3 3 3 2 3 4 2 2 5 1 .
    1 2 3 3 2 4 4 1 2 5 1 .
    """
    rows = [line.split() for line in raw.strip().splitlines()]
    units = [[int(row[n]) for row in rows if row[n] != "."] for n in range(12)]
    assert alpha(counted(units)).value == pytest.approx(0.849, abs=5e-4)
    first, second = "0100000010", "1110010000"
    pairs = [[int(a), int(b)] for a, b in zip(first, second, strict=True)]
    assert alpha(counted(pairs)).value == pytest.approx(0.095, abs=5e-4)


def test_by_hand() -> None:
    """Two reviewers, four items, one differs: observed 3/4. Ones 3 of 8, so by chance 2 * 3/8 * 5/8 = 15/32, and
    AC1 = (3/4 - 15/32) / (17/32) = 9/17. Alpha: Do = 2/8, De = 2 * 3 * 5 / (8 * 7), 1 - Do/De = 8/15."""
    units = counted([[1, 1], [0, 0], [0, 0], [1, 0]])
    assert observed(units) == 0.75
    assert ac1(units).value == pytest.approx(9 / 17)
    assert alpha(units).value == pytest.approx(8 / 15)


def test_where_nothing_can_be_said() -> None:
    assert alpha(Counter()).value is None
    assert alpha(counted([[1, 1], [1, 1]])).value is None, "all the same: alpha has no scale"
    assert ac1(counted([[1, 1], [1, 1]])).value == 1.0, "which is what AC1 is for"
    assert ac1(counted([[1], [0]])).value is None
    assert observed(counted([[1]])) is None
    assert alpha(counted([[0, 1]])).value is None, "one unit says nothing of others"


def test_interval_of_alpha_is_like_the_bootstraps() -> None:
    chance = random.Random(5)
    truth = [chance.random() < 0.6 for _ in range(200)]
    ratings = [[int(good if chance.random() < 0.85 else not good) for _ in range(5)] for good in truth]
    found = alpha(counted(ratings))
    again = sorted(alpha(counted(chance.choices(ratings, k=len(ratings)))).value or 0 for _ in range(400))
    assert found.low is not None
    assert found.high is not None
    assert found.low == pytest.approx(again[10], abs=0.03)
    assert found.high == pytest.approx(again[389], abs=0.03)


@pytest.mark.parametrize("freedom", [1, 2, 5, 29, 1_000, 10**6])
def test_quantile(freedom: int) -> None:
    assert t_quantile(0.975, freedom) == pytest.approx(scipy.stats.t.ppf(0.975, freedom), rel=1e-9)


def test_reports_of_a_lying_node_are_refused() -> None:
    spec = read(SpecInfo, {**present.record(SPEC), "categories": []}, "")
    for report in ("00", "zz", "ff000000", "0000000080"):
        member = MemberInfo(validator="v", state="revealed", report=report)
        batch = BatchLine(batch=1, round=1, phase="done", outcome="verdict", items=[1], members=[member])
        with pytest.raises(ResponseError):
            agreement_of(1, spec, [batch])
    good = BatchLine(
        batch=1,
        round=1,
        phase="done",
        outcome="verdict",
        items=[1, 2],
        members=[
            MemberInfo(validator=name, state="revealed", report=report)
            for name, report in (("a", "5a5a5a000a0a0a04"), ("b", "5a5a3b000a0a0a00"), ("c", None))
        ],
    )
    found = agreement_of(1, spec, [good, good], 1)
    assert (found.batches, agreement_of(1, spec, [good], 2).batches) == (2, 0)
    by_name = {each.name: each for each in found.agreements}
    assert by_name["relevance"].same == 0.5, "90 and 59 at a threshold of 60 differ, 10 and 10 do not"
    assert (by_name["accuracy"].same, by_name["flagged"].same, by_name["verdict"].same) == (1.0, 0.5, 0.5)
    assert by_name["accuracy"].units == 4


def test_a_million_units_are_counted_by_their_kinds() -> None:
    units = Counter({Unit(5, ones, ones): 200_000 for ones in range(6)})
    assert ac1(units).high is not None
    assert alpha(units).high is not None
