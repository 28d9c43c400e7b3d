"""Absurd observations on Kafka do not change, enlarge or stop the history in the lake."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from batch.engine.session import spark_session
from batch.lake.gold_day_ahead import build_day_ahead, delivery_days
from batch.runs.day_ahead import DayAheadJob
from dualcast.adapters.lake import day_ahead_rows, lake_paths
from dualcast.catalogue import Entity, UseCase
from dualcast.features.as_of import day_ahead_features
from dualcast.settings import Settings
from dualcast.steps import Steps
from dualcast.timegrid import local_date
from tests.feature_job import publish
from tests.histories import history

pytestmark = pytest.mark.stack("kafka", "registry")


def absurd(past: pd.DataFrame, use_case: UseCase) -> pd.DataFrame:
    """A value of a year, values of 1981 that were published now and then, and a forecast of 2199."""
    newest = past["published_at"].max()
    load, plan = (past[past["variable"] == name].iloc[:1] for name in (use_case.target, use_case.reference))
    old = pd.Timestamp("1981-02-01T00:00Z").as_unit("us")
    rows = [
        load.assign(resolution="P366D", valid_time=newest.floor("D") - timedelta(days=366), published_at=newest),
        load.assign(valid_time=old, published_at=newest),
        load.assign(valid_time=old, published_at=old + timedelta(hours=1)),
        plan.assign(valid_time=old, published_at=newest),
        plan.assign(valid_time=pd.Timestamp("2199-01-01T00:00Z").as_unit("us"), published_at=newest),
    ]
    return pd.concat(rows, ignore_index=True)


def test_history_with_absurd_observations_equals_the_history_without(
    stack: Settings, use_case: UseCase, entity: Entity
) -> None:
    past = history(use_case, entity, "2022-05-01", 20)
    publish(stack, entity.id, past, 2000)
    publish(stack, entity.id, absurd(past, use_case), 10)
    job = DayAheadJob(spark_session(stack), stack, use_case, Steps(Console(stderr=True)))
    try:
        job.ingest()
        assert job.gates.silver().success
        days = delivery_days(job.spark, stack, use_case, past["published_at"].max().to_pydatetime())
        assert days[0] == local_date(past["published_at"].min(), entity.time_zone)
        build_day_ahead(job.spark, stack, use_case, days)
    finally:
        job.spark.stop()
    made = day_ahead_rows(stack, use_case.use_case, days)
    expected = day_ahead_features(use_case, entity, past, days)
    columns = [name for name in expected.columns if name != "delivery_day"]
    pd.testing.assert_frame_equal(made[columns], expected[columns], check_dtype=False)
    refused = Path(lake_paths(stack).quarantine) / f"use_case={use_case.use_case}" / "stage=silver"
    reasons = pd.concat(map(pd.read_parquet, refused.rglob("*.parquet")))["reason"]
    assert sorted(reasons) == ["interval_too_long", "too_far_ahead", "too_old", "too_old", "too_old"]
