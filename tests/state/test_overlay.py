"""Overlays against a dict: reading, scanning both ways, stacking, taking back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from state.overlay import DictBase, Overlay, in_range, keys_in_range
from state.records import Counter
from state.schema import COUNTERS, TABLES, number

KEYS = st.binary(min_size=0, max_size=3)
CHANGES = st.lists(st.tuples(KEYS, st.none() | st.integers(0, 9)), max_size=12)


def lay(
    base: DictBase | Overlay, changes: list[tuple[bytes, int | None]], model: dict[bytes, int]
) -> Overlay:
    overlay = Overlay(base)
    change(overlay, changes, model)
    return overlay


def change(overlay: Overlay, changes: list[tuple[bytes, int | None]], model: dict[bytes, int]) -> None:
    for key, value in changes:
        if value is None:
            overlay.delete(COUNTERS, key)
            model.pop(key, None)
        else:
            overlay.put(COUNTERS, Counter(value), key)
            model[key] = value


@given(CHANGES, CHANGES, CHANGES, KEYS, KEYS)
def test_stacked_overlays_read_as_a_dict(
    lowest: list[tuple[bytes, int | None]],
    middle: list[tuple[bytes, int | None]],
    top: list[tuple[bytes, int | None]],
    prefix: bytes,
    start: bytes,
) -> None:
    base, model = DictBase(), dict[bytes, int]()
    base.apply(lay(base, lowest, model))
    overlay = lay(lay(base, middle, model), top, model)
    for key in {key for key, _ in [*lowest, *middle, *top]}:
        row = overlay.get(COUNTERS, key)
        assert (row.next if row else None) == model.get(key)
    inside = sorted((key, value) for key, value in model.items() if key.startswith(prefix))
    upwards = [(prefix + rest, row.next) for rest, row in overlay.scan(COUNTERS, prefix, start=start)]
    assert upwards == [(key, value) for key, value in inside if not start or key >= prefix + start]
    downwards = [
        (prefix + rest, row.next) for rest, row in overlay.scan(COUNTERS, prefix, start=start, reverse=True)
    ]
    assert downwards == [(k, v) for k, v in reversed(inside) if not start or k <= prefix + start]


@given(CHANGES, CHANGES, CHANGES, st.booleans())
def test_rollback_takes_back_to_the_mark(
    before: list[tuple[bytes, int | None]],
    kept: list[tuple[bytes, int | None]],
    undone: list[tuple[bytes, int | None]],
    looked: bool,
) -> None:
    base, model = DictBase(), dict[bytes, int]()
    base.apply(lay(base, before, model))
    overlay = lay(base, kept, model)
    written = list(overlay.changes())
    if looked:
        assert {key: row.next for key, row in overlay.scan(COUNTERS)} == model
    mark, after = overlay.mark(), dict(model)
    change(overlay, undone, after)
    if looked:
        assert [(key, row.next) for key, row in overlay.scan(COUNTERS)] == sorted(after.items())
    overlay.rollback(mark)
    assert list(overlay.changes()) == written
    assert {key: row.next for key, row in overlay.scan(COUNTERS)} == model


SHORT = st.lists(st.sampled_from([0, 1, 254, 255]), max_size=4).map(bytes)


@given(st.sets(SHORT), SHORT, SHORT, st.booleans())
def test_a_range_of_keys_is_all_that_lie_in_it(
    keys: set[bytes], prefix: bytes, start: bytes, reverse: bool
) -> None:
    inside = [key for key in keys if in_range(key, prefix, start, reverse)]
    assert keys_in_range(sorted(keys), prefix, start, reverse) == sorted(inside, reverse=reverse)


def test_scan_sees_what_was_there_when_it_began() -> None:
    overlay = Overlay(DictBase())
    for i in range(5):
        overlay.put(COUNTERS, Counter(i), bytes([i]))
    seen = []
    for key, row in overlay.scan(COUNTERS):
        seen.append(row.next)
        overlay.delete(COUNTERS, key)
        overlay.put(COUNTERS, Counter(9), bytes([100 + row.next]))
    assert seen == [0, 1, 2, 3, 4]
    assert [row.next for _, row in overlay.scan(COUNTERS)] == [9] * 5


def test_tables_have_one_prefix_each_and_split_their_keys() -> None:
    for table in TABLES.values():
        parts = tuple(bytes([i + 1]) * (width or 4) for i, width in enumerate(table.parts))
        assert table.split(table.key(*parts)) == parts
        assert table.full_key(*parts)[0] == table.prefix
    assert number((2**40).to_bytes(8, "big")) == 2**40
