"""Forecasts joined with their actuals, the reference forecast and a naive one.

The naive forecast is last week's value at the same time; intraday, plus the difference of the newest value from last
week's.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from dualcast.arrays import Floats
from dualcast.catalogue import Path_, UseCase
from dualcast.curves.quantiles import quantile_column
from dualcast.observations.aggregation import coarsen
from dualcast.observations.validation import YARDSTICK_AGE, implausible
from models.evaluation.files import FaultyForecastsError

_DAY, _WEEK = pd.Timedelta(days=1), pd.Timedelta(days=7)


def join_actuals(use_case: UseCase, path: Path_, forecasts: pd.DataFrame, actuals: pd.DataFrame) -> pd.DataFrame:
    """The forecasts that have an actual, with more columns.

    actual, reference, naive; low and high, the bounds of the path's interval; local, the wall clock of valid_time.
    Raises FaultyForecastsError where no forecast has an actual.
    """
    resolution = pd.Timedelta(use_case.part(path).resolution)
    by_entity = dict(iter(actuals.groupby("entity_id")))
    parts = []
    for entity_id, mine in forecasts.groupby("entity_id", sort=False):
        if entity_id in by_entity:
            local = _wall_clock(mine["valid_time"], use_case.entity(str(entity_id)).time_zone)
            known, at = by_entity[entity_id], mine["valid_time"]
            if resolution >= _DAY:  # local days have 23 to 25 hours, so a week is not 168 hours
                at = local
                known = known.assign(
                    valid_time=_wall_clock(known["valid_time"], use_case.entity(str(entity_id)).time_zone)
                )
            series = _series(use_case, known, resolution)
            parts.append(_joined(use_case, path, mine, at, series).assign(local=local))
    joined = pd.concat(parts, ignore_index=True).dropna(subset=["actual"]) if parts else pd.DataFrame()
    if joined.empty:
        raise FaultyForecastsError("no forecast has an actual: check entity ids and dates")
    return joined


def horizons(joined: pd.DataFrame) -> pd.Series:
    """The horizon of each forecast in hours, as text that sorts."""
    ahead = joined["valid_time"] - joined["issued_at"]
    return ahead.map({a: f"{a.total_seconds() / 3600:05.2f} h" for a in ahead.unique()})


def _joined(use_case: UseCase, path: Path_, mine: pd.DataFrame, at: pd.Series, series: pd.DataFrame) -> pd.DataFrame:
    """The forecasts with actual, reference and naive, taken from the series at the times ``at``."""
    target = series[use_case.target]
    known = series.get(use_case.reference)
    last_week: Floats = target.reindex(at - _WEEK).to_numpy()
    low, high = (mine.get(quantile_column(level), np.nan) for level in use_case.part(path).interval)
    return mine.assign(
        low=low,
        high=high,
        actual=target.reindex(at).to_numpy(),
        reference=np.nan if known is None else known.reindex(at).to_numpy(),
        naive=last_week if path == "day-ahead" or target.empty else last_week + _weekly_change(mine, target),
    )


def _weekly_change(mine: pd.DataFrame, target: pd.Series) -> Floats:
    """The newest value when each forecast was issued, less that of a week before."""
    step = pd.Timedelta(target.index[1] - target.index[0])
    newest = mine["issued_at"].dt.floor(step) - step
    change: Floats = target.reindex(newest).to_numpy() - target.reindex(newest - _WEEK).to_numpy()
    return change


def _wall_clock(times: pd.Series, zone: str) -> pd.Series:
    return times.dt.tz_convert(zone).dt.tz_localize(None)


def _series(use_case: UseCase, actuals: pd.DataFrame, resolution: pd.Timedelta) -> pd.DataFrame:
    """Target and reference on a path's grid; incomplete intervals and implausible references are unknown."""
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
