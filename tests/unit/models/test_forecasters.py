"""Forecasters beat simple forecasts, work without optional inputs, and are loaded from disk unchanged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dualcast import metrics
from dualcast.catalogue import UseCase
from dualcast.lifecycle.registered_model import RegisteredModel
from models.forecasters.registry import ForecasterError, make_forecaster
from models.inputs import Assembler, Layout
from models.prediction.model import ForecastModel
from models.prediction.packaging import load_model, save_model
from models.training.fitting import Examples, TooFewExamplesError, fit_model
from tests.unit.models.conftest import trained


def _raw(model: RegisteredModel) -> ForecastModel:
    assert isinstance(model.raw, ForecastModel)
    return model.raw


def _last_days(frame: pd.DataFrame, rows: int) -> pd.DataFrame:
    return frame.tail(rows).reset_index(drop=True)


def test_a_day_ahead_model_beats_last_week(quick: UseCase, day_ahead_frame: pd.DataFrame) -> None:
    known, unseen = day_ahead_frame.iloc[: -24 * 10], _last_days(day_ahead_frame.dropna(subset=["actual"]), 24 * 9)
    model = trained(quick, "day-ahead", known, "actual")
    actual = unseen["actual"].to_numpy()
    ours = metrics.mae(actual, model.predict(unseen)["q50"].to_numpy())
    assert ours < metrics.mae(actual, unseen["load_lag_7d"].to_numpy())


def test_an_intraday_model_beats_the_newest_value(
    quick: UseCase, intraday_frame: pd.DataFrame, use_case: UseCase
) -> None:
    known, unseen = intraday_frame.iloc[:-320], intraday_frame.iloc[-300:-32]
    model = trained(quick, "intraday", known, "actuals")
    point = np.stack(model.predict(unseen)["q50"].to_list())
    actual = np.stack(unseen["actuals"].to_list())
    for step in (7, 15, 23):
        newest = unseen["load_newest"].to_numpy()
        assert metrics.mae(actual[:, step], point[:, step]) < metrics.mae(actual[:, step], newest)


@pytest.mark.parametrize("path", ["day-ahead", "intraday"])
def test_a_saved_model_is_loaded_unchanged(
    path: str,
    tmp_path: Path,
    day_ahead_model: RegisteredModel,
    intraday_model: RegisteredModel,
    day_ahead_frame: pd.DataFrame,
    intraday_frame: pd.DataFrame,
) -> None:
    model, frame = (
        (_raw(day_ahead_model), day_ahead_frame) if path == "day-ahead" else (_raw(intraday_model), intraday_frame)
    )
    save_model(model, tmp_path / "model")
    again = load_model(tmp_path / "model")
    rows = _last_days(frame, 48)
    pd.testing.assert_frame_equal(again.predict(rows), model.predict(rows), check_exact=True)
    assert again.features == model.features
    assert not [f for f in (tmp_path / "model").rglob("*") if f.suffix == ".pkl"]


def test_without_the_reference_the_curve_is_complete_and_changes_little(
    day_ahead_model: RegisteredModel, day_ahead_frame: pd.DataFrame
) -> None:
    model = _raw(day_ahead_model)
    rows = _last_days(day_ahead_frame, 24)
    readers = [n for v in model.layout.optional for n in model.layout.readers[v]]
    whole, poor = model.predict(rows)["q50"], model.predict(rows.assign(**dict.fromkeys(readers, np.nan)))["q50"]
    assert poor.notna().all()
    assert not np.allclose(whole, poor)
    assert metrics.mape(whole.to_numpy(), poor.to_numpy()) < 10


def test_an_intraday_curve_is_complete_if_the_newest_values_are_missing(
    intraday_model: RegisteredModel, intraday_frame: pd.DataFrame
) -> None:
    model = _raw(intraday_model)
    rows = _last_days(intraday_frame, 5).assign(load_back_3=np.nan, load_rise_1d_1h=np.nan)
    quantiles = np.stack([np.stack(model.predict(rows)[c].to_list()) for c in ("q10", "q50", "q90")])
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=0) >= 0).all()


def test_features_without_any_values_do_not_break_training(quick: UseCase, day_ahead_frame: pd.DataFrame) -> None:
    nowhere = ["temperature", "temperature_day_mean", "temperature_lag_7d", "radiation", "radiation_lag_7d"]
    frame = day_ahead_frame.assign(**dict.fromkeys(nowhere, np.nan))
    model = trained(quick, "day-ahead", frame, "actual")
    assert model.predict(_last_days(frame, 24)).notna().all(axis=None)
    missing = model.missing(model.assembler.from_frame(_last_days(frame, 24)))
    assert "temperature_2m" not in missing
    assert "load_forecast_tso" in missing


def test_the_same_rows_make_the_same_model(quick: UseCase, day_ahead_frame: pd.DataFrame) -> None:
    first, second = (trained(quick, "day-ahead", day_ahead_frame, "actual") for _ in range(2))
    rows = _last_days(day_ahead_frame, 24)
    pd.testing.assert_frame_equal(first.predict(rows), second.predict(rows), check_exact=True)


def test_scores_are_computed_on_held_out_rows(quick: UseCase, day_ahead_frame: pd.DataFrame) -> None:
    layout = Layout.of(quick, "day-ahead")
    frame = day_ahead_frame.copy()
    # only in the newest quarter, which is held out, the actuals differ from those of training
    newest = frame["valid_time"] > frame["valid_time"].iloc[-1] - pd.Timedelta(days=10)
    frame["actual"] = frame["actual"].where(~newest, frame["actual"] * 2)
    clean, broken = (
        fit_model(quick, "day-ahead", layout, Examples.of(layout, quick, rows, "actual"), 2).metrics["mape"]
        for rows in (day_ahead_frame, frame)
    )
    assert broken > clean + 10


def test_too_little_history_is_refused(quick: UseCase, day_ahead_frame: pd.DataFrame) -> None:
    with pytest.raises(TooFewExamplesError, match="only 24 rows"):
        trained(quick, "day-ahead", day_ahead_frame.iloc[400:424], "actual")


def test_examples_leave_out_rows_without_actuals_or_scale(use_case: UseCase, day_ahead_frame: pd.DataFrame) -> None:
    layout = Layout.of(use_case, "day-ahead")
    frame = _last_days(day_ahead_frame.dropna(subset=["actual"]), 48)
    frame.loc[3, "actual"] = np.nan
    frame.loc[5, "load_mean_7d"] = np.nan
    examples = Examples.of(layout, use_case, frame, "actual")
    assert len(examples.inputs) == 46
    whole = Assembler(layout, use_case.entities).from_frame(frame)
    np.testing.assert_array_equal(examples.inputs.values[3], whole.values[4])


@pytest.mark.parametrize("name", ["blend", "horizon_trees"])
def test_unknown_parameters_are_refused(use_case: UseCase, name: str) -> None:
    with pytest.raises(ForecasterError, match="treees"):
        make_forecaster(name, Layout.of(use_case, "day-ahead"), {"treees": {}})


@pytest.mark.parametrize("name", ["oracle", "../blend", "registry"])
def test_unknown_forecasters_are_refused(use_case: UseCase, name: str) -> None:
    with pytest.raises(ForecasterError, match=name.replace(".", r"\.")):
        make_forecaster(name, Layout.of(use_case, "day-ahead"), {})
