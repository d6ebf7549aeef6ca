"""How deep JSON nests, against the standard parser's own idea of it; and what would mislead a counter of brackets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnitensor.protocol.json_depth import is_deep

documents = st.recursive(
    st.none() | st.text('ab[]{}"\\', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('k[]{}"\\', max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(documents, st.integers(0, 6))
def test_it_is_deep_exactly_when_the_parsed_value_is(document: Any, most: int) -> None:
    text = json.dumps(document)
    assert is_deep(text, most) is (depth(document) > most)
    assert is_deep(text.encode(), most) is is_deep(text, most)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 1_000_000,
        '{"a":' * 100_000,
        '["' + "]" * 5_000 + '",' + "[" * 5_000,
        '["\\"' + "}" * 5_000 + '",' + "[" * 5_000,
    ],
)
def test_what_hides_its_depth_is_found(text: str) -> None:
    assert is_deep(text, 64)


def test_an_open_string_takes_no_longer_than_its_length() -> None:
    assert not is_deep('"' + "\\" * 1_000_001, 64)
    assert not is_deep('"' + "[" * 2_000_000, 64)
