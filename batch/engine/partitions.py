"""Parquet tables in partitions of one file each, which later runs replace.

A rename replaces a file, so that readers, and runs after a killed one, find each partition
complete: the old or the new.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import uuid4

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame

# Readers of the lake ignore names with this prefix.
_UNFINISHED = "_unfinished"
ROWS_FILE = "rows.parquet"


def replace_partitions(
    rows: DataFrame, table: str, column: str, values: Collection[str], order: Sequence[str] = ()
) -> None:
    """Replace some partitions; those without rows are removed.

    Files are sorted by ``order``, so that readers can skip row groups. ``rows`` may be read from the table itself.
    One run at a time may write to a table.
    """
    filesystem, folder = fsspec.core.url_to_fs(table)
    unfinished = f"{folder}/{_UNFINISHED}"
    ordered = rows.repartition(column).sortWithinPartitions(column, *order)
    ordered.write.mode("overwrite").partitionBy(column).parquet(f"{table}/{_UNFINISHED}")
    written = filesystem.glob(f"{unfinished}/{column}=*/*.parquet")
    for file in written:
        partition = f"{folder}/{file.split('/')[-2]}"
        filesystem.makedirs(partition, exist_ok=True)
        filesystem.mv(file, f"{partition}/{ROWS_FILE}")
    kept = {file.split("/")[-2] for file in written}
    for partition in {f"{column}={value}" for value in values} - kept:
        if filesystem.exists(f"{folder}/{partition}"):
            filesystem.rm(f"{folder}/{partition}", recursive=True)
    filesystem.rm(unfinished, recursive=True)


def read_file(file: str) -> pa.Table | None:
    """The rows of a file; None where there is no such file."""
    filesystem, path = fsspec.core.url_to_fs(file)
    if not filesystem.exists(path):
        return None
    with filesystem.open(path, "rb") as opened:
        return pq.ParquetFile(opened).read()


def replace_file(file: str, rows: pa.Table) -> None:
    """Replace a file atomically: readers see the old one until the new one is complete."""
    filesystem, path = fsspec.core.url_to_fs(file)
    folder, name = path.rsplit("/", 1)
    filesystem.makedirs(folder, exist_ok=True)
    unfinished = f"{folder}/_{name}.{uuid4().hex}"
    with filesystem.open(unfinished, "wb") as opened:
        pq.write_table(rows, opened, compression="zstd")
    filesystem.mv(unfinished, path)
