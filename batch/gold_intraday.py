"""Gold, intraday: the stream's feature rows and what came true after each, in Parquet by month of the origin.

Only what is new on the topic is worked on. The months that it touches are written again, whole, each row once: a run
repeated changes nothing, and a later run fills in what had not yet come true.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import structlog
from pyspark import Accumulator
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 -- Spark's own convention

from batch.engine.avro import UndecodableError, decoded
from batch.engine.incremental import drain, kafka_stream
from batch.gold import silver_version
from dualcast.adapters.lake import exists, lake_paths
from dualcast.catalogue import UseCase
from dualcast.features.asof import target_values
from dualcast.features.plan import FeaturePlan
from dualcast.features.state import feature_set
from dualcast.records import Topic
from dualcast.settings import Settings
from dualcast.timegrid import from_micros

_log = structlog.get_logger(__name__)
_TIME = pa.timestamp("us", "UTC")
_LIST = pa.list_(pa.float64())
_SPARK_TYPES = {pa.string(): "string", _TIME: "timestamp", pa.float64(): "double", _LIST: "array<double>"}
_MONTH = "yyyy-MM"


@dataclass(frozen=True)
class _Archiving:
    """What a worker needs to decode and merge feature rows: shipped to it whole."""

    settings: Settings
    use_case: UseCase
    feature_set: str
    data_version: str
    rows: Accumulator[int]

    def decode(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Kafka rows to feature rows of this use case and of today's feature definitions."""
        schema = row_schema(self.use_case)
        for batch in batches:
            rows = [row for row in self._records(batch) if row["feature_set"] == self.feature_set]
            self.rows.add(len(rows))
            yield pa.RecordBatch.from_arrays([self._column(rows, field) for field in schema], schema=schema)

    def _records(self, batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
        for message, record in decoded(iter([batch]), self.settings.registry, Topic.FEATURES_INTRADAY):
            if isinstance(record, UndecodableError):
                _log.warning("undecodable feature row", offset=message["offset"], error=str(record))
            elif record["use_case"] == self.use_case.use_case:
                yield record

    def _column(self, rows: list[dict[str, Any]], field: pa.Field) -> pa.Array:
        if field.name == "month":
            return pa.array([f"{from_micros(row['valid_time']):%Y-%m}" for row in rows], pa.string())
        if field.type == _LIST:
            return pa.array([row["features"][field.name] for row in rows], _LIST)
        if field.type == pa.float64():
            return pa.array([row["features"][field.name][0] for row in rows], pa.float64())
        return pa.array([row[field.name] for row in rows], field.type)

    def merge(self, rows: pa.Table, target: pa.Table) -> pa.Table:
        """The rows of one entity and month, each once and in order, with what came true."""
        keys = rows.select(["valid_time", "as_of"]).to_pandas()
        keys = keys.drop_duplicates(keep="last").sort_values(["valid_time", "as_of"])
        kept = rows.take(pa.array(keys.index))
        actuals = self._actuals(keys["valid_time"], target.to_pandas())
        more = {
            "event_timestamp": kept["as_of"],
            "actuals": pa.ListArray.from_arrays(_offsets(actuals.shape), actuals.ravel()),
            "data_version": pa.array([self.data_version] * len(keys), pa.string()),
        }
        columns = {name: kept[name] for name in kept.column_names} | more
        schema = gold_intraday_schema(self.use_case)
        return pa.table([columns[name] for name in schema.names], schema=schema)

    def _actuals(self, origins: pd.Series, target: pd.DataFrame) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """(rows, horizons): the target at each horizon, NaN where it is not known yet."""
        part = self.use_case.intraday
        if target.empty:
            return np.full((len(origins), part.horizons), np.nan)
        came_true = target_values(self.use_case, target, part.resolution)
        steps = pd.to_timedelta([part.resolution * k for k in range(part.horizons)])
        times = np.add.outer(origins.dt.tz_convert(None).to_numpy(), steps.to_numpy()).astype("datetime64[us]")
        wanted = pd.DatetimeIndex(times.ravel(), tz="UTC")
        values: np.ndarray[Any, np.dtype[np.float64]] = came_true.reindex(wanted).to_numpy(dtype=np.float64)
        return values.reshape(times.shape)


def archive_features(spark: SparkSession, settings: Settings, use_case: UseCase) -> int:
    """Bring Gold up to the topic; return how many feature rows were new. Needs Silver."""
    lake = lake_paths(settings)
    version = f"silver@{silver_version(settings)}"
    archiving = _Archiving(settings, use_case, feature_set(use_case), version, spark.sparkContext.accumulator(0))
    table = lake.gold_of("intraday", use_case.use_case)

    def handle(batch: DataFrame, number: int) -> None:  # noqa: ARG001 -- rows are replaced by key, not by batch
        rows = batch.mapInArrow(archiving.decode, _spark(row_schema(use_case))).persist()
        months = _touched(rows, use_case)
        if months:
            _replace_months(rows, archiving, table, months)
        rows.unpersist()

    stream = kafka_stream(spark, settings, Topic.FEATURES_INTRADAY)
    drain(stream, f"{lake.checkpoints}/gold_intraday/{use_case.use_case}", handle)
    return int(archiving.rows.value)


def _touched(rows: DataFrame, use_case: UseCase) -> list[str]:
    """The months of new rows, and that of the rows before them whose targets have come true since."""
    span = use_case.intraday.horizons * use_case.intraday.resolution
    before = F.date_format(F.min("valid_time") - span, _MONTH)
    found = rows.agg(F.collect_set("month").alias("months"), before.alias("before")).first()
    assert found is not None
    return sorted({*found.months, found.before}) if found.months else []


def _replace_months(rows: DataFrame, archiving: _Archiving, table: str, months: list[str]) -> None:
    if exists(table):
        there = rows.sparkSession.read.schema(rows.schema).parquet(table)
        current = F.col("feature_set") == archiving.feature_set
        rows = there.where(F.col("month").isin(months) & current).unionByName(rows)
    merged = (
        rows.groupBy("entity_id", "month")
        .cogroup(_targets(rows.sparkSession, archiving, months).groupBy("entity_id", "month"))
        .applyInArrow(
            lambda new, target: archiving.merge(new, target),  # noqa: PLW0108 -- Spark counts a method's self
            _spark(gold_intraday_schema(archiving.use_case)),
        )
    )
    merged.write.mode("overwrite").partitionBy("month").parquet(table)


def _targets(spark: SparkSession, archiving: _Archiving, months: list[str]) -> DataFrame:
    """The target's vintages, with every month whose rows look at them."""
    use_case, lake = archiving.use_case, lake_paths(archiving.settings)
    span = use_case.intraday.horizons * use_case.intraday.resolution
    looked_at = [F.date_format("valid_time", _MONTH), F.date_format(F.col("valid_time") - span, _MONTH)]
    begin = datetime.fromisoformat(f"{months[0]}-01T00:00:00+00:00")
    return (
        spark.read.format("delta")
        .load(lake.silver)
        .where((F.col("use_case") == use_case.use_case) & (F.col("variable") == use_case.target))
        .where(F.col("valid_time") >= begin)
        .withColumn("month", F.explode(F.array_distinct(F.array(*looked_at))))
        .where(F.col("month").isin(months))
        .select("entity_id", "month", "variable", "valid_time", "published_at", "value")
    )


def row_schema(use_case: UseCase) -> pa.Schema:
    """Feature rows as they come from the topic."""
    return pa.schema([*_head(), *_features(use_case), ("month", pa.string())])


def gold_intraday_schema(use_case: UseCase) -> pa.Schema:
    """Gold, intraday: a double for each feature per origin, a list for each feature per target."""
    more = [("event_timestamp", _TIME), ("actuals", _LIST), ("data_version", pa.string()), ("month", pa.string())]
    return pa.schema([*_head(), *_features(use_case), *more])


def _head() -> list[tuple[str, pa.DataType]]:
    return [("entity_id", pa.string()), ("valid_time", _TIME), ("as_of", _TIME), ("feature_set", pa.string())]


def _features(use_case: UseCase) -> list[tuple[str, pa.DataType]]:
    plan = FeaturePlan.of(use_case, "intraday")
    per_origin = set(plan.per_origin)
    return [(name, pa.float64() if name in per_origin else _LIST) for name in plan.names]


def _spark(schema: pa.Schema) -> str:
    return ", ".join(f"`{field.name}` {_SPARK_TYPES[field.type]}" for field in schema)


def _offsets(shape: tuple[int, int]) -> pa.Array:
    return pa.array(np.arange(shape[0] + 1, dtype=np.int32) * shape[1], pa.int32())
