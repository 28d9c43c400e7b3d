"""Batch inference, day-ahead: Gold rows and the champion to curves, to the lake and Kafka.

A curve is stored first and published second, unless it is on the topic already; what is on the topic is stored where
it is missing: a run that was cut short anywhere is put right by the next.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache

import pandas as pd
import pyarrow as pa
import structlog
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 -- Spark's own convention

from batch.curves import (
    ENCODED,
    among,
    curve_keys,
    curve_of,
    curve_table,
    encoded_curves,
    spark_curve_schema,
    store_curves,
)
from batch.published import CurveKey, PublishedCurves
from dualcast.adapters.kafka import RecordProducer
from dualcast.adapters.lake import forecast_rows, lake_paths
from dualcast.adapters.model_registry import RegisteredModel, UnknownModelError, current_version, load
from dualcast.catalogue import UseCase
from dualcast.records import Forecast, Topic
from dualcast.settings import Settings
from models.forecasting import NoForecastError, day_ahead_forecasts
from models.training import model_name

_log = structlog.get_logger(__name__)
_SOURCE = "batch.inference"


class StaleModelError(RuntimeError):
    """The champion changed while a run was under way; the run must begin again."""


@dataclass(frozen=True)
class Inferred:
    """What a run did: curves published now and before, and the entities of which nothing could be said."""

    published: int
    already_published: int
    without: tuple[str, ...]
    model_version: str


@dataclass(frozen=True)
class _Inference:
    """What a worker needs to forecast: shipped to it whole."""

    settings: Settings
    use_case: UseCase
    model_version: str

    def curves(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Gold rows of whole delivery days to encoded curves."""
        held = list(batches)
        if held:
            model = _champion(self.settings, model_name(self.use_case.use_case, "day-ahead"), self.model_version)
            yield encoded_curves(_forecasts(model, self.use_case, pa.Table.from_batches(held).to_pandas()))

    def rows(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Encoded curves to the rows that the lake stores."""
        for batch in batches:
            table = curve_table(map(curve_of, batch["curve"].to_pylist()), self.use_case.day_ahead.quantiles)
            yield from table.to_batches()

    def publish(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Encoded curves to Kafka; says how many of each batch were acknowledged."""
        for batch in batches:
            producer, now = RecordProducer(self.settings, _SOURCE), self.settings.clock.now()
            for curve in batch["curve"].to_pylist():
                forecast = curve_of(curve)
                producer.send(Topic.FORECASTS_DAY_AHEAD, forecast.entity_id, forecast, now)
            producer.flush()
            yield pa.RecordBatch.from_pydict({"sent": [batch.num_rows]})


def infer(
    spark: SparkSession, settings: Settings, use_case: UseCase, days: Sequence[date], published: PublishedCurves
) -> Inferred:
    """Make, store and publish the curves of some delivery days, whose rows are in Gold; only where the cutoff has come.

    Raises UnknownModelError where there is no champion, RegistryAwayError, UnreachableError.
    """
    version = current_version(settings, model_name(use_case.use_case, "day-ahead"))
    if version is None:
        raise UnknownModelError(f"{use_case.use_case} has no day-ahead champion; run `dualcast train day-ahead`")
    inference = _Inference(settings, use_case, version)
    cutoffs = {(entity.id, use_case.cutoff(entity, day)) for entity in use_case.entities for day in days}
    wanted = {(entity_id, cutoff, version) for entity_id, cutoff in cutoffs if cutoff <= settings.clock.now()}
    done = wanted & published.keys()
    _store_missing(spark, inference, published, done)
    curves = _computed(spark, inference, wanted - done).persist()
    try:
        made = {entity_id for entity_id, _ in _store(curves, inference)}
        sent = curves.mapInArrow(inference.publish, "sent bigint").agg(F.sum("sent").alias("sent")).first()
    finally:
        curves.unpersist()
    without = {entity_id for entity_id, *_ in wanted - done} - made
    if without:
        _log.warning("no forecast", use_case=use_case.use_case, entities=sorted(without))
    return Inferred((sent and sent["sent"]) or 0, len(done), tuple(sorted(without)), version)


def _computed(spark: SparkSession, inference: _Inference, keys: Collection[CurveKey]) -> DataFrame:
    """Encoded curves, computed from their rows."""
    if not keys:
        return spark.createDataFrame([], ENCODED)
    gold = spark.read.parquet(lake_paths(inference.settings).gold_of("day-ahead", inference.use_case.use_case))
    rows = gold.where(among([key[:2] for key in keys], "cutoff"))
    return rows.repartition("entity_id", "delivery_day").mapInArrow(inference.curves, ENCODED)


def _store(curves: DataFrame, inference: _Inference) -> list[tuple[str, datetime]]:
    """Write encoded curves to the lake; return their entity_id and issued_at."""
    keys = curve_keys(curves)
    rows = curves.mapInArrow(inference.rows, spark_curve_schema(inference.use_case.day_ahead.quantiles))
    target = lake_paths(inference.settings).forecasts("day-ahead", inference.use_case.use_case)
    store_curves(rows, keys, target)
    return keys


def _store_missing(
    spark: SparkSession, inference: _Inference, published: PublishedCurves, done: Collection[CurveKey]
) -> None:
    """Store what is on the topic but not in the lake."""
    if not done:
        return
    stored = forecast_rows(inference.settings, inference.use_case.use_case, "day-ahead")
    there = set(zip(stored["entity_id"], stored["issued_at"], strict=True))
    missing = [key for key in done if key[:2] not in there]
    if missing:
        batch = encoded_curves(published.curves(missing)).to_pylist()
        _store(spark.createDataFrame([(c["entity_id"], c["issued_at"], c["curve"]) for c in batch], ENCODED), inference)


def _forecasts(model: RegisteredModel, use_case: UseCase, rows: pd.DataFrame) -> Iterator[Forecast]:
    """The curves of some rows, at once; one by one where there is an entity of which nothing can be said."""
    simulated, version = bool(rows["simulated"].any()), str(rows["data_version"].iloc[0])
    try:
        yield from list(day_ahead_forecasts(model, use_case, rows, version, simulated=simulated))
    except NoForecastError:
        for _, curve in rows.groupby(["entity_id", "delivery_day"]):
            try:
                yield from list(day_ahead_forecasts(model, use_case, curve, version, simulated=simulated))
            except NoForecastError as error:
                _log.warning("no forecast", reason=str(error))


@cache
def _champion(settings: Settings, name: str, version: str) -> RegisteredModel:
    """The champion, loaded once in each worker."""
    model = load(settings, name)
    if model.version != version:
        raise StaleModelError(f"{name}: the champion is version {model.version} now, not {version}; run again")
    return model
