"""Quarantine: what was refused, as it came, with the reason, who refused it and when; Parquet."""

from __future__ import annotations

from datetime import datetime

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dualcast.adapters.lake import LakePaths


def quarantine_folder(lake: LakePaths, use_case: str, stage: str, batch: str) -> str:
    """Where a batch puts what it refuses: the same place when it is run again."""
    return f"{lake.quarantine}/use_case={use_case}/stage={stage}/batch={batch}"


def write_refused(folder: str, name: str, rows: pd.DataFrame, now: datetime) -> None:
    """Write the refused rows of one entity or suite, in place of what the same batch wrote before.

    ``rows`` say why in their column ``reason``.
    """
    table = pa.Table.from_pandas(rows.assign(quarantined_at=pd.Timestamp(now)), preserve_index=False)
    filesystem, path = fsspec.core.url_to_fs(f"{folder}/{name}.parquet")
    filesystem.makedirs(filesystem._parent(path), exist_ok=True)
    with filesystem.open(path, "wb") as file:
        pq.write_table(table, file, coerce_timestamps="us", allow_truncated_timestamps=True)
