"""Skew: compares served intraday features with those computed from Silver for the same moments.

Both should be equal. They differ where a value reached the stream later than it was published, where Silver removed a
value that the stream kept, or where the two paths compute differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 -- Spark's own convention

from batch.lake.gold_day_ahead import silver_version
from dualcast.adapters.lake import exists, lake_paths
from dualcast.arrays import Floats
from dualcast.catalogue import Entity, UseCase
from dualcast.features.as_of import intraday_features_at
from dualcast.features.intraday.plan import feature_set
from dualcast.features.plan import FeaturePlan
from dualcast.settings import Settings
from dualcast.timegrid import DAY, day_bounds

# Relative differences up to this count as equal.
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class FeatureSkew:
    """The skew of one feature: the share of rows that differ, and the largest relative difference."""

    feature: str
    unequal: float
    largest: float


@dataclass(frozen=True)
class Skew:
    """The skew of a day: the number of rows, of rows that differ in any feature, and the skew of each feature."""

    rows: int
    unequal_rows: int
    features: list[FeatureSkew]


def measure_skew(spark: SparkSession, settings: Settings, use_case: UseCase, day: date) -> Skew:
    """Compare the rows of Gold whose origins lie on a local day. Needs Silver and Gold.

    Raises FileNotFoundError where one is missing, LookupError where Gold has no row of that day.
    """
    names = FeaturePlan.of(use_case, "intraday").names
    served, computed = [], []
    for entity in use_case.entities:
        rows = _served(spark, settings, use_case, entity, day)
        if len(rows):
            rows = rows.sort_values(["as_of", "valid_time"])
            served.append(rows)
            computed.append(
                intraday_features_at(use_case, entity, _known(spark, settings, use_case, entity, rows), rows)
            )
    if not served:
        raise LookupError(f"Gold has no intraday rows of {day}: run `dualcast run archive`")
    return compare(pd.concat(served), pd.concat(computed), names)


def compare(served: pd.DataFrame, computed: pd.DataFrame, names: Sequence[str]) -> Skew:
    """The skew of features between two frames of the same rows in the same order."""
    unequal_rows = np.zeros(len(served), dtype=bool)
    features = []
    for name in names:
        difference = _difference(_matrix(served[name]), _matrix(computed[name]))
        unequal_rows |= difference > _TOLERANCE
        features.append(FeatureSkew(name, float((difference > _TOLERANCE).mean()), float(difference.max())))
    return Skew(len(served), int(unequal_rows.sum()), features)


def _difference(served: Floats, computed: Floats) -> Floats:
    """The largest relative difference in each row; infinite where one side is missing."""
    scale = np.maximum(np.abs(computed), np.finfo(np.float64).tiny)
    difference = np.where(served == computed, 0.0, np.abs(served - computed) / scale)
    missing = np.isnan(served), np.isnan(computed)
    difference = np.where(missing[0] & missing[1], 0.0, np.where(missing[0] | missing[1], np.inf, difference))
    largest: Floats = difference.max(axis=1)
    return largest


def _matrix(column: pd.Series) -> Floats:
    return np.stack([np.atleast_1d(np.asarray(cell, dtype=np.float64)) for cell in column])


def _served(spark: SparkSession, settings: Settings, use_case: UseCase, entity: Entity, day: date) -> pd.DataFrame:
    table = lake_paths(settings).gold_of("intraday", use_case.use_case)
    if not exists(table):
        raise FileNotFoundError(f"{table}: there is no Gold of intraday features; run `dualcast run archive`")
    begin, end = day_bounds(day, entity.time_zone)
    rows = (
        spark.read.parquet(table)
        .where((F.col("entity_id") == entity.id) & (F.col("feature_set") == feature_set(use_case)))
        .where((F.col("valid_time") >= begin) & (F.col("valid_time") < end))
    )
    return _frame(rows, ["valid_time", "as_of", *FeaturePlan.of(use_case, "intraday").names])


def _known(
    spark: SparkSession, settings: Settings, use_case: UseCase, entity: Entity, rows: pd.DataFrame
) -> pd.DataFrame:
    """The observations that the rows may depend on."""
    part, plan = use_case.part("intraday"), FeaturePlan.of(use_case, "intraday")
    first: datetime = rows["valid_time"].min().to_pydatetime()
    last: datetime = rows["valid_time"].max().to_pydatetime()
    silver = (
        spark.read.format("delta")
        .option("versionAsOf", silver_version(settings))
        .load(lake_paths(settings).silver)
        .where((F.col("use_case") == use_case.use_case) & (F.col("entity_id") == entity.id))
        .where(F.col("variable").isin(list(plan.variables)))
        .where(F.col("valid_time") >= first - part.lookback - DAY)
        .where(F.col("valid_time") < last + max(part.ahead, timedelta(days=1)))
    )
    return _frame(silver, ["variable", "valid_time", "published_at", "value"])


def _frame(rows: DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    frame: pd.DataFrame = rows.select(*columns).toArrow().to_pandas()
    return frame
