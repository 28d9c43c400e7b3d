"""The batch path on real servers: what is refused, what is published once, and what a run cut short leaves behind."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from confluent_kafka import Producer
from rich.console import Console

from batch.day_ahead import DayAheadJob
from batch.engine.session import spark_session
from batch.published import PublishedCurves
from batch.quality import QualityError, check_gold
from batch.steps import Steps
from dualcast.adapters.forecast_store import published, published_forecasts
from dualcast.adapters.lake import day_ahead_rows, forecast_rows, lake_paths
from dualcast.catalogue import Entity, UseCase
from dualcast.records import Forecast, Topic
from dualcast.settings import Settings
from tests.feature_job import publish
from tests.histories import history

pytestmark = [
    pytest.mark.stack,
    # ibis, which Feast reads DuckDB with, calls what DuckDB has renamed
    pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning"),
]

# the local day has 23 hours
DAY = date(2022, 3, 27)
UNTIL = datetime(2022, 3, 26, tzinfo=UTC)
_DUALCAST = Path(sys.executable).with_name("dualcast")


@pytest.fixture(scope="module")
def job(stack: Settings, use_case: UseCase, entity: Entity) -> Iterator[DayAheadJob]:
    """Four months in the lake, a champion, and one message that is no Avro."""
    observations = history(use_case, entity, "2021-11-25", 124)
    cutoff = pd.Timestamp(use_case.cutoff(entity, DAY))
    publish(stack, entity.id, observations[observations["published_at"] < cutoff], 2000)
    producer = Producer({"bootstrap.servers": stack.kafka})
    producer.produce(Topic.OBSERVATIONS.value, b"no avro", key=entity.id.encode())
    assert producer.flush(30) == 0
    job = DayAheadJob(spark_session(stack), stack, use_case, Steps(Console(stderr=True)))
    job.history(UNTIL)
    subprocess.run([_DUALCAST, "train", "day-ahead", "--until", f"{UNTIL:%Y-%m-%dT%H:%M:%S}"], check=True, timeout=300)
    yield job
    job.spark.stop()


def curves(job: DayAheadJob) -> list[Forecast]:
    """What is on the topic."""
    return list(published_forecasts(job.settings, Topic.FORECASTS_DAY_AHEAD))


def test_what_is_no_avro_is_a_dead_letter_and_the_rest_is_taken_in(job: DayAheadJob, entity: Entity) -> None:
    (letter,) = published(job.settings, Topic.DEAD_LETTERS)
    assert (letter["reason"], letter["component"], letter["value"]) == ("not_avro", "batch.bronze", b"no avro")
    assert len(day_ahead_rows(job.settings, job.use_case.use_case, [date(2022, 3, 25)])) == 24


def test_a_curve_is_stored_and_published_once_however_often_it_is_run(job: DayAheadJob, entity: Entity) -> None:
    first, second = job.delivery_day(DAY), job.delivery_day(DAY)
    assert (first.published, first.already_published) == (1, 0)
    assert (second.published, second.already_published) == (0, 1)
    (curve,) = curves(job)
    assert curve.issued_at == job.use_case.cutoff(entity, DAY)
    assert [p.valid_time for p in curve.points] == job.use_case.delivery_times(entity, DAY)
    assert len(curve.points) == 23
    stored = forecast_rows(job.settings, job.use_case.use_case, "day-ahead")
    np.testing.assert_array_equal(stored["q50"], [p.values[1] for p in curve.points])


def test_what_was_published_but_not_stored_is_stored_by_the_next_run(job: DayAheadJob, entity: Entity) -> None:
    (curve,) = curves(job)
    folder = Path(lake_paths(job.settings).forecasts("day-ahead", job.use_case.use_case))
    shutil.rmtree(folder)
    assert job.delivery_day(DAY).published == 0
    stored = forecast_rows(job.settings, job.use_case.use_case, "day-ahead")
    np.testing.assert_array_equal(stored["q50"], [p.values[1] for p in curve.points])
    # a day that was never run is published, and no other again
    assert job.delivery_day(DAY - timedelta(days=1)).published == 1
    assert len(curves(job)) == 2
    assert len(forecast_rows(job.settings, job.use_case.use_case, "day-ahead")) == 23 + 24


def test_a_restarted_daemon_knows_what_was_published(job: DayAheadJob, entity: Entity) -> None:
    known = PublishedCurves(job.settings, Topic.FORECASTS_DAY_AHEAD, job.use_case.use_case).keys()
    assert (entity.id, job.use_case.cutoff(entity, DAY)) in {key[:2] for key in known}


def test_a_row_that_saw_the_future_closes_the_gate(job: DayAheadJob) -> None:
    folder = Path(lake_paths(job.settings).gold_of("day-ahead", job.use_case.use_case)) / "delivery_month=2022-03"
    (file,) = folder.glob("*.parquet")
    rows = pd.read_parquet(file)
    spoiled = rows["delivery_day"] == DAY
    rows.loc[spoiled, "newest_input_at"] = rows.loc[spoiled, "cutoff"]
    for checksum in folder.glob(".*.crc"):
        checksum.unlink()
    rows.to_parquet(file, index=False)
    with pytest.raises(QualityError, match="newest_input_at"):
        check_gold(job.spark, job.settings, job.use_case, [DAY])
    refused = pd.read_parquet(
        Path(lake_paths(job.settings).quarantine) / f"use_case={job.use_case.use_case}" / "stage=gold_day_ahead"
    )
    assert len(refused) == 23
    assert set(refused["reason"]) == {"expect_column_pair_values_a_to_be_greater_than_b"}
    check_gold(job.spark, job.settings, job.use_case, [DAY - timedelta(days=1)])
