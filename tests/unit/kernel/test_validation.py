"""Each fault of an observation has a reason; a valid observation has none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from dualcast.catalogue import Bounds, UseCase
from dualcast.observations.columns import Columns
from dualcast.observations.grid import valid_on_grid
from dualcast.observations.validation import faults, implausible
from dualcast.timegrid import DAY, micros

START = datetime(2022, 3, 27, 1, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
LATER = micros(START + timedelta(days=400))


def one(**changes: Any) -> Columns:
    sound = Columns(
        variable=np.array(["load"], dtype=object),
        valid_time=np.array([micros(START)]),
        resolution=np.array(["PT15M"], dtype=object),
        value=np.array([50000.0]),
        unit=np.array(["MW"], dtype=object),
        published_at=np.array([micros(START + QUARTER)]),
    )
    return replace(
        sound, **{name: np.array([value], dtype=getattr(sound, name).dtype) for name, value in changes.items()}
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"variable": "laod"}, "unknown_variable"),
        ({"unit": "kW"}, "wrong_unit"),
        ({"resolution": "a while"}, "bad_resolution"),
        ({"resolution": "PT5M"}, "bad_resolution"),
        ({"resolution": "-PT15M"}, "bad_resolution"),
        ({"resolution": "P999999999D"}, "bad_resolution"),
        ({"resolution": "00:15:00"}, "bad_resolution"),
        ({"resolution": "900"}, "bad_resolution"),
        ({"resolution": "P366D", "published_at": LATER}, "interval_too_long"),
        ({"resolution": "P2D", "published_at": LATER}, "interval_too_long"),
        ({"resolution": "P1D", "published_at": LATER}, ""),
        ({"valid_time": -(2**63)}, "bad_time"),
        ({"published_at": 2**63 - 1}, "bad_time"),
        ({"valid_time": micros(START) + 1}, "off_grid"),
        ({"resolution": "PT1H", "valid_time": micros(START + QUARTER)}, "off_grid"),
        ({"value": float("nan")}, "not_finite"),
        ({"value": float("inf")}, "not_finite"),
        ({"value": -50000.0}, "out_of_bounds"),
        ({"value": 500000.0}, "out_of_bounds"),
        ({"published_at": micros(START)}, "future_dated"),
        ({"variable": "load_forecast_tso", "published_at": micros(START - timedelta(days=1))}, ""),
        ({"variable": "load_forecast_tso", "published_at": micros(START - timedelta(days=34))}, ""),
        ({"variable": "load_forecast_tso", "valid_time": micros(START.replace(year=2199))}, "too_far_ahead"),
        ({"variable": "load_forecast_tso", "published_at": micros(START - timedelta(days=36))}, "too_far_ahead"),
        ({"valid_time": micros(START.replace(year=1981))}, "too_old"),
        ({"valid_time": micros(START.replace(year=2010))}, ""),
        ({"variable": "load_forecast_tso", "valid_time": micros(START.replace(year=1981))}, "too_old"),
    ],
)
def test_each_fault_has_its_reason(use_case: UseCase, changes: dict[str, Any], reason: str) -> None:
    assert faults(use_case, one(**changes)).tolist() == [reason]


def test_a_publication_in_the_future_is_refused(use_case: UseCase) -> None:
    now = micros(START)
    assert faults(use_case, one(published_at=now + 3600 * 1_000_000), now).tolist() == ["future_dated"]


def test_bounds_of_a_variable_permit_longer_intervals_and_earlier_forecasts(use_case: UseCase) -> None:
    variables = dict(use_case.variables)
    for name, limits in (("load", {"longest": 7 * DAY}), ("load_forecast_tso", {"ahead": 400 * DAY})):
        bounds = variables[name].bounds.model_copy(update=limits)
        variables[name] = variables[name].model_copy(update={"bounds": bounds})
    wider = use_case.model_copy(update={"variables": variables})
    week = one(resolution="P7D", published_at=LATER)
    early = one(variable="load_forecast_tso", published_at=micros(START - 399 * DAY))
    assert faults(use_case, week).tolist() == ["interval_too_long"]
    assert faults(wider, week).tolist() == [""]
    assert faults(use_case, early).tolist() == ["too_far_ahead"]
    assert faults(wider, early).tolist() == [""]


@pytest.mark.parametrize(
    ("value", "resolution", "reason"),
    [
        (150_000.0, "PT15M", ""),
        (150_001.0, "PT15M", "out_of_bounds"),
        (4 * 150_000.0, "PT1H", ""),
        (4 * 150_001.0, "PT1H", "out_of_bounds"),
        (4 * 4_999.0, "PT1H", "out_of_bounds"),
        (5_000.0, "PT1H", "out_of_bounds"),
        (96 * 50_000.0, "P1D", ""),
        (96 * 150_000.0, "P1D", "out_of_bounds"),  # more in each slot of a day of 23 hours
    ],
)
def test_bounds_of_a_sum_apply_to_each_slot_of_its_interval(
    use_case: UseCase, value: float, resolution: str, reason: str
) -> None:
    load = use_case.variables["load"].model_copy(update={"aggregate": "sum"})
    summed = use_case.model_copy(update={"variables": {"load": load}})
    columns = one(value=value, resolution=resolution, published_at=LATER)
    assert faults(summed, columns).tolist() == [reason]


def test_a_full_message_of_the_longest_intervals_becomes_a_bounded_number_of_slots(use_case: UseCase) -> None:
    entity, count = use_case.entities[0], 10_000
    for resolution, slots in (("P366D", 0), ("P1D", 96 * count)):
        row = one(resolution=resolution, published_at=LATER)
        assert len(valid_on_grid(use_case, entity, row.take(np.zeros(count, dtype=np.int64))).slot) == slots


def test_a_value_is_implausible_only_if_last_weeks_value_is_known() -> None:
    bounds = Bounds(relative_to="load", ratio=(0.5, 1.6))
    value, yardstick = np.array([10.0, 10.0, 10.0, 10.0]), np.array([10.0, 100.0, 1.0, np.nan])
    assert implausible(bounds, value, yardstick).tolist() == [False, True, True, False]
