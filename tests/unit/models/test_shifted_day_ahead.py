"""The shifted day-ahead curve: interpolation, shift, coverage, and levels that differ between curves."""

from __future__ import annotations

import numpy as np
import pytest

from dualcast.arrays import Floats
from dualcast.catalogue import UseCase
from models.prediction.shifted_day_ahead import DayAheadQuantiles, recent_times, shifted

HOUR, QUARTER = 3_600_000_000, 900_000_000


def hourly(first: int, medians: list[float], levels: tuple[float, ...] = (0.1, 0.5, 0.9)) -> DayAheadQuantiles:
    """An hourly curve from hour ``first`` on, with quantiles 10 apart."""
    offsets = 10.0 * (np.arange(len(levels)) - levels.index(0.5))
    starts = (first + np.arange(len(medians))) * HOUR
    return DayAheadQuantiles(starts, np.array(medians)[:, np.newaxis] + offsets, levels)


def quarters(first: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return first * HOUR + np.arange(count, dtype=np.int64) * QUARTER


def shift(use_case: UseCase, curve: DayAheadQuantiles, actual: list[float]) -> Floats:
    """The shifted curve of the quarter-hours of hour 3, with the actuals of hour 2."""
    return shifted(use_case, curve, quarters(3, 4), recent_times(use_case, 3 * HOUR), np.array(actual))


@pytest.fixture(scope="module")
def hours(use_case: UseCase) -> UseCase:
    """Hourly day-ahead curves, quarter-hourly intraday ones."""
    day_ahead = use_case.day_ahead.model_copy(update={"resolution": 4 * use_case.part("intraday").resolution})
    return use_case.model_copy(update={"day_ahead": day_ahead})


def test_values_are_interpolated_between_the_middles_of_hours(hours: UseCase) -> None:
    found = hourly(0, [0.0, 0.0, 80.0, 80.0]).at(hours, quarters(2, 4))
    np.testing.assert_allclose(found[:, 1], [50.0, 70.0, 80.0, 80.0])
    np.testing.assert_allclose(found[:, 2] - found[:, 0], 20.0)


def test_all_quantiles_are_shifted_by_the_mean_error_of_the_last_hour(hours: UseCase) -> None:
    found = shift(hours, hourly(0, [100.0] * 8), [104.0, 106.0, np.nan, np.nan])
    np.testing.assert_allclose(found, np.broadcast_to([95.0, 105.0, 115.0], (4, 3)))
    np.testing.assert_allclose(shift(hours, hourly(0, [100.0] * 8), [np.nan] * 4)[:, 1], 100.0)


def test_the_curve_ends_with_the_day_ahead_curves(hours: UseCase) -> None:
    curve = hourly(0, [100.0] * 4)
    assert len(shifted(hours, curve, quarters(3, 9), quarters(3, 0), np.empty(0))) == 4
    assert len(shifted(hours, curve, quarters(4, 4), quarters(3, 0), np.empty(0))) == 0
    nothing = DayAheadQuantiles.of([], hours, 0, 0)
    assert len(shifted(hours, nothing, quarters(4, 4), quarters(3, 0), np.empty(0))) == 0


def test_summed_variables_are_divided_among_the_intervals(hours: UseCase) -> None:
    load = hours.variables["load"].model_copy(update={"aggregate": "sum"})
    summed = hours.model_copy(update={"variables": hours.variables | {"load": load}})
    np.testing.assert_allclose(hourly(0, [100.0] * 4).at(summed, quarters(2, 2))[:, 1], 25.0)


def test_curves_with_different_levels_give_their_common_levels(hours: UseCase) -> None:
    """Regression test: a level that was added between two day-ahead curves made the fallback raise."""
    old, today = hourly(0, [1.0] * 24), hourly(24, [2.0] * 24)
    tomorrow = hourly(48, [3.0] * 24, (0.05, 0.1, 0.5, 0.9))
    across = DayAheadQuantiles.of([old, today, tomorrow], hours, 47 * HOUR, 49 * HOUR)
    assert (across.levels, len(across.starts)) == ((0.1, 0.5, 0.9), 48)
    np.testing.assert_array_equal(across.at(hours, quarters(50, 1)), [[-7.0, 3.0, 13.0]])
    # the new level is available when the older curves have ended
    assert DayAheadQuantiles.of([old, today, tomorrow], hours, 55 * HOUR, 60 * HOUR).levels == tomorrow.levels
