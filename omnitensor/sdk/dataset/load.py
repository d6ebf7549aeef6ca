"""A data set in a folder, for training: rows one by one, as a pandas table, as a Hugging Face data set, or for PyTorch.

Loading checks nothing by itself; `verify` does, and says what it was held against.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from omnitensor.light import Checkpoint
from omnitensor.sdk.batches import read_bytes_max
from omnitensor.sdk.dataset import bundle, tables
from omnitensor.sdk.dataset.bundle import Manifest
from omnitensor.sdk.dataset.check import Checked, check
from omnitensor.sdk.errors import InputError


class Dataset:
    """An exported data set. It is a sequence of rows (dicts), so PyTorch's ``DataLoader`` takes it as it is."""

    def __init__(self, folder: str | Path, *, bytes_max: int = read_bytes_max) -> None:
        """Opens the folder. Raises DatasetError where it holds none.

        Items above ``bytes_max`` bytes (256 MiB) are not read into memory: their rows have the path of their file instead.
        """
        self.folder: Final = Path(folder)
        self.bytes_max: Final = bytes_max
        self.manifest: Final[Manifest] = bundle.read_manifest(self.folder)
        parquet = tables.arrow("pyarrow.parquet")
        self._shards: Final = [
            parquet.ParquetFile(path) for path in sorted((self.folder / bundle.DATA).iterdir())
        ]
        self._groups: Final = [
            (shard, group, shard.metadata.row_group(group).num_rows)
            for shard in self._shards
            for group in range(shard.metadata.num_row_groups)
        ]
        self._kept: tuple[int, list[dict[str, Any]]] | None = None

    def verify(self, checkpoint: Checkpoint | str) -> Checked:
        """Checks every byte against the chain, offline. Raises DatasetError or ProofError."""
        return check(self.folder, checkpoint=checkpoint)

    @property
    def columns(self) -> list[str]:
        """Names of the columns; the second holds the data."""
        return list(self._shards[0].schema_arrow.names)

    def __len__(self) -> int:
        return self.manifest.rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for path in sorted((self.folder / bundle.DATA).iterdir()):
            for row in tables.rows_in(path):
                yield self._whole(row)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A row by its place. One group of rows stays in memory, so places near one another are fast."""
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(index)
        for number, (shard, group, rows) in enumerate(self._groups):
            if place < rows:
                if self._kept is None or self._kept[0] != number:
                    self._kept = (number, shard.read_row_group(group).to_pylist())
                return self._whole(self._kept[1][place])
            place -= rows
        raise IndexError(index)

    def _whole(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row with its bytes, where they are in a file of their own."""
        column = self.columns[1]
        if row["size"] > self.bytes_max:
            if column == "text" and row["text"] is None:
                return row | {"file": self._file(row["file"])}
            if column != "text" and row[column]["bytes"] is None:
                return row | {column: {"bytes": None, "path": self._file(row[column]["path"])}}
        elif column == "text":
            if row["text"] is None:
                data = bundle.inside(self.folder, row["file"]).read_bytes()
                row["text"] = data.decode()
        elif row[column]["bytes"] is None:
            row[column]["bytes"] = bundle.inside(self.folder, row[column]["path"]).read_bytes()
        return row

    def _file(self, name: str) -> str:
        return str(bundle.inside(self.folder, name).resolve())

    def to_pandas(self) -> Any:
        """A pandas ``DataFrame`` of all rows. Needs pandas; holds everything in memory."""
        try:
            import pandas
        except ModuleNotFoundError as error:
            raise InputError("pandas is not installed", remedy="pip install pandas") from error
        return pandas.DataFrame(list(self), columns=self.columns)

    def to_huggingface(self) -> Any:
        """A ``datasets.Dataset`` over the same files, read as it is used. Needs Hugging Face datasets."""
        try:
            import datasets
        except ModuleNotFoundError as error:
            raise InputError(
                "Hugging Face datasets is not installed", remedy="pip install datasets"
            ) from error
        paths = [str(path) for path in sorted((self.folder / bundle.DATA).iterdir())]
        return datasets.Dataset.from_parquet(paths)
