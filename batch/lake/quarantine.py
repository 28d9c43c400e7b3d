"""Quarantine: rejected rows unchanged, with reason, stage and time, in Parquet."""

from __future__ import annotations

from datetime import datetime

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dualcast.adapters.lake import LakePaths


def quarantine_folder(lake: LakePaths, use_case: str, stage: str, batch: str) -> str:
    """The folder for a batch's rejected rows, the same when the batch is repeated."""
    return f"{lake.quarantine}/use_case={use_case}/stage={stage}/batch={batch}"


def write_refused(folder: str, name: str, rows: pd.DataFrame, now: datetime) -> None:
    """Write the rejected rows of one entity or suite; a repeated batch replaces its file.

    ``rows`` have a column ``reason``.
    """
    table = pa.Table.from_pandas(rows.assign(quarantined_at=pd.Timestamp(now)), preserve_index=False)
    filesystem, path = fsspec.core.url_to_fs(f"{folder}/{name}.parquet")
    filesystem.makedirs(filesystem._parent(path), exist_ok=True)
    with filesystem.open(path, "wb") as file:
        pq.write_table(table, file, coerce_timestamps="us", allow_truncated_timestamps=True)
