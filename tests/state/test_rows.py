"""The committed rows that are kept in memory say what the database says, whatever was asked and committed before."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from omnitensor.protocol.codec import encode
from omnitensor.protocol.limits import scanned_rows_kept_max
from omnitensor.protocol.types import ZERO_HASH
from state.overlay import Overlay
from state.records import Counter
from state.rows import CommittedRows, read_rows
from state.schema import COUNTERS, SCHEMA_VERSION
from state.store import Stamp, Store

KEYS = st.binary(max_size=2).map(lambda key: bytes(byte % 3 for byte in key))
CHANGES = st.lists(st.tuples(KEYS, st.none() | st.integers(0, 9)), max_size=9)
ASKED = st.lists(st.tuples(KEYS, KEYS, st.booleans()), max_size=6)


def commit(store: Store, rows: CommittedRows, changes: list[tuple[bytes, int | None]]) -> None:
    """Writes changes and has them taken over, as a chain does with a block."""
    overlay = Overlay(rows)
    for key, value in changes:
        if value is None:
            overlay.delete(COUNTERS, key)
        else:
            overlay.put(COUNTERS, Counter(value), key)
    store.write(
        [
            (bytes([prefix]) + key, None if value is None else encode(value))
            for prefix, key, value in overlay.changes()
        ]
    )
    rows.committed(overlay)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(CHANGES, ASKED), max_size=6))
def test_scans_find_what_is_on_disk(
    blocks: list[tuple[list[tuple[bytes, int | None]], list[tuple[bytes, bytes, bool]]]],
) -> None:
    with TemporaryDirectory() as folder:
        store = Store.create(Path(folder) / "db", Stamp(SCHEMA_VERSION, "test", ZERO_HASH), [])
        rows = CommittedRows(store)
        for changes, asked in blocks:
            commit(store, rows, changes)
            for prefix, start, reverse in [*asked, *asked]:
                found = list(rows.rows(COUNTERS, prefix, start, reverse))
                assert found == list(read_rows(store, COUNTERS, prefix, start, reverse))
        store.close()


def test_few_rows_are_remembered_and_many_are_read_through(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "db", Stamp(SCHEMA_VERSION, "test", ZERO_HASH), [])
    rows = CommittedRows(store)
    many = scanned_rows_kept_max + 3
    commit(store, rows, [(bytes([1, index]), index) for index in range(many)])
    assert [key for key, _ in rows.rows(COUNTERS, b"\x01", b"", False)] == [
        bytes([1, index]) for index in range(many)
    ]
    assert list(rows.rows(COUNTERS, b"\x02", b"", False)) == []
    store.close()
    # The database is closed: only what is remembered can still be told.
    assert list(rows.rows(COUNTERS, b"\x02", b"", False)) == []


def test_a_scan_is_asked_anew_once_its_table_changed(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "db", Stamp(SCHEMA_VERSION, "test", ZERO_HASH), [])
    rows = CommittedRows(store)
    assert list(rows.rows(COUNTERS, b"\x01", b"", False)) == []
    commit(store, rows, [(b"\x01\x05", 7)])
    assert list(rows.rows(COUNTERS, b"\x01", b"", False)) == [(b"\x01\x05", Counter(7))]
    commit(store, rows, [(b"\x01\x05", None)])
    assert list(rows.rows(COUNTERS, b"\x01", b"", False)) == []
    store.close()
