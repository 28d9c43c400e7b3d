"""Stored forecasts of one issue date: new curves replace old ones, and levels that only some curves have are kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow as pa

from batch.forecasts.stored_curves import write_curves
from dualcast.adapters.lake import forecast_rows, lake_paths
from dualcast.curves.arrow import encoded_curves
from dualcast.curves.forecast import Forecast
from dualcast.settings import Settings
from tests import services_world as world

LEVELS = (0.1, 0.5, 0.9)
GERMANY = world.day_ahead(date(2022, 5, 3))
FRANCE = replace(GERMANY, entity_id="FR")
WITH_NEW_LEVELS = replace(FRANCE, quantile_levels=[0.05, 0.5, 0.95])


def write(file: Path, curve: Forecast, levels: tuple[float, ...] = LEVELS) -> None:
    write_curves(str(file), pa.Table.from_batches([encoded_curves([curve])]), levels)


def test_a_curve_that_is_stored_again_replaces_its_rows(tmp_path: Path) -> None:
    for curve in (GERMANY, FRANCE, replace(GERMANY, model_version="2")):
        write(tmp_path / "rows.parquet", curve)
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    assert rows.groupby("entity_id")["model_version"].unique().map(list).to_dict() == {"DE": ["2"], "FR": ["1"]}
    assert len(rows) == 2 * len(GERMANY.points)


def test_a_change_of_levels_keeps_the_levels_of_older_curves(tmp_path: Path) -> None:
    write(tmp_path / "rows.parquet", GERMANY)
    write(tmp_path / "rows.parquet", WITH_NEW_LEVELS, (0.05, 0.5, 0.95))
    rows = pd.read_parquet(tmp_path / "rows.parquet").set_index("entity_id")
    assert [c for c in rows if c.startswith("q")] == ["q05", "q10", "q50", "q90", "q95"]
    assert rows.loc["DE", ["q10", "q50", "q90"]].to_numpy().tolist() == [p.values for p in GERMANY.points]
    assert rows.loc["DE", ["q05", "q95"]].isna().all(axis=None)
    assert rows.loc["FR", ["q05", "q50", "q95"]].to_numpy().tolist() == [p.values for p in FRANCE.points]


def test_stored_forecasts_of_all_days_have_the_union_of_their_levels(tmp_path: Path) -> None:
    settings = Settings(lake_uri=str(tmp_path))
    root = lake_paths(settings).forecasts("day-ahead", "de_load")
    write(Path(root) / "issue_date=2022-05-01" / "rows.parquet", GERMANY)
    write(Path(root) / "issue_date=2022-05-02" / "rows.parquet", WITH_NEW_LEVELS, (0.05, 0.5, 0.95))
    rows = forecast_rows(settings, "de_load", "day-ahead")
    assert rows.groupby("entity_id")[["q05", "q10", "q50"]].count().to_dict("index") == {
        "DE": {"q05": 0, "q10": len(GERMANY.points), "q50": len(GERMANY.points)},
        "FR": {"q05": len(FRANCE.points), "q10": 0, "q50": len(FRANCE.points)},
    }
