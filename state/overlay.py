"""Changes laid over a base of rows, in memory, with decoded values: what a block does before it is final, and what tests run on.

Knows no disk. An overlay has one owner; a base under it must not change while it lives.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from heapq import merge
from typing import Any, Protocol, TypeVar, cast

from omnitensor.protocol.codec import Record, decode, encode
from state.schema import TABLES, KeyPart, Kind, Table, join_key

V = TypeVar("V", bound=Record)


class Base(Protocol):
    """Rows below an overlay: committed ones, or another overlay's."""

    def row(self, table: Table[V], key: bytes) -> V | None:
        """The row under a key without its prefix byte."""

    def rows(self, table: Table[V], prefix: bytes, start: bytes, reverse: bool) -> Iterator[tuple[bytes, V]]:
        """Rows whose key begins with ``prefix``, in key order (or the reverse), with the whole key.

        Going up they begin at ``prefix + start``; in reverse, at the largest not above it (at the end where start is empty).
        """


class Overlay:
    """A view (see ``state.ledger.view``) that keeps its changes over a base, and can take back the latest of them."""

    __slots__ = ("_base", "_changes", "_journal", "_keys")

    def __init__(self, base: Base) -> None:
        self._base = base
        self._changes: dict[int, dict[bytes, Any]] = {}
        self._journal: list[tuple[int, bytes, Any]] = []
        self._keys: dict[int, list[bytes]] = {}
        """The changed keys of tables that were scanned, in order: a scan of a few rows must not look at all that changed."""

    # -- the ledger's view

    def get(self, table: Table[V], *key: KeyPart) -> V | None:
        """The row, or None."""
        # The shortest way for the commonest case, a key of one part: this is called several times a transfer.
        part = key[0]
        whole = part if len(key) == 1 and isinstance(part, bytes) else join_key(key)
        changes = self._changes.get(table.prefix)
        if changes is not None:
            value = changes.get(whole, _MISSING)
            if value is not _MISSING:
                return cast("V | None", value)
        return self._base.row(table, whole)

    def put(self, table: Table[V], value: V, *key: KeyPart) -> None:
        """Sets the row."""
        assert type(value) is table.value_type, f"{table.name} does not hold {type(value).__name__}"
        part = key[0]
        self._set(table, part if len(key) == 1 and isinstance(part, bytes) else join_key(key), value)

    def delete(self, table: Table[V], *key: KeyPart) -> None:
        """Removes the row; removing what is not there changes nothing."""
        self._set(table, join_key(key), None)

    def scan(
        self, table: Table[V], *key_prefix: KeyPart, start: bytes = b"", reverse: bool = False
    ) -> Iterator[tuple[bytes, V]]:
        """Rows whose key begins with the parts given; see ``ReadView.scan``."""
        prefix = join_key(key_prefix) if key_prefix else b""
        cut = len(prefix)
        # A snapshot of this overlay's keys is taken now, not when the first row is asked for.
        rows = self.rows(table, prefix, start, reverse)
        return ((key[cut:], value) for key, value in rows)

    # -- as a base of a further overlay

    def row(self, table: Table[V], key: bytes) -> V | None:
        """The row under a whole key."""
        changes = self._changes.get(table.prefix)
        if changes is not None:
            value = changes.get(key, _MISSING)
            if value is not _MISSING:
                return cast("V | None", value)
        return self._base.row(table, key)

    def rows(self, table: Table[V], prefix: bytes, start: bytes, reverse: bool) -> Iterator[tuple[bytes, V]]:
        """Rows by whole key; see ``Base.rows``."""
        changes = self._changes.get(table.prefix)
        below = self._base.rows(table, prefix, start, reverse)
        if not changes:
            return below
        keys = self._keys.get(table.prefix)
        if keys is None:
            keys = self._keys[table.prefix] = sorted(changes)
        inside = [(key, changes[key]) for key in keys_in_range(keys, prefix, start, reverse)]
        return _merged(inside, below, reverse) if inside else below

    # -- taking back, and handing on

    def mark(self) -> int:
        """A point to come back to with ``rollback``."""
        return len(self._journal)

    def rollback(self, mark: int) -> None:
        """Takes back every change since the mark."""
        journal = self._journal
        while len(journal) > mark:
            prefix, key, before = journal.pop()
            changes = self._changes[prefix]
            if before is _MISSING:
                del changes[key]
                keys = self._keys.get(prefix)
                if keys is not None:
                    del keys[bisect_left(keys, key)]
            else:
                changes[key] = before

    def forget_marks(self) -> None:
        """Keeps all changes for good: earlier marks are void, and their memory is free."""
        self._journal.clear()

    def changes_by_table(self) -> dict[int, dict[bytes, Any]]:
        """Every change by table prefix and key, None for a removed row; not to be altered."""
        return self._changes

    def changes(self) -> Iterator[tuple[int, bytes, Any]]:
        """Every change as (table prefix, key, value or None for a removed row), in no order that means anything."""
        for prefix, changes in self._changes.items():
            for key, value in changes.items():
                yield prefix, key, value

    def changed(self, table: Table[V]) -> dict[bytes, V | None]:
        """The changes of one table by key; not to be altered."""
        return self._changes.get(table.prefix, {})

    def rebase(self, base: Base) -> None:
        """Puts the changes over another base that holds the same rows: the parent's, once it is committed."""
        self._base = base

    def _set(self, table: Table[Any], key: bytes, value: Any) -> None:
        assert not table.key_bytes or len(key) == table.key_bytes, f"a key of {table.name} has another length"
        changes = self._changes.get(table.prefix)
        if changes is None:
            changes = self._changes[table.prefix] = {}
        before = changes.get(key, _MISSING)
        self._journal.append((table.prefix, key, before))
        changes[key] = value
        if before is _MISSING and table.prefix in self._keys:
            insort(self._keys[table.prefix], key)


class DictBase:
    """Rows in a dict of encoded values, for tests and for what is small. Its reader pays for decoding and sorting."""

    def __init__(self) -> None:
        self.encoded: dict[bytes, bytes] = {}

    def row(self, table: Table[V], key: bytes) -> V | None:
        """The row under a whole key."""
        data = self.encoded.get(table.prefix_bytes + key)
        return None if data is None else decode(table.value_type, data)

    def rows(self, table: Table[V], prefix: bytes, start: bytes, reverse: bool) -> Iterator[tuple[bytes, V]]:
        """Rows by whole key; see ``Base.rows``."""
        keys = [key[1:] for key in self.encoded if key[0] == table.prefix]
        for key in sorted((k for k in keys if in_range(k, prefix, start, reverse)), reverse=reverse):
            value = self.row(table, key)
            assert value is not None
            yield key, value

    def apply(self, overlay: Overlay) -> None:
        """Takes an overlay's changes in."""
        for prefix, key, value in overlay.changes():
            full = bytes([prefix]) + key
            if value is None:
                self.encoded.pop(full, None)
            else:
                self.encoded[full] = encode(value)

    def state_entries(self) -> dict[bytes, bytes]:
        """The rows that the state root commits to."""
        return {key: data for key, data in self.encoded.items() if TABLES[key[0]].kind is Kind.STATE}


def in_range(key: bytes, prefix: bytes, start: bytes, reverse: bool) -> bool:
    """Whether a key lies in a scan's range; see ``Base.rows``."""
    if not key.startswith(prefix):
        return False
    if not start:
        return True
    return key <= prefix + start if reverse else key >= prefix + start


def keys_in_range(keys: list[bytes], prefix: bytes, start: bytes, reverse: bool) -> list[bytes]:
    """Those of sorted keys that lie in a scan's range (see ``Base.rows``), in the scan's order; looks at no others."""
    low = bisect_left(keys, prefix if reverse else prefix + start)
    if reverse and start:
        high = bisect_right(keys, prefix + start)
    else:
        after = _after(prefix)
        high = len(keys) if after is None else bisect_left(keys, after)
    found = keys[low:high]
    return found[::-1] if reverse else found


def _after(prefix: bytes) -> bytes | None:
    """The least key above all that begin with a prefix; None where there is none above."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None


class _Missing:
    """Stands for "this overlay says nothing of the row"."""


_MISSING = _Missing()


def _key_of(pair: tuple[bytes, Any]) -> bytes:
    return pair[0]


def _merged(
    upper: list[tuple[bytes, Any]], lower: Iterator[tuple[bytes, V]], reverse: bool
) -> Iterator[tuple[bytes, V]]:
    """Both in order by key; the upper row hides the lower one of the same key, and a removed one yields nothing."""
    # The upper row comes first among equals: merge is stable in the order of its arguments.
    last: bytes | None = None
    for key, value in merge(upper, lower, key=_key_of, reverse=reverse):
        if key == last:
            continue
        last = key
        if value is not None:
            yield key, value
