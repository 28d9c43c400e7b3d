"""Intervals that adapt to recent errors: factors that scale the calibrated offsets.

Errors change with seasons and crises. Each interval of a model is scaled by a factor of its entity, horizon and level:
a quantile of the errors of the last weeks, at a level that is itself moved by how often actuals fell outside (adaptive
conformal inference: Gibbs and Candès, 2021). Factors are a pure function of published forecasts and actuals, so that
no state can be lost.
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
from dualcast.catalogue import MEDIAN, Path_
from dualcast.curves.quantiles import quantile_column
from models.inputs import Assembler, Layout
from models.intervals.conformal import ConformalIntervals

# One intraday curve an hour is used: those between hardly differ.
_CURVES_A_DAY = 24
_HOUR = "1h"
# Limits of the tail, as a multiple of its nominal share, and of the factor.
_LEVEL_RANGE = (0.2, 3.0)
_FACTOR_RANGE = (0.3, 4.0)


@dataclass(frozen=True)
class Pace:
    """How fast intervals adapt: to errors of the last ``shape_days``, and to misses of the last ``level_days``.

    With a record of fewer than ``fewest_days``, intervals stay as they were calibrated.
    """

    shape_days: int
    level_days: int
    gain: float
    fewest_days: int


DAY_AHEAD = Pace(shape_days=60, level_days=120, gain=0.05, fewest_days=20)
# intraday paths have many curves a day, so that fewer days are enough
INTRADAY = Pace(shape_days=28, level_days=56, gain=0.1, fewest_days=10)
_PACES = {"day-ahead": DAY_AHEAD, "intraday": INTRADAY}


def record_length(path: Path_) -> timedelta:
    """How far back published curves are used."""
    return timedelta(days=_PACES[path].level_days + 2)


def entity_factors(
    intervals: ConformalIntervals, assembler: Assembler, past: pd.DataFrame, layout: Layout, cutoff: datetime
) -> dict[str, Floats]:
    """Entity -> factors of its horizons and levels (H, levels), from published points whose actuals are known.

    ``past`` has entity_id, issued_at, valid_time, horizon (the place in the curve, 0 day-ahead), the quantiles as
    published, the layout's scale where it has one, and actual. Points without median, scale or actual, and points older
    than the record, are left out. Another level may be missing from some points or from all, as it is after it was
    added to the catalogue: see ``ErrorRecord``.
    """
    past = _usable_points(past, layout, cutoff)
    if past.empty:
        return {}
    entity, entities = pd.factorize(past["entity_id"])
    record = _error_record(intervals, assembler, past, layout, entity)
    factors = record.factors(intervals.levels).reshape(len(entities), intervals.horizons, -1)
    return dict(zip(entities.tolist(), factors, strict=True))


def _usable_points(past: pd.DataFrame, layout: Layout, cutoff: datetime) -> pd.DataFrame:
    """The points of the record that have a median, a scale and an actual, with their age in days."""
    median = quantile_column(MEDIAN)
    if median not in past:
        return past.iloc[:0]
    needed = [median, "actual", *([layout.scale] if layout.scale is not None else [])]
    age = (pd.Timestamp(cutoff) - past["issued_at"]).dt.days
    pace = _PACES[layout.path]
    return past.assign(age=age)[past[needed].notna().all(axis=1) & (age >= 0) & (age < pace.level_days)]


def _error_record(
    intervals: ConformalIntervals, assembler: Assembler, past: pd.DataFrame, layout: Layout, entity: Ints
) -> ErrorRecord:
    """Points as arrays, a row for each entity (by its number) and horizon.

    Many entities lie side by side, so that thousands cost no more than a sort.
    """
    horizon = past["horizon"].to_numpy(dtype=np.int64)
    row = entity * intervals.horizons + horizon
    place = row, past.groupby(row).cumcount().to_numpy()
    shape = (int(entity.max()) + 1) * intervals.horizons, int(place[1].max()) + 1
    published = past.reindex(columns=[quantile_column(level) for level in intervals.levels]).to_numpy(dtype=np.float64)
    actual = past["actual"].to_numpy(dtype=np.float64)
    scale = past[layout.scale].to_numpy(dtype=np.float64) if layout.scale is not None else np.ones(len(past))
    low = np.array(intervals.levels) < MEDIAN
    missed = np.where(low, actual[:, np.newaxis] < published, actual[:, np.newaxis] > published)
    # the clock of the target itself is that of the first target of a curve that begins there
    clock = assembler.clock(past["entity_id"], past["valid_time"])[:, 0]
    return ErrorRecord(
        age=_arranged(past["age"].to_numpy(dtype=np.int64), place, shape, -1),
        error=_arranged((actual - published[:, intervals.levels.index(MEDIAN)]) / scale, place, shape, np.nan),
        offset=_arranged(intervals.offsets_at(horizon, clock), place, shape, 0.0),
        published=_arranged(np.isfinite(published), place, shape, False),
        missed=_arranged(missed, place, shape, False),
        per_day=min(intervals.slots_per_day, _CURVES_A_DAY) if layout.path == "intraday" else intervals.slots_per_day,
        pace=_PACES[layout.path],
    )


def one_an_hour(curves: pd.DataFrame) -> pd.DataFrame:
    """Of long-form curves the first that was issued for each entity in each hour."""
    hour = curves["issued_at"].dt.floor(_HOUR)
    return curves[curves["issued_at"] == curves.groupby(["entity_id", hour])["issued_at"].transform("min")]


def _arranged(values: NDArray[Any], place: tuple[Ints, Ints], shape: tuple[int, int], nothing: Any) -> NDArray[Any]:
    """Values (m, ...) at their places in an array (rows, points, ...), ``nothing`` elsewhere."""
    out = np.full((*shape, *values.shape[1:]), nothing, dtype=values.dtype)
    out[place] = values
    return out


@dataclass(frozen=True)
class ErrorRecord:
    """Past forecasts of E entities, or horizons of entities, and their actuals, M of each.

    age: (E, M) days since they were issued, -1 where there is none
    error: (E, M) actual less median, in units of the scale
    offset: (E, M, levels) of the calibrated intervals at their time of day, in the same units
    published: (E, M, levels) whether the forecast had the level
    missed: (E, M, levels) whether the actual lay beyond the published quantile
    per_day: how many points a day has

    The errors of the median shape the interval of every level, so that a level that was added lately follows them at
    once; the misses that move a level are those of forecasts that had it.
    """

    age: Ints
    error: Floats
    offset: Floats
    published: NDArray[np.bool_]
    missed: NDArray[np.bool_]
    per_day: int
    pace: Pace = DAY_AHEAD

    def factors(self, levels: Sequence[float]) -> Floats:
        """The factors of the calibrated offsets, (E, levels); 1 where the record is short."""
        enough = (self.age >= 0).sum(axis=1) >= self.pace.fewest_days * self.per_day
        out = np.ones((len(self.age), len(levels)))
        for i, level in enumerate(levels):
            if np.any(self.offset[:, :, i]):
                tail = self._tail(i, min(level, 1 - level))
                out[:, i] = np.where(enough, np.clip(self._shape(i, tail), *_FACTOR_RANGE), 1.0)
        return out

    def _tail(self, i: int, nominal: float) -> Floats:
        """The share of errors to leave outside level ``i``, (E,): its nominal share, moved by the misses day by day."""
        lowest, highest = _LEVEL_RANGE
        tail: Floats = np.full(len(self.age), nominal)
        for age in reversed(range(self.pace.level_days)):
            day = (self.age == age) & self.published[:, :, i]
            count = day.sum(axis=1)
            share = (self.missed[:, :, i] & day).sum(axis=1) / np.maximum(count, 1)
            moved = np.clip(tail + self.pace.gain * (nominal - share), lowest * nominal, highest * nominal)
            tail = np.where(count > 0, moved, tail)
        return tail

    def _shape(self, i: int, tail: Floats) -> Floats:
        """The quantile of recent errors in units of the offset of level ``i`` that leaves ``tail`` (E,) outside."""
        offset = self.offset[:, :, i]
        recent = (self.age >= 0) & (self.age < self.pace.shape_days) & (offset != 0)
        ratio = np.where(recent, self.error / np.where(recent, offset, 1.0), np.nan)
        return _row_quantiles(ratio, 1 - tail)


def _row_quantiles(values: Floats, level: Floats) -> Floats:
    """The quantile of each row at its own level, rounded up, without NaN; 1 where a row has no value."""
    ordered = np.sort(values, axis=1)
    count = np.isfinite(values).sum(axis=1)
    index = np.clip(np.ceil(level * count).astype(np.int64) - 1, 0, np.maximum(count - 1, 0))
    found = np.take_along_axis(ordered, index[:, np.newaxis], axis=1)[:, 0]
    return np.where(count > 0, found, 1.0)
