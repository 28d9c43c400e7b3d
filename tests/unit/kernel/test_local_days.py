"""Daily grids are grids of local days: numbers, publication, cleaning and features over both clock changes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualcast.catalogue import Entity, UseCase, load_use_case
from dualcast.features.as_of import day_ahead_features
from dualcast.observations.actuals import target_values
from dualcast.observations.cleaning import clean
from dualcast.timegrid import DAY, Grid, delivery_slots, interval_end
from tests.conftest import ROOT
from tests.histories import corrupt_from
from tests.local_days import orders

ZONES = ["Europe/Berlin", "Europe/London", "America/Santiago", "Asia/Kolkata", "Pacific/Auckland", "UTC"]
# the curve that begins on the next day contains the Sunday of the clock change
SUNDAYS = [date(2022, 3, 20), date(2022, 10, 23)]


@pytest.fixture(scope="module")
def warehouses() -> UseCase:
    return load_use_case("warehouses", ROOT / "use_cases")


@pytest.fixture(scope="module")
def site(warehouses: UseCase) -> Entity:
    return warehouses.entities[0]


@pytest.fixture(scope="module")
def observations(warehouses: UseCase, site: Entity) -> pd.DataFrame:
    return orders(warehouses, site, "2021-01-01", 700)


@given(st.integers(15_000, 25_000), st.sampled_from(ZONES))
def test_each_local_day_has_its_number(first: int, zone: str) -> None:
    grid, numbers = Grid(DAY, zone), np.arange(first, first + 400)
    starts = grid.starts(numbers)
    np.testing.assert_array_equal(grid.numbers(starts), numbers)
    np.testing.assert_array_equal(grid.numbers(starts - pd.Timedelta(microseconds=1)), numbers - 1)


@pytest.mark.parametrize(("day", "hours"), [(date(2022, 3, 27), 23), (date(2022, 10, 30), 25), (date(2022, 5, 1), 24)])
def test_a_local_day_ends_at_the_next_local_midnight(day: date, hours: int) -> None:
    (start,) = delivery_slots(day, "Europe/Berlin", DAY).to_pydatetime()
    assert interval_end(start, DAY, "Europe/Berlin") == start + timedelta(hours=hours)


@pytest.mark.parametrize("sunday", SUNDAYS)
def test_a_curve_holds_seven_local_days(warehouses: UseCase, site: Entity, sunday: date) -> None:
    local = pd.DatetimeIndex(warehouses.delivery_times(site, sunday + DAY)).tz_convert(site.time_zone)
    assert [t.date() for t in local] == [sunday + timedelta(days=k) for k in range(1, 8)]
    assert {t.hour for t in local} == {0}


@pytest.mark.parametrize("sunday", SUNDAYS)
def test_lags_keep_the_weekday_over_a_clock_change(
    warehouses: UseCase, site: Entity, observations: pd.DataFrame, sunday: date
) -> None:
    days = [sunday + timedelta(days=k) for k in (1, 8)]
    rows = day_ahead_features(warehouses, site, observations, days)
    actual = target_values(warehouses, observations, DAY)
    assert rows.groupby("delivery_day").size().tolist() == [7, 7]
    local = rows["valid_time"].dt.tz_convert(site.time_zone)
    before = (local.dt.tz_localize(None) - timedelta(days=14)).dt.tz_localize(site.time_zone).dt.tz_convert("UTC")
    np.testing.assert_array_equal(rows["orders_lag_14d"], actual.reindex(before).to_numpy())
    assert rows["weekday"].tolist() == [0, 1, 2, 3, 4, 5, 6] * 2
    assert rows["open"].tolist() == [1, 1, 1, 1, 1, 1, 0] * 2
    # Saturday was the last day whose orders were known on Sunday evening
    known = actual[: pd.Timestamp(sunday, tz=site.time_zone) - pd.Timedelta(hours=1)]
    assert rows["orders_mean_42d"].iloc[0] == pytest.approx(known.tail(36).mean(), rel=1e-5)


@pytest.mark.parametrize("sunday", SUNDAYS)
def test_daily_features_ignore_later_publications(
    warehouses: UseCase, site: Entity, observations: pd.DataFrame, sunday: date
) -> None:
    cutoff = pd.Timestamp(warehouses.cutoff(site, sunday + DAY))
    clean_rows, spoiled = (
        day_ahead_features(warehouses, site, history, [sunday + DAY])
        for history in (observations, corrupt_from(observations, cutoff))
    )
    pd.testing.assert_frame_equal(clean_rows, spoiled, check_exact=True)


def test_computing_many_days_at_once_equals_computing_each_alone(
    warehouses: UseCase, site: Entity, observations: pd.DataFrame
) -> None:
    days = [date(2022, 3, 14) + timedelta(days=k) for k in range(20)]
    whole = day_ahead_features(warehouses, site, observations, days)
    alone = [day_ahead_features(warehouses, site, observations, [day]) for day in days]
    pd.testing.assert_frame_equal(whole, pd.concat(alone, ignore_index=True), check_exact=True)


def test_cleaning_keeps_days_of_23_and_25_hours_and_compares_with_the_same_weekday(
    warehouses: UseCase, site: Entity, observations: pd.DataFrame
) -> None:
    bounds = warehouses.variables["orders"].bounds.model_copy(update={"relative_to": "orders", "ratio": (0.3, 3.0)})
    strict = warehouses.model_copy(
        update={
            "variables": {
                **warehouses.variables,
                "orders": warehouses.variables["orders"].model_copy(update={"bounds": bounds}),
            }
        }
    )
    monday = pd.Timestamp("2022-03-28", tz=site.time_zone).tz_convert("UTC")
    broken = (observations["variable"] == "orders") & (observations["valid_time"] == monday)
    fresh = observations.assign(
        entity_id=site.id, source="test", simulated=False, partition=0, offset=0, position=range(len(observations))
    )
    fresh["value"] = fresh["value"].where(~broken, fresh["value"] * 10)
    judged = clean(strict, fresh, fresh.iloc[:0], (), datetime(2026, 1, 1, tzinfo=UTC))
    refused = judged[judged["reason"] != ""]
    assert refused[["valid_time", "reason"]].to_numpy().tolist() == [[monday, "implausible"]]
    assert len(judged) == len(observations)


def test_a_correction_counts_from_its_publication_on(
    warehouses: UseCase, site: Entity, observations: pd.DataFrame
) -> None:
    saturday = pd.Timestamp("2022-03-19", tz=site.time_zone).tz_convert("UTC")
    old = observations[(observations["variable"] == "orders") & (observations["valid_time"] == saturday)]
    late = old.assign(value=1000.0, published_at=pd.Timestamp("2022-03-24T12:00Z"))
    rows = day_ahead_features(
        warehouses, site, pd.concat([observations, late]), [date(2022, 3, 22), date(2022, 3, 26)]
    ).set_index(["delivery_day", "valid_time"])
    next_saturday = pd.Timestamp("2022-03-26", tz=site.time_zone).tz_convert("UTC")
    seen = [rows.loc[(day, next_saturday), "orders_lag_7d"] for day in (date(2022, 3, 22), date(2022, 3, 26))]
    assert seen == [old["value"].item(), 1000.0]
