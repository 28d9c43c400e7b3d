"""Warehouses through the real Spark jobs: local days, plans, curves of a week, and no intraday path."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from batch.engine.session import spark_session
from batch.runs.day_ahead import DayAheadJob
from dualcast.adapters.feature_store import training_frame
from dualcast.adapters.lake import training_keys
from dualcast.catalogue import UseCase, load_use_case
from dualcast.features.as_of import day_ahead_features
from dualcast.features.plan import FeaturePlan
from dualcast.observations.actuals import target_values
from dualcast.settings import Settings
from dualcast.steps import Steps
from dualcast.timegrid import DAY
from tests.conftest import ROOT
from tests.feature_job import publish
from tests.local_days import orders

pytestmark = pytest.mark.stack("kafka", "registry")

# the last curve contains the Sunday with 23 hours
UNTIL = datetime(2022, 3, 21, 12, tzinfo=UTC)
DAYS = [date(2022, 3, 1) + timedelta(days=k) for k in range(21)]


@pytest.fixture(scope="module")
def warehouses() -> UseCase:
    return load_use_case("warehouses", ROOT / "use_cases")


@pytest.fixture(scope="module")
def histories(warehouses: UseCase) -> dict[str, pd.DataFrame]:
    return {e.id: orders(warehouses, e, "2021-12-01", 140, 10.0**k) for k, e in enumerate(warehouses.entities, 1)}


@pytest.fixture(scope="module")
def job(stack: Settings, warehouses: UseCase, histories: dict[str, pd.DataFrame]) -> Iterator[DayAheadJob]:
    for entity_id, observations in histories.items():
        publish(stack, entity_id, observations, 2000)
    spark = spark_session(stack)
    job = DayAheadJob(spark, stack, warehouses, Steps(Console(stderr=True)))
    job.history(UNTIL)
    yield job
    spark.stop()


def test_gold_equals_the_plain_function(
    job: DayAheadJob, warehouses: UseCase, histories: dict[str, pd.DataFrame]
) -> None:
    gold = pd.read_parquet(Path(job.settings.lake_uri) / "gold" / "day_ahead" / "use_case=warehouses")
    order = ["entity_id", "cutoff", "valid_time"]
    spark = gold[gold["delivery_day"].isin(DAYS)].sort_values(order, ignore_index=True)
    plain = pd.concat([day_ahead_features(warehouses, warehouses.entity(e), o, DAYS) for e, o in histories.items()])
    plain = plain.sort_values(order, ignore_index=True)
    assert len(plain) == len(histories) * len(DAYS) * 7
    for name in [*order, "newest_input_at", *FeaturePlan.of(warehouses, "day-ahead").names]:
        np.testing.assert_array_equal(spark[name].to_numpy(), plain[name].to_numpy(), err_msg=name)
    for entity_id, rows in spark.groupby("entity_id"):
        actual = target_values(warehouses, histories[str(entity_id)], DAY)
        np.testing.assert_array_equal(rows["actual"], actual.reindex(rows["valid_time"]).to_numpy())


@pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")  # ibis calls a deprecated function of DuckDB
def test_training_rows_of_overlapping_curves_have_the_features_of_their_cutoff(
    job: DayAheadJob, warehouses: UseCase
) -> None:
    """A day is in seven curves; each row has the features that were known at the cutoff of its curve."""
    keys = training_keys(job.settings, "warehouses", "day-ahead")
    one_day = keys[
        (keys["valid_time"] == pd.Timestamp("2022-03-18", tz="Europe/Berlin")) & (keys["entity_id"] == "W01")
    ]
    assert len(one_day) == 7
    frame = training_frame(job.settings, "warehouses", "day-ahead", one_day).sort_values("event_timestamp")
    assert frame["lead"].tolist() == sorted(frame["lead"], reverse=True)
    assert frame["lead"].nunique() == 7
