"""Makes the indexes of a database anew, and checks them. One owner at a time, and no node beside it; decides nothing.

What an index holds is on the page of ``state.indexes``. A rebuild writes batch by batch, each with how far it has come: killed at
any instant, it goes on from there when it is called again, and until then the database is not opened as a chain.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from omnitensor.protocol import merkle
from omnitensor.protocol.blocks import BlockResult, Receipt
from omnitensor.protocol.codec import encode
from omnitensor.protocol.errors import CodecError, StorageError
from omnitensor.protocol.types import Hash, Height
from state import indexes
from state.blocks import PreparedBlock, decode_block
from state.records import IndexRebuild
from state.rows import decode_row, read_row
from state.schema import BLOCK_EVENTS, BLOCKS, INDEX_REBUILD, RECEIPTS, Table, number
from state.store import Batch, DamagedStoreError, Snapshot, Store

ROWS_PER_WRITE: Final = 5_000
_SOURCES: Final = sorted(indexes.OF_STATE, key=lambda table: table.prefix)
_HISTORY: Final = len(_SOURCES) + 1
"""Steps of a rebuild: 0 removes what is there, then one a table of the state, this one goes over the blocks."""

Tell = Callable[[str, int], None]
"""Hears what is being worked on, and how many rows were written so far."""


class UnfinishedIndexesError(StorageError):
    """Indexes were being made anew, and that did not end."""

    code = "indexes_unfinished"


class WrongIndexError(DamagedStoreError):
    """An index is not what follows from the chain. The chain itself may be well."""

    code = "index_wrong"


@dataclass(frozen=True, slots=True)
class Derived:
    """Index rows by whole key that follow from one source, and where the source is."""

    step: int
    at: bytes
    rows: list[tuple[bytes, bytes]]


def refuse_unfinished(store: Snapshot) -> None:
    """Raises UnfinishedIndexesError where a rebuild has to go on first: readers would be served half an index."""
    if read_row(store, INDEX_REBUILD, b"") is not None:
        raise UnfinishedIndexesError(
            "the indexes are being made anew, and that did not end",
            remedy="end it with: omnitensor-node index rebuild",
        )


def rebuild(store: Store, tell: Tell = lambda what, rows: None) -> int:
    """Makes every index anew from the state and the blocks that are here; how many rows were written.

    Goes on where a rebuild was killed. Raises DamagedStoreError where a block and its receipts do not belong together.
    """
    mark = read_row(store, INDEX_REBUILD, b"")
    if mark is None:
        mark = IndexRebuild(0, b"")
        store.write([_mark(mark)])
    if mark.step == 0:
        _remove_all(store)
        mark = IndexRebuild(1, b"")
    written, batch = 0, Batch()
    step, at = mark.step, mark.at
    for derived in _derived(store, mark.step, mark.at):
        if derived.step != step:
            tell(_name_of(step), written + len(batch))
        step, at = derived.step, derived.at
        batch += derived.rows
        if len(batch) >= ROWS_PER_WRITE:
            written += len(batch)
            store.write([*batch, _mark(IndexRebuild(step, at))])
            batch = []
    store.write([*batch, (INDEX_REBUILD.full_key(b""), None)])
    tell(_name_of(_HISTORY), written + len(batch))
    return written + len(batch)


def verify(store: Snapshot) -> dict[str, int]:
    """How many rows each index has, all of them as they follow from the chain. Raises WrongIndexError, DamagedStoreError."""
    refuse_unfinished(store)
    derived_rows = dict.fromkeys((table.prefix for table in indexes.INDEXES), 0)
    for derived in _derived(store, 1, b""):
        for key, value in derived.rows:
            if store.get(key) != value:
                raise _wrong(key, "lacks a row, or has another in its place")
            derived_rows[key[0]] += 1
    found: dict[str, int] = {}
    for table in indexes.INDEXES:
        # Every row that follows is there, so the numbers alone tell whether others are there too.
        count = sum(1 for _ in store.scan(table.prefix_bytes, bytes([table.prefix + 1])))
        if count != derived_rows[table.prefix]:
            extra = count - derived_rows[table.prefix]
            raise _wrong(table.prefix_bytes, f"has rows that nothing explains, {extra} of them")
        found[table.name] = count
    return found


def _derived(store: Snapshot, step: int, after: bytes) -> Iterator[Derived]:
    """All index rows from a step on, and in it from behind a source's key."""
    for place in range(step, _HISTORY):
        table = _SOURCES[place - 1]
        derive = indexes.OF_STATE[table]
        for key, row in _rows_after(store, table, after if place == step else b""):
            rows = [
                (index.full_key(*parts), encode(value))
                for index, parts, value in derive(table.split(key), row)
            ]
            yield Derived(place, key, rows)
    for key, data in _stored_after(store, BLOCKS, after if step == _HISTORY else b""):
        height = Height(number(key))
        block = _decoded(height, data)
        result = result_of(store, block)
        if result is not None:
            yield Derived(_HISTORY, key, indexes.of_block(height, block.transactions, result))


def result_of(store: Snapshot, block: PreparedBlock) -> BlockResult | None:
    """A block's receipts and events, checked against its header's root; None where the node never executed it.

    That is so of genesis, and of the block with whose state a node began that took it from others.
    """
    height = block.header.height
    placed = [read_row(store, RECEIPTS, prepared.id) for prepared in block.transactions]
    events = read_row(store, BLOCK_EVENTS, height.to_bytes(8, "big"))
    receipts: list[Receipt] = [one.receipt for one in placed if one is not None and one.height == height]
    result = BlockResult(tuple(receipts), events.events if events else ())
    leaves = [*[encode(receipt) for receipt in receipts], encode(result.events)]
    if len(receipts) == len(placed) and Hash(merkle.counted_root_of(leaves)) == block.header.receipts_root:
        return result
    never_executed = not receipts and events is None
    if never_executed and (height == 0 or store.get(BLOCKS.full_key(height - 1)) is None):
        return None
    raise DamagedStoreError(
        "a block's receipts and events are not what its header commits to",
        value=height,
        remedy="run omnitensor-node doctor, which says what to do",
    )


def _remove_all(store: Store) -> None:
    for table in indexes.INDEXES:
        while keys := [
            key
            for _, (key, _) in zip(
                range(ROWS_PER_WRITE),
                store.scan(table.prefix_bytes, bytes([table.prefix + 1])),
                strict=False,
            )
        ]:
            store.write([(key, None) for key in keys])


def _rows_after(store: Snapshot, table: Table[Any], after: bytes) -> Iterator[tuple[bytes, Any]]:
    for key, data in _stored_after(store, table, after):
        yield key, decode_row(table, data)


def _stored_after(store: Snapshot, table: Table[Any], after: bytes) -> Iterator[tuple[bytes, bytes]]:
    """A table's rows behind a key, which is without the prefix byte."""
    low = table.prefix_bytes + (after + b"\x00" if after else b"")
    for key, data in store.scan(low, bytes([table.prefix + 1])):
        yield key[1:], data


def _decoded(height: Height, data: bytes) -> PreparedBlock:
    try:
        return decode_block(data)
    except CodecError as error:
        raise DamagedStoreError(
            "a block can't be read", value=height, remedy="run omnitensor-node doctor, which says what to do"
        ) from error


def _mark(mark: IndexRebuild) -> tuple[bytes, bytes]:
    return INDEX_REBUILD.full_key(b""), encode(mark)


def _name_of(step: int) -> str:
    return "blocks" if step == _HISTORY else _SOURCES[step - 1].name


def _wrong(key: bytes, what: str) -> WrongIndexError:
    table = next(table for table in indexes.INDEXES if table.prefix == key[0])
    return WrongIndexError(
        f"the index {table.name} {what}",
        value=key.hex(),
        remedy="make the indexes anew with: omnitensor-node index rebuild",
    )
