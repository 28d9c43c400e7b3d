"""The track record in the lake: stored curves of the last weeks with their actuals, and interval factors from it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 -- Spark's own convention

from batch.forecasts.stored_curves import spark_row_schema
from batch.lake.gold_day_ahead import gold_rows
from dualcast.adapters.lake import exists, lake_paths
from dualcast.catalogue import Path_, UseCase
from dualcast.curves.quantiles import quantile_column
from dualcast.lifecycle.registered_model import RegisteredModel
from dualcast.settings import Settings
from dualcast.timegrid import from_micros
from models.intervals.adaptive import record_length
from models.prediction.interval_factors import Factors, interval_factors

_SPARK_SCHEMA = "entity_id string, issued_at timestamp, factors array<double>"


def stored_points(
    spark: SparkSession, settings: Settings, use_case: UseCase, path: Path_, before: datetime
) -> DataFrame | None:
    """Read the points of a path that were issued within the record length before a time; None if there are none."""
    table, since = lake_paths(settings).forecasts(path, use_case.use_case), before - record_length(path)
    if not exists(table):
        return None
    schema = f"{spark_row_schema(use_case.part(path).quantiles)}, issue_date date"
    days = since.astimezone(UTC).date(), before.astimezone(UTC).date()
    stored = spark.read.schema(schema).parquet(table).where(F.col("issue_date").between(*days))
    return stored.where((F.col("issued_at") >= since) & (F.col("issued_at") < before))


def curves_with_actuals(
    spark: SparkSession, settings: Settings, use_case: UseCase, before: datetime
) -> DataFrame | None:
    """Read the day-ahead points that were issued before a time, with their actuals, for ``interval_factors``.

    None if there are none. ``before`` is the first issue time of a run: a resumed run gets the same factors.
    """
    stored, part = stored_points(spark, settings, use_case, "day-ahead", before), use_case.day_ahead
    if stored is None:
        return None
    quantiles = [quantile_column(level) for level in part.quantiles]
    since = before - record_length("day-ahead")
    days = [since.date() + timedelta(days=n) for n in range((before - since).days + part.days + 2)]
    actuals = gold_rows(spark, settings, use_case, days)
    scale = [part.scale] if part.scale else []
    known = actuals.select("entity_id", "valid_time", F.col("event_timestamp").alias("issued_at"), "actual", *scale)
    return stored.select("entity_id", "issued_at", "valid_time", *quantiles).join(
        known, ["entity_id", "issued_at", "valid_time"]
    )


def factors_of_curves(
    past: DataFrame,
    champion: Callable[[], RegisteredModel],
    use_case: UseCase,
    curves: Collection[tuple[str, datetime]],
) -> Factors:
    """The interval factors of curves, computed by entity. ``champion`` loads the model in a worker."""

    def in_worker(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        received = list(batches)
        if not received:
            return
        rows = pa.Table.from_batches(received).to_pandas()
        here = set(rows["entity_id"])
        found = interval_factors(champion(), use_case, rows, [curve for curve in curves if curve[0] in here])
        yield pa.RecordBatch.from_pydict(
            {
                "entity_id": [entity_id for entity_id, _ in found],
                "issued_at": pa.array([cutoff for _, cutoff in found], pa.timestamp("us", "UTC")),
                # All intervals of a day-ahead curve have the same factors.
                "factors": [factors[0].tolist() for factors in found.values()],
            }
        )

    rows = past.where(F.col("entity_id").isin(sorted({e for e, _ in curves}))).repartition("entity_id")
    found = rows.mapInArrow(in_worker, _SPARK_SCHEMA).withColumn("issued_at", F.unix_micros("issued_at")).collect()
    return {(row.entity_id, from_micros(row.issued_at)): np.array([row.factors]) for row in found}
