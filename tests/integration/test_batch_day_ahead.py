"""The batch path on real servers: refused data, curves that are published once, and interrupted runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from confluent_kafka import Producer
from rich.console import Console

from batch.engine.session import spark_session
from batch.forecasts.published_curves import PublishedCurves
from batch.runs.day_ahead import DayAheadJob
from batch.runs.outcome import SOME_MISSING
from dualcast.adapters.kafka.readers import published, published_forecasts
from dualcast.adapters.lake import day_ahead_rows, forecast_rows, lake_paths
from dualcast.adapters.model_registry import load
from dualcast.catalogue import CurveQuality, Entity, UseCase
from dualcast.curves.forecast import Forecast
from dualcast.lifecycle.registered_model import model_name
from dualcast.records import Topic
from dualcast.settings import Settings
from dualcast.steps import Steps
from models.prediction.day_ahead import day_ahead_curves
from models.prediction.interval_factors import interval_factors
from tests.feature_job import publish
from tests.histories import history

pytestmark = [
    pytest.mark.stack,
    # ibis, with which Feast reads DuckDB, calls a function that DuckDB has renamed
    pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning"),
]

# the local day has 23 hours
DAY = date(2022, 3, 27)
BEFORE, AFTER = DAY - timedelta(days=1), DAY + timedelta(days=1)
UNTIL = datetime(2022, 3, 26, tzinfo=UTC)
# as a share of the level of the first entity: bounds between the two levels separate them
SECOND_LEVEL = 1.5
_DUALCAST = Path(sys.executable).with_name("dualcast")


@pytest.fixture(scope="module")
def two_entities(use_case: UseCase, entity: Entity, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UseCase]:
    """The use case with a second entity, added only in the YAML, and a folder with that YAML."""
    folder = tmp_path_factory.mktemp("use_cases")
    second = entity.model_copy(update={"id": "second"})
    case = use_case.model_copy(update={"entities": (entity, second)})
    described = case.model_dump(mode="json", exclude_unset=True)
    (folder / f"{case.use_case}.yaml").write_text(yaml.safe_dump(described), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DUALCAST_USE_CASES", str(folder))
        yield case


@pytest.fixture(scope="module")
def job(stack: Settings, two_entities: UseCase) -> Iterator[DayAheadJob]:
    """A job with four months of two entities in the lake, a champion, and one message that is not Avro."""
    settings = stack.model_copy(update={"use_cases": Path(os.environ["DUALCAST_USE_CASES"])})
    for entity, level in zip(two_entities.entities, (1.0, SECOND_LEVEL), strict=True):
        observations = history(two_entities, entity, "2021-11-25", 124)
        observations.loc[observations["unit"] == two_entities.unit, "value"] *= level
        known = observations["published_at"] < pd.Timestamp(two_entities.cutoff(entity, DAY))
        publish(settings, entity.id, observations[known], 2000)
    producer = Producer({"bootstrap.servers": settings.kafka})
    producer.produce(settings.names.topic(Topic.OBSERVATIONS), b"no avro", key=two_entities.entities[0].id.encode())
    assert producer.flush(30) == 0
    job = DayAheadJob(spark_session(settings), settings, two_entities, Steps(Console(stderr=True)))
    job.history(UNTIL)
    subprocess.run([_DUALCAST, "train", "day-ahead", "--until", f"{UNTIL:%Y-%m-%dT%H:%M:%S}"], check=True, timeout=300)
    yield job
    job.spark.stop()


def with_use_case(job: DayAheadJob, use_case: UseCase) -> DayAheadJob:
    """The same job with a changed use case."""
    return DayAheadJob(job.spark, job.settings, use_case, job.steps)


def curves(job: DayAheadJob) -> list[Forecast]:
    """The curves on the topic."""
    found = published_forecasts(job.settings, Topic.FORECASTS_DAY_AHEAD)
    return sorted(found, key=lambda curve: (curve.issued_at, curve.entity_id))


def test_a_message_that_is_not_avro_becomes_a_dead_letter_and_the_others_are_stored(
    job: DayAheadJob, entity: Entity
) -> None:
    (letter,) = published(job.settings, Topic.DEAD_LETTERS)
    assert (letter["reason"], letter["component"], letter["value"]) == ("not_avro", "batch.lake.bronze", b"no avro")
    assert len(day_ahead_rows(job.settings, job.use_case.use_case, [date(2022, 3, 25)])) == 2 * 24


def test_an_entity_with_invalid_observations_gets_no_curve_and_the_other_does(
    job: DayAheadJob, two_entities: UseCase
) -> None:
    load = two_entities.variables[two_entities.target]
    tight = load.model_copy(update={"bounds": load.bounds.model_copy(update={"max": 73000.0})})
    outcome = with_use_case(
        job, two_entities.model_copy(update={"variables": {**two_entities.variables, two_entities.target: tight}})
    ).curves([DAY])
    assert [(m.entity_id, m.reason) for m in outcome.missing] == [("second", "silver: out_of_bounds")]
    assert (outcome.published, outcome.exit_status) == (1, SOME_MISSING)
    assert {curve.entity_id for curve in curves(job)} == {two_entities.entities[0].id}
    refused = pd.read_parquet(quarantine(job, "silver"))
    assert set(refused["reason"]) == {"out_of_bounds"}
    assert set(refused["entity_id"]) == {"second"}
    assert (refused["value"] > 73000).all()


def test_an_implausible_curve_is_quarantined_and_not_published(job: DayAheadJob, two_entities: UseCase) -> None:
    strict = two_entities.day_ahead.model_copy(update={"quality": CurveQuality(level=(0.0, 0.01))})
    outcome = with_use_case(job, two_entities.model_copy(update={"day_ahead": strict})).curves([DAY])
    assert [(m.entity_id, m.reason) for m in outcome.missing] == [("second", "curve: implausible_level")]
    assert (outcome.published, outcome.already_published) == (0, 1)
    assert {curve.entity_id for curve in curves(job)} == {two_entities.entities[0].id}
    assert set(stored(job)["entity_id"]) == {two_entities.entities[0].id}
    refused = pd.read_parquet(quarantine(job, "curves"))
    assert len(refused) == 23
    assert set(refused["entity_id"]) == {"second"}
    assert set(refused["reason"]) == {"implausible_level"}
    page = Path(outcome.quality_page).read_text(encoding="utf-8")
    assert "second 2022-03-27" in page
    assert "implausible level" in page


def test_repeated_runs_store_and_publish_a_curve_once(job: DayAheadJob, two_entities: UseCase) -> None:
    # the curve of the first entity is published already
    first, second = job.curves([DAY]), job.curves([DAY])
    assert (first.published, first.already_published) == (1, 1)
    assert (second.published, second.already_published) == (0, 2)
    assert [step.name for step in job.steps.done[-7:]] == [
        "bronze",
        "silver",
        "quality of silver",
        "gold",
        "quality of gold",
        "inference",
        "quality page",
    ]
    found = curves(job)
    assert [curve.entity_id for curve in found] == [entity.id for entity in two_entities.entities]
    for curve, entity in zip(found, two_entities.entities, strict=True):
        assert curve.issued_at == two_entities.cutoff(entity, DAY)
        assert [p.valid_time for p in curve.points] == two_entities.delivery_times(entity, DAY)
        assert len(curve.points) == 23
        assert not curve.degraded
        assert stored(job, entity.id)["q50"].tolist() == [p.values[1] for p in curve.points]


def test_the_next_run_stores_a_curve_that_was_published_but_not_stored(job: DayAheadJob, two_entities: UseCase) -> None:
    before = curves(job)
    shutil.rmtree(lake_paths(job.settings).forecasts("day-ahead", two_entities.use_case))
    assert job.curves([DAY]).published == 0
    for curve in before:
        assert stored(job, curve.entity_id)["q50"].tolist() == [p.values[1] for p in curve.points]
    # only the day that was not run before is published
    assert job.curves([BEFORE, DAY]).published == 2
    assert len(curves(job)) == 4
    assert len(stored(job)) == 2 * (23 + 24)


def test_a_restarted_daemon_skips_published_days(job: DayAheadJob, two_entities: UseCase) -> None:
    known = PublishedCurves(job.settings, Topic.FORECASTS_DAY_AHEAD, two_entities.use_case).keys()
    assert {(e.id, two_entities.cutoff(e, DAY)) for e in two_entities.entities} <= {key[:2] for key in known}


def test_a_curve_without_reference_and_weather_is_degraded_and_lists_the_missing_inputs(
    job: DayAheadJob, two_entities: UseCase
) -> None:
    entity = two_entities.entities[0]
    observations = history(two_entities, entity, "2021-11-25", 124)
    since = observations["published_at"] >= pd.Timestamp(two_entities.cutoff(entity, DAY))
    measured = observations[since & (observations["variable"] == two_entities.target)]
    publish(
        job.settings,
        entity.id,
        measured[measured["published_at"] < pd.Timestamp(two_entities.cutoff(entity, AFTER))],
        2000,
    )
    # the second entity has no new values, but its level is known
    outcome = job.curves([AFTER])
    assert (outcome.published, outcome.missing) == (2, [])
    curve = next(
        c for c in curves(job) if c.entity_id == entity.id and c.issued_at == two_entities.cutoff(entity, AFTER)
    )
    assert curve.degraded
    assert curve.degraded_reasons == [
        f"missing:{v}" for v in (two_entities.reference, *two_entities.day_ahead.optional[1:])
    ]


def test_a_row_with_an_input_published_at_the_cutoff_removes_its_day_from_gold(
    job: DayAheadJob, two_entities: UseCase
) -> None:
    folder = Path(lake_paths(job.settings).gold_of("day-ahead", two_entities.use_case)) / "delivery_month=2022-03"
    (file,) = folder.glob("*.parquet")
    rows = pd.read_parquet(file)
    spoiled = (rows["entity_id"] == "second") & (
        rows["valid_time"] == two_entities.delivery_times(two_entities.entities[1], DAY)[5]
    )
    assert spoiled.sum() == 1
    rows.loc[spoiled, "newest_input_at"] = rows.loc[spoiled, "cutoff"]
    rows.to_parquet(file, index=False)
    verdict = job.gates.gold([BEFORE, DAY])
    assert verdict.refused == {("second", DAY): ("seen_too_early",)}
    refused = pd.read_parquet(quarantine(job, "gold"))
    assert refused["reason"].value_counts().to_dict() == {"incomplete_day": 22, "seen_too_early": 1}
    left = day_ahead_rows(job.settings, two_entities.use_case, [BEFORE, DAY])
    assert left.groupby(["entity_id", "delivery_day"]).size().tolist() == [24, 23, 24]
    assert job.gates.gold([BEFORE, DAY]).success
    # the next run of the day computes its rows again
    assert job.curves([DAY]).missing == []
    assert len(day_ahead_rows(job.settings, two_entities.use_case, [DAY])) == 2 * 23


def test_intervals_are_scaled_by_the_factors_of_stored_curves_and_actuals(
    job: DayAheadJob, two_entities: UseCase
) -> None:
    new = date(2022, 3, 22)
    job.curves([new - timedelta(days=back) for back in range(25, 0, -1)])
    assert job.curves([new]).missing == []
    rows = day_ahead_rows(job.settings, two_entities.use_case, [new - timedelta(days=back) for back in range(26)])
    said = stored(job).drop(columns=["simulated", "data_version"])
    past = said[said["issued_at"] < rows["cutoff"].max()].merge(rows, on=["entity_id", "valid_time"])
    model = load(job.settings, model_name(two_entities.use_case, "day-ahead"))
    factors = interval_factors(
        model, two_entities, past, [(e.id, two_entities.cutoff(e, new)) for e in two_entities.entities]
    )
    assert len(factors) == 2
    assert all(((f[0, [0, 2]] != 1) & np.isfinite(f[0, [0, 2]])).all() for f in factors.values())
    of_day = rows[rows["delivery_day"] == new]
    for curve in day_ahead_curves(model, two_entities, of_day, "test", factors=factors).forecasts():
        there = said[(said["entity_id"] == curve.entity_id) & (said["issued_at"] == pd.Timestamp(curve.issued_at))]
        np.testing.assert_allclose(there[["q10", "q50", "q90"]], [point.values for point in curve.points])


def quarantine(job: DayAheadJob, stage: str) -> Path:
    """The quarantine folder of a stage."""
    return Path(lake_paths(job.settings).quarantine) / f"use_case={job.use_case.use_case}" / f"stage={stage}"


def stored(job: DayAheadJob, entity_id: str | None = None) -> pd.DataFrame:
    """The stored curves of an entity, or of all, by time."""
    rows = forecast_rows(job.settings, job.use_case.use_case, "day-ahead").sort_values("valid_time")
    return rows if entity_id is None else rows[rows["entity_id"] == entity_id]
