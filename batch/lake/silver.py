"""Silver: valid observations of a use case on its grid, every vintage once, in a Delta table. The rest is quarantined.

A run reads new observations of Bronze, and compares them with those of Silver of the week before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
from opentelemetry import metrics
from pyspark import Accumulator
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F  # noqa: N812 -- Spark's own convention

from batch.engine.incremental import append_once, drain, stream_id
from batch.lake.quarantine import quarantine_folder, write_refused
from dualcast.adapters.lake import LakePaths, exists, lake_paths
from dualcast.catalogue import UseCase, load_catalogue
from dualcast.observations.cleaning import VINTAGE, clean
from dualcast.observations.validation import YARDSTICK_AGE, variables_elsewhere
from dualcast.settings import Settings

_TIME = pa.timestamp("us", "UTC")
_SCHEMA = pa.schema(
    [
        ("use_case", pa.string()),
        ("entity_id", pa.string()),
        ("variable", pa.string()),
        ("valid_time", _TIME),
        ("published_at", _TIME),
        ("value", pa.float64()),
        ("unit", pa.string()),
        ("source", pa.string()),
        ("simulated", pa.bool_()),
    ]
)
_SPARK_SCHEMA = (
    "use_case string, entity_id string, variable string, valid_time timestamp, published_at timestamp, value double, "
    "unit string, source string, simulated boolean"
)
_STORED_COLUMNS = ["entity_id", *VINTAGE, "value"]
# Jobs filter by variable and time.
_TABLE_OPTIONS = {"delta.dataSkippingNumIndexedCols": "5", "maxRecordsPerFile": "100000"}


@dataclass(frozen=True)
class Refined:
    """The result of a run; a retried task counts twice."""

    kept: int
    refused: int


@dataclass(frozen=True)
class _Cleaning:
    """Cleans the observations of one entity in a Spark worker."""

    use_case: UseCase
    elsewhere: Mapping[str, frozenset[str]]
    now: datetime
    kept: Accumulator[int]
    refused: Accumulator[int]

    def valid(self, fresh: pa.Table, stored: pa.Table, quarantine: str) -> pa.Table:
        """The valid observations of one entity, by time. The others are written to quarantine."""
        if not fresh.num_rows:
            return _SCHEMA.empty_table()
        entity_id = fresh["entity_id"][0].as_py()
        rows = clean(self.use_case, fresh.to_pandas(), stored.to_pandas(), self.elsewhere.get(entity_id, ()), self.now)
        refused, kept = rows[rows["reason"] != ""], rows[rows["reason"] == ""]
        if len(refused):
            write_refused(quarantine, entity_id, refused, self.now)
        self.refused.add(len(refused))
        self.kept.add(len(kept))
        kept = kept.assign(use_case=self.use_case.use_case).sort_values(["valid_time", "published_at"])
        return pa.Table.from_pandas(kept, schema=_SCHEMA, preserve_index=False)


def refine(spark: SparkSession, settings: Settings, use_case: UseCase) -> Refined:
    """Add Bronze's new observations to Silver; return how many were kept and refused."""
    lake, context = lake_paths(settings), spark.sparkContext
    elsewhere = variables_elsewhere(load_catalogue(settings.use_cases).values(), use_case)
    others = sorted(set(elsewhere) - {entity.id for entity in use_case.entities})
    cleaning = _Cleaning(use_case, elsewhere, settings.clock.now(), context.accumulator(0), context.accumulator(0))

    def handle(batch: DataFrame, number: int) -> None:
        fresh = batch.drop("topic", "ingested_at").where(~F.col("entity_id").isin(others))
        extent = _extent(fresh)
        if extent.entities:
            stored = _stored(fresh, lake, use_case, extent)
            folder = quarantine_folder(lake, use_case.use_case, "silver", f"{stream_id(batch)[:8]}-{number:06d}")
            valid = fresh.groupBy("entity_id").cogroup(stored.groupBy("entity_id"))
            rows = valid.applyInArrow(lambda new, old: cleaning.valid(new, old, folder), _SPARK_SCHEMA)
            append_once(rows, lake.silver, number, partition_by=["use_case"], **_TABLE_OPTIONS)

    stream = spark.readStream.format("delta").load(lake.bronze)
    drain(stream, f"{lake.checkpoints}/silver/{use_case.use_case}", handle)
    counter = metrics.get_meter(__name__).create_counter("dualcast.batch.quarantined")
    counter.add(cleaning.refused.value, {"use_case": use_case.use_case, "stage": "silver"})
    return Refined(cleaning.kept.value, cleaning.refused.value)


def _extent(fresh: DataFrame) -> Row:
    """The entities and the time span of a batch."""
    extent = fresh.agg(
        F.collect_set("entity_id").alias("entities"),
        F.min("valid_time").alias("first"),
        F.max("valid_time").alias("last"),
    ).first()
    assert extent is not None
    return extent


def _stored(fresh: DataFrame, lake: LakePaths, use_case: UseCase, extent: Row) -> DataFrame:
    """The observations of some entities in Silver, from a week before the batch."""
    if not exists(f"{lake.silver}/_delta_log"):
        return fresh.select(_STORED_COLUMNS).where(F.lit(False))
    return (
        fresh.sparkSession.read.format("delta")
        .load(lake.silver)
        .where((F.col("use_case") == use_case.use_case) & F.col("entity_id").isin(extent.entities))
        .where(F.col("valid_time").between(extent.first - YARDSTICK_AGE, extent.last))
        .select(_STORED_COLUMNS)
    )
