"""Feature rows as columns: values that are written once, and records that are refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from dualcast.arrays import Floats
from dualcast.features.rows import FeatureRows, packed, unpacked
from dualcast.records import FeatureRow

NOW = datetime(2024, 3, 31, 1, tzinfo=UTC)
STEP = timedelta(minutes=15)


@given(rows=st.integers(1, 30), horizons=st.integers(1, 30), form=st.sampled_from(["origin", "target", "slot"]))
def test_unpacking_returns_the_packed_values(rows: int, horizons: int, form: str) -> None:
    values: dict[str, Floats] = {
        "origin": np.random.default_rng(1).normal(size=(rows, 1)),
        "target": np.random.default_rng(1).normal(size=(rows, horizons)),
        "slot": sliding_window_view(np.arange(rows + horizons - 1.0), horizons),
    }
    flat = packed(values[form])
    np.testing.assert_array_equal(unpacked(flat, rows, horizons), values[form])
    if form == "slot":
        assert flat.size == rows + horizons - 1


def test_equal_values_that_are_not_views_of_one_sequence_are_stored_row_by_row() -> None:
    assert packed(np.ones((3, 4))).size == 12


def record(features: dict[str, list[float]]) -> dict[str, Any]:
    more = [{"valid_time": NOW + k * STEP, "as_of": NOW + k * STEP} for k in (1, 2)]
    first = FeatureRow("de_load", "DE", NOW, NOW, "abc", features)
    return first.to_record() | {"horizons": 2, "more": more}


def test_rows_of_one_message_equal_single_rows() -> None:
    rows = FeatureRows.from_record(record({"level": [1.0, 2.0, 3.0], "holiday": [0.0, 1.0, 0.0, 1.0]}))
    assert [(r.valid_time, r.as_of) for r in rows.one_by_one()] == [(NOW + k * STEP,) * 2 for k in range(3)]
    assert [r.features for r in rows.one_by_one()] == [
        {"level": [1.0], "holiday": [0.0, 1.0]},
        {"level": [2.0], "holiday": [1.0, 0.0]},
        {"level": [3.0], "holiday": [0.0, 1.0]},
    ]
    assert [r.as_of for r in rows.one_by_one(NOW + STEP)] == [NOW + STEP, NOW + 2 * STEP]


def test_another_record_is_refused() -> None:
    with pytest.raises(ValueError, match="'more' is missing"):
        FeatureRows.from_record({"entity_id": "DE", "observations": []})


def test_a_wrong_number_of_values_is_refused() -> None:
    with pytest.raises(ValueError, match="5 values in 3 rows of 2 horizons"):
        FeatureRows.from_record(record({"level": [0.0] * 5}))
