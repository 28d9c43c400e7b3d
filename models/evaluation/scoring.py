"""Scores of published forecasts against what came true, the reference forecast and a naive one.

The naive forecast is last week's value at the same time; intraday, moved by how far the newest value lies from last
week's. A forecast file that breaks a rule is refused rather than scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self, cast

import numpy as np
import pandas as pd

from dualcast import metrics
from dualcast.arrays import Floats
from dualcast.catalogue import MEDIAN, Path_, UseCase
from dualcast.curves.quantiles import quantile_column, quantile_columns, quantile_level
from dualcast.observations.aggregation import coarsen
from dualcast.observations.validation import YARDSTICK_AGE, implausible

_KEYS = ["entity_id", "issued_at", "valid_time"]
_DAY, _WEEK = pd.Timedelta(days=1), pd.Timedelta(days=7)
POINT = quantile_column(MEDIAN)  # the median is the point forecast
ALL = "all"


class FaultyForecastsError(ValueError):
    """Forecasts break a rule that every forecast obeys, or do not meet any actual."""


@dataclass(frozen=True)
class Errors:
    """How far point forecasts were off, in the unit of the target, or % where so named; None where actuals are 0."""

    n: int
    mape: float | None
    wape: float | None
    mae: float
    rmse: float
    bias: float

    @classmethod
    def of(cls, actual: Floats, forecast: Floats) -> Self | None:
        """Over all that is known, else None."""
        known = np.isfinite(actual) & np.isfinite(forecast)
        if not known.any():
            return None
        y, f = actual[known], forecast[known]
        positive = np.abs(y) > 1e-9
        return cls(
            n=len(y),
            mape=metrics.mape(y, f) if positive.any() else None,
            wape=metrics.wape(y, f) if positive.any() else None,
            mae=metrics.mae(y, f),
            rmse=metrics.rmse(y, f),
            bias=float(np.mean(f - y)),
        )


@dataclass(frozen=True)
class Score:
    """Figures of one group of forecasts; errors in the unit of the target, or % where so named; None where unknown."""

    n: int
    mape: float | None
    wape: float | None
    mae: float
    rmse: float
    bias: float
    pinball: float
    coverage: float | None
    reference_mape: float | None
    reference_mae: float | None
    naive_mape: float | None
    naive_mae: float | None
    skill: float | None

    def as_dict(self) -> dict[str, float | None]:
        """For JSON."""
        return {k: None if v is None else round(v, 4) for k, v in asdict(self).items()}

    def cells(self) -> list[str]:
        """For a table."""
        numbers = (self.mae, self.rmse, self.bias, self.pinball)
        return [
            f"{self.n:,}",
            _cell(self.mape, ".2f"),
            *(_cell(x, ",.4g" if abs(x) < 100 else ",.0f") for x in numbers),
            _cell(self.coverage, ".1f"),
            _cell(self.reference_mape, ".2f"),
            _cell(self.naive_mape, ".2f"),
            _cell(self.skill, ".2f"),
        ]


def read_forecasts(files: Sequence[Path], use_case: UseCase, path: Path_) -> pd.DataFrame:
    """Forecasts in long form, as ``forecast_frame`` writes them. Raises FaultyForecastsError.

    There must be a column for the median and each bound of the path's interval. Of other levels than the median, curves
    may have no value.
    """
    frame = pd.concat([_read(file) for file in files], ignore_index=True)
    missing = {*_KEYS, *map(quantile_column, use_case.part(path).shown_levels)} - set(frame)
    if missing:
        raise FaultyForecastsError(f"the forecasts lack the columns {', '.join(sorted(missing))}")
    if "use_case" in frame:
        frame = frame[frame["use_case"] == use_case.use_case]
    for column in ("issued_at", "valid_time"):
        frame = frame.assign(**{column: _aware(frame[column], column)})
    quantiles = frame[quantile_columns(frame)].to_numpy(dtype=np.float64)
    rules = {
        "a curve is there twice": frame.duplicated(_KEYS).any(),
        "a forecast was issued after its valid_time": (frame["issued_at"] > frame["valid_time"]).any(),
        "a median is NaN": frame[POINT].isna().any(),
        "quantiles cross": _cross(quantiles),
        "there is no forecast": frame.empty,
    }
    broken = [rule for rule, holds in rules.items() if holds]
    if broken:
        raise FaultyForecastsError("; ".join(broken))
    return frame


def _cross(quantiles: Floats) -> bool:
    """Whether a quantile (points, levels) is below one of a lower level; NaN is not compared."""
    highest_so_far = np.maximum.accumulate(np.nan_to_num(quantiles, nan=-np.inf), axis=1)
    return bool((quantiles < highest_so_far - 1e-9).any())


def read_actuals(files: Sequence[Path], use_case: UseCase) -> pd.DataFrame:
    """What came true: entity_id, valid_time and the target, and the reference where there is one.

    Columns may be called as the use case's variables, or as its replay mapping says; of several files the later wins.
    Raises FaultyForecastsError where the target is missing.
    """
    frame = pd.concat([_named(_read(file), use_case) for file in files], ignore_index=True)
    return frame.drop_duplicates(["entity_id", "valid_time"], keep="last")


def scores_by_group(use_case: UseCase, path: Path_, forecasts: pd.DataFrame, actuals: pd.DataFrame) -> dict[str, Score]:
    """Scores of all forecasts, then by local hour (day-ahead) or by horizon (intraday).

    Raises FaultyForecastsError where no forecast meets an actual.
    """
    met = join_actuals(use_case, path, forecasts, actuals)
    groups = met["local"].dt.strftime("%H:%M") if path == "day-ahead" else horizons(met)
    return {ALL: score(met)} | by_group(met, groups)


def join_actuals(use_case: UseCase, path: Path_, forecasts: pd.DataFrame, actuals: pd.DataFrame) -> pd.DataFrame:
    """The forecasts that have an actual, with more columns.

    actual, reference, naive; low and high, the bounds of the path's interval; local, the wall clock of valid_time.
    Raises FaultyForecastsError where no forecast meets an actual.
    """
    resolution = pd.Timedelta(use_case.part(path).resolution)
    came_true = dict(iter(actuals.groupby("entity_id")))
    parts = []
    for entity_id, mine in forecasts.groupby("entity_id", sort=False):
        if entity_id in came_true:
            local = _wall_clock(mine["valid_time"], use_case.entity(str(entity_id)).time_zone)
            known, at = came_true[entity_id], mine["valid_time"]
            if resolution >= _DAY:  # local days are of different lengths, and a week of them is no 168 hours
                at = local
                known = known.assign(
                    valid_time=_wall_clock(known["valid_time"], use_case.entity(str(entity_id)).time_zone)
                )
            series = _series(use_case, known, resolution)
            parts.append(_joined(use_case, path, mine, at, series).assign(local=local))
    met = pd.concat(parts, ignore_index=True).dropna(subset=["actual"]) if parts else pd.DataFrame()
    if met.empty:
        raise FaultyForecastsError("no forecast meets an actual: check entity ids and dates")
    return met


def by_group(met: pd.DataFrame, groups: pd.Series) -> dict[str, Score]:
    """The scores of groups of what ``join_actuals`` found, in the order of their names."""
    return {str(key): score(group) for key, group in met.groupby(groups, sort=True)}


def horizons(met: pd.DataFrame) -> pd.Series:
    """How far ahead each forecast was made, as text that sorts."""
    ahead = met["valid_time"] - met["issued_at"]
    return ahead.map({a: f"{a.total_seconds() / 3600:05.2f} h" for a in ahead.unique()})


def _joined(use_case: UseCase, path: Path_, mine: pd.DataFrame, at: pd.Series, series: pd.DataFrame) -> pd.DataFrame:
    """The forecasts with actual, reference and naive, looked up ``at`` some times of the series."""
    target = series[use_case.target]
    known = series.get(use_case.reference)
    last_week: Floats = target.reindex(at - _WEEK).to_numpy()
    low, high = (mine.get(quantile_column(level), np.nan) for level in use_case.part(path).interval)
    return mine.assign(
        low=low,
        high=high,
        actual=target.reindex(at).to_numpy(),
        reference=np.nan if known is None else known.reindex(at).to_numpy(),
        naive=last_week if path == "day-ahead" or target.empty else last_week + _moved(mine, target),
    )


def _moved(mine: pd.DataFrame, target: pd.Series) -> Floats:
    """How far the newest value at each forecast's issue lies from that of a week before."""
    step = pd.Timedelta(target.index[1] - target.index[0])
    newest = mine["issued_at"].dt.floor(step) - step
    moved: Floats = target.reindex(newest).to_numpy() - target.reindex(newest - _WEEK).to_numpy()
    return moved


def _wall_clock(times: pd.Series, zone: str) -> pd.Series:
    return times.dt.tz_convert(zone).dt.tz_localize(None)


def _series(use_case: UseCase, actuals: pd.DataFrame, resolution: pd.Timedelta) -> pd.DataFrame:
    """Target and reference on a path's grid; slots that lack a value are unknown, implausible references too."""
    wanted = [v for v in (use_case.target, use_case.reference) if v is not None and v in actuals]
    fine = actuals.set_index("valid_time").sort_index()[wanted]
    if len(fine) < 2:
        return fine
    expected = max(resolution // fine.index.to_series().diff().min(), 1)
    first, last = fine.index[0].floor(resolution), fine.index[-1].floor(resolution)
    fine = fine.reindex(pd.date_range(first, last + resolution, freq=resolution / expected, inclusive="left"))
    whole = {n: coarsen(fine[n].to_numpy(np.float64), expected, use_case.variables[n].aggregate) for n in wanted}
    frame = pd.DataFrame(whole, index=pd.date_range(first, last, freq=resolution))
    if use_case.reference is not None and use_case.reference in frame:
        bounds = use_case.variables[use_case.reference].bounds
        yardstick = frame.get(bounds.relative_to or "", pd.Series(np.nan, index=frame.index))
        week_ago = yardstick.reindex(frame.index - pd.Timedelta(YARDSTICK_AGE)).to_numpy()
        bad = implausible(bounds, frame[use_case.reference].to_numpy(), week_ago)
        frame[use_case.reference] = frame[use_case.reference].mask(bad)
    return frame


def score(met: pd.DataFrame) -> Score:
    """The figures of some of what ``join_actuals`` found."""
    actual, reference, naive, low, high = (
        met[c].to_numpy(np.float64) for c in ("actual", "reference", "naive", "low", "high")
    )
    point = met[POINT].to_numpy(np.float64)
    quantiles = {quantile_level(c): met[c].to_numpy(dtype=np.float64) for c in quantile_columns(met)}
    ours, theirs, last_week = (Errors.of(actual, forecast) for forecast in (point, reference, naive))
    assert ours is not None
    return Score(
        **asdict(ours),
        pinball=metrics.pinball(actual, quantiles),
        coverage=None if np.isnan(inside := metrics.coverage(actual, low, high)) else inside,
        reference_mape=None if theirs is None else theirs.mape,
        reference_mae=None if theirs is None else theirs.mae,
        naive_mape=None if last_week is None else last_week.mape,
        naive_mae=None if last_week is None else last_week.mae,
        skill=metrics.skill(actual, point, reference) if theirs is not None else None,
    )


def _read(path: Path) -> pd.DataFrame:
    if path.suffix == ".csv":
        return pd.read_csv(path)
    return cast("pd.DataFrame", pd.read_parquet(path))


def _named(frame: pd.DataFrame, use_case: UseCase) -> pd.DataFrame:
    """A file of actuals with columns named as variables."""
    mapping = use_case.replay
    if "valid_time" not in frame and mapping.time_column not in frame:
        frame = frame.rename_axis("valid_time").reset_index()
    frame = frame.rename(columns={mapping.time_column: "valid_time", **mapping.columns})
    if use_case.target not in frame:
        raise FaultyForecastsError(f"the actuals have no column {use_case.target!r}")
    if "entity_id" not in frame:
        frame = frame.assign(entity_id=mapping.entity_id or use_case.entities[0].id)
    return frame.assign(valid_time=_aware(frame["valid_time"], "valid_time"))


def _aware(column: pd.Series, name: str) -> pd.Series:
    """Times as UTC. Raises FaultyForecastsError where they carry no zone."""
    times = pd.to_datetime(column, format="ISO8601") if column.dtype == object else column
    if not isinstance(times.dtype, pd.DatetimeTZDtype):
        raise FaultyForecastsError(f"{name} carries no time zone")
    return times.dt.tz_convert("UTC").dt.as_unit("us")


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
