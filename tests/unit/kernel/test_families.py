"""Feature functions return the numbers that their docstrings describe."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from dualcast.catalogue import Entity
from dualcast.features.families.errors import corrected, error_lag, moved_lag
from dualcast.features.families.levels import day_mean, mean_change, mean_rise, same_day_type, slope, typical_error
from dualcast.features.families.plans import near, planned, run_length, same_plan
from dualcast.features.families.weather import degrees_above, degrees_below, smoothed
from dualcast.features.families.years import day_of_month, mean_around, rise_around
from dualcast.features.holidays import SlotCalendar
from dualcast.features.window import Window

HOUR = 3600
DAY = timedelta(days=1)
# local midnight before Wednesday, 2022-02-16; there is no holiday in the four weeks before
WEDNESDAY = 456_935
LOOKBACK = 24 * 28


@pytest.fixture
def window(entity: Entity) -> Window:
    """Four weeks of hours before a Wednesday: load rises by 1 an hour; the forecast is 10 lower and continues later."""
    start = WEDNESDAY - LOOKBACK
    slots = np.arange(start, WEDNESDAY + 24)
    values = {"load": (slots - start).astype(float), "forecast": slots - start - 10.0}
    origin, target = np.array([[WEDNESDAY]]), np.arange(WEDNESDAY, WEDNESDAY + 24)[np.newaxis]
    return Window(values, frozenset({"load"}), start, origin, target, LOOKBACK, HOUR, SlotCalendar(entity, HOUR))


def test_a_change_of_means_compares_spans_of_equal_length(window: Window) -> None:
    assert mean_change(window, "load", DAY, timedelta(days=7)).item() == pytest.approx(168)


def test_a_change_of_means_may_not_reach_beyond_the_lookback(window: Window) -> None:
    with pytest.raises(ValueError, match="lookback"):
        mean_change(window, "load", DAY, timedelta(days=28))


def test_the_typical_error_compares_with_days_of_the_same_type(window: Window) -> None:
    # Tuesday's workday before is Monday: 24 hours earlier, so 24 lower
    assert typical_error(window, "load", DAY, count=1).item() == pytest.approx(24)
    # Tuesday's last two workdays are Monday and Friday: 24 and 96 lower
    assert typical_error(window, "load", DAY, count=2).item() == pytest.approx(60)


def test_the_typical_error_is_that_of_same_day_type_and_reads_no_target(window: Window) -> None:
    window.values["load"][-24:] = 1e9
    assert typical_error(window, "load", DAY, count=1).item() == pytest.approx(24)
    assert same_day_type(window, "load", count=1)[0, 0] == window.values["load"][-48]


def test_a_rise_compares_with_the_same_local_time_also_after_the_clock_changed(entity: Entity) -> None:
    # Sunday, 2022-03-27, has no hour from 02:00: local midnight of Monday is 23 hours after that of Sunday
    monday = int(pd.Timestamp("2022-03-28T00:00", tz="Europe/Berlin").timestamp()) // HOUR
    start = monday - LOOKBACK
    values = {"load": np.arange(LOOKBACK + 24, dtype=float)}
    origin, target = np.array([[monday + 12]]), np.arange(monday + 12, monday + 18)[np.newaxis]
    window = Window(values, frozenset({"load"}), start, origin, target, LOOKBACK, HOUR, SlotCalendar(entity, HOUR))
    assert mean_rise(window, "load", timedelta(hours=6), DAY).item() == pytest.approx(24)
    assert mean_rise(window, "load", timedelta(hours=6), 2 * DAY).item() == pytest.approx(47)


def test_a_rise_is_unknown_where_most_values_are(window: Window) -> None:
    window.values["load"][-24 - 3 : -24] = np.nan
    assert mean_rise(window, "load", timedelta(hours=6), DAY).item() == pytest.approx(24)
    assert np.isnan(mean_rise(window, "load", timedelta(hours=4), DAY).item())


def test_a_slope_at_the_target_reads_forecasts_and_no_measured_values(window: Window) -> None:
    np.testing.assert_array_equal(slope(window, "forecast", -2), np.full((1, 24), -2.0))
    assert slope(window, "forecast", 1)[0, :-1].tolist() == [1.0] * 23
    assert np.isnan(slope(window, "load", 1)).all()


def test_a_slope_of_an_earlier_day_is_measured_around_the_same_hour(window: Window) -> None:
    np.testing.assert_array_equal(slope(window, "load", -2, days=1), np.full((1, 24), -2.0))
    # for the last targets, the values after the same hour a day before are not measured yet
    assert np.isnan(slope(window, "load", 2, days=1))[0].tolist() == [False] * 22 + [True] * 2


def test_the_typical_error_is_unknown_where_half_of_the_values_are(window: Window) -> None:
    window.values["load"][-24 - 13 : -24] = np.nan
    assert np.isnan(typical_error(window, "load", DAY, count=1).item())


def test_a_corrected_forecast_is_free_of_its_mean_error(window: Window) -> None:
    truth = window.target - window.start
    np.testing.assert_allclose(corrected(window, "forecast", "load", days=3), truth)


def test_a_moved_lag_adds_the_change_that_others_forecast(window: Window) -> None:
    truth = window.target - window.start
    np.testing.assert_allclose(moved_lag(window, "load", "forecast", timedelta(days=7)), truth)


def test_an_error_of_earlier_days_is_taken_at_the_same_hour(window: Window) -> None:
    np.testing.assert_allclose(error_lag(window, "forecast", "load", timedelta(days=7)), 10.0)
    # yesterday is not measured yet where the origin lies before it
    assert np.isnan(error_lag(window, "forecast", "load", timedelta(0))).all()


def test_a_day_mean_of_earlier_days_is_one_number(window: Window) -> None:
    today, last_week = day_mean(window, "forecast"), day_mean(window, "forecast", timedelta(days=7))
    assert np.ptp(today) == 0
    np.testing.assert_allclose(today - last_week, 168.0)


def test_a_smoothed_value_lags_behind_a_ramp_and_needs_half_of_its_weight(window: Window) -> None:
    behind = window.at("forecast", window.target) - smoothed(window, "forecast", timedelta(hours=12))
    # the mean age of weights that halve every 12 hours is 12 / ln 2, less half an hour
    np.testing.assert_allclose(behind, 12 / np.log(2), atol=2.5)
    window.values["forecast"][:-20] = np.nan
    assert np.isnan(smoothed(window, "forecast", timedelta(hours=48))).all()


def test_degrees_are_counted_on_one_side_of_the_base(window: Window) -> None:
    value = window.at("forecast", window.target)
    base = float(value[0, 12])
    assert degrees_below(window, "forecast", base)[0, 12:].max() == 0
    np.testing.assert_allclose(degrees_above(window, "forecast", base)[0, 12:], value[0, 12:] - base)
    np.testing.assert_allclose(
        degrees_below(window, "forecast", base, by=timedelta(days=2))[0, 0], base - value[0, 0] + 48
    )


@pytest.fixture
def days(entity: Entity) -> Window:
    """Ten weeks of days before a Monday: sales are the number of the day, three times that on days with a plan."""
    monday = 20_240 - (20_240 + 3) % 7
    start = monday - 70
    slots = np.arange(start, monday + 14)
    plan = ((slots - start) // 7 % 2).astype(float)
    values = {"sales": (slots - start) * (1 + 2 * plan), "plan": plan}
    origin, target = np.array([[monday]]), np.arange(monday, monday + 7)[np.newaxis]
    return Window(values, frozenset({"sales"}), start, origin, target, 70, 86400, SlotCalendar(entity, 86400))


def test_the_same_plan_is_searched_on_the_same_weekday(days: Window) -> None:
    # the target's week has no plan, as the weeks 14 and 28 days before it
    found = same_plan(days, "sales", "plan", count=2, within=70, every=7)
    np.testing.assert_allclose(found[0], 70 + np.arange(7) - 21)
    any_day = same_plan(days, "sales", "plan", count=7, within=70)
    assert any_day[0, 0] == pytest.approx(np.arange(56, 63).mean())


def test_plans_are_read_after_the_target_and_sales_only_before_the_origin(days: Window) -> None:
    assert near(days, "plan", days=7)[0].tolist() == [1] * 7
    assert planned(days, "plan", first=1, last=7)[0].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert np.isnan(near(days, "sales", days=0)).all()
    assert near(days, "sales", days=-14)[0, 0] == 56


def test_the_run_length_of_a_plan_is_counted_in_days(days: Window) -> None:
    assert run_length(days, "plan", within=4)[0].tolist() == [0, 1, 2, 3, 4, 4, 4]


def test_the_mean_around_an_earlier_day(days: Window) -> None:
    days.values["plan"][:] = 0
    days.values["sales"][:] = np.arange(len(days.values["sales"]))
    found = mean_around(days, "sales", by=timedelta(days=14), over=timedelta(days=7))
    np.testing.assert_allclose(found[0], 56 + np.arange(7))
    rise = rise_around(days, "sales", by=timedelta(days=14), over=timedelta(days=7), base=timedelta(days=7))
    np.testing.assert_allclose(rise[0], (56 + np.arange(7)) / 52)
    with pytest.raises(ValueError, match="lookback"):
        mean_around(days, "sales", by=timedelta(days=70), over=timedelta(days=7))


def test_the_day_of_the_month(days: Window) -> None:
    dates = days.target[0].astype("datetime64[D]").astype(object)
    assert day_of_month(days)[0].tolist() == [d.day for d in dates]
