"""The tables of an export as Parquet: columns, writing in pieces, reading in pieces. Needs pyarrow; knows no chain.

How Parquet lays out bytes differs between versions and writers, so nothing is ever compared by it: rows are.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from omnitensor.protocol.limits import MIB
from omnitensor.sdk.errors import InputError

GROUP_BYTES: Final = 16 * MIB
"""A group of rows is written when its bytes are so many: this much is in memory."""
SHARD_BYTES: Final = 512 * MIB
READ_ROWS: Final = 64

MEDIA: Final = ("text", "image", "audio", "video")
"""Kinds of data that have a column of their own, as loaders know it; others are in ``content``."""


def arrow(module: str = "pyarrow") -> Any:
    """pyarrow, or a part of it. Raises InputError where it is not installed."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(
            "data sets need pyarrow", remedy="install it with: pip install 'omnitensor[dataset]'"
        ) from error


def column_for(media_types: set[str], *, is_private: bool) -> str:
    """The column that holds the bytes: that of a kind when all items are of it, else ``content``, as where they are encrypted."""
    if is_private:
        return "content"
    kinds = {media_type.partition("/")[0] for media_type in media_types}
    return kinds.pop() if len(kinds) == 1 and next(iter(kinds)) in MEDIA else "content"


COLUMNS: Final = (
    ("media_type", "string"),
    ("category", "string"),
    ("complexity_bps", "int32"),
    ("contributor", "string"),
    ("completeness", "int16"),
    ("accuracy", "int16"),
    ("relevance", "int16"),
    ("overall", "int16"),
    ("agreement_bps", "int16"),
    ("batch", "int64"),
    ("accepted_height", "int64"),
    ("accepted_at", "timestamp[ms, tz=UTC]"),
    ("size", "int64"),
    ("sha256", "string"),
    ("chunk_root", "string"),
)
"""Columns behind the data, and their types by the names that loaders use."""


def columns_of(column: str) -> list[tuple[str, str]]:
    """All columns of the data with their types. Text is text; all else is bytes, or the path of a file where these are many."""
    payload = [("text", "string"), ("file", "string")] if column == "text" else [(column, column)]
    return [("item", "int64"), *payload, *COLUMNS]


def data_schema(column: str) -> Any:
    """The same for Parquet."""
    pa = arrow()
    bytes_or_path = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    types = {
        "string": pa.string(),
        "int16": pa.int16(),
        "int32": pa.int32(),
        "int64": pa.int64(),
        "timestamp[ms, tz=UTC]": pa.timestamp("ms", tz="UTC"),
    }
    return pa.schema([(name, types.get(kind, bytes_or_path)) for name, kind in columns_of(column)])


def proof_schema(*keys: str) -> Any:
    """A row of the state, and its path to the state root after a block."""
    pa = arrow()
    return pa.schema(
        [
            *((key, pa.string() if key == "validator" else pa.int64()) for key in keys),
            ("height", pa.int64()),
            ("value", pa.binary()),
            ("page", pa.binary()),
            ("siblings", pa.list_(pa.binary(32))),
        ]
    )


def report_schema() -> Any:
    """What a reviewer said of an item."""
    pa = arrow()
    numbers = ("completeness", "accuracy", "relevance", "flags")
    return pa.schema(
        [
            ("item", pa.int64()),
            ("batch", pa.int64()),
            ("round", pa.int32()),
            ("validator", pa.string()),
            *((name, pa.int16()) for name in numbers),
        ]
    )


class TableWriter:
    """Writes rows to one Parquet file, or to numbered ones of a bounded size (`shards`)."""

    def __init__(self, path: Path, schema: Any, *, shards: bool = False) -> None:
        self._path, self._schema, self._shards = path, schema, shards
        self._rows: list[dict[str, Any]] = []
        self._waiting = self._written = self._number = 0
        self._writer: Any = None

    def add(self, row: dict[str, Any], size: int = 256) -> None:
        """Add a row of about so many bytes."""
        self._rows.append(row)
        self._waiting += size
        if self._waiting >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._writer is None:
            path = self._path
            if self._shards:
                path = path.with_name(f"{path.stem}-{self._number:05}{path.suffix}")
            self._writer = arrow("pyarrow.parquet").ParquetWriter(path, self._schema, compression="zstd")
            self._number += 1
        self._writer.write_table(arrow().Table.from_pylist(self._rows, schema=self._schema))
        self._written += self._waiting
        self._rows, self._waiting = [], 0
        if self._shards and self._written >= SHARD_BYTES:
            self._end()

    def _end(self) -> None:
        self._writer.close()
        self._writer, self._written = None, 0

    def close(self) -> None:
        """Write what is left. A table without rows is written too."""
        if self._rows or not self._number:
            self._flush()
        if self._writer is not None:
            self._end()


def rows_in(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet file, a few at a time in memory. Raises InputError where it is none."""
    pa = arrow()
    try:
        with arrow("pyarrow.parquet").ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=READ_ROWS):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"a table can't be read: {error}", value=path.name, remedy="export again") from error
