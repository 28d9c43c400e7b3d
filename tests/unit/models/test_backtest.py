"""A backtest forecasts with the data known at each time, resumes after a stop, and scores its forecasts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dualcast.catalogue import Entity, Path_, UseCase
from dualcast.observations.frames import SourceError
from models.backtest.forecast_file import ForecastFile, OtherBacktestError
from models.backtest.request import BacktestRequest, BacktestRequestError, refit_length, what_if
from models.backtest.run import BacktestRun, run_backtest
from models.evaluation.files import FaultyForecastsError, read_actuals, read_forecasts
from models.evaluation.scoring import ALL, scores_by_group
from models.training.fitting import TooFewExamplesError
from tests.histories import corrupt_from, history
from tests.unit.models.conftest import ignore_progress, written

QUANTILES = ["q10", "q50", "q90"]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def backtest_request(case: UseCase) -> BacktestRequest:
    """Twelve days in two folds, of which the second contains the day of 23 hours."""
    return BacktestRequest(case, "day-ahead", date(2022, 3, 18), date(2022, 3, 29), "P6D")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, known: pd.DataFrame) -> Path:
    return written(tmp_path_factory.mktemp("data"), known)


@pytest.fixture(scope="module")
def clean(
    tmp_path_factory: pytest.TempPathFactory, backtest_request: BacktestRequest, data: Path
) -> tuple[BacktestRun, Path]:
    """An uninterrupted run, and its output."""
    folder = tmp_path_factory.mktemp("clean")
    return done(backtest_request, data, folder), folder


@pytest.fixture(scope="module")
def forecasts(clean: tuple[BacktestRun, Path], case: UseCase) -> pd.DataFrame:
    return read_forecasts([clean[1] / "out.parquet"], case, "day-ahead")


def done(
    backtest_request: BacktestRequest,
    data: Path,
    folder: Path,
    progress: Callable[[str, int, int], None] = ignore_progress,
) -> BacktestRun:
    return run_backtest(backtest_request, data, folder / "out.parquet", folder / "out.html", lambda: NOW, progress)


def forecasts_of(backtest_request: BacktestRequest, data: Path, folder: Path) -> pd.DataFrame:
    done(backtest_request, data, folder)
    return read_forecasts([folder / "out.parquet"], backtest_request.use_case, "day-ahead")


def test_the_report_has_the_scores_of_the_score_command(
    tmp_path: Path, clean: tuple[BacktestRun, Path], forecasts: pd.DataFrame, case: UseCase, known: pd.DataFrame
) -> None:
    known.pivot(index="valid_time", columns="variable", values="value").to_parquet(tmp_path / "actuals.parquet")
    scored = scores_by_group(case, "day-ahead", forecasts, read_actuals([tmp_path / "actuals.parquet"], case))
    found = clean[0].summary
    assert found.overall == scored.pop(ALL)
    assert list(found.groups["local hour"].values()) == list(scored.values())
    page = (clean[1] / "out.html").read_text()
    assert f"{found.overall.mae:,.0f} MW" in page
    assert f"{found.overall.coverage:.1f} %" in page
    assert page.count("<figcaption") == len(found.worst) == 12


def test_every_delivery_day_is_complete_and_issued_at_its_cutoff(
    forecasts: pd.DataFrame, backtest_request: BacktestRequest
) -> None:
    local = forecasts["valid_time"].dt.tz_convert("Europe/Berlin")
    hours = local.groupby(local.dt.date).size()
    assert hours.to_dict() == dict.fromkeys(pd.date_range("2022-03-18", "2022-03-29").date, 24) | {
        date(2022, 3, 27): 23
    }
    issued = forecasts["issued_at"].dt.tz_convert("Europe/Berlin")
    assert (issued.dt.strftime("%H:%M") == "11:00").all()
    assert ((local.dt.normalize().dt.date - issued.dt.date) == pd.Timedelta(days=1)).all()
    assert forecasts["model_version"].unique().tolist() == ["2022-03-18", "2022-03-24"]


def test_a_day_of_25_hours_is_forecast(tmp_path: Path, case: UseCase, entity: Entity) -> None:
    variables = {name: case.variables[name] for name in ("load", "load_forecast_tso")}
    autumn = written(tmp_path, history(case.model_copy(update={"variables": variables}), entity, "2022-09-10", 54))
    found = forecasts_of(
        BacktestRequest(case, "day-ahead", date(2022, 10, 30), date(2022, 10, 31), "P1M"), autumn, tmp_path
    )
    local = found["valid_time"].dt.tz_convert("Europe/Berlin")
    assert local.groupby(local.dt.date).size().tolist() == [25, 24]


@pytest.mark.parametrize("path", ["day-ahead", "intraday"])
def test_forecasts_ignore_later_publications(tmp_path: Path, case: UseCase, known: pd.DataFrame, path: Path_) -> None:
    moment = pd.Timestamp("2022-03-21T10:00Z")
    # a value published at the cutoff is too late for the day-ahead forecast; intraday it is the newest input
    last = moment if path == "day-ahead" else moment - pd.Timedelta("1s")
    backtest_request = BacktestRequest(case, path, date(2022, 3, 20), date(2022, 3, 23), "P2D")
    parts = {"clean": known, "spoiled": corrupt_from(known, moment)}
    found = {}
    for name, rows in parts.items():
        (tmp_path / name).mkdir()
        found[name] = forecasts_of(backtest_request, written(tmp_path / name, rows), tmp_path / name)
    before = {n: f[f["issued_at"] <= last].set_index(["issued_at", "valid_time"])[QUANTILES] for n, f in found.items()}
    pd.testing.assert_frame_equal(before["clean"], before["spoiled"], check_exact=True)
    assert len(before["clean"]) >= 47
    assert not found["clean"]["q50"].equals(found["spoiled"]["q50"])


def faulty_reference(known: pd.DataFrame, factor: float | None) -> pd.DataFrame:
    """The reference of one delivery day ten times too high, or missing."""
    day = known["valid_time"].between(pd.Timestamp("2022-03-20T23:00Z"), pd.Timestamp("2022-03-21T22:59Z"))
    hit = day & (known["variable"] == "load_forecast_tso")
    if factor is None:
        return known[~hit]
    return known.assign(value=known["value"].where(~hit, known["value"] * factor))


@pytest.mark.parametrize("factor", [10.0, None])
def test_a_wrong_or_missing_reference_has_limited_effect_on_forecasts(
    tmp_path: Path,
    backtest_request: BacktestRequest,
    known: pd.DataFrame,
    forecasts: pd.DataFrame,
    factor: float | None,
) -> None:
    found = forecasts_of(backtest_request, written(tmp_path, faulty_reference(known, factor)), tmp_path)
    moved = (found["q50"] / forecasts["q50"] - 1).abs()
    assert moved.max() < 0.05
    hit = found["valid_time"].between(pd.Timestamp("2022-03-20T23:00Z"), pd.Timestamp("2022-03-21T22:59Z"))
    assert moved[hit].max() > 0
    assert (found["degraded_reasons"] == np.where(hit, "missing:load_forecast_tso", "")).all()


class StopAtStep:
    """Stops a run at a given step, and records the reported progress."""

    def __init__(self, at: str | None) -> None:
        self.at = at
        self.heard: list[str] = []

    def __call__(self, step: str, done: int, total: int) -> None:
        self.heard.append(step)
        if self.at is not None and step.startswith(self.at):
            raise KeyboardInterrupt


def test_a_stopped_run_resumes_with_the_remaining_folds(
    tmp_path: Path, backtest_request: BacktestRequest, data: Path, forecasts: pd.DataFrame
) -> None:
    with pytest.raises(KeyboardInterrupt):
        done(backtest_request, data, tmp_path, StopAtStep("forecasting 2022-03-24"))
    half = read_forecasts([tmp_path / "out.parquet"], backtest_request.use_case, "day-ahead")
    assert half["model_version"].unique().tolist() == ["2022-03-18"]
    second = StopAtStep(None)
    done(backtest_request, data, tmp_path, second)
    assert [s for s in second.heard if s.startswith("fitting")] == ["fitting for 2022-03-24 to 2022-03-29"]
    pd.testing.assert_frame_equal(
        read_forecasts([tmp_path / "out.parquet"], backtest_request.use_case, "day-ahead"), forecasts
    )
    third = StopAtStep(None)
    done(backtest_request, data, tmp_path, third)
    assert not [s for s in third.heard if s.startswith(("fitting", "features"))]


def test_a_file_of_another_backtest_is_refused(
    tmp_path: Path, backtest_request: BacktestRequest, data: Path, case: UseCase
) -> None:
    out = tmp_path / "out.parquet"
    facts = backtest_request.facts() | {"data": "file@1"}
    ForecastFile(out, facts).add("2022-03-18", pd.DataFrame({"q50": [1.0]}))
    other = replace(backtest_request, refit="P1M").facts() | {"data": "file@2"}
    with pytest.raises(OtherBacktestError, match=r"refit was P6D, is P1M; data was file@1, is file@2\. Choose another"):
        ForecastFile(out, other)
    assert ForecastFile(out, facts).done == ["2022-03-18"]
    out.write_text("not Parquet")
    with pytest.raises(OtherBacktestError, match="is not a forecast file"):
        ForecastFile(out, facts)
    pd.DataFrame({"q50": [1.0]}).to_parquet(out)
    with pytest.raises(OtherBacktestError, match="not made by a backtest"):
        ForecastFile(out, facts)


def test_a_file_is_replaced_atomically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.parquet"
    file = ForecastFile(out, {})
    file.add("a", pd.DataFrame({"q50": [1.0]}))

    def fail(self: Path, target: Path) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        file.add("b", pd.DataFrame({"q50": [2.0]}))
    assert ForecastFile(out, {}).frame()["q50"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("text", "second"),
    [
        ("P3M", "2022-04-30"),
        ("P1M", "2022-02-28"),
        ("P1Y", "2023-01-30"),
        ("P2W", "2022-02-13"),
        ("P10D", "2022-02-09"),
    ],
)
def test_folds_follow_the_calendar_from_the_first_day(case: UseCase, text: str, second: str) -> None:
    folds = BacktestRequest(case, "day-ahead", date(2022, 1, 30), date(2023, 6, 30), text).folds()
    assert folds[1].name == second
    days = [d for f in folds for d in pd.date_range(f.first, f.last)]
    assert days == list(pd.date_range("2022-01-30", "2023-06-30"))


@pytest.mark.parametrize("text", ["P", "3M", "PT6H", "P0D", "monthly"])
def test_a_refit_that_is_not_a_duration_of_days_is_refused(text: str) -> None:
    with pytest.raises(BacktestRequestError, match="such as P3M"):
        refit_length(text)


def test_what_if_options_change_cutoff_and_variables(case: UseCase) -> None:
    asked = what_if(case, "day-ahead", time(8), ["load_forecast_tso"]).day_ahead
    assert asked.cutoff == time(8)
    assert not [n for n, s in asked.features.items() if "load_forecast_tso" in s.variables()]
    assert "load_lag_7d" in asked.features
    assert "load_forecast_tso" not in asked.optional
    with pytest.raises(BacktestRequestError, match="must be one of load_forecast_tso"):
        what_if(case, "day-ahead", None, ["load"])
    with pytest.raises(BacktestRequestError, match="as each value arrives"):
        what_if(case, "intraday", time(8), [])


def test_another_cutoff_is_used(
    tmp_path: Path, backtest_request: BacktestRequest, data: Path, forecasts: pd.DataFrame
) -> None:
    case = what_if(backtest_request.use_case, "day-ahead", time(8), ["load_forecast_tso"])
    found = forecasts_of(
        BacktestRequest(case, "day-ahead", date(2022, 3, 20), date(2022, 3, 21), "P1M"), data, tmp_path
    )
    assert (found["issued_at"].dt.tz_convert("Europe/Berlin").dt.strftime("%H:%M") == "08:00").all()
    assert not found["degraded"].any()


def test_forecasts_are_written_as_parquet_only(tmp_path: Path, backtest_request: BacktestRequest, data: Path) -> None:
    with pytest.raises(BacktestRequestError, match=r"must end in \.parquet"):
        run_backtest(backtest_request, data, tmp_path / "out.csv", tmp_path / "out.html", lambda: NOW, ignore_progress)


def test_windows_that_cannot_be_forecast_are_refused(tmp_path: Path, case: UseCase, data: Path) -> None:
    with pytest.raises(BacktestRequestError, match="before it begins"):
        BacktestRequest(case, "day-ahead", date(2022, 3, 2), date(2022, 3, 1), "P3M")
    outside = BacktestRequest(case, "day-ahead", date(2022, 3, 1), date(2022, 5, 1), "P3M")
    with pytest.raises(SourceError, match=r"outside the file, whose load is from 2022-01-01 00:00Z to 2022-04-01"):
        done(outside, data, tmp_path)
    early = BacktestRequest(case, "day-ahead", date(2022, 1, 3), date(2022, 1, 9), "P3M")
    with pytest.raises(TooFewExamplesError, match="a model for 2022-01-03 has too little history: only 0 rows"):
        done(early, data, tmp_path)


def test_days_after_a_gap_are_left_out(tmp_path: Path, case: UseCase, known: pd.DataFrame) -> None:
    gap = known["valid_time"].between(pd.Timestamp("2022-03-01T00:00Z"), pd.Timestamp("2022-03-19T23:45Z"))
    holed = written(tmp_path, known[~(gap & (known["variable"] == "load"))])
    found = forecasts_of(
        BacktestRequest(case, "day-ahead", date(2022, 3, 18), date(2022, 3, 29), "P1M"), holed, tmp_path
    )
    days = found["valid_time"].dt.tz_convert("Europe/Berlin").dt.date.unique().tolist()
    # the mean of a week is unknown until enough of its values are known again
    assert date(2022, 3, 20) < days[0] < date(2022, 3, 28)
    assert days == [d.date() for d in pd.date_range(days[0], "2022-03-29")]
    (tmp_path / "out.parquet").unlink()
    with pytest.raises(FaultyForecastsError, match="no day of the window can be forecast"):
        forecasts_of(BacktestRequest(case, "day-ahead", date(2022, 3, 15), date(2022, 3, 18), "P1M"), holed, tmp_path)


def test_every_origin_has_an_intraday_forecast(tmp_path: Path, case: UseCase, data: Path) -> None:
    backtest_request = BacktestRequest(case, "intraday", date(2022, 3, 26), date(2022, 3, 27), "P1M")
    found = forecasts_of(backtest_request, data, tmp_path)
    origins = found["issued_at"].dt.tz_convert("Europe/Berlin")
    assert found.groupby(origins.dt.date)["issued_at"].nunique().tolist() == [96, 92]
    ahead = (found["valid_time"] - found["issued_at"]) / pd.Timedelta("15min")
    assert sorted(ahead.unique()) == list(range(24))
    by_horizon = done(backtest_request, data, tmp_path).summary.groups["horizon"]
    assert len(by_horizon) == 24
    assert by_horizon["00.00 h"].n == 188


def test_curves_of_every_week_keep_their_weekday(case: UseCase) -> None:
    weekly = BacktestRequest(case, "day-ahead", date(2022, 3, 7), date(2022, 3, 29), "P3M", every=7)
    assert {day.weekday() for day in weekly.days()} == {0}
    assert weekly.days()[-1] == date(2022, 3, 28)
    assert len(weekly.days()) == 50 // 7 + 4
    with pytest.raises(BacktestRequestError, match="every"):
        BacktestRequest(case, "intraday", date(2022, 3, 7), date(2022, 3, 29), "P3M", every=7)
