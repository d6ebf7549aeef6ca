"""Fingerprints against plain Python, and how far near duplicates and strangers are apart."""

from __future__ import annotations

import random
import tracemalloc
from hashlib import shake_128
from math import isqrt

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
from tests.work.samples import plain_layers

MASK = (1 << 64) - 1


def plain_features(content: bytes) -> list[int]:
    text, out = content.lower(), bytearray()
    for byte in text:
        if byte in b" \t\n\v\f\r":
            if out[-1:] != b" ":
                out.append(32)
        else:
            out.append(byte)
    runs = len(out) - 4
    if runs < 1:
        return [0] * 1024
    counts = [0] * 1024
    for at in range(runs):
        value = 0
        for byte in out[at : at + 5]:
            value = (value * 0x9E3779B97F4A7C15 + byte + 1) & MASK
        value ^= value >> 32
        counts[(value * 0xBF58476D1CE4E5B9 & MASK) >> 54] += 1
    return [max(-63, min(63, (count * 1024 - runs) * 16 // (32 * max(1, isqrt(runs))))) for count in counts]


@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_features_are_those_of_plain_python(content: bytes) -> None:
    assert features(content).tolist() == plain_features(content)


def test_the_matrix_is_the_streams() -> None:
    stream = shake_128(b"omnitensor/fingerprint/1").digest(1024 * 256 // 8)
    weights = plain_layers(fingerprint_program().file)[0].weights
    for row, column in ((0, 0), (0, 1), (1, 0), (513, 77), (1023, 255)):
        bit = row * 256 + column
        assert weights[row][column] == (1 if stream[bit // 8] >> (bit % 8) & 1 else -1)


def test_a_known_fingerprint() -> None:
    content = b"The quick brown fox jumps over the lazy dog."
    plain = plain_features(content)
    weights = plain_layers(fingerprint_program().file)[0].weights
    bits = [
        (sum(plain[row] * weights[row][column] for row in range(1024)) + 4) // 8 > 0 for column in range(256)
    ]
    wanted = bytes(sum(bits[at * 8 + n] << n for n in range(8)) for at in range(32))
    assert fingerprint(content) == wanted


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
    assert features(content).tolist() == plain_features(content)


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
