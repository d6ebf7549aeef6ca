"""In the child: Parquet by pyarrow. Rows and columns from its footer; with ``whole`` all rows are decoded in small steps."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq

from omnitensor.media.facts import Facts, Job, Measures, Seen
from omnitensor.media.shown import TableView
from omnitensor.protocol import limits

ROWS_AT_ONCE = 1_000


def see(job: Job, source: io.BufferedReader) -> Seen:
    """Facts; a file that does not decode is at fault."""
    facts = Facts(job.media_type, job.size)
    pa.set_cpu_count(1)
    try:
        file = pq.ParquetFile(
            source, pre_buffer=False, thrift_string_size_limit=1 << 24, thrift_container_size_limit=1 << 20
        )
        meta = file.metadata
        facts = Facts(job.media_type, job.size, rows=meta.num_rows, columns=len(file.schema_arrow))
        if facts.columns > limits.table_columns_max:
            raise ValueError(f"{facts.columns} columns, over {limits.table_columns_max}")
        return _whole(job, file, facts) if job.whole else Seen(facts)
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError) as error:
        fault = f"the table does not decode ({' '.join(str(error).split())[:160]})"
        return Seen(Facts(job.media_type, job.size, fault=fault, rows=facts.rows, columns=facts.columns))


def _whole(job: Job, file: pq.ParquetFile, facts: Facts) -> Seen:
    """Decodes all rows, within the child's time and memory; columns one after the other, nested ones as they are."""
    view, rows, empty = TableView(), 0, 0
    names = file.schema_arrow.names
    view.add(names)
    for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, use_threads=False):
        batch.validate(full=True)
        if job.previews and rows < limits.preview_rows_max:
            for row in range(min(batch.num_rows, limits.preview_rows_max - rows)):
                view.add([_cell(column[row]) for column in batch.columns])
        rows += batch.num_rows
        empty += sum(column.null_count for column in batch.columns)
    if rows != facts.rows:
        raise ValueError(f"its footer promises {facts.rows} rows, {rows} are there")
    cells = max(1, rows * facts.columns)
    text = view.text(facts.rows + 1, facts.columns) if job.previews else ""
    return Seen(facts, Measures(empty_bps=empty * 10_000 // cells), text=text)


def _cell(value: pa.Scalar) -> str:
    found = value.as_py()
    if found is None:
        return ""
    if isinstance(found, bytes):
        return f"{len(found)} bytes"
    return str(found)[: limits.preview_cell_chars_max + 1]
