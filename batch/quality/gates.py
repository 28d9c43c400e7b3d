"""The quality gates of Silver, Gold and curves. What fails is quarantined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import pandas as pd
from opentelemetry import metrics
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F  # noqa: N812 -- Spark's own convention

from batch.engine.conditions import matches_any
from batch.lake.gold_day_ahead import gold_rows, remove_rows
from batch.lake.quarantine import quarantine_folder, write_refused
from batch.quality.curve_facts import expected_rows
from batch.quality.suites import INCOMPLETE, judge, none_of, sound_curves, whole_days
from batch.quality.verdicts import Key, Verdict, store_verdict
from dualcast.adapters.lake import lake_paths
from dualcast.catalogue import UseCase
from dualcast.curves.forecast import Forecast
from dualcast.curves.frames import forecast_frame
from dualcast.observations.cleaning import VINTAGE
from dualcast.settings import Settings

_ENTITY, _DAY = ["entity_id"], ["entity_id", "delivery_day"]


@dataclass(frozen=True)
class Gates:
    """The quality gates of one use case. Verdicts are stored and counted."""

    spark: SparkSession
    settings: Settings
    use_case: UseCase

    def silver(self, since: datetime | None = None, before: datetime | None = None) -> Verdict:
        """Judge each entity by its observations published in [since, before); without bounds, by all."""
        rows = self.spark.read.format("delta").load(lake_paths(self.settings).silver)
        rows = rows.where(F.col("use_case") == self.use_case.use_case)
        if since is not None:
            rows = rows.where(F.col("published_at") >= since)
        if before is not None:
            rows = rows.where(F.col("published_at") < before)
        faults = _silver_faults(self.use_case)
        rows = rows.withColumn("reason", _first_of(faults))
        verdict = self._kept(judge("silver", _facts(rows, _ENTITY, faults), _ENTITY, map(none_of, faults)))
        if verdict.refused:
            self._quarantine("silver", rows.where(F.col("reason").isNotNull()))
        return verdict

    def gold(self, days: Sequence[date]) -> Verdict:
        """Judge the Gold rows of each entity and delivery day, and remove those of days that fail."""
        faults = _gold_faults()
        rows = gold_rows(self.spark, self.settings, self.use_case, days).withColumn("reason", _first_of(faults))
        facts = _facts(rows, _DAY, faults)
        facts["expected_rows"] = expected_rows(self.use_case, facts)
        verdict = self._kept(judge("gold", facts, _DAY, [whole_days(), *map(none_of, faults)]))
        if verdict.refused:
            refused = [(str(entity_id), day) for entity_id, day in verdict.refused]
            # the other rows of the day are then incomplete
            others = rows.where(matches_any(refused, "delivery_day")).fillna(INCOMPLETE, ["reason"])
            self._quarantine("gold", others)
            remove_rows(self.spark, self.settings, self.use_case, refused)
        return verdict

    def curves(self, facts: pd.DataFrame) -> Verdict:
        """Judge curves by their facts; see ``curve_facts``."""
        return self._kept(judge("curves", facts, _DAY, sound_curves(self.use_case.day_ahead.quality)))

    def quarantine_curves(self, refused: Mapping[Key, Forecast], verdict: Verdict) -> None:
        """Quarantine curves with the reasons of their verdict."""
        rows = [
            forecast_frame([curve]).assign(reason="; ".join(verdict.refused[key])) for key, curve in refused.items()
        ]
        now = self.settings.clock.now()
        write_refused(self._folder("curves", now), "curves", pd.concat(rows), now)

    def _kept(self, verdict: Verdict) -> Verdict:
        """Store and count a verdict."""
        store_verdict(self.settings, self.use_case.use_case, verdict, self.settings.clock.now())
        about = {"use_case": self.use_case.use_case, "suite": verdict.suite}
        meter = metrics.get_meter(__name__)
        meter.create_counter("dualcast.batch.suites").add(1, {**about, "success": verdict.success})
        refused = meter.create_counter("dualcast.batch.refused", description="entities or curves refused by a gate")
        for expectation in verdict.expectations:
            refused.add(expectation.failed, {**about, "reason": expectation.reason})
        return verdict

    def _quarantine(self, stage: str, rows: DataFrame) -> None:
        now = self.settings.clock.now()
        rows.withColumn("quarantined_at", F.lit(now)).write.parquet(self._folder(stage, now))

    def _folder(self, stage: str, now: datetime) -> str:
        return quarantine_folder(lake_paths(self.settings), self.use_case.use_case, stage, f"{now:%Y%m%dT%H%M%S%f}")


def _facts(rows: DataFrame, key: Sequence[str], faults: Mapping[str, Column]) -> pd.DataFrame:
    """For each key: the number of rows, and of rows by their first fault."""
    counts = [F.count_if(F.col("reason") == reason).alias(reason) for reason in faults]
    found = rows.groupBy(*key).agg(F.count("*").alias("rows"), *counts).orderBy(*key).collect()
    return pd.DataFrame([row.asDict() for row in found], columns=[*key, "rows", *faults])


def _first_of(faults: Mapping[str, Column]) -> Column:
    """The first fault of a row; null where it has none."""
    return F.coalesce(*(F.when(fault, F.lit(reason)) for reason, fault in faults.items()))


def _silver_faults(use_case: UseCase) -> dict[str, Column]:
    known = F.col("entity_id").isin([e.id for e in use_case.entities]) & F.col("variable").isin(
        list(use_case.variables)
    )
    return {
        "missing_value": _any_null([*_ENTITY, *VINTAGE, "value"]),
        "unknown_series": ~known,
        "out_of_bounds": _outside(use_case),
        "repeated_vintage": _repeated([*_ENTITY, *VINTAGE]),
    }


def _gold_faults() -> dict[str, Column]:
    return {
        "missing_value": _any_null(["entity_id", "valid_time", "event_timestamp", "newest_input_at"]),
        "seen_too_early": F.col("newest_input_at") >= F.col("event_timestamp"),
        "made_too_late": F.col("event_timestamp") >= F.col("valid_time"),
        "repeated_interval": _repeated(["entity_id", "valid_time", "event_timestamp"]),
    }


def _any_null(columns: Sequence[str]) -> Column:
    return F.greatest(*(F.col(name).isNull().cast("int") for name in columns)) > 0


def _repeated(columns: Sequence[str]) -> Column:
    return F.count("*").over(Window.partitionBy(*columns)) > 1


def _outside(use_case: UseCase) -> Column:
    """Whether a value is outside the bounds of its variable."""
    low = _by_variable({name: v.bounds.min for name, v in use_case.variables.items()}, float("-inf"))
    high = _by_variable({name: v.bounds.max for name, v in use_case.variables.items()}, float("inf"))
    return (F.col("value") < low) | (F.col("value") > high)


def _by_variable(limits: Mapping[str, float | None], otherwise: float) -> Column:
    known = [part for name, limit in limits.items() if limit is not None for part in (F.lit(name), F.lit(float(limit)))]
    if not known:
        return F.lit(otherwise)
    return F.coalesce(F.element_at(F.create_map(*known), F.col("variable")), F.lit(otherwise))
