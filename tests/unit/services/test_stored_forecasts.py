"""Curves in the lake come back as they were, so that a service can serve them while Kafka is away."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

from dualcast.adapters.forecast_store import stored_forecasts
from dualcast.adapters.lake import lake_paths
from dualcast.records import Forecast
from dualcast.settings import Settings
from tests import services_world as world


def store(settings: Settings, forecast: Forecast) -> None:
    """As the batch job stores a curve: the use case and the path are folders."""
    root = lake_paths(settings).forecasts("day-ahead", "de_load")
    folder = Path(root) / f"issue_date={forecast.issued_at.date().isoformat()}"
    folder.mkdir(parents=True)
    forecast.to_frame().drop(columns=["use_case", "path"]).to_parquet(folder / "part-0.parquet", index=False)


def test_what_is_stored_comes_back_whole(tmp_path: Path) -> None:
    settings = world.settings(world.frozen(), lake=str(tmp_path))
    use_case = world.catalogue()["de_load"]
    reasons = {"degraded": True, "degraded_reasons": ["missing:load_forecast_tso", "other"]}
    curves = [world.day_ahead(date(2022, 3, 27)), world.day_ahead(date(2022, 5, 4), **reasons)]
    for curve in curves:
        store(settings, curve)
    found = sorted(stored_forecasts(settings, use_case, "day-ahead"), key=lambda f: f.issued_at)
    assert found == [replace(curve, newest_input_at=curve.issued_at) for curve in curves]
    assert [len(f.points) for f in found] == [23, 24]
    of_day = stored_forecasts(settings, use_case, "day-ahead", date(2022, 5, 3))
    assert [f.issued_at for f in of_day] == [curves[1].issued_at]


def test_an_empty_lake_has_no_curves(tmp_path: Path) -> None:
    settings = world.settings(world.frozen(), lake=str(tmp_path / "nothing"))
    assert list(stored_forecasts(settings, world.catalogue()["de_load"], "day-ahead")) == []
