"""Stored forecasts in the lake: curves as rows, by issue date (UTC). Storing a curve again replaces its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812 -- Spark's own convention

from batch.engine.partitions import ROWS_FILE, read_file, replace_file
from dualcast.catalogue import path_identifier
from dualcast.curves.arrow import CURVE, TIME, row_schema, row_table, structs, with_columns_of
from dualcast.curves.quantiles import quantile_columns, quantile_level, union_of_levels
from dualcast.timegrid import iso_duration, micros

if TYPE_CHECKING:
    # jobs that make no forecasts do not import models
    from models.prediction.day_ahead import DayAheadCurves

_PARTITION = "issue_date"
_KEY = ["entity_id", "issued_at"]
_SPARK_TYPES = {
    pa.string(): "string",
    pa.int64(): "bigint",
    pa.float64(): "double",
    pa.bool_(): "boolean",
    TIME: "timestamp",
}


def _spark_type(kind: pa.DataType) -> str:
    return f"array<{_SPARK_TYPES[kind.value_type]}>" if pa.types.is_list(kind) else _SPARK_TYPES[kind]


# Encoded curves, as ``dualcast.curves.arrow.encoded_curves`` writes them.
ENCODED = (
    "entity_id string, issued_at timestamp, "
    f"curve struct<{', '.join(f'`{field.name}`: {_spark_type(field.type)}' for field in CURVE)}>"
)


def spark_row_schema(levels: Sequence[float]) -> str:
    """The columns of stored curves in Spark's notation."""
    return ", ".join(f"{field.name} {_spark_type(field.type)}" for field in row_schema(levels))


def encoded_day_ahead(made: DayAheadCurves) -> pa.RecordBatch:
    """Encode day-ahead curves as ``encoded_curves`` does, without making objects."""
    levels = made.levels
    offsets = np.concatenate(([0], made.ends))
    columns = {
        "use_case": made.use_case.use_case,
        "path": path_identifier("day-ahead"),
        "entity_id": pa.array(made.entity_id, pa.string()),
        "issued_at": pa.array(map(micros, made.issued_at), pa.int64()),
        "target": made.use_case.target,
        "unit": made.use_case.unit,
        "resolution": iso_duration(made.use_case.day_ahead.resolution),
        "model_name": made.model.name,
        "model_version": made.model.version,
        "code_version": made.code_version,
        "data_version": made.data_version,
        "newest_input_at": pa.array(map(micros, made.newest_input_at), pa.int64()),
        "degraded": pa.array(map(bool, made.reasons), pa.bool_()),
        "degraded_reasons": pa.array(made.reasons, pa.list_(pa.string())),
        "simulated": made.simulated,
        "quantile_levels": list(levels),
        "valid_time": pa.ListArray.from_arrays(
            pa.array(offsets, pa.int32()), pa.array(made.valid_time.as_unit("us").asi8)
        ),
        "values": pa.ListArray.from_arrays(
            pa.array(offsets * len(levels), pa.int32()), pa.array(made.quantiles.ravel())
        ),
    }
    return structs(columns, len(made))


def store_curves(curves: DataFrame, levels: Sequence[float], table: str) -> None:
    """Write encoded curves as rows, replacing those of the same entity_id and issued_at.

    ``levels`` are those of the catalogue; a file keeps the columns of other levels that its older curves have. Each
    issue date is one file, written by one worker.
    """
    by_date = curves.select("entity_id", "issued_at", "curve").groupBy(F.to_date("issued_at").alias(_PARTITION))
    written = by_date.applyInArrow(
        lambda key, new: write_curves(f"{table}/{_PARTITION}={key[0].as_py()}/{ROWS_FILE}", new, levels), "rows bigint"
    )
    written.collect()


def write_curves(file: str, curves: pa.Table, levels: Sequence[float]) -> pa.Table:
    """Write encoded curves of one issue date to its file, and return its number of rows."""
    stored = read_file(file)
    held = [quantile_level(name) for name in quantile_columns(stored.schema.names)] if stored is not None else []
    levels = union_of_levels([levels, held])
    new = pa.concat_tables(row_table(batch, levels) for batch in curves.to_batches())
    rows = new if stored is None else pa.concat_tables([_others(with_columns_of(stored, levels), new), new])
    replace_file(file, rows)
    return pa.table({"rows": [rows.num_rows]})


def _others(stored: pa.Table, new: pa.Table) -> pa.Table:
    """The stored rows without those of the new curves."""
    replaced = new.select(_KEY).group_by(_KEY).aggregate([])
    return stored.join(replaced, _KEY, join_type="left anti").cast(new.schema)
