"""The day-ahead runs: all of history, and one delivery day from Kafka to the published curve."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from pyspark.sql import SparkSession

from batch.bronze import ingest
from batch.gold import build_day_ahead, delivery_days
from batch.inference import Inferred, infer
from batch.published import PublishedCurves
from batch.quality import check_gold, check_silver
from batch.silver import refine
from batch.steps import Steps, one_at_a_time
from dualcast.adapters.feature_store import apply_definitions
from dualcast.catalogue import UseCase
from dualcast.records import Topic
from dualcast.settings import Settings

# What came true on the last days was not known when their rows were made: they are written again.
_DAYS_TO_COMPLETE = 2
# How far back a day's quality gate looks at Silver.
_RECENT = timedelta(days=2)


class NothingToDoError(RuntimeError):
    """There is no data to work on; the text says what to run first."""


@dataclass
class DayAheadJob:
    """The day-ahead path of one use case in one Spark session."""

    spark: SparkSession
    settings: Settings
    use_case: UseCase
    steps: Steps
    published: PublishedCurves = field(init=False)

    def __post_init__(self) -> None:
        self.published = PublishedCurves(self.settings, Topic.FORECASTS_DAY_AHEAD, self.use_case.use_case)

    def history(self, until: datetime) -> None:
        """Bring lake and feature store up to date: every delivery day whose cutoff is not after ``until``.

        Raises NothingToDoError, QualityError.
        """
        with one_at_a_time(self.settings, self.steps):
            self.take_in()
            with self.steps.step("quality of silver") as say:
                say(f"{len(check_silver(self.spark, self.settings, self.use_case).lines)} expectations met")
            days = delivery_days(self.spark, self.settings, self.use_case, until)
            if not days:
                raise NothingToDoError(
                    f"no observation of {self.use_case.use_case} was published before the first cutoff"
                )
            self._gold(days)
            with self.steps.step("quality of gold") as say:
                say(f"{len(check_gold(self.spark, self.settings, self.use_case).lines)} expectations met")
            with self.steps.step("feature store") as say:
                apply_definitions(self.settings, self.use_case.use_case)
                say(f"definitions of {self.use_case.use_case} applied")

    def delivery_day(self, day: date) -> Inferred:
        """Make and publish the curves for a delivery day from all that has come in.

        Raises NothingToDoError, QualityError, and what ``inference.infer`` raises.
        """
        with one_at_a_time(self.settings, self.steps):
            self.take_in()
            first_cutoff = min(self.use_case.cutoff(entity, day) for entity in self.use_case.entities)
            with self.steps.step("quality of silver") as say:
                verdict = check_silver(self.spark, self.settings, self.use_case, first_cutoff - _RECENT)
                say(f"{len(verdict.lines)} expectations met")
            unfinished = _DAYS_TO_COMPLETE + self.use_case.day_ahead.days
            self._gold([day - timedelta(days=back) for back in range(unfinished)])
            with self.steps.step("quality of gold") as say:
                say(f"{len(check_gold(self.spark, self.settings, self.use_case, [day]).lines)} expectations met")
            with self.steps.step("inference") as say:
                inferred = infer(self.spark, self.settings, self.use_case, [day], self.published)
                say(_summary(inferred))
        return inferred

    def take_in(self) -> None:
        """Bring Bronze and Silver up to Kafka. Raises NothingToDoError where Kafka never had an observation."""
        with self.steps.step("bronze") as say:
            taken = ingest(self.spark, self.settings)
            say(f"{taken.observations:,} observations, {taken.undecodable:,} undecodable messages")
        with self.steps.step("silver") as say:
            refined = refine(self.spark, self.settings, self.use_case)
            say(f"{refined.kept:,} kept, {refined.refused:,} refused")

    def _gold(self, days: list[date]) -> None:
        with self.steps.step("gold") as say:
            built = build_day_ahead(self.spark, self.settings, self.use_case, days)
            say(f"{built.rows:,} rows of {len(days):,} delivery days from {built.data_version}")


def _summary(inferred: Inferred) -> str:
    text = f"{inferred.published} published by model {inferred.model_version}"
    if inferred.already_published:
        text += f", {inferred.already_published} were already"
    return text + (f", none for {', '.join(inferred.without)}" if inferred.without else "")
