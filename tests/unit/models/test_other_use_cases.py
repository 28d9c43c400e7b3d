"""Other grids, units and entities need a YAML file and no code."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from batch.forecasts.stored_curves import encoded_day_ahead
from dualcast.catalogue import UseCase, load_use_case
from dualcast.curves.arrow import decoded_curve, encoded_curves, row_table
from dualcast.curves.forecast import Forecast
from dualcast.curves.frames import forecast_frame
from dualcast.features.as_of import day_ahead_features
from dualcast.lifecycle.registered_model import RegisteredModel
from dualcast.observations.actuals import target_values
from dualcast.timegrid import DAY
from models.inputs import Layout
from models.prediction.curve import NoPredictionError, raw_model
from models.prediction.day_ahead import day_ahead_curves
from models.prediction.packaging import load_model, save_model
from tests.conftest import ROOT
from tests.local_days import WEEKDAYS, orders
from tests.unit.models.conftest import registered, trained

LEVELS = {"W01": 100.0, "W02": 5000.0}
# the curve of this day contains the Sunday with 23 hours
MONDAY = date(2022, 3, 21)


@pytest.fixture(scope="module")
def warehouses() -> UseCase:
    """Two warehouses of the catalogue, with small ensembles."""
    found = load_use_case("warehouses", ROOT / "use_cases")
    few = {"trees": {"rounds": 30, "learning_rate": 0.2}, "residual_trees": {"rounds": 10}}
    spec = found.day_ahead.forecaster.model_copy(update={"params": few})
    day_ahead = found.day_ahead.model_copy(update={"forecaster": spec})
    return found.model_copy(update={"entities": found.entities[:2], "day_ahead": day_ahead})


@pytest.fixture(scope="module")
def rows(warehouses: UseCase) -> pd.DataFrame:
    """The Gold rows of a year of Mondays; the second warehouse is fifty times as large."""
    frames = []
    for entity in warehouses.entities:
        observations = orders(warehouses, entity, "2021-01-01", 480, LEVELS[entity.id])
        days = [MONDAY - timedelta(days=7 * back) for back in range(48)]
        found = day_ahead_features(warehouses, entity, observations, days)
        actual = target_values(warehouses, observations, DAY)
        frames.append(found.assign(actual=actual.reindex(found["valid_time"]).to_numpy()))
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def model(warehouses: UseCase, rows: pd.DataFrame) -> RegisteredModel:
    before = rows[rows["delivery_day"] < MONDAY]
    return registered(trained(warehouses, "day-ahead", before, "actual"), "model_da_warehouses")


@pytest.fixture(scope="module")
def week(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["delivery_day"] == MONDAY]


@pytest.fixture(scope="module")
def curves(warehouses: UseCase, model: RegisteredModel, week: pd.DataFrame) -> dict[str, Forecast]:
    return {c.entity_id: c for c in day_ahead_curves(model, warehouses, week, "d").forecasts()}


@pytest.mark.parametrize("entity_id", LEVELS)
def test_a_curve_holds_a_week_of_days(warehouses: UseCase, curves: dict[str, Forecast], entity_id: str) -> None:
    curve, entity = curves[entity_id], warehouses.entity(entity_id)
    assert (curve.unit, curve.resolution, curve.degraded) == ("orders", "P1D", False)
    assert curve.issued_at == warehouses.cutoff(entity, MONDAY)
    assert [p.valid_time for p in curve.points] == warehouses.delivery_times(entity, MONDAY)
    assert len(curve.points) == 7
    for point in curve.points:
        assert point.values == sorted(point.values)
    median = [p.values[curve.quantile_levels.index(0.5)] for p in curve.points]
    promoted = 1 + 0.4 * ((np.datetime64(MONDAY).astype(int) + np.arange(7)) // 7 % 2)
    expected = LEVELS[entity_id] * WEEKDAYS * np.where(np.arange(7) < 5, promoted, 1)
    assert median[:6] == pytest.approx(expected[:6].tolist(), rel=0.25)


def test_closed_days_are_forecast_as_zero(curves: dict[str, Forecast]) -> None:
    for curve in curves.values():
        assert curve.points[6].values == [0.0] * 5
        assert all(value > 0 for point in curve.points[:6] for value in point.values)


def test_a_stored_model_gives_the_same_forecasts(
    tmp_path: Path, warehouses: UseCase, model: RegisteredModel, week: pd.DataFrame, curves: dict[str, Forecast]
) -> None:
    save_model(raw_model(model), tmp_path / "model")
    again = registered(load_model(tmp_path / "model"), "model_da_warehouses")
    assert {c.entity_id: c for c in day_ahead_curves(again, warehouses, week, "d").forecasts()} == curves


def test_curves_encoded_from_columns_equal_those_encoded_from_objects(
    warehouses: UseCase, model: RegisteredModel, week: pd.DataFrame
) -> None:
    lacking = week.assign(promotion=week["promotion"].where(week["entity_id"] == "W01"))
    columns = day_ahead_curves(model, warehouses, lacking, "d", simulated=True, reasons=["late"])
    objects = list(columns.forecasts())
    batch = encoded_day_ahead(columns)
    assert [decoded_curve(row["curve"]) for row in batch.to_pylist()] == objects
    assert batch.equals(encoded_curves(objects))
    rows = row_table(batch, warehouses.day_ahead.quantiles).to_pandas()
    pd.testing.assert_frame_equal(rows, forecast_frame(objects).drop(columns=["use_case", "path"]))
    assert rows.groupby("entity_id")["degraded_reasons"].first().to_dict() == {
        "W01": "late",
        "W02": "missing:promotion;late",
    }


def test_a_warehouse_added_after_training_gets_a_curve(
    warehouses: UseCase, model: RegisteredModel, week: pd.DataFrame, curves: dict[str, Forecast]
) -> None:
    old = warehouses.entity("W01")
    grown = warehouses.model_copy(update={"entities": (*warehouses.entities, old.model_copy(update={"id": "W99"}))})
    newcomer = week[week["entity_id"] == "W01"].assign(entity_id="W99")
    (curve,) = day_ahead_curves(model, grown, newcomer, "d").forecasts()
    medians = [[p.values[2] for p in c.points] for c in (curve, curves["W01"])]
    assert medians[0] == pytest.approx(medians[1], rel=0.25)


def test_a_curve_without_the_promotion_plan_is_degraded(
    warehouses: UseCase, model: RegisteredModel, week: pd.DataFrame
) -> None:
    for curve in day_ahead_curves(model, warehouses, week.assign(promotion=np.nan), "d").forecasts():
        assert curve.degraded_reasons == ["missing:promotion"]


def test_a_curve_that_lacks_a_day_is_refused(warehouses: UseCase, model: RegisteredModel, week: pd.DataFrame) -> None:
    with pytest.raises(NoPredictionError, match="not those of all intervals"):
        day_ahead_curves(model, warehouses, week.drop(index=week.index[3]), "d")


def test_closed_days_are_excluded_from_training(warehouses: UseCase, rows: pd.DataFrame) -> None:
    """The model does not depend on the actuals of closed days."""
    layout = Layout.of(warehouses, "day-ahead")
    assert (layout.reference, layout.active, layout.slots_per_day) == (None, "open", 1)
    wrong = rows.assign(actual=rows["actual"].where(rows["open"] != 0, 1e6))
    points = [trained(warehouses, "day-ahead", frame, "actual").predict(rows)["q50"] for frame in (rows, wrong)]
    np.testing.assert_array_equal(*points)
