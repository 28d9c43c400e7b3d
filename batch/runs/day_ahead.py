"""The day-ahead job: builds the history in the lake, and makes the curves of delivery days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import groupby

from pyspark.sql import SparkSession

from batch.forecasts.inference import InferenceResult, infer
from batch.forecasts.published_curves import PublishedCurves
from batch.lake.bronze import ingest as ingest_bronze
from batch.lake.gold_day_ahead import build_day_ahead, delivery_days
from batch.lake.silver import refine
from batch.quality.gates import Gates
from batch.quality.page import write_page
from batch.quality.verdicts import Key, Verdict
from batch.runs.cutoffs import before_cutoff
from batch.runs.outcome import Missing, Outcome
from dualcast.adapters.feature_store import apply_definitions
from dualcast.adapters.lake_lock import lake_lock
from dualcast.catalogue import UseCase
from dualcast.records import Topic
from dualcast.settings import Settings
from dualcast.steps import Steps

# The rows of the last days are rewritten, since their actuals were unknown when they were made.
_DAYS_TO_COMPLETE = 2
# The time before a cutoff that the quality gate of Silver judges.
_RECENT = timedelta(days=2)


class NothingToDoError(RuntimeError):
    """There is no data. The message names the command to run first."""


@dataclass
class DayAheadJob:
    """The day-ahead path of one use case in one Spark session."""

    spark: SparkSession
    settings: Settings
    use_case: UseCase
    steps: Steps
    published: PublishedCurves = field(init=False)
    gates: Gates = field(init=False)

    def __post_init__(self) -> None:
        self.published = PublishedCurves(self.settings, Topic.FORECASTS_DAY_AHEAD, self.use_case.use_case)
        self.gates = Gates(self.spark, self.settings, self.use_case)

    def history(self, until: datetime) -> None:
        """Update lake and feature store: all delivery days whose cutoff is not after ``until``.

        Raises NothingToDoError.
        """
        with self.writing():
            self.ingest()
            with self.steps.step("quality of silver") as report:
                report(str(self.gates.silver()))
            days = delivery_days(self.spark, self.settings, self.use_case, until)
            if not days:
                raise NothingToDoError(
                    f"no observation of {self.use_case.use_case} was published before the first cutoff"
                )
            self._gold(days)
            with self.steps.step("feature store") as report:
                apply_definitions(self.settings, self.use_case.use_case)
                report(f"definitions of {self.use_case.use_case} applied")
            write_page(self.settings)

    def curves(self, days: Sequence[date]) -> Outcome:
        """Make and publish the curves of delivery days, given in order, from all observations on Kafka.

        An entity whose data or curve fails a quality gate gets no curve; this does not affect the others.
        Raises TooEarlyError, FileNotFoundError where there is no data, and what ``inference.infer`` raises.
        """
        early = before_cutoff(self.use_case, days, self.settings.clock.now())
        with self.writing():
            self.ingest()
            refused = {**self._refused_by_silver(days), **early}
            months = [list(month) for _, month in groupby(days, key=lambda day: (day.year, day.month))]
            inferred, missing = [], []
            for number, month in enumerate(months, 1):
                if len(months) > 1:
                    self.steps.note(f"{month[0]:%Y-%m}, {number} of {len(months)}: {len(month)} delivery days")
                done, lacking = self._curves_of(month, refused)
                inferred.append(done)
                missing += lacking
            with self.steps.step("quality page") as report:
                page = write_page(self.settings)
                report(page)
        return Outcome(
            use_case=self.use_case.use_case,
            days=days,
            model_version=inferred[-1].model_version,
            published=sum(month.published for month in inferred),
            already_published=sum(month.already_published for month in inferred),
            missing=missing,
            quality_page=page,
        )

    def writing(self) -> AbstractContextManager[None]:
        """Hold the lock of the lake; show a note while waiting for it."""
        note = "another run is writing to the lake; waiting until it ends"
        return lake_lock(self.settings, lambda: self.steps.note(note))

    def ingest(self) -> None:
        """Add new observations of Kafka to Bronze and Silver."""
        with self.steps.step("bronze") as report:
            taken = ingest_bronze(self.spark, self.settings)
            report(f"{taken.observations:,} observations, {taken.undecodable:,} undecodable messages")
        with self.steps.step("silver") as report:
            refined = refine(self.spark, self.settings, self.use_case)
            report(f"{refined.kept:,} kept, {refined.refused:,} refused")

    def _refused_by_silver(self, days: Sequence[date]) -> dict[Key, str]:
        cutoffs = [self.use_case.cutoff(entity, day) for entity in self.use_case.entities for day in days]
        with self.steps.step("quality of silver") as report:
            verdict = self.gates.silver(min(cutoffs) - _RECENT, max(cutoffs))
            report(str(verdict))
        return {(*key, day): f"silver: {', '.join(why)}" for key, why in verdict.refused.items() for day in days}

    def _curves_of(self, days: Sequence[date], refused: Mapping[Key, str]) -> tuple[InferenceResult, list[Missing]]:
        """Make the curves of days of a month that are not refused already; also return the missing curves."""
        unfinished = _DAYS_TO_COMPLETE + self.use_case.day_ahead.days - 1
        before = [days[0] - timedelta(days=back) for back in range(unfinished, 0, -1)]
        gold = self._gold([*before, *days])
        why = {**refused, **{key: f"gold: {', '.join(reasons)}" for key, reasons in gold.refused.items()}}
        wanted = [(entity.id, day) for day in days for entity in self.use_case.entities]
        with self.steps.step("inference") as report:
            inferred = infer(self.gates, [key for key in wanted if key not in why], self.published)
            report(str(inferred))
        why |= {key: f"curve: {', '.join(reasons)}" for key, reasons in inferred.refused.items()}
        why |= dict.fromkeys(inferred.without_data, "no data, or no data for its scale")
        return inferred, [Missing(*key, why[key]) for key in wanted if key in why]

    def _gold(self, days: Sequence[date]) -> Verdict:
        """Build and judge the Gold rows of days."""
        with self.steps.step("gold") as report:
            built = build_day_ahead(self.spark, self.settings, self.use_case, days)
            report(f"{built.rows:,} rows of {len(days):,} delivery days from {built.data_version}")
        with self.steps.step("quality of gold") as report:
            verdict = self.gates.gold(days)
            report(str(verdict))
        return verdict
