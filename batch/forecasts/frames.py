"""Forecasts in the lake: curves as rows, by issue date (UTC); storing a curve again replaces it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812 -- Spark's own convention

from batch.engine.partitions import ROWS_FILE, read_file, replace_file
from dualcast.arrays import Ints
from dualcast.catalogue import path_identifier
from dualcast.curves.forecast import Forecast, Point
from dualcast.curves.quantiles import quantile_column
from dualcast.timegrid import from_micros, iso_duration, micros

if TYPE_CHECKING:
    # jobs that make no forecast need not load what makes them
    from models.prediction.day_ahead import DayAheadCurves

_TIME = pa.timestamp("us", "UTC")
_PARTITION = "issue_date"
_KEY = ["entity_id", "issued_at"]
_MOMENTS = ("issued_at", "newest_input_at")
# A whole curve: what it says once, the microseconds of its points, and their values, level by level for each point.
_CURVE = pa.struct(
    [
        ("use_case", pa.string()),
        ("path", pa.string()),
        ("entity_id", pa.string()),
        ("issued_at", pa.int64()),
        ("target", pa.string()),
        ("unit", pa.string()),
        ("resolution", pa.string()),
        ("model_name", pa.string()),
        ("model_version", pa.string()),
        ("code_version", pa.string()),
        ("data_version", pa.string()),
        ("newest_input_at", pa.int64()),
        ("degraded", pa.bool_()),
        ("degraded_reasons", pa.list_(pa.string())),
        ("quantile_levels", pa.list_(pa.float64())),
        ("simulated", pa.bool_()),
        ("valid_time", pa.list_(pa.int64())),
        ("values", pa.list_(pa.float64())),
    ]
)
_ONCE = tuple(field.name for field in _CURVE if field.name not in ("valid_time", "values"))
_SPARK_TYPES = {
    pa.string(): "string",
    pa.int64(): "bigint",
    pa.float64(): "double",
    pa.bool_(): "boolean",
    _TIME: "timestamp",
}


def _spark_type(kind: pa.DataType) -> str:
    return f"array<{_SPARK_TYPES[kind.value_type]}>" if pa.types.is_list(kind) else _SPARK_TYPES[kind]


# Whole curves on their way between jobs, as ``encoded_curves`` writes them.
ENCODED = (
    "entity_id string, issued_at timestamp, "
    f"curve struct<{', '.join(f'`{field.name}`: {_spark_type(field.type)}' for field in _CURVE)}>"
)


def curve_schema(quantiles: Sequence[float]) -> pa.Schema:
    """The columns of stored curves: those of ``forecast_frame`` that are not in the path."""
    return pa.schema(
        [
            ("entity_id", pa.string()),
            ("issued_at", _TIME),
            ("valid_time", _TIME),
            *((quantile_column(q), pa.float64()) for q in quantiles),
            ("model_name", pa.string()),
            ("model_version", pa.string()),
            ("code_version", pa.string()),
            ("data_version", pa.string()),
            ("degraded", pa.bool_()),
            ("degraded_reasons", pa.string()),
            ("simulated", pa.bool_()),
        ]
    )


def spark_curve_schema(quantiles: Sequence[float]) -> str:
    """The same schema as Spark writes it."""
    return ", ".join(f"{field.name} {_spark_type(field.type)}" for field in curve_schema(quantiles))


def curve_table(curves: pa.RecordBatch, quantiles: Sequence[float]) -> pa.Table:
    """Encoded curves as rows, one a point. Curves of other quantiles than the catalogue's lack those columns: null."""
    said = _fields(curves["curve"])
    counts = pc.list_value_length(said["valid_time"]).to_numpy(zero_copy_only=False)
    each = pa.array(np.repeat(np.arange(len(counts)), counts), pa.int64())
    once = {
        "entity_id": curves["entity_id"],
        "issued_at": curves["issued_at"].cast(_TIME),
        **{name: said[name] for name in ("model_name", "model_version", "code_version", "data_version")},
        "degraded": said["degraded"],
        "degraded_reasons": pc.binary_join(said["degraded_reasons"], ";"),
        "simulated": said["simulated"],
    }
    columns = {name: column.take(each) for name, column in once.items()}
    columns["valid_time"] = said["valid_time"].flatten().cast(_TIME)
    columns |= _at_levels(said["quantile_levels"].to_pylist(), counts, said["values"].flatten(), quantiles)
    schema = curve_schema(quantiles)
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _at_levels(
    levels: Sequence[Sequence[float]], counts: Ints, values: pa.Array, quantiles: Sequence[float]
) -> dict[str, pa.Array]:
    """The column of each quantile; curve i has ``counts[i]`` points with a value for each of ``levels[i]``."""
    width = np.array([len(of_curve) for of_curve in levels], dtype=np.int64)
    points = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    begin = np.repeat(np.cumsum(counts * width) - counts * width, counts) + points * np.repeat(width, counts)
    columns = {}
    for level in quantiles:
        place = np.array([said.index(level) if level in said else -1 for said in levels], dtype=np.int64)
        where = np.repeat(place, counts)
        columns[quantile_column(level)] = values.take(pa.array(begin + where, pa.int64(), mask=where < 0))
    return columns


def _fields(curves: pa.StructArray) -> dict[str, pa.Array]:
    return dict(zip((field.name for field in curves.type), curves.flatten(), strict=True))


def store_curves(curves: DataFrame, quantiles: Sequence[float], table: str) -> None:
    """Write encoded curves as rows, in place of any of the same entity_id and issued_at.

    The worker that has gathered an issue date writes its file.
    """
    by_date = curves.select("entity_id", "issued_at", "curve").groupBy(F.to_date("issued_at").alias(_PARTITION))
    written = by_date.applyInArrow(
        lambda key, new: _write(f"{table}/{_PARTITION}={key[0].as_py()}/{ROWS_FILE}", new, quantiles), "rows bigint"
    )
    written.collect()


def _write(file: str, curves: pa.Table, quantiles: Sequence[float]) -> pa.Table:
    new = pa.concat_tables(curve_table(batch, quantiles) for batch in curves.to_batches())
    kept = _others(read_file(file), new)
    rows = new if kept is None else pa.concat_tables([kept.cast(new.schema), new])
    replace_file(file, rows)
    return pa.table({"rows": [rows.num_rows]})


def _others(there: pa.Table | None, new: pa.Table) -> pa.Table | None:
    """The rows of a file that are of other curves than the new ones."""
    if there is None:
        return None
    replaced = new.select(_KEY).group_by(_KEY).aggregate([])
    return there.select(new.schema.names).join(replaced, _KEY, join_type="left anti")


def encoded(made: DayAheadCurves) -> pa.RecordBatch:
    """Day-ahead curves as ``encoded_curves`` writes their objects."""
    part, levels = made.use_case.day_ahead, made.levels
    same = {
        "use_case": made.use_case.use_case,
        "path": path_identifier("day-ahead"),
        "target": made.use_case.target,
        "unit": made.use_case.unit,
        "resolution": iso_duration(part.resolution),
        "model_name": made.model.name,
        "model_version": made.model.version,
        "code_version": made.code_version,
        "data_version": made.data_version,
        "quantile_levels": list(levels),
        "simulated": made.simulated,
    }
    offsets = np.concatenate(([0], made.ends))
    points = pa.array(made.valid_time.as_unit("us").asi8)
    columns = {name: pa.repeat(pa.scalar(value, _CURVE.field(name).type), len(made)) for name, value in same.items()}
    columns |= {
        "entity_id": pa.array(made.entity_id, pa.string()),
        "issued_at": pa.array(map(micros, made.issued_at), pa.int64()),
        "newest_input_at": pa.array(map(micros, made.newest_input_at), pa.int64()),
        "degraded": pa.array(map(bool, made.reasons), pa.bool_()),
        "degraded_reasons": pa.array(made.reasons, pa.list_(pa.string())),
        "valid_time": pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), points),
        "values": pa.ListArray.from_arrays(
            pa.array(offsets * len(levels), pa.int32()), pa.array(made.quantiles.ravel())
        ),
    }
    return _batch(pa.StructArray.from_arrays([columns[f.name] for f in _CURVE], fields=list(_CURVE)))


def encoded_curves(forecasts: Iterable[Forecast]) -> pa.RecordBatch:
    """Curves as Arrow, one a row, with what they are looked up by."""
    return _batch(pa.array(map(_record, forecasts), _CURVE))


def curve_of(curve: Mapping[str, Any]) -> Forecast:
    """The curve that ``encoded_curves`` wrote."""
    said = dict(curve)
    times, values, width = said.pop("valid_time"), said.pop("values"), len(said["quantile_levels"])
    at = {name: from_micros(said[name]) for name in _MOMENTS}
    points = [Point(from_micros(t), list(values[i * width : (i + 1) * width])) for i, t in enumerate(times)]
    return Forecast(**said | at, points=points)


def _record(forecast: Forecast) -> dict[str, Any]:
    said = {name: getattr(forecast, name) for name in _ONCE}
    return {
        **said,
        **{name: micros(said[name]) for name in _MOMENTS},
        "valid_time": [micros(p.valid_time) for p in forecast.points],
        "values": [value for p in forecast.points for value in p.values],
    }


def _batch(curves: pa.StructArray) -> pa.RecordBatch:
    said = _fields(curves)
    return pa.RecordBatch.from_arrays(
        [said["entity_id"], said["issued_at"].cast(_TIME), curves], names=["entity_id", "issued_at", "curve"]
    )
