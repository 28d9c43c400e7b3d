"""Interval factors of intraday curves: computed for each local midnight, stored in the lake, read by id-svc.

The factors of day-ahead curves are computed with the curves. id-svc does not hold months of curves, so the factors of
intraday curves are computed here, with the functions of the backtest. Inputs are the published curves, with the
factors that were applied to them, and the actuals that were known at the midnight.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 -- Spark's own convention

from batch.engine.partitions import replace_file
from batch.forecasts.track_record import stored_points
from batch.forecasts.worker_models import registered
from batch.lake.gold_day_ahead import silver_version
from dualcast.adapters.lake import exists, factors_file, lake_paths
from dualcast.adapters.model_registry import current_version
from dualcast.arrays import Floats
from dualcast.catalogue import UseCase
from dualcast.curves.quantiles import quantile_column
from dualcast.lifecycle.registered_model import ALIASES, Alias, RegisteredModel, model_name
from dualcast.settings import Settings
from dualcast.timegrid import day_bounds, local_date
from models.evaluation.actuals import with_actuals
from models.intervals.adaptive import record_length
from models.prediction.curve import raw_model
from models.prediction.interval_factors import interval_factors

_SPARK_SCHEMA = "model_version string, entity_id string, horizon int, level double, factor double"
_SCHEMA = pa.schema(
    [
        ("model_version", pa.string()),
        ("entity_id", pa.string()),
        ("horizon", pa.int32()),
        ("level", pa.float64()),
        ("factor", pa.float64()),
    ]
)


@dataclass(frozen=True)
class FactorTask:
    """The inputs for computing an entity's factors, pickled and sent to the workers.

    ``models`` maps model versions to aliases; ``load`` loads a model in a worker.
    """

    settings: Settings
    use_case: UseCase
    as_of: datetime
    models: Mapping[str, Alias]
    load: Callable[[Settings, str, str, Alias], RegisteredModel] = registered

    def factors(self, points: pa.Table, target: pa.Table) -> pa.Table:
        """Compute an entity's factors for each model from its published points, with their scale, and the actuals."""
        if not points.num_rows:
            return _SCHEMA.empty_table()
        past = with_actuals(self.use_case, "intraday", points.to_pandas(), target.to_pandas(), self.as_of)
        curve = str(past["entity_id"].iloc[0]), self.as_of
        name = model_name(self.use_case.use_case, "intraday")
        tables = [_SCHEMA.empty_table()]
        for version, alias in self.models.items():
            model = self.load(self.settings, name, version, alias)
            found = interval_factors(model, self.use_case, past, [curve])
            tables += [_table(model, entity_id, factors) for (entity_id, _), factors in found.items()]
        return pa.concat_tables(tables)


def _table(model: RegisteredModel, entity_id: str, factors: Floats) -> pa.Table:
    """Convert an entity's factors (H, levels) to rows."""
    horizon, level = (index.ravel() for index in np.indices(factors.shape))
    levels = np.array(raw_model(model).levels)
    columns = {
        "model_version": pa.repeat(model.version, factors.size),
        "entity_id": pa.repeat(entity_id, factors.size),
        "horizon": pa.array(horizon, pa.int32()),
        "level": pa.array(levels[level]),
        "factor": pa.array(factors.ravel()),
    }
    return pa.table([columns[name] for name in _SCHEMA.names], schema=_SCHEMA)


def update_interval_factors(spark: SparkSession, settings: Settings, use_case: UseCase) -> int:
    """Write the missing factors of each entity's newest local midnight; return the number of entities with new ones.

    Each alias's model has its own factors. Reads Silver and the archived curves. Raises RegistryUnavailableError.
    """
    written = 0
    if not exists(lake_paths(settings).forecasts("intraday", use_case.use_case)):
        return written
    name = model_name(use_case.use_case, "intraday")
    versions = {current_version(settings, name, alias): alias for alias in ALIASES}
    for as_of, entities in entities_by_midnight(use_case, settings.clock.now()).items():
        files = {version: factors_file(settings, use_case.use_case, as_of, version) for version in versions if version}
        models = {version: versions[version] for version, file in files.items() if not exists(file)}
        task = FactorTask(settings, use_case, as_of, models)
        rows = _factors(spark, task, entities) if models else _SCHEMA.empty_table()
        for version in models:
            mine = rows.filter(pc.equal(rows["model_version"], version)).drop_columns("model_version")
            if mine.num_rows:
                replace_file(files[version], mine)
        written += len(rows["entity_id"].unique())
    return written


def entities_by_midnight(use_case: UseCase, now: datetime) -> Mapping[datetime, list[str]]:
    """Group the entities by the start of their current local day, UTC."""
    entities: dict[datetime, list[str]] = defaultdict(list)
    for entity in use_case.entities:
        entities[day_bounds(local_date(now, entity.time_zone), entity.time_zone)[0]].append(entity.id)
    return entities


def _factors(spark: SparkSession, task: FactorTask, entities: list[str]) -> pa.Table:
    """Compute the factors of some entities, grouped by entity."""
    settings, use_case, as_of = task.settings, task.use_case, task.as_of
    points = _points(spark, settings, use_case, as_of)
    if points is None:
        return _SCHEMA.empty_table()
    mine = F.col("entity_id").isin(entities)
    target = (
        spark.read.format("delta")
        .option("versionAsOf", silver_version(settings))
        .load(lake_paths(settings).silver)
        .where((F.col("use_case") == use_case.use_case) & (F.col("variable") == use_case.target) & mine)
        .where((F.col("published_at") >= as_of - record_length("intraday")) & (F.col("published_at") < as_of))
        .select("entity_id", "variable", "valid_time", "published_at", "value")
    )
    gathered = points.where(mine).groupBy("entity_id").cogroup(target.groupBy("entity_id"))
    found = gathered.applyInArrow(
        lambda points, target: task.factors(points, target),  # noqa: PLW0108 -- Spark counts a method's self
        _SPARK_SCHEMA,
    )
    return found.toArrow().cast(_SCHEMA)


def _points(spark: SparkSession, settings: Settings, use_case: UseCase, before: datetime) -> DataFrame | None:
    """Read the points published by the intraday model, each with the scale from the feature row of its curve."""
    stored, part = stored_points(spark, settings, use_case, "intraday", before), use_case.part("intraday")
    if stored is None:
        return None
    quantiles = [quantile_column(level) for level in part.quantiles]
    # A shifted day-ahead curve has another model name. Its errors are not those of the intraday model.
    ours = stored.where(F.col("model_name") == model_name(use_case.use_case, "intraday"))
    points = ours.select("entity_id", "issued_at", "valid_time", *quantiles)
    if part.scale is None:
        return points
    table = lake_paths(settings).gold_of("intraday", use_case.use_case)
    if not exists(table):
        return None
    schema = f"entity_id string, valid_time timestamp, as_of timestamp, `{part.scale}` double, month string"
    rows = spark.read.schema(schema).parquet(table)
    rows = rows.where(F.col("month") >= f"{before - record_length('intraday'):%Y-%m}")
    # Of several rows with the same as_of, the curve was computed from the newest.
    scales = rows.groupBy("entity_id", F.col("as_of").alias("issued_at")).agg(
        F.max_by(part.scale, "valid_time").alias(part.scale)
    )
    return points.join(scales, ["entity_id", "issued_at"])
