"""Gold, day-ahead: the feature rows of delivery days, each as of its cutoff, in Parquet by month of delivery.

The features are those of ``dualcast.features.as_of``, computed by Spark in blocks of days of each entity.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import fsspec
import pyarrow as pa
from pyspark import Accumulator
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 -- Spark's own convention

from batch.engine.conditions import matches_any
from batch.engine.partitions import replace_partitions
from dualcast.adapters.lake import exists, lake_paths
from dualcast.catalogue import UseCase
from dualcast.features.as_of import PLANS_AHEAD, day_ahead_features
from dualcast.features.plan import FeaturePlan
from dualcast.observations.actuals import target_values
from dualcast.settings import Settings
from dualcast.timegrid import day_bounds, from_micros, local_date

_TIME = pa.timestamp("us", "UTC")
# Each block also reads its lookback, so blocks of fewer days are not worthwhile.
_DAYS_PER_BLOCK = 300
# One file for each day would cost more than computing its features.
_PARTITION = "delivery_month"
_ORDER = ("entity_id", "valid_time")
_WEEK = timedelta(days=7)


@dataclass(frozen=True)
class Built:
    """The number of rows written, and the version of Silver they were made from."""

    rows: int
    data_version: str


@dataclass(frozen=True)
class Block:
    """Delivery days that are built together, and the time span of their observations: [begin, end)."""

    days: tuple[date, ...]
    begin: datetime
    end: datetime


@dataclass(frozen=True)
class _Building:
    """Builds the rows of an entity and block in a Spark worker."""

    use_case: UseCase
    blocks: Sequence[Block]
    data_version: str
    rows: Accumulator[int]

    def table(self, key: tuple[pa.Scalar, ...], observations: pa.Table) -> pa.Table:
        """The Gold rows of one entity and block."""
        entity_id, block = (scalar.as_py() for scalar in key)
        entity = self.use_case.entity(entity_id)
        known = observations.to_pandas()
        frame = day_ahead_features(self.use_case, entity, known, self.blocks[block].days)
        actual = target_values(self.use_case, known, self.use_case.day_ahead.resolution)
        frame["event_timestamp"] = frame["cutoff"]
        frame["actual"] = frame["valid_time"].map(actual).astype("float64")
        frame["actual_week_before"] = (frame["valid_time"] - _WEEK).map(actual).astype("float64")
        frame["data_version"] = self.data_version
        frame["simulated"] = bool(known["simulated"].any())
        self.rows.add(len(frame))
        return pa.Table.from_pandas(frame, schema=gold_schema(self.use_case), preserve_index=False)


def build_day_ahead(spark: SparkSession, settings: Settings, use_case: UseCase, days: Sequence[date]) -> Built:
    """Replace the Gold rows of some delivery days. Needs Silver."""
    version = silver_version(settings)
    blocks = _blocks(use_case, days, spark.sparkContext.defaultParallelism)
    building = _Building(use_case, blocks, f"silver@{version}", spark.sparkContext.accumulator(0))
    observations = _in_blocks(spark, _observations(spark, settings, use_case, version), blocks)
    rows = observations.groupBy("entity_id", "block").applyInArrow(
        lambda key, table: building.table(key, table),  # noqa: PLW0108 -- Spark would count ``self``
        spark_schema(use_case),
    )
    _replace_days(rows, settings, use_case, days)
    return Built(building.rows.value, building.data_version)


def gold_rows(spark: SparkSession, settings: Settings, use_case: UseCase, days: Collection[date]) -> DataFrame:
    """The Gold rows of some delivery days; none where Gold does not exist yet."""
    table, schema = lake_paths(settings).gold_of("day-ahead", use_case.use_case), spark_schema(use_case)
    if not exists(table):
        return spark.createDataFrame([], schema)
    rows = spark.read.schema(f"{schema}, {_PARTITION} string").parquet(table)
    return rows.where(F.col(_PARTITION).isin(_months(days)) & F.col("delivery_day").isin(list(days))).drop(_PARTITION)


def remove_rows(
    spark: SparkSession, settings: Settings, use_case: UseCase, refused: Collection[tuple[str, date]]
) -> None:
    """Remove rows of Gold by (entity_id, delivery_day)."""
    days = {day for _, day in refused}
    kept = gold_rows(spark, settings, use_case, days).where(~matches_any(refused, "delivery_day"))
    _replace_days(kept, settings, use_case, days)


def _replace_days(new: DataFrame, settings: Settings, use_case: UseCase, days: Collection[date]) -> None:
    """Write days of Gold. The other days of the same months are rewritten, since they share a file."""
    table, months = lake_paths(settings).gold_of("day-ahead", use_case.use_case), _months(days)
    rows = new.withColumn(_PARTITION, F.date_format("delivery_day", "yyyy-MM"))
    if exists(table):
        there = new.sparkSession.read.schema(rows.schema).parquet(table)
        others = F.col(_PARTITION).isin(months) & ~F.col("delivery_day").isin(list(days))
        rows = rows.unionByName(there.where(others))
    replace_partitions(rows, table, _PARTITION, months, _ORDER)


def _months(days: Collection[date]) -> list[str]:
    return sorted({f"{day:%Y-%m}" for day in days})


def silver_version(settings: Settings) -> int:
    """The newest version of the Silver table. Raises FileNotFoundError where there is none."""
    filesystem, folder = fsspec.core.url_to_fs(f"{lake_paths(settings).silver}/_delta_log")
    versions = [int(name[-25:-5]) for name in filesystem.glob(f"{folder}/*.json")]
    if not versions:
        raise FileNotFoundError(f"{folder}: no Silver yet; are there observations of this use case on Kafka?")
    return max(versions)


def delivery_days(spark: SparkSession, settings: Settings, use_case: UseCase, until: datetime) -> list[date]:
    """The delivery days whose cutoff, for any entity, is after the first observation and not after ``until``."""
    silver = _observations(spark, settings, use_case, silver_version(settings))
    first = silver.agg(F.unix_micros(F.min("published_at")).alias("first")).first()
    if first is None or first["first"] is None:
        return []
    days: set[date] = set()
    for entity in use_case.entities:
        day = local_date(from_micros(first["first"]), entity.time_zone)
        while use_case.cutoff(entity, day) <= until:
            days.add(day)
            day += timedelta(days=1)
    return sorted(days)


def _observations(spark: SparkSession, settings: Settings, use_case: UseCase, version: int) -> DataFrame:
    return (
        spark.read.format("delta")
        .option("versionAsOf", version)
        .load(lake_paths(settings).silver)
        .where(F.col("use_case") == use_case.use_case)
        .where(F.col("entity_id").isin([entity.id for entity in use_case.entities]))
        .where(F.col("variable").isin(list(FeaturePlan.of(use_case, "day-ahead").variables)))
        .select("entity_id", "variable", "valid_time", "published_at", "value", "simulated")
    )


def _blocks(use_case: UseCase, days: Sequence[date], cores: int) -> list[Block]:
    """Split the days into blocks so that all cores are used where there are fewer entities than cores."""
    ordered = sorted(set(days))
    wanted = -(-cores // len(use_case.entities))
    count = max(1, min(wanted, len(ordered) // _DAYS_PER_BLOCK))
    size = -(-len(ordered) // count)
    return [_block(use_case, ordered[i : i + size]) for i in range(0, len(ordered), size)]


def _block(use_case: UseCase, days: Sequence[date]) -> Block:
    part = use_case.day_ahead
    first = min(use_case.cutoff(entity, days[0]) for entity in use_case.entities)
    last = max(day_bounds(days[-1], entity.time_zone, part.days)[1] for entity in use_case.entities)
    # features also read plans beyond the last day
    last += PLANS_AHEAD
    return Block(tuple(days), first - part.measurement_delay - part.lookback - 2 * part.resolution, last)


def _in_blocks(spark: SparkSession, observations: DataFrame, blocks: Sequence[Block]) -> DataFrame:
    """Each observation once for each block that reads it."""
    begin, end = min(b.begin for b in blocks), max(b.end for b in blocks)
    seen = observations.where((F.col("valid_time") >= begin) & (F.col("valid_time") < end))
    if len(blocks) == 1:
        return seen.withColumn("block", F.lit(0))
    extents = spark.createDataFrame(
        [(number, b.begin, b.end) for number, b in enumerate(blocks)],
        "block int, block_begin timestamp, block_end timestamp",
    )
    within = "valid_time >= block_begin and valid_time < block_end"
    return seen.join(F.broadcast(extents), F.expr(within)).drop("block_begin", "block_end")


def gold_columns(use_case: UseCase) -> Mapping[str, pa.DataType]:
    """The columns of Gold, day-ahead, and their types."""
    return {
        "entity_id": pa.string(),
        "valid_time": _TIME,
        "cutoff": _TIME,
        "newest_input_at": _TIME,
        "delivery_day": pa.date32(),
        **{name: pa.float64() for name in FeaturePlan.of(use_case, "day-ahead").names},
        "event_timestamp": _TIME,
        "actual": pa.float64(),
        "actual_week_before": pa.float64(),
        "data_version": pa.string(),
        "simulated": pa.bool_(),
    }


def gold_schema(use_case: UseCase) -> pa.Schema:
    """The Arrow schema of Gold, day-ahead."""
    return pa.schema(list(gold_columns(use_case).items()))


_SPARK_TYPES = {
    pa.string(): "string",
    _TIME: "timestamp",
    pa.date32(): "date",
    pa.float64(): "double",
    pa.bool_(): "boolean",
}


def spark_schema(use_case: UseCase) -> str:
    """The schema in Spark's notation."""
    return ", ".join(f"`{name}` {_SPARK_TYPES[kind]}" for name, kind in gold_columns(use_case).items())
