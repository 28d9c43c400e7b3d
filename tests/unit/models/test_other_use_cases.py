"""Other grids, units and entities need a YAML file and no code."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from dualcast.catalogue import UseCase, parse_use_case
from dualcast.features.asof import day_ahead_features, intraday_features, target_values
from models.forecasting import day_ahead_forecasts
from models.inputs import Layout
from tests.histories import history
from tests.unit.models.conftest import registered, trained

WAREHOUSES = """
use_case: orders
title: Orders of warehouses
target: orders
grid: P1D
entities:
  - {id: W01, title: One, time_zone: UTC, holidays: {country: DE}, latitude: 51, longitude: 10}
  - {id: W02, title: Two, time_zone: UTC, holidays: {country: DE}, latitude: 48, longitude: 11}
variables:
  orders: {unit: pieces, kind: observed, published: {delay: PT1H}, bounds: {min: 0}, aggregate: sum}
day_ahead:
  resolution: P1D
  cutoff: "04:00"
  measurement_delay: PT4H
  lookback: P30D
  quantiles: [0.025, 0.1, 0.5, 0.9, 0.975]
  scale: level
  forecaster: {name: blend, params: {trees: {rounds: 30}, residual_trees: {rounds: 30}}}
  features: &features
    level: {function: mean, variable: orders, over: P14D}
    week: {function: lag, variable: orders, by: P7D}
    day: {function: weekday}
intraday:
  resolution: P1D
  horizons: 7
  lookback: P30D
  ahead: P1D
  quantiles: [0.1, 0.5, 0.9]
  scale: level
  forecaster: {name: horizon_trees, params: {trees: {rounds: 30}, fallback_trees: {rounds: 30}}}
  features: *features
"""


@pytest.fixture(scope="module")
def warehouses() -> UseCase:
    return parse_use_case(WAREHOUSES, "orders.yaml")


@pytest.fixture(scope="module")
def orders(warehouses: UseCase) -> dict[str, pd.DataFrame]:
    """A year of orders; the second warehouse is fifty times as large."""
    found = {}
    for entity, size in zip(warehouses.entities, (1, 50), strict=True):
        rows = history(warehouses, entity, "2021-01-01", 365, seed=size)
        found[entity.id] = rows.assign(value=rows["value"] / 1000 * size)
    return found


def test_daily_orders_of_two_warehouses_day_ahead(warehouses: UseCase, orders: dict[str, pd.DataFrame]) -> None:
    frames = []
    for entity in warehouses.entities:
        days = [date(2021, 2, 15) + timedelta(days=i) for i in range(310)]
        rows = day_ahead_features(warehouses, entity, orders[entity.id], days)
        actual = target_values(warehouses, orders[entity.id], timedelta(days=1))
        frames.append(rows.assign(actual=actual.reindex(rows["valid_time"]).to_numpy()))
    frame = pd.concat(frames, ignore_index=True)
    model = registered(trained(warehouses, "day-ahead", frame, "actual"), "model_da_orders")
    tomorrow = frame[frame["delivery_day"] == date(2021, 12, 15)]
    curves = {c.entity_id: c for c in day_ahead_forecasts(model, warehouses, tomorrow, "d")}
    for entity_id, size in (("W01", 1), ("W02", 50)):
        curve = curves[entity_id]
        assert (curve.unit, curve.resolution, curve.degraded) == ("pieces", "P1D", False)
        assert curve.quantile_levels == [0.025, 0.1, 0.5, 0.9, 0.975]
        assert curve.points[0].values == sorted(curve.points[0].values)
        assert curve.points[0].values[2] == pytest.approx(50 * size, rel=0.4)


def test_a_week_of_orders_at_once(warehouses: UseCase, orders: dict[str, pd.DataFrame]) -> None:
    entity = warehouses.entities[0]
    rows = intraday_features(warehouses, entity, orders[entity.id]).iloc[31:]
    actual = target_values(warehouses, orders[entity.id], timedelta(days=1))
    ahead = [actual.reindex(rows["valid_time"] + timedelta(days=k)).to_numpy() for k in range(7)]
    model = trained(warehouses, "intraday", rows.assign(actuals=list(np.stack(ahead, axis=1))), "actuals")
    point = np.stack(model.predict(rows.tail(20))["q50"].to_list())
    assert point.shape == (20, 7)
    assert np.isfinite(point).all()


def test_without_a_reference_nothing_is_ever_missing(warehouses: UseCase) -> None:
    layout = Layout.of(warehouses, "day-ahead")
    assert (layout.reference, layout.optional, layout.slots_per_day) == (None, (), 1)
