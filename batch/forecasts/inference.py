"""Day-ahead batch inference: the champion's curves for Gold rows, to the lake and to Kafka.

A curve is checked by the quality gates, stored and then published, unless it is on the topic already. A curve that is
on the topic and missing in the lake is stored. So the next run completes a run that was interrupted anywhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import partial
from typing import Self

import pandas as pd
import pyarrow as pa
import structlog
from pyspark.serializers import CPickleSerializer
from pyspark.sql import DataFrame, SparkSession

from batch.engine.conditions import matches_any
from batch.forecasts.published_curves import CurveKey, PublishedCurves
from batch.forecasts.stored_curves import ENCODED, encoded_day_ahead, store_curves
from batch.forecasts.track_record import curves_with_actuals, factors_of_curves
from batch.forecasts.worker_models import registered
from batch.quality.curve_facts import ARROW_FACTS, FACTS, curve_facts, with_width_ratio
from batch.quality.gates import Gates
from batch.quality.verdicts import Key, Verdict
from dualcast.adapters.kafka.producer import RecordProducer
from dualcast.adapters.lake import forecast_rows, gold_curves, lake_paths
from dualcast.adapters.model_registry import UnknownModelError, current_version
from dualcast.arrays import Floats
from dualcast.catalogue import UseCase
from dualcast.curves.arrow import decoded_curve, encoded_curves
from dualcast.lifecycle.registered_model import RegisteredModel, model_name
from dualcast.records import Topic
from dualcast.settings import Settings
from models.prediction.curve import NoPredictionError
from models.prediction.day_ahead import DayAheadCurves, day_ahead_curves
from models.prediction.interval_factors import Factors

_log = structlog.get_logger(__name__)
_SOURCE = "batch.forecasts.inference"
# Curves in one task. Predicting many together is faster, but all curves of a task are in memory at once.
_CURVES_PER_TASK = 30_000


@dataclass(frozen=True)
class InferenceResult:
    """Counts of the requested curves by outcome. A curve is identified by entity and delivery day."""

    published: int
    already_published: int
    refused: Mapping[Key, tuple[str, ...]]
    without_data: frozenset[Key]
    model_version: str

    def __str__(self) -> str:
        parts = [f"{self.published:,} published by model {self.model_version}"]
        parts += [f"{self.already_published:,} already published"] if self.already_published else []
        parts += [f"{len(self.refused):,} refused"] if self.refused else []
        return ", ".join([*parts, f"{len(self.without_data):,} without data"] if self.without_data else parts)


@dataclass(frozen=True)
class Inference:
    """The inputs of the requested curves, pickled and sent to the workers."""

    settings: Settings
    use_case: UseCase
    model_version: str
    wanted: Sequence[Key] = ()
    factors: Factors = field(default_factory=dict)

    def champion(self) -> RegisteredModel:
        """The model, loaded once in each worker."""
        return registered(self.settings, model_name(self.use_case.use_case, "day-ahead"), self.model_version)

    def tasks(self) -> Iterator[Self]:
        """Split into tasks. Each task has some of the requested curves, and only the entities and factors of these."""
        factors: dict[str, dict[tuple[str, datetime], Floats]] = defaultdict(dict)
        for key, of_curve in self.factors.items():
            factors[key[0]][key] = of_curve
        for begin in range(0, len(self.wanted), _CURVES_PER_TASK):
            wanted = self.wanted[begin : begin + _CURVES_PER_TASK]
            ids = dict.fromkeys(entity_id for entity_id, _ in wanted)
            few = self.use_case.model_copy(update={"entities": tuple(map(self.use_case.entity, ids))})
            theirs = {key: found for entity_id in ids for key, found in factors[entity_id].items()}
            yield replace(self, use_case=few, wanted=wanted, factors=theirs)

    def curves(self) -> Iterator[pa.RecordBatch]:
        """Compute the requested curves, encoded, with their quality facts."""
        rows = gold_curves(self.settings, self.use_case.use_case, self.wanted)
        for made in self._made(rows) if len(rows) else ():
            curves = encoded_day_ahead(made)
            facts = pa.RecordBatch.from_pandas(curve_facts(self.use_case, curves, rows), ARROW_FACTS)
            yield pa.RecordBatch.from_arrays(
                [*curves.columns, *facts.columns], names=[*curves.schema.names, *facts.schema.names]
            )

    def _made(self, rows: pd.DataFrame) -> Iterator[DayAheadCurves]:
        """Predict the curves of some rows together, or one by one if one of them cannot be predicted."""
        for (simulated, version), alike in rows.groupby(["simulated", "data_version"]):
            make = partial(
                day_ahead_curves,
                self.champion(),
                self.use_case,
                data_version=str(version),
                simulated=bool(simulated),
                factors=self.factors,
            )
            try:
                yield make(rows=alike)
            except NoPredictionError:
                for _, curve in alike.groupby(["entity_id", "delivery_day"]):
                    try:
                        yield make(rows=curve)
                    except NoPredictionError as error:
                        _log.warning("no forecast", reason=str(error))


def _publish(batches: Iterator[pa.RecordBatch], settings: Settings) -> Iterator[pa.RecordBatch]:
    """Send encoded curves to Kafka; returns the number of acknowledged curves of each batch."""
    for batch in batches:
        now = settings.clock.now()
        with RecordProducer(settings, _SOURCE) as producer:
            for forecast in map(decoded_curve, batch["curve"].to_pylist()):
                producer.send(Topic.FORECASTS_DAY_AHEAD, forecast.entity_id, forecast, now)
        yield pa.RecordBatch.from_pydict({"sent": [batch.num_rows]})


def infer(gates: Gates, wanted: Collection[tuple[str, date]], published: PublishedCurves) -> InferenceResult:
    """Compute, check, store and publish curves, given as entities and delivery days whose rows are in Gold.

    A curve that a quality gate refuses goes to quarantine.
    Raises UnknownModelError where there is no champion, RegistryUnavailableError, UnreachableError.
    """
    settings, use_case = gates.settings, gates.use_case
    version = current_version(settings, model_name(use_case.use_case, "day-ahead"))
    if version is None:
        raise UnknownModelError(f"{use_case.use_case} has no day-ahead champion; run `dualcast train day-ahead`")
    inference = Inference(settings, use_case, version)
    entities = {entity.id: entity for entity in use_case.entities}
    curve_of_key = {(e, use_case.cutoff(entities[e], day), version): (e, day) for e, day in wanted}
    done = curve_of_key.keys() & published.keys()
    _store_missing(gates.spark, inference, published, done)
    missing = set(curve_of_key) - done
    if not missing:
        return InferenceResult(0, len(done), {}, frozenset(), version)
    past = curves_with_actuals(gates.spark, settings, use_case, min(cutoff for _, cutoff, _ in curve_of_key))
    if past is not None:
        factors = factors_of_curves(past, inference.champion, use_case, [key[:2] for key in missing])
        inference = replace(inference, factors=factors)
    inference = replace(inference, wanted=sorted(curve_of_key[key] for key in missing))
    curves = compute_curves(gates.spark, inference).persist()
    try:
        verdict, made = _publish_accepted(gates, inference, curves)
    finally:
        curves.unpersist()
    without = {curve_of_key[key] for key in missing if key[:2] not in made} - verdict.refused.keys()
    return InferenceResult(len(made), len(done), verdict.refused, frozenset(without), version)


def _publish_accepted(
    gates: Gates, inference: Inference, curves: DataFrame
) -> tuple[Verdict, set[tuple[str, datetime]]]:
    """Check curves, store and publish the accepted ones; return the verdict and the accepted (entity_id, issued_at)."""
    facts = quality_facts(curves)
    verdict = gates.curves(with_width_ratio(facts, gates.settings, gates.use_case))
    refused = matches_any([(str(e), day) for e, day in verdict.refused], "delivery_day")
    if verdict.refused:
        _quarantine(gates, curves.where(refused), verdict)
    keys = zip(facts["entity_id"], facts["delivery_day"], pd.DatetimeIndex(facts["issued_at"]), strict=True)
    made = {(e, issued_at.to_pydatetime()) for e, day, issued_at in keys if (e, day) not in verdict.refused}
    sound = curves.where(~refused)
    _store(sound, inference)
    settings = gates.settings
    sound.mapInArrow(lambda batches: _publish(batches, settings), "sent bigint").collect()
    return verdict, made


def compute_curves(spark: SparkSession, inference: Inference) -> DataFrame:
    """Encoded curves with their facts, computed in tasks.

    Workers read Gold themselves, so that no rows are shuffled and only results pass through Spark. A worker unpickles
    only its own tasks: with all 357,200 entities in each worker a run took 73 s instead of 62 s, because Spark runs
    Python's garbage collection after every task.
    """
    pickler = CPickleSerializer()
    pickled = [pickler.dumps(task) for task in inference.tasks()]
    shipped = spark.sparkContext.broadcast(pickled)

    def in_worker(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch["id"].to_pylist():
                yield from pickler.loads(shipped.value[number]).curves()

    return spark.range(0, len(pickled), 1, len(pickled)).mapInArrow(in_worker, f"{ENCODED}, {FACTS}")


def quality_facts(curves: DataFrame) -> pd.DataFrame:
    """The facts that the gates check, on the driver: entity_id, issued_at and the columns of ``curve_facts``."""
    return curves.drop("curve").toArrow().to_pandas()


def _quarantine(gates: Gates, refused: DataFrame, verdict: Verdict) -> None:
    curves = {(row.entity_id, row.delivery_day): decoded_curve(row.curve.asDict()) for row in refused.collect()}
    gates.quarantine_curves(curves, verdict)


def _store(curves: DataFrame, inference: Inference) -> None:
    """Write encoded curves to the lake."""
    table = lake_paths(inference.settings).forecasts("day-ahead", inference.use_case.use_case)
    store_curves(curves, inference.use_case.day_ahead.quantiles, table)


def _store_missing(
    spark: SparkSession, inference: Inference, published: PublishedCurves, done: Collection[CurveKey]
) -> None:
    """Store the curves that are on the topic and missing in the lake."""
    if not done:
        return
    stored = forecast_rows(inference.settings, inference.use_case.use_case, "day-ahead")
    in_lake = set(zip(stored["entity_id"], stored["issued_at"], strict=True))
    missing = [key for key in done if key[:2] not in in_lake]
    if missing:
        batch = encoded_curves(published.curves(missing)).to_pylist()
        rows = [(curve["entity_id"], curve["issued_at"], curve["curve"]) for curve in batch]
        _store(spark.createDataFrame(rows, ENCODED), inference)
