"""The fallback that needs no model: day-ahead curves, shifted by their recent error."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from dualcast.catalogue import Entity, UseCase
from dualcast.curves.forecast import Forecast, Point
from dualcast.timegrid import MICRO, floor, from_micros, iso_duration, local_date, micros
from models.prediction.curve import MISSING_QUANTILE, missing_quantiles
from models.prediction.shifted_day_ahead import DayAheadQuantiles, intraday_step, recent_times, shifted
from services.book.curves import CurveCache
from services.book.series import SeriesCache


def can_shift(curves: CurveCache, use_case: UseCase, entity: Entity, now: datetime) -> bool:
    """Whether a day-ahead curve covers the next interval."""
    day = local_date(_next_interval(use_case, now), entity.time_zone)
    return curves.day_ahead(use_case.use_case, entity.id, day, as_of=now) is not None


def shifted_day_ahead(
    curves: CurveCache, series: SeriesCache, use_case: UseCase, entity: Entity, issued_at: datetime
) -> Forecast | None:
    """An intraday curve from the day-ahead ones; None if they do not cover the next interval."""
    stored = [c for c in curves.days(use_case.use_case, entity.id) if c.issued_at <= issued_at]
    if not stored:
        return None
    part = use_case.part("intraday")
    newest_end = series.newest_end(use_case, entity.id)
    steps = np.arange(part.horizons, dtype=np.int64) * intraday_step(use_case)
    times = micros(_next_interval(use_case, issued_at)) + steps
    recent = recent_times(use_case, micros(newest_end)) if newest_end is not None else times[:0]
    tracks = [DayAheadQuantiles(c.track.times, c.track.values, c.track.levels) for c in stored]
    day_ahead = DayAheadQuantiles.of(tracks, use_case, int(min([*recent, *times])), int(times[-1]))
    actual = series.values(use_case, entity.id, use_case.target, recent, part.resolution)
    values = shifted(use_case, day_ahead, times, recent, actual)
    if not len(values):
        return None
    newest = stored[-1].head
    reasons = [r for r in newest.degraded_reasons if not r.startswith(MISSING_QUANTILE)]
    return Forecast(
        use_case=use_case.use_case,
        path="intraday",
        entity_id=entity.id,
        issued_at=issued_at,
        target=use_case.target,
        unit=use_case.unit,
        resolution=iso_duration(part.resolution),
        model_name=newest.model_name,
        model_version=newest.model_version,
        code_version=newest.code_version,
        data_version=newest.data_version,
        newest_input_at=min(max(newest.newest_input_at, newest_end or newest.newest_input_at), issued_at),
        degraded=True,
        degraded_reasons=[*reasons, *missing_quantiles(use_case, "intraday", day_ahead.levels)],
        quantile_levels=list(day_ahead.levels),
        points=[Point(from_micros(t), row) for t, row in zip(times.tolist(), values.tolist(), strict=False)],
        simulated=newest.simulated,
    )


def _next_interval(use_case: UseCase, issued_at: datetime) -> datetime:
    """The start of the first interval that has not begun yet."""
    step = use_case.part("intraday").resolution
    return floor(issued_at + step - MICRO, step)
