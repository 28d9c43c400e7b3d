"""Scores of forecasts with known errors, and refusal of invalid forecast files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dualcast.catalogue import UseCase
from models.evaluation.files import FaultyForecastsError, read_actuals, read_forecasts
from models.evaluation.scoring import ALL, scores_by_group

START = pd.Timestamp("2022-02-10T23:00Z")


@pytest.fixture
def actuals() -> pd.DataFrame:
    """Three weeks of quarter-hours: about 50 GW, depending on the local hour, and a reference that is 3% too high."""
    times = pd.date_range(START - pd.Timedelta(days=14), periods=96 * 21, freq="15min")
    load = 50000 + 100.0 * times.hour
    return pd.DataFrame({"valid_time": times, "load": load, "load_forecast_tso": load * 1.03})


@pytest.fixture
def forecasts() -> pd.DataFrame:
    """One day, 1% too high in its first 12 hours and 2% too high in its last 12 hours."""
    times = pd.date_range(START, periods=24, freq="h")
    point = (50000 + 100.0 * times.hour) * np.repeat([1.01, 1.02], 12)
    frame = pd.DataFrame({"entity_id": "DE", "valid_time": times, "issued_at": START - pd.Timedelta(hours=13)})
    return frame.assign(q10=point - 600, q50=point, q90=point + 600)


def _written(folder: Path, frame: pd.DataFrame, name: str) -> list[Path]:
    frame.to_parquet(folder / name)
    return [folder / name]


def test_day_ahead_scores_are_by_local_hour(
    use_case: UseCase, tmp_path: Path, forecasts: pd.DataFrame, actuals: pd.DataFrame
) -> None:
    found = scores_by_group(
        use_case,
        "day-ahead",
        read_forecasts(_written(tmp_path, forecasts, "f.parquet"), use_case, "day-ahead"),
        read_actuals(_written(tmp_path, actuals, "a.parquet"), use_case),
    )
    assert found[ALL].n == 24
    assert found[ALL].mape == pytest.approx(1.5)
    assert found[ALL].reference_mape == pytest.approx(3.0)
    assert found[ALL].naive_mape == pytest.approx(0.0)
    assert found["00:00"].mape == pytest.approx(1.0)
    assert found["23:00"].mape == pytest.approx(2.0)
    assert found["00:00"].coverage == 100
    assert found["23:00"].coverage == 0
    assert 0 < (found[ALL].skill or 0) < 1
    assert len(found) == 25


def test_intraday_scores_are_by_horizon_and_the_naive_forecast_shifts_last_week(
    use_case: UseCase, tmp_path: Path, actuals: pd.DataFrame
) -> None:
    issued = START + pd.Timedelta(hours=2)
    # from the time of issue on, load is 1,000 MW above last week's; the naive forecast has this from the newest value
    actuals.loc[actuals["valid_time"] >= START, "load"] += 1000
    times = pd.date_range(issued, periods=4, freq="15min")
    truth = actuals.set_index("valid_time")["load"].reindex(times).to_numpy()
    frame = pd.DataFrame({"entity_id": "DE", "valid_time": times, "issued_at": issued, "q10": truth, "q50": truth})
    found = scores_by_group(
        use_case,
        "intraday",
        read_forecasts(_written(tmp_path, frame.assign(q90=truth), "f.parquet"), use_case, "day-ahead"),
        read_actuals(_written(tmp_path, actuals, "a.parquet"), use_case),
    )
    assert list(found) == [ALL, "00.00 h", "00.25 h", "00.50 h", "00.75 h"]
    assert found[ALL].mae == 0
    assert found[ALL].naive_mape == pytest.approx(0, abs=1e-9)


def test_curves_without_an_interval_level_are_excluded_only_from_coverage(
    use_case: UseCase, tmp_path: Path, forecasts: pd.DataFrame, actuals: pd.DataFrame
) -> None:
    forecasts.loc[forecasts.index[:12], ["q10", "q90"]] = np.nan
    forecasts["q05"] = forecasts["q50"] - 700
    found = scores_by_group(
        use_case,
        "day-ahead",
        read_forecasts(_written(tmp_path, forecasts, "f.parquet"), use_case, "day-ahead"),
        read_actuals(_written(tmp_path, actuals, "a.parquet"), use_case),
    )
    assert (found[ALL].n, found[ALL].coverage) == (24, 0)
    assert found["00:00"].mape == pytest.approx(1.0)
    assert found["00:00"].coverage is None
    assert found["00:00"].pinball == pytest.approx((0.5 * 523 + 0.05 * 177) / 2)  # of q50 and q05


def test_the_interval_of_the_catalogue_is_scored(
    use_case: UseCase, tmp_path: Path, forecasts: pd.DataFrame, actuals: pd.DataFrame
) -> None:
    part = use_case.day_ahead.model_copy(update={"quantiles": (0.05, 0.1, 0.5, 0.9, 0.95), "interval": (0.05, 0.95)})
    wide = use_case.model_copy(update={"day_ahead": part})
    with pytest.raises(FaultyForecastsError, match="q05, q95"):
        read_forecasts(_written(tmp_path, forecasts, "f.parquet"), wide, "day-ahead")
    forecasts = forecasts.assign(q05=forecasts["q50"] - 2000, q95=forecasts["q50"] + 2000)
    found = scores_by_group(
        wide,
        "day-ahead",
        read_forecasts(_written(tmp_path, forecasts, "f.parquet"), wide, "day-ahead"),
        read_actuals(_written(tmp_path, actuals, "a.parquet"), wide),
    )
    assert found["23:00"].coverage == 100


def test_actuals_may_be_named_as_in_the_source_and_come_in_several_files(
    use_case: UseCase, tmp_path: Path, actuals: pd.DataFrame
) -> None:
    raw = actuals.rename(columns={v: k for k, v in use_case.replay.columns.items()})
    raw = raw.rename(columns={"valid_time": use_case.replay.time_column})
    corrected = raw.tail(4).assign(load_actual_mw=1.0)
    files = [*_written(tmp_path, raw, "1.parquet"), *_written(tmp_path, corrected, "2.parquet")]
    found = read_actuals(files, use_case)
    assert len(found) == len(raw)
    assert sorted(found["load"])[:5] == [1.0, 1.0, 1.0, 1.0, 50000.0]


def test_an_implausible_reference_is_not_scored(
    use_case: UseCase, tmp_path: Path, forecasts: pd.DataFrame, actuals: pd.DataFrame
) -> None:
    glitch = actuals["valid_time"].between(START, START + pd.Timedelta(hours=2))
    actuals.loc[glitch, "load_forecast_tso"] *= 10
    score = scores_by_group(
        use_case,
        "day-ahead",
        read_forecasts(_written(tmp_path, forecasts, "f.parquet"), use_case, "day-ahead"),
        read_actuals(_written(tmp_path, actuals, "a.parquet"), use_case),
    )[ALL]
    assert score.reference_mape == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda f: pd.concat([f, f.tail(1)]), "twice"),
        (lambda f: f.assign(issued_at=f["valid_time"] + pd.Timedelta("1s")), "after its valid_time"),
        (lambda f: f.assign(q50=np.nan), "NaN"),
        (lambda f: f.assign(q10=f["q90"] + 1), "cross"),
        (lambda f: f.assign(q10=f["q90"] + 1, q30=np.nan), "cross"),
        (lambda f: f.assign(valid_time=f["valid_time"].dt.tz_localize(None)), "no time zone"),
        (lambda f: f.drop(columns="q90"), "q90"),
        (lambda f: f.head(0), "no forecast"),
    ],
)
def test_broken_forecasts_are_refused(
    use_case: UseCase, tmp_path: Path, forecasts: pd.DataFrame, spoil: object, text: str
) -> None:
    assert callable(spoil)
    with pytest.raises(FaultyForecastsError, match=text):
        read_forecasts(_written(tmp_path, spoil(forecasts), "f.parquet"), use_case, "day-ahead")


def test_forecasts_of_other_days_than_the_actuals_are_refused(
    use_case: UseCase, forecasts: pd.DataFrame, actuals: pd.DataFrame
) -> None:
    late = forecasts.assign(valid_time=forecasts["valid_time"] + pd.Timedelta(days=100))
    with pytest.raises(FaultyForecastsError, match="has an actual"):
        scores_by_group(use_case, "day-ahead", late, actuals.assign(entity_id="DE"))
