"""A backtest forecasts and scores with each fallback of the use case, as of the same moments."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dualcast.catalogue import Path_, UseCase
from models.backtest.request import BacktestRequest
from models.backtest.run import BacktestRun, run_backtest
from models.evaluation.files import read_forecasts
from tests.histories import corrupt_from
from tests.unit.models.conftest import ignore_progress, written

SPOILED = pd.Timestamp("2022-03-21T10:00Z")
QUANTILES = ["q10", "q50", "q90"]


def run(case: UseCase, path: Path_, observations: pd.DataFrame, folder: Path) -> BacktestRun:
    """Two days, each a fold."""
    folder.mkdir(exist_ok=True)
    asked = BacktestRequest(case, path, date(2022, 3, 20), date(2022, 3, 21), "P1D")
    out, now = folder / "out.parquet", datetime(2026, 1, 1, tzinfo=UTC)
    data = written(folder, observations)
    return run_backtest(asked, data, out, out.with_suffix(".html"), lambda: now, ignore_progress, fallbacks=True)


@pytest.fixture(scope="module")
def intraday(tmp_path_factory: pytest.TempPathFactory, case: UseCase, known: pd.DataFrame) -> tuple[BacktestRun, Path]:
    folder = tmp_path_factory.mktemp("fallbacks")
    return run(case, "intraday", known, folder), folder


def forecasts(folder: Path, case: UseCase, *fallbacks: str) -> list[pd.DataFrame]:
    """The forecasts of the champion and of some fallbacks, each from its file."""
    files = ["out.parquet", *(f"out.{fallback}.parquet" for fallback in fallbacks)]
    return [read_forecasts([folder / file], case, "day-ahead") for file in files]


def test_the_fallbacks_of_the_use_case_are_scored_beside_the_champion(intraday: tuple[BacktestRun, Path]) -> None:
    done, folder = intraday
    answers = done.summary.answers
    assert list(answers) == ["champion", "previous_version", "shifted_day_ahead", "last_stored"]
    assert answers["champion"] == done.summary.overall
    assert answers["previous_version"].n == answers["champion"].n / 2
    assert answers["last_stored"].n < answers["champion"].n
    assert answers["shifted_day_ahead"].n == answers["champion"].n
    assert all(0 < s.mae < 20 * answers["champion"].mae for s in answers.values())
    page = (folder / "out.html").read_text()
    assert "Errors by answer used" in page
    assert "shifted_day_ahead" in page


def test_the_last_stored_fallback_uses_the_curve_of_an_hour_before(
    intraday: tuple[BacktestRun, Path], case: UseCase
) -> None:
    champion, stored = forecasts(intraday[1], case, "last_stored")
    issued_at = stored["issued_at"].iloc[-1]
    before = champion[champion["issued_at"] == issued_at - timedelta(hours=1)]
    last = stored[stored["issued_at"] == issued_at]
    expected = before[before["valid_time"] >= issued_at]
    np.testing.assert_array_equal(last[QUANTILES], expected[QUANTILES])
    assert len(last) == len(before) - 4
    assert last["degraded_reasons"].unique().tolist() == ["fallback: last_stored"]


def test_the_shifted_curve_is_parallel_to_the_day_ahead_one(intraday: tuple[BacktestRun, Path], case: UseCase) -> None:
    _, shifted, day_ahead = forecasts(intraday[1], case, "shifted_day_ahead", "day_ahead")
    curve = shifted[shifted["issued_at"] == shifted["issued_at"].unique()[20]].set_index("valid_time")["q50"]
    middles = pd.DatetimeIndex(curve.index).as_unit("us").asi8 + 450_000_000
    hours = day_ahead["valid_time"].dt.as_unit("us").astype("int64").to_numpy() + 1_800_000_000
    moved = curve.to_numpy() - np.interp(middles, hours, day_ahead["q50"])
    np.testing.assert_allclose(moved, moved[0])
    assert abs(moved[0]) > 1


def test_fallbacks_ignore_later_publications(
    tmp_path: Path, intraday: tuple[BacktestRun, Path], case: UseCase, known: pd.DataFrame
) -> None:
    run(case, "intraday", corrupt_from(known, SPOILED), tmp_path / "spoiled")
    names = ("previous_version", "shifted_day_ahead", "last_stored")
    clean, spoiled = (forecasts(folder, case, *names)[1:] for folder in (intraday[1], tmp_path / "spoiled"))
    for ours, theirs in zip(clean, spoiled, strict=True):
        before = [f[f["issued_at"] < SPOILED].reset_index(drop=True)[QUANTILES] for f in (ours, theirs)]
        assert len(before[0]) > 100
        pd.testing.assert_frame_equal(*before, check_exact=True)
        assert not ours["q50"].equals(theirs["q50"])


def test_day_ahead_forecasts_without_optional_inputs_are_scored(
    tmp_path: Path, case: UseCase, known: pd.DataFrame
) -> None:
    done = run(case, "day-ahead", known, tmp_path)
    assert list(done.summary.answers) == ["champion", "degraded_inputs"]
    _, degraded = forecasts(tmp_path, case, "degraded_inputs")
    assert degraded["degraded_reasons"].unique().tolist() == ["missing:load_forecast_tso"]
    assert done.summary.answers["degraded_inputs"].mae > done.summary.overall.mae
