"""Each fault of an observation has a reason; a valid observation has none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from dualcast.catalogue import Bounds, UseCase
from dualcast.observations.columns import Columns
from dualcast.observations.validation import faults, implausible
from dualcast.timegrid import micros

START = datetime(2022, 3, 27, 1, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


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
    ],
)
def test_each_fault_has_its_reason(use_case: UseCase, changes: dict[str, Any], reason: str) -> None:
    assert faults(use_case, one(**changes)).tolist() == [reason]


def test_a_publication_in_the_future_is_refused(use_case: UseCase) -> None:
    now = micros(START)
    assert faults(use_case, one(published_at=now + 3600 * 1_000_000), now).tolist() == ["future_dated"]


def test_a_value_is_implausible_only_if_last_weeks_value_is_known() -> None:
    bounds = Bounds(relative_to="load", ratio=(0.5, 1.6))
    value, yardstick = np.array([10.0, 10.0, 10.0, 10.0]), np.array([10.0, 100.0, 1.0, np.nan])
    assert implausible(bounds, value, yardstick).tolist() == [False, True, True, False]
