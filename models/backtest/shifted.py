"""The shifted day-ahead curves of a backtest, made of what was known when each intraday curve was issued."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
import pandas as pd

from dualcast.arrays import Floats, Micros
from dualcast.catalogue import Entity, UseCase
from dualcast.curves.quantiles import quantile_column
from dualcast.observations.aggregation import coarsen
from dualcast.observations.columns import micros_of
from dualcast.observations.vintages import Replay
from dualcast.timegrid import MICRO, Grid
from models.backtest.history import FileHistory
from models.prediction.shifted_day_ahead import DayAheadQuantiles, intraday_step, recent_times, shifted


def shifted_frame(
    use_case: UseCase, history: FileHistory, day_ahead: pd.DataFrame, wanted: pd.DataFrame
) -> pd.DataFrame:
    """For each wanted intraday curve the leading points that the day-ahead curves cover, in the same long form."""
    parts = []
    for entity_id, mine in wanted.groupby("entity_id", sort=True):
        target = history.on_grid[
            (history.on_grid["entity_id"] == entity_id) & (history.on_grid["variable"] == use_case.target)
        ]
        curves = _curves(use_case, day_ahead[day_ahead["entity_id"] == entity_id])
        actuals = _RecentActuals(use_case, use_case.entity(str(entity_id)), target)
        parts.append(_shifted(use_case, actuals, curves, mine.sort_values(["issued_at", "valid_time"])))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _curves(use_case: UseCase, frame: pd.DataFrame) -> list[tuple[int, str, DayAheadQuantiles]]:
    """issued_at (microseconds), model version and quantiles of each day-ahead curve of an entity, oldest first."""
    levels = use_case.day_ahead.quantiles
    columns = [quantile_column(level) for level in levels]
    found = []
    for issued_at, curve in frame.sort_values(["issued_at", "valid_time"]).groupby("issued_at", sort=True):
        values = curve[columns].to_numpy(dtype=np.float64)
        quantiles = DayAheadQuantiles(micros_of(curve["valid_time"]), values, levels)
        found.append((pd.Timestamp(issued_at).value // 1000, str(curve["model_version"].iloc[0]), quantiles))
    return found


def _shifted(
    use_case: UseCase, actuals: _RecentActuals, curves: list[tuple[int, str, DayAheadQuantiles]], wanted: pd.DataFrame
) -> pd.DataFrame:
    """The curves of one entity. ``wanted`` is in order of issue and time."""
    issued_at, times = micros_of(wanted["issued_at"]), micros_of(wanted["valid_time"])
    begins = np.flatnonzero(np.diff(issued_at, prepend=issued_at[0] - 1))
    issues = [issue for issue, _, _ in curves]
    kept, values, versions = [], [], []
    for begin, end in zip(begins, np.append(begins[1:], len(times)), strict=True):
        known = curves[: bisect_right(issues, int(issued_at[begin]))]
        recent, actual = actuals.at(int(issued_at[begin]))
        first = int(min([*recent, times[begin]]))
        needed = DayAheadQuantiles.of([c for _, _, c in known], use_case, first, int(times[end - 1]))
        found = shifted(use_case, needed, times[begin:end], recent, actual)
        if len(found):
            kept.append(np.arange(begin, begin + len(found)))
            values.append(found)
            versions += [known[-1][1]] * len(found)
    if not kept:
        return wanted.iloc[:0]
    columns = [quantile_column(level) for level in use_case.day_ahead.quantiles]
    others = [c for c in wanted.columns if c not in {quantile_column(q) for q in use_case.part("intraday").quantiles}]
    out = wanted.iloc[np.concatenate(kept)][others].assign(model_version=versions)
    return out.assign(**dict(zip(columns, np.concatenate(values).T, strict=True)))


class _RecentActuals:
    """Measured intraday intervals of one entity, as they were known at moments that only move forward."""

    def __init__(self, use_case: UseCase, entity: Entity, target: pd.DataFrame) -> None:
        """``target`` holds every vintage of the target, in order of publication."""
        self._use_case = use_case
        self._step = use_case.grid // MICRO
        self._replay = Replay(target, [use_case.target], Grid(use_case.grid, entity.time_zone))
        self._published = micros_of(target["published_at"])
        self._newest = np.maximum.accumulate(micros_of(target["valid_time"]))

    def at(self, moment: int) -> tuple[Micros, Floats]:
        """The intervals of the hour before the end of the newest measured one, and their values."""
        use_case, ratio = self._use_case, intraday_step(self._use_case) // self._step
        count = int(np.searchsorted(self._published, moment, side="right"))
        if not count:
            return np.empty(0, np.int64), np.empty(0)
        self._replay.advance(moment + 1)
        times = recent_times(use_case, int(self._newest[count - 1]) + self._step)
        first = int(times[0]) // self._step
        values = self._replay.window(use_case.target, first, first + len(times) * ratio)
        return times, coarsen(values, ratio, use_case.variables[use_case.target].aggregate)
