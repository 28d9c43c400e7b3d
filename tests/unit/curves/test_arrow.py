"""Curves in Arrow: the structs and the rows of the lake contain all values of the curves."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pandas as pd

from dualcast.curves.arrow import decoded_curve, encoded_curves, row_schema, row_table
from dualcast.curves.forecast import Forecast, Point
from dualcast.curves.frames import forecast_frame

ISSUED = datetime(2022, 3, 26, 10, tzinfo=UTC)
LEVELS = [0.1, 0.5, 0.9]


def forecast(entity_id: str = "DE") -> Forecast:
    points = [Point(ISSUED + timedelta(hours=13 + h), [1.0 + h, 2.0 + h, 3.0 + h]) for h in range(23)]
    return Forecast(
        use_case="de_load",
        path="day_ahead",
        entity_id=entity_id,
        issued_at=ISSUED,
        target="load",
        unit="MW",
        resolution="PT1H",
        model_name="model_da_de_load",
        model_version="3",
        code_version="abc",
        data_version="silver@4",
        newest_input_at=ISSUED - timedelta(microseconds=1),
        degraded=True,
        degraded_reasons=["missing:temperature_2m", "missing:load_forecast_tso"],
        quantile_levels=LEVELS,
        points=points,
        simulated=True,
    )


def test_an_encoded_curve_decodes_to_the_same_curve() -> None:
    encoded = encoded_curves([forecast()]).to_pylist()
    assert (encoded[0]["entity_id"], encoded[0]["issued_at"]) == ("DE", ISSUED)
    assert decoded_curve(encoded[0]["curve"]) == forecast()


def test_rows_are_those_of_the_frame_without_the_partitions() -> None:
    rows = row_table(encoded_curves([forecast("DE"), forecast("FR")]), LEVELS).to_pandas()
    expected = pd.concat([forecast_frame([forecast(e)]).drop(columns=["use_case", "path"]) for e in ("DE", "FR")])
    pd.testing.assert_frame_equal(rows, expected.reset_index(drop=True))


def test_a_level_that_a_curve_lacks_is_null() -> None:
    points = [replace(p, values=p.values[1:]) for p in forecast("FR").points]
    other = replace(forecast("FR"), quantile_levels=LEVELS[1:], points=points)
    rows = row_table(encoded_curves([forecast("DE"), other, forecast("NL")]), LEVELS).to_pandas()
    of_other = rows["entity_id"] == "FR"
    assert rows.loc[of_other, "q10"].isna().all()
    assert rows.loc[of_other, ["q50", "q90"]].to_numpy().tolist() == [p.values for p in points]
    assert rows.loc[~of_other, ["q10", "q50", "q90"]].to_numpy().tolist() == [p.values for p in forecast().points] * 2


def test_no_curves_give_an_empty_table_with_the_same_schema() -> None:
    assert encoded_curves([]).num_rows == 0
    assert row_table(encoded_curves([]), LEVELS).schema == row_schema(LEVELS)
