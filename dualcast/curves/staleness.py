"""Whether a newer curve than a published one is overdue: one rule for both paths, both services and the page."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta

from dualcast.catalogue import Entity, Path_, UseCase
from dualcast.curves.fallbacks import LAST_STORED, fallback_reason, without_fallback
from dualcast.curves.forecast import Forecast
from dualcast.timegrid import Clock, local_date

STALE_CURVE = "stale_curve"
# The time that the day-ahead job may take after the cutoff.
_JOB = timedelta(minutes=15)
# In a replay, a minute of wall time is longer by the clock.
_LEAST_WALL = timedelta(minutes=1)


def is_stale(use_case: UseCase, entity: Entity, clock: Clock, path: Path_, first: datetime) -> bool:
    """Whether a newer curve than the one whose first interval starts at ``first`` is overdue.

    A day-ahead curve is due some minutes after the cutoff, an intraday curve when the actual of the first interval of
    the one before is published; it is overdue after ``max_feature_age`` of the catalogue.
    """
    if path == "day-ahead":
        return local_date(first, entity.time_zone) < due_day(use_case, entity, clock)
    patience = _patience(clock, use_case.part("intraday").max_feature_age)
    return clock.now() > next_row_at(use_case, entity, first) + patience


def due_day(use_case: UseCase, entity: Entity, clock: Clock) -> date:
    """The latest delivery day whose curve is due by now."""
    now, patience = clock.now(), _patience(clock, _JOB)
    day = local_date(now, entity.time_zone) + timedelta(days=2)
    while use_case.cutoff(entity, day) + patience > now:
        day -= timedelta(days=1)
    return day


def next_row_at(use_case: UseCase, entity: Entity, first: datetime) -> datetime:
    """When the actual of the interval that starts at ``first`` is published, and with it the next intraday curve."""
    return use_case.variables[use_case.target].published.published_at(
        first, use_case.part("intraday").resolution, entity.time_zone
    )


def as_stale(forecast: Forecast) -> Forecast:
    """A curve that is used though a newer one is overdue: degraded, with the reason."""
    reasons = [*without_fallback(forecast.degraded_reasons), STALE_CURVE, fallback_reason(LAST_STORED)]
    return replace(forecast, degraded=True, degraded_reasons=reasons)


def _patience(clock: Clock, real: timedelta) -> timedelta:
    return max(real, _LEAST_WALL * clock.speed) if clock.is_replay else real
