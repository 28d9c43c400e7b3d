"""Forecasts in the lake: curves as rows, by issue date (UTC); storing a curve again replaces it."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812 -- Spark's own convention

from batch.engine.among import among
from batch.engine.partitions import replace_partitions
from dualcast.adapters.lake import exists
from dualcast.records import Forecast, Topic, quantile_column, schema_text
from dualcast.timegrid import from_micros

_TIME = pa.timestamp("us", "UTC")
_PARTITION = "issue_date"
# Whole curves on their way between jobs, as ``encoded_curves`` writes them.
ENCODED = "entity_id string, issued_at timestamp, curve binary"


def curve_schema(quantiles: Sequence[float]) -> pa.Schema:
    """The columns of stored curves: those of ``Forecast.to_frame`` that are not in the path."""
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
    types = {pa.string(): "string", _TIME: "timestamp", pa.float64(): "double", pa.bool_(): "boolean"}
    return ", ".join(f"{field.name} {types[field.type]}" for field in curve_schema(quantiles))


def curve_table(forecasts: Iterable[Forecast], quantiles: Sequence[float]) -> pa.Table:
    """Curves as rows, one a point. Curves of other quantiles than the catalogue's lack those columns: null."""
    schema = curve_schema(quantiles)
    held = list(forecasts)
    columns = {field.name: _column(held, field.name, field.type) for field in schema}
    columns["valid_time"] = pa.array([p.valid_time for f in held for p in f.points], _TIME)
    for level in quantiles:
        columns[quantile_column(level)] = pa.array([v for f in held for v in _at_level(f, level)], pa.float64())
    return pa.table(columns, schema=schema)


def _column(forecasts: Sequence[Forecast], name: str, kind: pa.DataType) -> pa.Array:
    """What a curve says once, for each of its points; nothing where it is not a field of a curve."""
    if name == "degraded_reasons":
        said = pa.array([";".join(f.degraded_reasons) for f in forecasts], kind)
    else:
        said = pa.array([getattr(f, name, None) for f in forecasts], kind)
    return said.take(pa.array(np.repeat(np.arange(len(forecasts)), [len(f.points) for f in forecasts]), pa.int64()))


def _at_level(forecast: Forecast, level: float) -> list[float | None]:
    if level not in forecast.quantile_levels:
        return [None] * len(forecast.points)
    position = forecast.quantile_levels.index(level)
    return [point.values[position] for point in forecast.points]


def store_curves(rows: DataFrame, keys: Collection[tuple[str, datetime]], target: str) -> None:
    """Write curves, whose entity_id and issued_at are ``keys``, in place of any of the same keys."""
    if not keys:
        return
    new = rows.withColumn(_PARTITION, F.to_date("issued_at"))
    dates = sorted({issued_at.astimezone(UTC).date() for _, issued_at in keys})
    if exists(target):
        there = rows.sparkSession.read.schema(new.schema).parquet(target)
        new = new.unionByName(there.where(F.col(_PARTITION).isin(dates) & ~among(keys, "issued_at")))
    replace_partitions(new, target, _PARTITION, [day.isoformat() for day in dates])


def curve_keys(curves: DataFrame) -> list[tuple[str, datetime]]:
    """The entity_id and issued_at of encoded curves, on the driver."""
    found = curves.select("entity_id", F.unix_micros("issued_at").alias("issued_at")).collect()
    return [(row.entity_id, from_micros(row.issued_at)) for row in found]


def encoded_curves(forecasts: Iterable[Forecast]) -> pa.RecordBatch:
    """Curves as Avro, with what they are looked up by."""
    rows = [(f.entity_id, f.issued_at, _avro(f)) for f in forecasts]
    entity_ids, times, curves = zip(*rows, strict=True) if rows else ((), (), ())
    columns = [
        pa.array(entity_ids, pa.string()),
        pa.array(times, pa.timestamp("us", "UTC")),
        pa.array(curves, pa.binary()),
    ]
    return pa.RecordBatch.from_arrays(columns, names=["entity_id", "issued_at", "curve"])


def curve_of(curve: bytes) -> Forecast:
    """The curve that ``encoded_curves`` wrote."""
    record = schemaless_reader(io.BytesIO(curve), _schema(), None)
    assert isinstance(record, dict)
    return Forecast.from_record(record)


def _avro(forecast: Forecast) -> bytes:
    out = io.BytesIO()
    schemaless_writer(out, _schema(), forecast.to_record())
    return out.getvalue()


@cache
def _schema() -> Any:
    return parse_schema(json.loads(schema_text(Topic.FORECASTS_DAY_AHEAD)))
