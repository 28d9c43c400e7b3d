"""The content of an export: every curve once, and actuals for scoring."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, timedelta
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

from dualcast.catalogue import load_use_case
from dualcast.records import Observation, ObservationBatch
from services.store.topic_export import NothingToExportError, actuals_frame, curves_frame, write
from tests import services_world as world

START = world.NOW - timedelta(days=2)


def test_each_curve_is_exported_once_and_the_later_of_two_equal_issues_is_used(tmp_path: Path) -> None:
    days = [world.day_ahead(date(2022, 5, d)) for d in (3, 4)]
    again = world.day_ahead(date(2022, 5, 4), model_version="2")
    frame = curves_frame([*days, again], "de_load")
    assert len(frame) == 48
    assert set(frame.loc[frame["issued_at"] == again.issued_at, "model_version"]) == {"2"}
    write(frame, tmp_path / "new" / "curves.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "new" / "curves.parquet"), frame)


def test_curves_with_other_levels_are_exported_with_the_union_of_the_levels() -> None:
    changed = replace(world.day_ahead(date(2022, 5, 4)), quantile_levels=[0.05, 0.5, 0.95])
    frame = curves_frame([world.day_ahead(date(2022, 5, 3)), changed], "de_load")
    assert [c for c in frame if c.startswith("q")] == ["q05", "q10", "q50", "q90", "q95"]
    assert frame.count()[["q05", "q10", "q50"]].to_list() == [24, 24, 48]


def test_actuals_of_the_day_ahead_path_are_means_of_whole_hours() -> None:
    frame = actuals_frame([world.observations(START, world.NOW)], world.catalogue()["de_load"], "day-ahead")
    known = frame.dropna(subset=["load"]).set_index("valid_time")
    assert len(known) == 48
    noon = pd.Timestamp(world.NOW) - pd.Timedelta("1h")
    assert known.loc[noon, "load"] == pytest.approx(world.mean_load(noon.to_pydatetime(), timedelta(hours=1)))
    assert known.loc[noon, "load_forecast_tso"] == pytest.approx(known.loc[noon, "load"] * world.REFERENCE_RATIO)


def test_the_newest_valid_vintage_is_exported_and_a_late_reference_is_not() -> None:
    slot, quarter = world.NOW - timedelta(hours=1), timedelta(minutes=15)
    batch = ObservationBatch(
        "DE",
        [
            world.observation("load", slot, 50000.0, world.NOW),
            world.observation("load", slot + quarter, 500000.0, world.NOW),
            world.observation("load_forecast_tso", slot, 1.0e5, world.NOW),
        ],
    )
    records = [batch.to_record(), world.observations(START, world.NOW)]
    frame = actuals_frame(records, world.catalogue()["de_load"], "intraday").set_index("valid_time")
    assert frame.loc[slot, "load"] == 50000.0
    assert frame.loc[slot + quarter, "load"] == world.true_load(slot + quarter)
    assert frame.loc[slot, "load_forecast_tso"] == world.true_load(slot) * world.REFERENCE_RATIO


def test_daily_actuals_keep_their_local_days_over_a_clock_change() -> None:
    use_case = load_use_case("warehouses", world.USE_CASES)
    entity = use_case.entities[0]
    midnights = pd.date_range("2024-03-27", periods=9, tz=entity.time_zone).to_pydatetime()
    days = [
        Observation("orders", start, "P1D", 100.0 + k, use_case.unit, end, "test", simulated=True)
        for k, (start, end) in enumerate(pairwise(m.astimezone(UTC) for m in midnights))
    ]
    frame = actuals_frame([ObservationBatch(entity.id, days).to_record()], use_case, "day-ahead")
    assert frame["valid_time"].tolist() == [day.valid_time for day in days]
    assert frame["orders"].tolist() == [day.value for day in days]


def test_csv_has_utc_times(tmp_path: Path) -> None:
    write(curves_frame([world.day_ahead(date(2022, 5, 4))], "de_load"), tmp_path / "curves.csv")
    assert "2022-05-03T22:00:00Z" in (tmp_path / "curves.csv").read_text().splitlines()[1]


def test_exports_without_data_or_with_an_unknown_suffix_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NothingToExportError, match="no curve of de_load"):
        curves_frame([], "de_load")
    with pytest.raises(NothingToExportError, match="no observation"):
        actuals_frame([], world.catalogue()["de_load"], "intraday")
    with pytest.raises(ValueError, match=r"\.parquet or \.csv"):
        write(pd.DataFrame(), tmp_path / "curves.xlsx")
