"""Fingerprints against plain Python, and how far near duplicates and strangers are apart."""

from __future__ import annotations

import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.work.fingerprint import (
    COUNTED_AT_ONCE,
    content_rows,
    distance,
    features,
    fingerprint,
    fingerprint_program,
    folded,
)
from omnitensor.protocol.limits import fingerprint_bytes_max
from tests.work.plain_work import content_operands, fingerprint_bits, fingerprint_layer
from tests.work.samples import plain_layers


@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_features_are_those_of_plain_python(content: bytes) -> None:
    assert features(content).tolist() == content_operands(content)


def test_the_matrix_is_the_streams() -> None:
    assert plain_layers(fingerprint_program().file)[0] == fingerprint_layer()


def test_a_known_fingerprint() -> None:
    content = b"The quick brown fox jumps over the lazy dog."
    (outputs,) = fingerprint_layer().run([content_operands(content)])
    assert fingerprint(content) == fingerprint_bits(outputs)


def test_case_and_layout_say_nothing() -> None:
    one = b"Validators score\tcompleteness,  accuracy\r\nand relevance."
    two = b"VALIDATORS SCORE completeness, accuracy and relevance."
    assert folded(one).tolist() == folded(two).tolist()
    assert distance(fingerprint(one), fingerprint(two)) == 0


def test_edits_are_near_and_strangers_far() -> None:
    chance = random.Random(3)
    words = [bytes(chance.choices(b"abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 9))) for _ in range(400)]
    near, far = [], []
    for _ in range(30):
        text = chance.choices(words, k=150)
        edited = text.copy()
        for at in chance.sample(range(150), 5):
            edited[at] = chance.choice(words)
        one = fingerprint(b" ".join(text))
        near.append(distance(one, fingerprint(b" ".join(edited))))
        far.append(distance(one, fingerprint(b" ".join(chance.choices(words, k=150)))))
    assert max(near) < min(far)
    assert sum(far) / len(far) > 64


def test_long_contents_do_not_all_look_alike() -> None:
    """Counts grow with length, so they are held against their mean: two long strangers differ as two short ones do."""
    one, two = (random.Random(seed).randbytes(1 << 20) for seed in (1, 2))
    assert distance(fingerprint(one), fingerprint(two)) > 90
    assert distance(fingerprint(one), fingerprint(one[10_000:])) < 40


def test_nothing_and_almost_nothing_have_fingerprints() -> None:
    assert fingerprint(b"") == fingerprint(b"abcd") == bytes(32)


@pytest.mark.parametrize(("inputs", "constants"), [(1024, []), (1025, [1]), (1027, [63, 63, 1])])
def test_rows_of_contents_end_with_constants(inputs: int, constants: list[int]) -> None:
    operands = np.stack([features(b"one content"), features(b"another content")])
    rows = content_rows(operands, inputs)
    assert rows.dtype == np.int8
    assert rows.tolist() == [[*row, *constants] for row in operands.tolist()]


@pytest.mark.parametrize("inputs", [1023, 1024 + 129])
def test_rows_have_no_fewer_columns_and_not_many_constants(inputs: int) -> None:
    with pytest.raises(AssertionError):
        content_rows(np.zeros((1, 1024), np.int8), inputs)


@pytest.mark.parametrize("length", [COUNTED_AT_ONCE + more for more in (0, 3, 4, 5, COUNTED_AT_ONCE + 4)])
def test_no_run_is_lost_where_it_is_counted_in_parts(length: int) -> None:
    content = random.Random(length).randbytes(length)
    assert features(content).tolist() == content_operands(content)


def test_the_longest_content_takes_few_megabytes() -> None:
    """A node takes fingerprints beside everything else that it does: numbers of eight bytes for each byte would be 128 MB."""
    content = random.Random(5).randbytes(fingerprint_bytes_max)
    fingerprint(b"what is made once, is made")
    tracemalloc.start()
    try:
        features(content)
        assert tracemalloc.get_traced_memory()[1] < 8 * fingerprint_bytes_max
    finally:
        tracemalloc.stop()
