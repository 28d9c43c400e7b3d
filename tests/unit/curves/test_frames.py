"""Curves in long form: one row for each point, a column for each quantile level of any curve."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from dualcast.curves.frames import forecast_frame
from dualcast.curves.quantiles import quantile_columns
from tests import services_world as world

CURVE = world.day_ahead(date(2022, 5, 3))
OTHER = replace(world.day_ahead(date(2022, 5, 4)), quantile_levels=[0.05, 0.5, 0.95])


def test_a_frame_has_a_row_for_each_point_in_the_order_of_the_curves() -> None:
    frame = forecast_frame([CURVE])
    assert list(frame) == [
        "use_case", "path", "entity_id", "issued_at", "valid_time", "q10", "q50", "q90", "model_name", "model_version",
        "code_version", "data_version", "degraded", "degraded_reasons", "simulated",
    ]  # fmt: skip
    assert frame[["q10", "q50", "q90"]].to_numpy().tolist() == [p.values for p in CURVE.points]
    assert frame["valid_time"].tolist() == [p.valid_time for p in CURVE.points]


def test_curves_with_other_levels_give_the_union_of_the_levels() -> None:
    frame = forecast_frame([CURVE, OTHER])
    assert quantile_columns(frame) == ["q05", "q10", "q50", "q90", "q95"]
    low = frame["q05"].to_numpy()
    assert np.isnan(low[: len(CURVE.points)]).all()
    assert low[len(CURVE.points) :].tolist() == [p.values[0] for p in OTHER.points]
    assert frame["q50"].notna().all()


def test_given_levels_are_the_columns_of_every_frame() -> None:
    assert quantile_columns(forecast_frame([CURVE], [0.05, 0.1, 0.5, 0.9])) == ["q05", "q10", "q50", "q90"]
    with pytest.raises(ValueError, match=r"levels \[0.1, 0.9\] besides \[0.5\]"):
        forecast_frame([CURVE], [0.5])


def test_a_frame_of_no_curves_raises() -> None:
    with pytest.raises(ValueError, match="there are no forecasts"):
        forecast_frame([])
