"""Several vintages of one value through Kafka, Bronze, Silver and Gold: each cutoff sees those published before it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from batch.engine.session import spark_session
from batch.lake.gold_day_ahead import build_day_ahead
from batch.runs.day_ahead import DayAheadJob
from dualcast.adapters.lake import day_ahead_rows
from dualcast.catalogue import Entity, UseCase
from dualcast.settings import Settings
from dualcast.steps import Steps
from dualcast.timegrid import day_bounds
from tests.feature_job import publish
from tests.histories import history, in_canonical_order

pytestmark = pytest.mark.stack("kafka", "registry")

DAY = date(2022, 6, 7)
NEXT = DAY + timedelta(days=1)
REVISION = 1.1


@pytest.fixture(scope="module")
def original(use_case: UseCase, entity: Entity) -> pd.DataFrame:
    return history(use_case, entity, "2022-05-01", 41)


@pytest.fixture(scope="module")
def vintages(use_case: UseCase, entity: Entity, original: pd.DataFrame) -> pd.DataFrame:
    """A late reference and three weather runs for DAY, and a load that is revised between the cutoffs."""
    cutoff, hour = pd.Timestamp(use_case.cutoff(entity, DAY)), pd.Timedelta(hours=1)
    rows = original.copy()
    rows.loc[(rows["variable"] == use_case.reference) & of_day(rows, entity, DAY), "published_at"] = cutoff
    weather = (rows["variable"] == "temperature_2m") & of_day(rows, entity, DAY)
    runs = [
        rows[weather].assign(value=rows["value"] + warmer, published_at=cutoff + after)
        for warmer, after in ((9.0, -hour), (5.0, -5 * hour), (20.0, hour))
    ]
    week_before = of_day(rows, entity, DAY - timedelta(days=7)) | of_day(rows, entity, NEXT - timedelta(days=7))
    revised = rows[(rows["variable"] == use_case.target) & week_before]
    revised = revised.assign(value=revised["value"] * REVISION, published_at=cutoff + 3 * hour)
    return in_canonical_order(use_case, pd.concat([rows[~weather], *runs, revised]))


@pytest.fixture(scope="module")
def gold(stack: Settings, use_case: UseCase, entity: Entity, vintages: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The Gold rows of both days, by valid_time, which Spark computes from all vintages together."""
    publish(stack, entity.id, vintages, 2000)
    job = DayAheadJob(spark_session(stack), stack, use_case, Steps(Console(stderr=True)))
    job.ingest()
    build_day_ahead(job.spark, stack, use_case, [DAY, NEXT])
    yield day_ahead_rows(stack, use_case.use_case, [DAY, NEXT]).set_index("valid_time")
    job.spark.stop()


def of_day(rows: pd.DataFrame, entity: Entity, day: date) -> pd.Series:
    first, last = day_bounds(day, entity.time_zone)
    return (rows["valid_time"] >= first) & (rows["valid_time"] < last)


def hourly(original: pd.DataFrame, variable: str) -> pd.Series:
    values = original[original["variable"] == variable].set_index("valid_time")["value"]
    return values.resample("1h").mean()


def test_a_reference_published_at_the_cutoff_is_not_used(gold: pd.DataFrame) -> None:
    day = gold[gold["delivery_day"] == DAY]
    assert len(day) == 24
    assert day["tso"].isna().all()
    assert (day["newest_input_at"] < day["cutoff"]).all()
    assert gold.loc[gold["delivery_day"] == NEXT, "tso"].notna().all()


def test_a_late_reference_is_used_by_lagged_features_of_the_next_day(
    gold: pd.DataFrame, original: pd.DataFrame, use_case: UseCase, entity: Entity
) -> None:
    assert use_case.reference is not None
    measured_until = use_case.cutoff(entity, NEXT) - use_case.day_ahead.measurement_delay
    error = hourly(original, use_case.target) - hourly(original, use_case.reference)
    expected = error[error.index < measured_until].tail(24).mean()
    rows = gold[gold["delivery_day"] == NEXT]
    np.testing.assert_allclose(rows["tso_error_1d"], expected, atol=0.01)


def test_the_newest_weather_run_before_the_cutoff_is_used(gold: pd.DataFrame, original: pd.DataFrame) -> None:
    day = gold[gold["delivery_day"] == DAY]
    # regardless of the order on Kafka; the run published after the cutoff is not used
    np.testing.assert_allclose(day["temperature"], hourly(original, "temperature_2m")[day.index] + 9.0)


def test_a_revised_load_changes_only_the_later_cutoff(
    gold: pd.DataFrame, original: pd.DataFrame, use_case: UseCase
) -> None:
    load = hourly(original, use_case.target)
    for day, factor in ((DAY, 1.0), (NEXT, REVISION)):
        rows = gold[gold["delivery_day"] == day]
        known = load[rows.index - pd.Timedelta(days=7)].to_numpy() * factor
        np.testing.assert_allclose(rows["load_lag_7d"], known, rtol=1e-9)
