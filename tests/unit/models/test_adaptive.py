"""Intervals are scaled by the errors of published curves that were known at the cutoff."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from dualcast.arrays import Floats
from dualcast.catalogue import UseCase
from dualcast.curves.frames import forecast_frame
from dualcast.lifecycle.registered_model import RegisteredModel
from models.intervals.adaptive import ErrorRecord, one_an_hour
from models.prediction.day_ahead import day_ahead_curves
from models.prediction.interval_factors import interval_factors
from models.prediction.intraday import intraday_forecasts

LEVELS = (0.1, 0.5, 0.9)
SLOTS = 24


def record(errors: Floats, missed: float) -> ErrorRecord:
    """The record of one entity: a row of errors a day, offsets of one unit, a share ``missed`` of points outside."""
    days = len(errors)
    age = np.repeat(np.arange(days)[::-1], SLOTS)[np.newaxis]
    offset = np.broadcast_to([-1.0, 0.0, 1.0], (1, days * SLOTS, 3))
    outside = np.zeros((1, days * SLOTS, 3), dtype=bool)
    outside[:, :: max(round(1 / missed), 1) if missed else days * SLOTS + 1] = True
    return ErrorRecord(age, errors.reshape(1, -1), offset, np.ones_like(outside), outside, SLOTS)


def errors(spread: float, days: int = 60) -> Floats:
    return np.random.default_rng(2).normal(0, spread, (days, SLOTS))


def test_errors_twice_as_wide_make_intervals_twice_as_wide() -> None:
    narrow = record(errors(1.0), missed=0.1).factors(LEVELS)
    wide = record(errors(2.0), missed=0.1).factors(LEVELS)
    np.testing.assert_allclose(wide[0, [0, 2]], 2 * narrow[0, [0, 2]])
    # a tenth of a normal distribution lies beyond 1.28
    np.testing.assert_allclose(narrow[0, [0, 2]], 1.28, atol=0.2)
    assert narrow[0, 1] == 1


def test_too_many_actuals_outside_widen_intervals_further() -> None:
    often = record(errors(1.0), missed=0.2).factors(LEVELS)
    seldom = record(errors(1.0), missed=0.0).factors(LEVELS)
    assert often[0, 0] > record(errors(1.0), missed=0.1).factors(LEVELS)[0, 0] > seldom[0, 0]


def test_a_short_record_does_not_change_the_intervals() -> None:
    np.testing.assert_array_equal(record(errors(9.0, days=19), missed=0.5).factors(LEVELS), 1.0)


def test_a_curve_of_several_days_counts_as_several_days_of_record() -> None:
    # three weekly curves of seven days, with a point for each day
    age, offset = np.repeat([15, 8, 1], 7)[np.newaxis], np.broadcast_to([-1.0, 0.0, 1.0], (1, 21, 3))
    missed = np.zeros((1, 21, 3), dtype=bool)
    weekly = ErrorRecord(age, np.linspace(-2, 2, 21)[np.newaxis], offset, ~missed, missed, per_day=1)
    assert (weekly.factors(LEVELS)[0, [0, 2]] != 1).all()


def test_each_entity_has_its_own_record() -> None:
    one, other = record(errors(1.0), 0.1), record(errors(3.0), 0.1)
    both = ErrorRecord(
        np.concatenate([one.age, other.age]),
        np.concatenate([one.error, other.error]),
        np.concatenate([one.offset, other.offset]),
        np.concatenate([one.published, other.published]),
        np.concatenate([one.missed, other.missed]),
        SLOTS,
    )
    np.testing.assert_array_equal(both.factors(LEVELS), np.vstack([one.factors(LEVELS), other.factors(LEVELS)]))


def test_a_level_is_adjusted_only_by_misses_of_forecasts_with_that_level() -> None:
    whole = record(errors(1.0), missed=0.2)
    without = replace(whole, published=whole.published & [False, True, True], missed=whole.missed & [False, True, True])
    found, expected = without.factors(LEVELS), whole.factors(LEVELS)
    np.testing.assert_array_equal(found[:, 1:], expected[:, 1:])
    # the errors scale the new level at once; it is not widened further by misses
    assert 1.1 < found[0, 0] < expected[0, 0]


@pytest.fixture(scope="module")
def past(quick: UseCase, day_ahead_model: RegisteredModel, day_ahead_frame: pd.DataFrame) -> pd.DataFrame:
    """The published forecasts of most days with their actuals."""
    days = sorted(day_ahead_frame["delivery_day"].unique())[:-1]
    rows = day_ahead_frame[day_ahead_frame["delivery_day"].isin(days)]
    curves = pd.concat(
        [forecast_frame([c]) for c in day_ahead_curves(day_ahead_model, quick, rows, "test").forecasts()]
    )
    known = rows[["entity_id", "valid_time", "actual", str(quick.day_ahead.scale)]]
    merged: pd.DataFrame = curves.merge(known, on=["entity_id", "valid_time"])
    return merged


def widths(quick: UseCase, model: RegisteredModel, rows: pd.DataFrame, past: pd.DataFrame | None) -> Floats:
    cutoff = quick.cutoff(quick.entities[0], rows["delivery_day"].iloc[0])
    curves = [(quick.entities[0].id, cutoff)]
    factors = None if past is None else interval_factors(model, quick, past, curves)
    (curve,) = day_ahead_curves(model, quick, rows, "test", factors=factors).forecasts()
    frame = forecast_frame([curve])
    found: Floats = (frame["q90"] - frame["q10"]).to_numpy(dtype=np.float64)
    return found


@pytest.fixture(scope="module")
def last_day(day_ahead_frame: pd.DataFrame) -> pd.DataFrame:
    return day_ahead_frame[day_ahead_frame["delivery_day"] == day_ahead_frame["delivery_day"].max()]


def test_large_recent_errors_widen_the_curve(
    quick: UseCase, day_ahead_model: RegisteredModel, past: pd.DataFrame, last_day: pd.DataFrame
) -> None:
    calm = widths(quick, day_ahead_model, last_day, past)
    wild = past.assign(actual=past["q50"] + 3 * (past["actual"] - past["q50"]))
    assert (widths(quick, day_ahead_model, last_day, wild) > 1.5 * calm).all()


def test_actuals_published_after_the_cutoff_are_ignored(
    quick: UseCase, day_ahead_model: RegisteredModel, past: pd.DataFrame, last_day: pd.DataFrame
) -> None:
    cutoff = quick.cutoff(quick.entities[0], last_day["delivery_day"].iloc[0])
    unknown = past["valid_time"] > quick.newest_known("day-ahead", cutoff)
    assert unknown.sum() > 5
    corrupt = past.assign(actual=past["actual"].mask(unknown, 1e6))
    np.testing.assert_array_equal(
        widths(quick, day_ahead_model, last_day, corrupt), widths(quick, day_ahead_model, last_day, past)
    )


def test_points_without_actual_and_other_entities_are_left_out(
    quick: UseCase, day_ahead_model: RegisteredModel, past: pd.DataFrame, last_day: pd.DataFrame
) -> None:
    plain = widths(quick, day_ahead_model, last_day, None)
    foreign = past.assign(entity_id="elsewhere", actual=1e6)
    np.testing.assert_array_equal(widths(quick, day_ahead_model, last_day, foreign), plain)
    np.testing.assert_array_equal(widths(quick, day_ahead_model, last_day, past.assign(actual=np.nan)), plain)
    old = past.assign(
        issued_at=past["issued_at"] - timedelta(days=400), valid_time=past["valid_time"] - timedelta(days=400)
    )
    np.testing.assert_array_equal(widths(quick, day_ahead_model, last_day, old), plain)


@pytest.mark.parametrize("unpublished", ["absent", "unknown"])
def test_a_level_without_record_does_not_affect_the_other_levels(
    quick: UseCase, day_ahead_model: RegisteredModel, past: pd.DataFrame, last_day: pd.DataFrame, unpublished: str
) -> None:
    """Regression test: a level added to the catalogue reset the intervals of all levels until it had a record."""
    lacking = past.drop(columns="q90") if unpublished == "absent" else past.assign(q90=np.nan)
    curves = [(quick.entities[0].id, quick.cutoff(quick.entities[0], last_day["delivery_day"].iloc[0]))]
    whole, found = (interval_factors(day_ahead_model, quick, p, curves)[curves[0]] for p in (past, lacking))
    assert whole[0, 0] != 1
    np.testing.assert_array_equal(found[:, :2], whole[:, :2])


@pytest.fixture(scope="module")
def published_forecasts(quick: UseCase, intraday_model: RegisteredModel, intraday_frame: pd.DataFrame) -> pd.DataFrame:
    """The published forecasts of the intraday model with their actuals."""
    rows = intraday_frame.iloc[:-32]
    frame = forecast_frame(list(intraday_forecasts(intraday_model, quick, rows, "test")))
    scale = rows.assign(issued_at=rows["event_timestamp"])[["issued_at", str(quick.part("intraday").scale)]]
    actual = rows.explode("actuals")["actuals"].to_numpy(dtype=np.float64)
    assert len(actual) == len(frame)
    return frame.assign(actual=actual).merge(scale, on="issued_at")


def horizon_factors(quick: UseCase, model: RegisteredModel, past: pd.DataFrame) -> Floats:
    """The factors of Germany at the end of the record, (H, levels)."""
    moment = past["issued_at"].max().to_pydatetime() + timedelta(days=1)
    return interval_factors(model, quick, past, [(quick.entities[0].id, moment)])[quick.entities[0].id, moment]


def test_each_horizon_is_scaled_by_its_own_errors(
    quick: UseCase, intraday_model: RegisteredModel, published_forecasts: pd.DataFrame
) -> None:
    calm = horizon_factors(quick, intraday_model, published_forecasts)
    assert calm.shape == (24, 3)
    hit = published_forecasts["valid_time"] - published_forecasts["issued_at"] == timedelta(hours=5)
    wild = published_forecasts.assign(
        actual=published_forecasts["actual"].where(
            ~hit, published_forecasts["q50"] + 3 * (published_forecasts["actual"] - published_forecasts["q50"])
        )
    )
    moved = horizon_factors(quick, intraday_model, wild)
    assert (moved[20, [0, 2]] > 1.5 * calm[20, [0, 2]]).all()
    np.testing.assert_array_equal(np.delete(moved, 20, axis=0), np.delete(calm, 20, axis=0))


def test_curves_issued_late_are_assigned_to_their_origin(
    quick: UseCase, intraday_model: RegisteredModel, published_forecasts: pd.DataFrame
) -> None:
    # curves issued seconds after the first target had begun have no value for it; other values are the same
    late = published_forecasts.assign(issued_at=published_forecasts["issued_at"] + timedelta(seconds=3))
    late = late[late["valid_time"] >= late["issued_at"]]
    np.testing.assert_array_equal(
        horizon_factors(quick, intraday_model, late)[1:],
        horizon_factors(quick, intraday_model, published_forecasts)[1:],
    )
    assert (horizon_factors(quick, intraday_model, late)[0] == 1).all()


def test_intraday_intervals_use_the_factors_of_their_horizon(
    quick: UseCase, intraday_model: RegisteredModel, intraday_frame: pd.DataFrame
) -> None:
    rows, factors = intraday_frame.tail(1), np.ones((24, 3))
    factors[5] = 2
    entity = quick.entities[0].id
    (plain,) = (forecast_frame([c]) for c in intraday_forecasts(intraday_model, quick, rows, "test"))
    moment = rows["valid_time"].iloc[0].to_pydatetime()
    known = {entity: {moment - timedelta(days=1): np.ones((24, 3)), moment: factors}}
    (wide,) = (forecast_frame([c]) for c in intraday_forecasts(intraday_model, quick, rows, "test", known))
    ratio = (wide["q90"] - wide["q10"]) / (plain["q90"] - plain["q10"])
    np.testing.assert_allclose(ratio, np.where(np.arange(24) == 5, 2.0, 1.0))
    np.testing.assert_array_equal(wide["q50"], plain["q50"])


def test_the_first_curve_of_each_hour_is_used(published_forecasts: pd.DataFrame) -> None:
    kept = one_an_hour(published_forecasts)
    assert not kept.drop_duplicates("issued_at")["issued_at"].dt.floor("1h").duplicated().any()
    assert kept["issued_at"].dt.floor("1h").nunique() == published_forecasts["issued_at"].dt.floor("1h").nunique()
