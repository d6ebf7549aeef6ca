"""The committed state's rows, decoded and cached. Reads the store; writes nothing. One thread has it."""

from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, Final, TypeVar

import msgspec

from omnitensor.protocol.blocks import Header
from omnitensor.protocol.codec import Record, decode
from omnitensor.protocol.errors import CodecError
from omnitensor.protocol.limits import rows_cached_max, scanned_rows_kept_max, scans_cached_max
from state.overlay import Overlay
from state.schema import TABLES, Kind, Table
from state.store import DamagedStoreError, Snapshot

V = TypeVar("V", bound=Record)

_PARTS: Final = msgspec.msgpack.Decoder(tuple[msgspec.Raw, msgspec.Raw])
_RAWS: Final = msgspec.msgpack.Decoder(list[msgspec.Raw])
_HEADER: Final = msgspec.msgpack.Decoder(Header)


_UNREAD: Final[Any] = object()
"""Stands for a row that was not looked for yet: None says that there is none."""


class CommittedRows:
    """The base under the overlays of blocks that are not final."""

    def __init__(self, store: Snapshot) -> None:
        self._store: Final = store
        self._cached: dict[int, dict[bytes, Any]] = {}
        self._count = 0
        self._scans: dict[tuple[int, bytes, bytes, bool], tuple[tuple[bytes, Any], ...]] = {}
        """What scans of the state found that found next to nothing, by table and range; void once the table changes."""

    def row(self, table: Table[V], key: bytes) -> V | None:
        """The row under a whole key, or None."""
        cached = self._cached.get(table.prefix)
        if cached is None:
            cached = self._cached[table.prefix] = {}
        found: V | None = cached.get(key, _UNREAD)
        if found is _UNREAD:
            found = read_row(self._store, table, key)
            cached[key] = found
            self._count += 1
        return found

    def rows(self, table: Table[V], prefix: bytes, start: bytes, reverse: bool) -> Iterator[tuple[bytes, V]]:
        """Rows by whole key; see ``overlay.Base``.

        A block's orders ask the same again and again (is there a vote under way?), and the answer is mostly next to nothing.
        """
        if table.kind is not Kind.STATE:
            return read_rows(self._store, table, prefix, start, reverse)
        asked = (table.prefix, prefix, start, reverse)
        known = self._scans.get(asked)
        if known is not None:
            return iter(known)
        rest = read_rows(self._store, table, prefix, start, reverse)
        first = tuple(islice(rest, scanned_rows_kept_max + 1))
        if len(first) > scanned_rows_kept_max:
            return chain(first, rest)
        if len(self._scans) >= scans_cached_max:
            self._scans.clear()
        self._scans[asked] = first
        return iter(first)

    def committed(self, overlay: Overlay) -> None:
        """Takes over what an overlay changed, after it was written."""
        changed = overlay.changes_by_table()
        self._scans = {asked: found for asked, found in self._scans.items() if asked[0] not in changed}
        for prefix, changes in changed.items():
            cached = self._cached.setdefault(prefix, {})
            self._count -= len(cached)
            cached.update(changes)
            self._count += len(cached)
        if self._count > rows_cached_max:
            self._halve()

    def _halve(self) -> None:
        """Forgets the older half of every table's rows."""
        for prefix, cached in self._cached.items():
            self._cached[prefix] = dict(islice(cached.items(), len(cached) // 2, None))
        self._count = sum(len(cached) for cached in self._cached.values())


def read_row(store: Snapshot, table: Table[V], key: bytes) -> V | None:
    """One row from the store. Raises DamagedStoreError."""
    data = store.get(table.prefix_bytes + key)
    return None if data is None else decode_row(table, data)


def read_rows(
    store: Snapshot, table: Table[V], prefix: bytes, start: bytes, reverse: bool
) -> Iterator[tuple[bytes, V]]:
    """Rows from the store by whole key; see ``overlay.Base.rows``."""
    head = table.prefix_bytes + prefix
    if reverse:
        low, high = head, head + start if start else _after(head)
    else:
        low, high = head + start, _after(head)
    for key, data in store.scan(low, high, include_high=reverse and bool(start), reverse=reverse):
        yield key[1:], decode_row(table, data)


def state_rows(store: Snapshot) -> Iterator[tuple[bytes, bytes]]:
    """Every row that the state root commits to, as bytes, in order of the keys."""
    for prefix, table in sorted(TABLES.items()):
        if table.kind is Kind.STATE:
            yield from store.scan(bytes([prefix]), bytes([prefix + 1]))


def decode_row(table: Table[V], data: bytes) -> V:
    """A value of the table. Raises DamagedStoreError where the bytes are none."""
    try:
        return decode(table.value_type, data)
    except CodecError as error:
        raise DamagedStoreError(
            f"a row of {table.name} can't be read", value=data[:32], remedy="restore the database from a copy"
        ) from error


def decode_block_parts(data: bytes) -> tuple[Header, list[msgspec.Raw]]:
    """A stored block's header, and its transactions as bytes: a page of blocks must not decode every transaction of each.

    Raises DamagedStoreError where the bytes are none.
    """
    try:
        head, transactions = _PARTS.decode(data)
        return _HEADER.decode(head), _RAWS.decode(transactions)
    except msgspec.MsgspecError as error:
        raise DamagedStoreError(
            "a row of blocks can't be read", value=data[:32], remedy="restore the database from a copy"
        ) from error


def _after(prefix: bytes) -> bytes | None:
    """The first key after all that begin with ``prefix``; None where there is none."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else None
