"""Fingerprints as a sponsor's own program takes them: what nearly repeats what, and in whose order."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnitensor.protocol import limits
from omnitensor.sdk import fingerprints
from omnitensor.sdk.fingerprints import Nearest, fingerprint, fingerprint_of, near_duplicates
from tests.sdk.samples import texts


def test_an_edited_page_is_near_and_another_is_not(tmp_path: Path) -> None:
    pages = [text.encode() for text in list(texts().values())[:12]]
    edited = pages[3].replace(b"the", b"THE  ") + b"\nAnd one sentence more.\n"
    prints = [(number, fingerprint(page)) for number, page in enumerate((*pages, edited), 1)]
    (near,) = near_duplicates(prints, 40)
    assert (near.item, near.of) == (13, 4)
    assert 0 < near.distance <= 40
    path = tmp_path / "page"
    path.write_bytes(edited)
    assert fingerprint_of(path) == prints[-1][1]
    path.write_bytes(edited[: limits.near_duplicate_bytes_min - 1])
    assert fingerprint_of(path) is None, "too few bytes say nothing"


@given(st.lists(st.integers(0, 2**16 - 1), max_size=30), st.integers(0, 6))
def test_the_nearest_earlier_one_is_named(values: list[int], bits: int) -> None:
    """Against the definition, word by word."""
    prints = [(100 + place, value.to_bytes(32, "little")) for place, value in enumerate(values)]
    expected = []
    for place, value in enumerate(values):
        earlier = [((value ^ other).bit_count(), at) for at, other in enumerate(values[:place])]
        if earlier and min(earlier)[0] <= bits:
            distance, at = min(earlier)
            expected.append(Nearest(100 + place, 100 + at, distance))
    assert near_duplicates(prints, bits) == expected


def test_no_more_are_compared_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "near_duplicates_compared_max", 3)
    chance = random.Random(1)
    one, others = chance.randbytes(32), [chance.randbytes(32) for _ in range(3)]
    prints = list(enumerate([one, *others, one]))
    assert near_duplicates(prints, 0) == []
    assert near_duplicates(prints[:1] + prints[2:], 0) == [Nearest(4, 0, 0)]
