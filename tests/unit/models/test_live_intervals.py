"""The intraday intervals of id-svc equal those of a backtest, and use no later publications."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from batch.engine.partitions import replace_file
from batch.forecasts import interval_factors as batch
from dualcast.adapters.lake import factor_rows, factors_file
from dualcast.arrays import Floats
from dualcast.catalogue import Entity, UseCase
from dualcast.curves.forecast import Forecast
from dualcast.curves.frames import forecast_frame
from dualcast.lifecycle.registered_model import RegisteredModel
from dualcast.records import FeatureRow
from dualcast.settings import Settings
from dualcast.timegrid import Clock, day_bounds
from models.backtest.history import FileHistory
from models.backtest.past_forecasts import PastForecasts
from models.backtest.request import BacktestRequest
from models.prediction.curve import NoPredictionError
from models.prediction.intraday import intraday_forecast, intraday_forecasts
from services.id_svc.scoring.intervals import IntervalFactorCache
from tests.histories import corrupt_from

TODAY = date(2022, 3, 29)


@pytest.fixture(scope="module")
def midnight(entity: Entity) -> datetime:
    """A local midnight in summer time, so that it is not midnight in UTC."""
    return day_bounds(TODAY, entity.time_zone)[0]


@pytest.fixture(scope="module")
def curves(quick: UseCase, intraday_model: RegisteredModel, intraday_frame: pd.DataFrame) -> list[Forecast]:
    """The published curves."""
    return list(intraday_forecasts(intraday_model, quick, intraday_frame, "test"))


@pytest.fixture(scope="module")
def history(observations: pd.DataFrame, entity: Entity) -> FileHistory:
    on_grid = observations.assign(entity_id=entity.id)
    return FileHistory(on_grid, on_grid, {}, (), "test")


@pytest.fixture(scope="module")
def backtest_factors(
    quick: UseCase,
    entity: Entity,
    midnight: datetime,
    history: FileHistory,
    curves: list[Forecast],
    intraday_model: RegisteredModel,
    intraday_frame: pd.DataFrame,
) -> Floats:
    """The factors of the day in a backtest."""
    days = intraday_frame["valid_time"].dt.tz_convert(entity.time_zone).dt.date
    rows = intraday_frame.assign(delivery_day=days)
    question = BacktestRequest(quick, "intraday", TODAY - timedelta(days=60), TODAY, "P3M")
    record = PastForecasts(question, history, rows, pd.DataFrame())
    record.add([curve for curve in curves if curve.issued_at < midnight])
    found = record.factors(intraday_model, rows[rows["delivery_day"] == TODAY])
    assert set(found) == {(entity.id, midnight)}
    return found[entity.id, midnight]


def batch_factors(
    use_case: UseCase,
    model: RegisteredModel,
    midnight: datetime,
    curves: list[Forecast],
    rows: pd.DataFrame,
    observations: pd.DataFrame,
) -> pa.Table:
    """The factors that a worker of the batch path computes from the lake."""
    scale = str(use_case.part("intraday").scale)
    scales = rows.assign(issued_at=rows["event_timestamp"])[["entity_id", "issued_at", scale]]
    points = forecast_frame(curves)[["entity_id", "issued_at", "valid_time", "q10", "q50", "q90"]]
    target = observations[["entity_id", "variable", "valid_time", "published_at", "value"]]
    task = batch.FactorTask(
        Settings(_env_file=None), use_case, midnight, {model.version: model.alias}, lambda *_: model
    )
    return task.factors(pa.Table.from_pandas(points.merge(scales)), pa.Table.from_pandas(target))


@pytest.fixture(scope="module")
def live_factors(
    quick: UseCase,
    midnight: datetime,
    curves: list[Forecast],
    history: FileHistory,
    intraday_model: RegisteredModel,
    intraday_frame: pd.DataFrame,
) -> pa.Table:
    return batch_factors(quick, intraday_model, midnight, curves, intraday_frame, history.on_grid)


def test_live_factors_equal_those_of_a_backtest(live_factors: pa.Table, backtest_factors: Floats) -> None:
    assert (backtest_factors[:, [0, 2]] != 1).any()
    rows = live_factors.to_pandas()
    assert (rows["horizon"].max(), rows["level"].unique().tolist()) == (23, [0.1, 0.5, 0.9])
    np.testing.assert_array_equal(rows["factor"].to_numpy().reshape(24, 3), backtest_factors)


def test_curves_and_actuals_published_from_midnight_on_are_ignored(
    quick: UseCase,
    midnight: datetime,
    curves: list[Forecast],
    history: FileHistory,
    live_factors: pa.Table,
    intraday_model: RegisteredModel,
    intraday_frame: pd.DataFrame,
) -> None:
    moment = pd.Timestamp(midnight)
    corrupt = corrupt_from(history.on_grid, moment).assign(entity_id=history.on_grid["entity_id"].iloc[0])
    later = [
        replace(c, points=[replace(p, values=[0.0, 0.0, 0.0]) for p in c.points]) if c.issued_at >= moment else c
        for c in curves
    ]
    assert len(corrupt) > len(history.on_grid)
    assert batch_factors(quick, intraday_model, midnight, later, intraday_frame, corrupt).equals(live_factors)


@pytest.fixture
def settings(tmp_path: Path, live_factors: pa.Table, quick: UseCase, midnight: datetime) -> Settings:
    """Settings at noon, with a lake that contains the factors of the day."""
    now = midnight + timedelta(hours=12)
    settings = Settings(_env_file=None, clock=Clock(start=now, until=now), lake=str(tmp_path))
    write(settings, quick, midnight, live_factors)
    return settings


def write(settings: Settings, use_case: UseCase, as_of: datetime, factors: pa.Table) -> None:
    version = factors["model_version"][0].as_py()
    replace_file(factors_file(settings, use_case.use_case, as_of, version), factors.drop_columns("model_version"))


def following(settings: Settings, use_case: UseCase) -> IntervalFactorCache:
    """The factors in id-svc after one read of the lake."""
    intervals = IntervalFactorCache(settings, {use_case.use_case: use_case})
    intervals.refresh()
    return intervals


def first_since(rows: list[FeatureRow], moment: datetime) -> FeatureRow:
    return next(row for row in rows if row.valid_time >= moment)


def curve(intervals: IntervalFactorCache, model: RegisteredModel, use_case: UseCase, row: FeatureRow) -> Forecast:
    (made,) = intervals.curves(model, use_case, [row], [row.as_of])
    assert not isinstance(made, NoPredictionError)
    return made


def test_the_service_gives_the_curves_of_the_backtest(
    quick: UseCase,
    midnight: datetime,
    settings: Settings,
    backtest_factors: Floats,
    intraday_model: RegisteredModel,
    intraday_frame: pd.DataFrame,
    stream_rows: list[FeatureRow],
) -> None:
    gold = intraday_frame[intraday_frame["valid_time"] >= midnight].head(1)
    (row,) = [r for r in stream_rows if r.valid_time == gold["valid_time"].iloc[0]]
    made = curve(following(settings, quick), intraday_model, quick, row)
    (expected,) = intraday_forecasts(intraday_model, quick, gold, "test", {row.entity_id: {midnight: backtest_factors}})
    assert made.points == expected.points
    assert made.points != intraday_forecast(intraday_model, quick, row, row.as_of).points
    assert made.data_version.endswith(f" intervals@{midnight.isoformat()}")


def test_factors_apply_to_their_model_until_the_next_midnight(
    quick: UseCase,
    midnight: datetime,
    settings: Settings,
    live_factors: pa.Table,
    intraday_model: RegisteredModel,
    stream_rows: list[FeatureRow],
) -> None:
    write(settings, quick, midnight + timedelta(hours=13), live_factors)
    write(settings, quick, midnight - timedelta(hours=24), live_factors)
    write(settings, quick, midnight - timedelta(days=9), live_factors)
    intervals = following(settings, quick)

    def since(moment: datetime, version: str = "7") -> str:
        model = replace(intraday_model, version=version)
        return curve(intervals, model, quick, first_since(stream_rows, moment)).data_version.partition("intervals@")[2]

    yesterday = midnight - timedelta(hours=24)
    assert since(midnight) == midnight.isoformat()
    # the factors of a later moment than now are not read
    assert since(midnight + timedelta(hours=20)) == midnight.isoformat()
    assert since(midnight - timedelta(minutes=15)) == yesterday.isoformat()
    assert since(yesterday - timedelta(minutes=15)) == ""
    assert since(midnight, version="8") == ""


def test_new_factors_are_read_and_without_factors_intervals_stay_as_calibrated(
    tmp_path: Path,
    quick: UseCase,
    midnight: datetime,
    settings: Settings,
    live_factors: pa.Table,
    intraday_model: RegisteredModel,
    stream_rows: list[FeatureRow],
) -> None:
    empty = settings.model_copy(update={"lake": str(tmp_path / "empty")})
    intervals, row = following(empty, quick), first_since(stream_rows, midnight)
    plain = intraday_forecast(intraday_model, quick, row, row.as_of)
    assert curve(intervals, intraday_model, quick, row) == plain
    write(empty, quick, midnight, live_factors)
    intervals.refresh()
    assert curve(intervals, intraday_model, quick, row).points != plain.points
    assert len(factor_rows(empty, quick.use_case, midnight, "7")) == 24 * 3


def test_known_factors_are_used_while_the_lake_is_unavailable(
    tmp_path: Path,
    quick: UseCase,
    midnight: datetime,
    settings: Settings,
    intraday_model: RegisteredModel,
    stream_rows: list[FeatureRow],
) -> None:
    intervals, row = following(settings, quick), first_since(stream_rows, midnight)
    known = curve(intervals, intraday_model, quick, row)
    (tmp_path / "interval_factors").rename(tmp_path / "elsewhere")
    (tmp_path / "interval_factors").write_text("no folder")
    with pytest.raises(OSError, match="interval_factors"):
        intervals.refresh()
    assert curve(intervals, intraday_model, quick, row) == known
