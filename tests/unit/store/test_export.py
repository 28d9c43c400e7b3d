"""Exports of the store are complete and repeatable, and a failed one leaves no file."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from uuid import uuid4

import pandas as pd
import psycopg
import pytest
from sqlalchemy import Engine

from dualcast.adapters.store.forecasts import Span, save
from dualcast.curves.frames import forecast_frame
from services.store.store_export import export
from tests import services_world as world
from tests.databases import fresh_database

CURVES = [world.day_ahead(date(2022, 5, day)) for day in (3, 4)]
NEW_LEVELS = replace(world.day_ahead(date(2022, 5, 5)), model_version="2", quantile_levels=[0.05, 0.5, 0.95])
SPAN = Span("de_load", "day-ahead")


@pytest.fixture
def filled(store: Engine) -> Engine:
    save(store, [*CURVES, world.intraday(world.NOW)], world.NOW)
    return store


def test_files_contain_the_published_points(filled: Engine, tmp_path: Path) -> None:
    files = [tmp_path / "out" / name for name in ("curves.parquet", "curves.csv")]
    assert [export(filled, SPAN, str(file)) for file in files] == [2, 2]
    published = forecast_frame(CURVES)
    pd.testing.assert_frame_equal(pd.read_parquet(files[0]), published)
    from_csv = pd.read_csv(files[1], parse_dates=["valid_time"])
    assert from_csv["q50"].to_list() == pytest.approx(published["q50"].to_list(), rel=1e-12)
    assert (from_csv["valid_time"] == published["valid_time"]).all()


def test_curves_of_several_level_sets_get_the_union_of_their_columns(filled: Engine, tmp_path: Path) -> None:
    save(filled, [NEW_LEVELS], world.NOW)
    files = [tmp_path / name for name in ("curves.parquet", "curves.csv")]
    assert [export(filled, SPAN, str(file)) for file in files] == [3, 3]
    for frame in (pd.read_parquet(files[0]), pd.read_csv(files[1])):
        assert [c for c in frame if c.startswith("q")] == ["q05", "q10", "q50", "q90", "q95"]
        is_new = frame["model_version"].astype(str) == "2"
        assert frame.loc[is_new, ["q05", "q50", "q95"]].notna().all(axis=None)
        assert frame.loc[is_new, ["q10", "q90"]].isna().all(axis=None)
        assert frame.loc[~is_new, ["q05", "q95"]].isna().all(axis=None)


def test_a_failed_export_leaves_no_file(filled: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.store.store_export.read_levels", lambda *_: [0.5])  # others are stored meanwhile
    with pytest.raises(ValueError, match="quantile levels"):
        export(filled, SPAN, str(tmp_path / "curves.csv"))
    with pytest.raises(ValueError, match="ends in"):
        export(filled, SPAN, str(tmp_path / "curves.xlsx"))
    assert [file.name for file in tmp_path.iterdir() if "curves" in file.name] == []


def test_a_database_gets_each_point_once(filled: Engine, postgres_server: str) -> None:
    target = fresh_database(postgres_server, uuid4().hex)
    assert [export(filled, SPAN, target) for _ in range(2)] == [2, 2]
    with psycopg.connect(target) as connection:
        rows = connection.execute(
            "SELECT valid_time, value FROM forecast_points WHERE quantile = 0.5 ORDER BY valid_time"
        ).fetchall()
    assert rows == [(p.valid_time, p.values[1]) for curve in CURVES for p in curve.points]


def test_a_database_gets_the_levels_that_each_curve_has(filled: Engine, postgres_server: str) -> None:
    save(filled, [NEW_LEVELS], world.NOW)
    target = fresh_database(postgres_server, uuid4().hex)
    assert export(filled, SPAN, target) == 3
    with psycopg.connect(target) as connection:
        found = connection.execute(
            "SELECT DISTINCT model_version, quantile FROM forecast_points ORDER BY model_version, quantile"
        ).fetchall()
    assert found == [("1", q) for q in (0.1, 0.5, 0.9)] + [("2", q) for q in (0.05, 0.5, 0.95)]
