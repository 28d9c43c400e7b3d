"""Intervals that follow the errors: wider or narrower than calibrated, as the last weeks of published curves ask.

Seasons and crises change how far off a forecast is. Each interval of a model is scaled by a factor of its entity,
horizon and level: a quantile of the errors of the last weeks, at a level that is itself moved by how often actuals fell
outside (adaptive conformal inference: Gibbs and Candes, 2021). It is a pure function of published forecasts and of what
came true, so there is no state to lose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dualcast.arrays import Floats, Ints
from dualcast.catalogue import Path_
from dualcast.curves.quantiles import quantile_column
from models.inputs import Assembler, Layout
from models.intervals.conformal import MEDIAN, ConformalIntervals

# Of intraday curves one an hour is looked at: those between are nearly its copies.
_CURVES_A_DAY = 24
_HOUR = "1h"
# How far the level and the factor may go.
_LEVEL_RANGE = (0.2, 3.0)
_FACTOR_RANGE = (0.3, 4.0)


@dataclass(frozen=True)
class Pace:
    """How fast intervals follow: errors of ``shape_days`` shape them, misses of ``level_days`` move the level.

    With a record of fewer than ``fewest_days``, intervals stay as they were calibrated.
    """

    shape_days: int
    level_days: int
    gain: float
    fewest_days: int


DAY_AHEAD = Pace(shape_days=60, level_days=120, gain=0.05, fewest_days=20)
# many curves a day say the same sooner
INTRADAY = Pace(shape_days=28, level_days=56, gain=0.1, fewest_days=10)
_PACES = {"day-ahead": DAY_AHEAD, "intraday": INTRADAY}


def record_length(path: Path_) -> timedelta:
    """How far back curves are looked at."""
    return timedelta(days=_PACES[path].level_days + 2)


def entity_factors(
    intervals: ConformalIntervals, assembler: Assembler, past: pd.DataFrame, layout: Layout, cutoff: datetime
) -> dict[str, Floats]:
    """Entity -> factors of its horizons and levels (H, levels), from published points that have come true.

    ``past`` has entity_id, issued_at, valid_time, horizon (the place in the curve, 0 day-ahead), the quantiles as
    published, the layout's scale where it has one, and actual. Points that lack any of these, and those of long ago,
    are left out. See ``ErrorRecord``.
    """
    columns, scale = [quantile_column(level) for level in intervals.levels], layout.scale
    if not set(columns) <= set(past):
        return {}  # levels that nobody has published yet
    needed = [*columns, "actual", *([scale] if scale is not None else [])]
    age = (pd.Timestamp(cutoff) - past["issued_at"]).dt.days
    pace = _PACES[layout.path]
    past = past.assign(age=age)[past[needed].notna().all(axis=1) & (age >= 0) & (age < pace.level_days)]
    if past.empty:
        return {}
    entity, entities = pd.factorize(past["entity_id"])
    horizon = past["horizon"].to_numpy(dtype=np.int64)
    # errors of many entities side by side, so that thousands cost no more than a sort
    row = entity * intervals.horizons + horizon
    place = row, past.groupby(row).cumcount().to_numpy()
    shape = len(entities) * intervals.horizons, int(place[1].max()) + 1
    published = past[columns].to_numpy(dtype=np.float64)
    actual = past["actual"].to_numpy(dtype=np.float64)
    unit = past[scale].to_numpy(dtype=np.float64) if scale is not None else np.ones(len(past))
    low = np.array(intervals.levels) < MEDIAN
    missed = np.where(low, actual[:, np.newaxis] < published, actual[:, np.newaxis] > published)
    # the clock of the target itself is that of the first target of a curve that begins there
    clock = assembler.clock(past["entity_id"], past["valid_time"])[:, 0]
    record = ErrorRecord(
        age=_placed(past["age"].to_numpy(dtype=np.int64), place, shape, -1),
        error=_placed((actual - published[:, intervals.levels.index(MEDIAN)]) / unit, place, shape, np.nan),
        offset=_placed(intervals.offsets_at(horizon, clock), place, shape, 0.0),
        missed=_placed(missed, place, shape, False),
        per_day=min(intervals.slots_per_day, _CURVES_A_DAY) if layout.path == "intraday" else intervals.slots_per_day,
        pace=pace,
    )
    factors = record.factors(intervals.levels).reshape(len(entities), intervals.horizons, -1)
    return dict(zip(entities.tolist(), factors, strict=True))


def one_an_hour(curves: pd.DataFrame) -> pd.DataFrame:
    """Of long-form curves the first that was issued for each entity in each hour."""
    hour = curves["issued_at"].dt.floor(_HOUR)
    return curves[curves["issued_at"] == curves.groupby(["entity_id", hour])["issued_at"].transform("min")]


def _placed(values: NDArray[Any], place: tuple[Ints, Ints], shape: tuple[int, int], nothing: Any) -> NDArray[Any]:
    """Rows (m, ...) at their places in an array of (entities, points, ...)."""
    out = np.full((*shape, *values.shape[1:]), nothing, dtype=values.dtype)
    out[place] = values
    return out


@dataclass(frozen=True)
class ErrorRecord:
    """Past forecasts of E entities, or horizons of entities, and what came true, M of each.

    age: (E, M) days since they were issued, -1 where there is none
    error: (E, M) actual less median, in units of the scale
    offset: (E, M, levels) of the calibrated intervals at their time of day, in the same units
    missed: (E, M, levels) whether the actual lay beyond the published quantile
    per_day: how many points a day has
    """

    age: Ints
    error: Floats
    offset: Floats
    missed: NDArray[np.bool_]
    per_day: int
    pace: Pace = DAY_AHEAD

    def factors(self, levels: Sequence[float]) -> Floats:
        """What the calibrated offsets are to be multiplied with, (E, levels); 1 where the record is short."""
        pace, (lowest, highest) = self.pace, _LEVEL_RANGE
        days = [self.age == age for age in range(pace.level_days)]
        enough = (self.age >= 0).sum(axis=1) >= pace.fewest_days * self.per_day
        out = np.ones((len(self.age), len(levels)))
        for i, level in enumerate(levels):
            nominal = min(level, 1 - level)
            if not np.any(self.offset[:, :, i]):
                continue
            tail: Floats = np.full(len(self.age), nominal)
            for known in reversed(days):
                count = known.sum(axis=1)
                share = (self.missed[:, :, i] & known).sum(axis=1) / np.maximum(count, 1)
                moved = np.clip(tail + pace.gain * (nominal - share), lowest * nominal, highest * nominal)
                tail = np.where(count > 0, moved, tail)
            recent = (self.age >= 0) & (self.age < pace.shape_days) & (self.offset[:, :, i] != 0)
            ratio = np.where(recent, self.error / np.where(recent, self.offset[:, :, i], 1.0), np.nan)
            out[:, i] = np.where(enough, np.clip(_row_quantiles(ratio, 1 - tail), *_FACTOR_RANGE), 1.0)
        return out


def _row_quantiles(values: Floats, level: Floats) -> Floats:
    """The quantile of each row at its own level, the upper neighbour, NaN left out; 1 where a row has nothing."""
    ordered = np.sort(values, axis=1)
    count = np.isfinite(values).sum(axis=1)
    index = np.clip(np.ceil(level * count).astype(np.int64) - 1, 0, np.maximum(count - 1, 0))
    found = np.take_along_axis(ordered, index[:, np.newaxis], axis=1)[:, 0]
    return np.where(count > 0, found, 1.0)
