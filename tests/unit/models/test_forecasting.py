"""From rows to published curves: times, versions, and the reasons why a curve is degraded."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from dualcast.catalogue import Entity, Path_, UseCase
from dualcast.curves.frames import forecast_frame
from dualcast.lifecycle.registered_model import RegisteredModel
from dualcast.records import FeatureRow
from models.inputs import FeatureMismatchError
from models.prediction.code_version import code_version
from models.prediction.curve import NoPredictionError
from models.prediction.day_ahead import day_ahead_curves
from models.prediction.intraday import intraday_curves, intraday_forecast, prove_intraday

SHORT_DAY = date(2022, 3, 27)


@pytest.fixture(scope="module")
def row(stream_rows: list[FeatureRow]) -> FeatureRow:
    return stream_rows[5000]


def _day(frame: pd.DataFrame, day: date) -> pd.DataFrame:
    return frame[frame["delivery_day"] == day].reset_index(drop=True)


def test_a_day_ahead_curve_has_its_model_data_and_code_version(
    quick: UseCase, entity: Entity, day_ahead_model: RegisteredModel, day_ahead_frame: pd.DataFrame
) -> None:
    rows = _day(day_ahead_frame, SHORT_DAY)
    cutoff = quick.cutoff(entity, SHORT_DAY)
    (forecast,) = day_ahead_curves(day_ahead_model, quick, rows, "data-1").forecasts()
    assert [p.valid_time for p in forecast.points] == quick.delivery_times(entity, SHORT_DAY)
    assert len(forecast.points) == 23
    assert (forecast.issued_at, forecast.path, forecast.resolution) == (cutoff, "day_ahead", "PT1H")
    assert (forecast.model_name, forecast.model_version, forecast.data_version) == ("model_da", "7", "data-1")
    assert forecast.newest_input_at == rows["newest_input_at"].iloc[0]
    assert forecast.newest_input_at < cutoff
    assert (forecast.degraded, forecast.degraded_reasons) == (False, [])
    assert all(p.values == sorted(p.values) for p in forecast.points)
    assert forecast_frame([forecast])[["q10", "q50", "q90"]].notna().all(axis=None)


def test_predicting_many_curves_together_equals_predicting_each_alone(
    quick: UseCase, day_ahead_model: RegisteredModel, day_ahead_frame: pd.DataFrame
) -> None:
    shuffled = day_ahead_frame.tail(24 * 5 - 1).sample(frac=1, random_state=1)
    curves = list(day_ahead_curves(day_ahead_model, quick, shuffled, "d").forecasts())
    assert len(curves) == 5
    for curve in curves:
        day = curve.points[0].valid_time.astimezone(UTC) + timedelta(hours=4)
        (alone,) = day_ahead_curves(day_ahead_model, quick, _day(day_ahead_frame, day.date()), "d").forecasts()
        assert [p.valid_time for p in alone.points] == [p.valid_time for p in curve.points]
        np.testing.assert_allclose([p.values for p in alone.points], [p.values for p in curve.points])


def test_an_incomplete_day_is_refused(
    quick: UseCase, day_ahead_model: RegisteredModel, day_ahead_frame: pd.DataFrame
) -> None:
    rows = _day(day_ahead_frame, SHORT_DAY).drop(index=5)
    with pytest.raises(NoPredictionError, match="all intervals"):
        day_ahead_curves(day_ahead_model, quick, rows, "d")


def test_a_missing_input_is_named(
    quick: UseCase, day_ahead_model: RegisteredModel, day_ahead_frame: pd.DataFrame
) -> None:
    rows = _day(day_ahead_frame, SHORT_DAY)
    rows.loc[7, ["tso"]] = np.nan
    (forecast,) = day_ahead_curves(day_ahead_model, quick, rows, "d").forecasts()
    assert forecast.degraded
    assert forecast.degraded_reasons == ["missing:load_forecast_tso"]


def test_an_unknown_scale_raises_no_prediction_error(
    quick: UseCase, day_ahead_model: RegisteredModel, day_ahead_frame: pd.DataFrame
) -> None:
    rows = _day(day_ahead_frame, SHORT_DAY).assign(load_mean_7d=np.nan)
    with pytest.raises(NoPredictionError):
        day_ahead_curves(day_ahead_model, quick, rows, "d")


def test_an_intraday_curve_begins_at_the_origin(
    quick: UseCase, intraday_model: RegisteredModel, row: FeatureRow
) -> None:
    forecast = intraday_forecast(intraday_model, quick, row, row.as_of)
    assert forecast.points[0].valid_time == row.valid_time
    assert len(forecast.points) == quick.part("intraday").horizons
    assert forecast.points[-1].valid_time - row.valid_time == 23 * timedelta(minutes=15)
    assert (forecast.issued_at, forecast.newest_input_at) == (row.as_of, row.as_of)
    assert not forecast.degraded
    assert row.feature_set in forecast.data_version


@pytest.mark.parametrize(("minutes", "left"), [(0, 24), (1, 23), (15, 23), (16, 22), (300, 4), (345, 1)])
def test_targets_that_have_begun_are_left_out(
    quick: UseCase, intraday_model: RegisteredModel, row: FeatureRow, minutes: int, left: int
) -> None:
    issued_at = row.valid_time + timedelta(minutes=minutes)
    forecast = intraday_forecast(intraday_model, quick, row, issued_at)
    assert len(forecast.points) == left
    assert all(p.valid_time >= issued_at for p in forecast.points)


def test_old_features_degrade_a_curve_and_too_old_ones_are_refused(
    quick: UseCase, intraday_model: RegisteredModel, row: FeatureRow
) -> None:
    forecast = intraday_forecast(intraday_model, quick, row, row.as_of + timedelta(minutes=61))
    assert forecast.degraded_reasons == ["stale_features"]
    with pytest.raises(NoPredictionError, match="newest features"):
        intraday_forecast(intraday_model, quick, row, row.as_of + timedelta(hours=6))


def test_predicting_many_rows_together_equals_predicting_each_alone(
    quick: UseCase, intraday_model: RegisteredModel, stream_rows: list[FeatureRow]
) -> None:
    rows = stream_rows[-300::60]
    now = rows[-1].as_of
    old, *made = intraday_curves(intraday_model, quick, rows[:1] + rows[-2:], [now, rows[-2].as_of, now])
    assert isinstance(old, NoPredictionError)
    assert made == [
        intraday_forecast(intraday_model, quick, r, m) for r, m in zip(rows[-2:], (rows[-2].as_of, now), strict=True)
    ]


def test_a_model_with_other_horizons_fails_the_trial_prediction(
    quick: UseCase, intraday_model: RegisteredModel
) -> None:
    prove_intraday(intraday_model, quick)
    longer = quick.model_copy(update={"intraday": quick.part("intraday").model_copy(update={"horizons": 25})})
    with pytest.raises(ValueError, match="25"):
        prove_intraday(intraday_model, longer)


def with_levels(use_case: UseCase, path: Path_, *levels: float) -> UseCase:
    """The use case with other quantile levels."""
    part = use_case.part(path).model_copy(update={"quantiles": levels})
    return use_case.model_copy(update={path.replace("-", "_"): part})


def test_a_model_predicts_its_levels_and_reports_missing_ones(
    quick: UseCase, intraday_model: RegisteredModel, row: FeatureRow
) -> None:
    """Regression test: after a level was added, a restarted id-svc refused its models until they were trained again."""
    more, fewer = (with_levels(quick, "intraday", *levels) for levels in ((0.05, 0.1, 0.5, 0.9), (0.5,)))
    for case, reasons in ((more, ["missing_quantile:0.05"]), (fewer, [])):
        prove_intraday(intraday_model, case)
        forecast = intraday_forecast(intraday_model, case, row, row.as_of)
        assert (forecast.quantile_levels, forecast.degraded_reasons) == ([0.1, 0.5, 0.9], reasons)
        assert forecast.points == intraday_forecast(intraday_model, quick, row, row.as_of).points


def test_a_day_ahead_model_reports_missing_levels(
    quick: UseCase, day_ahead_model: RegisteredModel, day_ahead_frame: pd.DataFrame
) -> None:
    more, rows = with_levels(quick, "day-ahead", 0.1, 0.5, 0.9, 0.975), _day(day_ahead_frame, SHORT_DAY)
    (forecast,) = day_ahead_curves(day_ahead_model, more, rows, "d").forecasts()
    assert (forecast.quantile_levels, forecast.degraded_reasons) == ([0.1, 0.5, 0.9], ["missing_quantile:0.975"])
    assert forecast.degraded


def test_each_reason_is_listed_once(quick: UseCase, intraday_model: RegisteredModel, row: FeatureRow) -> None:
    gone = replace(row, feature_set="other", features=row.features | {"tso": [float("nan")] * 24})
    fallback = replace(intraday_model, alias="previous")
    forecast = intraday_forecast(fallback, quick, gone, row.as_of, reasons=["stale_features", "stale_features"])
    assert forecast.degraded_reasons == [
        "missing:load_forecast_tso",
        "other_feature_set",
        "fallback: previous_version",
        "stale_features",
    ]


def test_a_row_of_other_features_is_refused(quick: UseCase, intraday_model: RegisteredModel, row: FeatureRow) -> None:
    poor = replace(row, features={n: v for n, v in row.features.items() if n != "tso"})
    with pytest.raises(FeatureMismatchError, match="tso"):
        intraday_forecast(intraday_model, quick, poor, row.as_of)


def test_quantiles_stay_within_the_bounds_of_the_target(
    quick: UseCase, intraday_model: RegisteredModel, row: FeatureRow
) -> None:
    load = quick.variables["load"]
    bounds = load.bounds.model_copy(update={"max": 40000.0})
    capped = quick.model_copy(
        update={"variables": quick.variables | {"load": load.model_copy(update={"bounds": bounds})}}
    )
    forecast = intraday_forecast(intraday_model, capped, row, row.as_of)
    assert max(v for p in forecast.points for v in p.values) == 40000.0


def test_the_code_version_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    code_version.cache_clear()
    monkeypatch.setenv("DUALCAST_CODE_VERSION", "abc123")
    try:
        assert code_version() == "abc123"
    finally:
        code_version.cache_clear()


def test_times_are_utc(quick: UseCase, intraday_model: RegisteredModel, row: FeatureRow) -> None:
    forecast = intraday_forecast(intraday_model, quick, row, datetime(2022, 2, 22, 3, tzinfo=UTC))
    assert {p.valid_time.utcoffset() for p in forecast.points} == {timedelta(0)}
