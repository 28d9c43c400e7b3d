"""The fallback that needs no model: the day-ahead curve, moved by what it was wrong by lately."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np

from dualcast.arrays import Floats, Micros
from dualcast.catalogue import Entity, UseCase
from dualcast.curves.forecast import Forecast, Point
from dualcast.timegrid import floor, from_micros, iso_duration, local_date, micros
from services.book.curves import CurveBook, StoredCurve
from services.book.series import SeriesBook, micros_of

_RECENT = timedelta(hours=1)


def can_shift(curves: CurveBook, use_case: UseCase, entity: Entity, now: datetime) -> bool:
    """Whether a day-ahead curve reaches the coming interval, so that it can be shifted."""
    day = local_date(_coming(use_case, now), entity.time_zone)
    return curves.day_ahead(use_case.use_case, entity.id, day, as_of=now) is not None


def shifted_day_ahead(
    curves: CurveBook, series: SeriesBook, use_case: UseCase, entity: Entity, issued_at: datetime
) -> Forecast | None:
    """An intraday curve from the day-ahead ones; None where they do not reach the coming interval.

    Its values are interpolated between the middles of the day-ahead intervals, and all quantiles are moved by the mean
    error of the median over the last measured hour; by nothing where that is not known.
    """
    stored = [c for c in curves.days(use_case.use_case, entity.id) if c.forecast.issued_at <= issued_at]
    if not stored:
        return None
    part = use_case.part("intraday")
    step = micros_of(part.resolution)
    times = micros(_coming(use_case, issued_at)) + np.arange(part.horizons, dtype=np.int64) * step
    values = _at(stored, use_case, times)
    times, values = times[: _covered(values)], values[: _covered(values)]
    if not len(times):
        return None
    moved = values + _recent_error(stored, series, use_case, entity)
    made = stored[-1].forecast
    newest = series.newest_end(use_case, entity.id)
    return Forecast(
        use_case=use_case.use_case,
        path="intraday",
        entity_id=entity.id,
        issued_at=issued_at,
        target=use_case.target,
        unit=use_case.unit,
        resolution=iso_duration(part.resolution),
        model_name=made.model_name,
        model_version=made.model_version,
        code_version=made.code_version,
        data_version=made.data_version,
        newest_input_at=min(max(made.newest_input_at, newest or made.newest_input_at), issued_at),
        degraded=True,
        degraded_reasons=list(made.degraded_reasons),
        quantile_levels=list(made.quantile_levels),
        points=[Point(from_micros(t), row) for t, row in zip(times.tolist(), moved.tolist(), strict=True)],
        simulated=made.simulated,
    )


def _coming(use_case: UseCase, issued_at: datetime) -> datetime:
    """When the first interval begins that has not begun yet: those that have are not forecast any more."""
    step = use_case.part("intraday").resolution
    return floor(issued_at + step - timedelta(microseconds=1), step)


def _at(stored: list[StoredCurve], use_case: UseCase, times: Micros) -> Floats:
    """Day-ahead quantiles at intraday intervals: (n, quantiles), NaN where no curve covers an interval."""
    starts = np.concatenate([c.track.times for c in stored])
    known = np.concatenate([c.track.values for c in stored])
    order = np.argsort(starts)
    starts, known = starts[order], known[order]
    wide, narrow = micros_of(use_case.day_ahead.resolution), micros_of(use_case.part("intraday").resolution)
    holder = np.searchsorted(starts, times, side="right") - 1
    inside = (holder >= 0) & (times < starts[holder] + wide)
    middles = times + narrow // 2
    columns = [np.interp(middles, starts + wide // 2, known[:, i]) for i in range(known.shape[1])]
    values = np.stack(columns, axis=1)
    if use_case.variables[use_case.target].aggregate == "sum":
        values = values * (narrow / wide)
    values[~inside] = np.nan
    return values


def _covered(values: Floats) -> int:
    """How many intervals from the first on are known."""
    unknown = np.flatnonzero(np.isnan(values).any(axis=1))
    return int(unknown[0]) if len(unknown) else len(values)


def _recent_error(stored: list[StoredCurve], series: SeriesBook, use_case: UseCase, entity: Entity) -> float:
    newest = series.newest_end(use_case, entity.id)
    if newest is None:
        return 0.0
    step = micros_of(use_case.part("intraday").resolution)
    count = max(micros_of(_RECENT) // step, 1)
    times = micros(newest) - np.arange(count, 0, -1, dtype=np.int64) * step
    actual = series.values(use_case, entity.id, use_case.target, times, use_case.part("intraday").resolution)
    error = actual - _at(stored, use_case, times)[:, stored[-1].track.levels.index(0.5)]
    known = error[np.isfinite(error)]
    return float(known.mean()) if len(known) else 0.0
