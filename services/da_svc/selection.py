"""The selection of a day-ahead curve: the one that is due, or the last stored one, flagged stale."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from dualcast.catalogue import Entity, UseCase
from dualcast.curves.fallbacks import LAST_STORED
from dualcast.curves.staleness import is_stale
from dualcast.timegrid import Clock, day_bounds
from services.book.archive import Issues, NoCurveError
from services.book.curves import CurveCache, StoredCurve
from services.http.problems import ProblemError

# The newest curve at a past moment was issued at most this long before it.
_LOOK_BACK = timedelta(days=7)


@dataclass(frozen=True)
class Selected:
    """The selected curve. Until ``next_at`` only the arrival of another curve can change the selection."""

    curve: StoredCurve
    stale: bool
    fallback: str | None
    next_at: datetime


def select(
    curves: CurveCache,
    use_case: UseCase,
    entity: Entity,
    clock: Clock,
    wanted: date | None = None,
    as_of: datetime | None = None,
) -> Selected:
    """The curve of a delivery day, or the newest curve; ``as_of``: of those issued by then.

    Raises NoCurveError if the book does not hold the curve, ProblemError 404 if there can be none, and 503 if there is
    none of the entity at all.
    """
    if wanted is not None:
        curve = curves.day_ahead(use_case.use_case, entity.id, wanted, as_of)
        if curve is None:
            raise _no_curve_for(use_case, entity, clock, wanted)
        return Selected(curve, stale=False, fallback=None, next_at=_next(use_case, entity, curve))
    if as_of is not None:
        known = curves.days(use_case.use_case, entity.id, as_of)
        if not known:
            raise _no_curve_by(use_case, entity, as_of)
        return Selected(known[-1], stale=False, fallback=None, next_at=_next(use_case, entity, known[-1]))
    return _newest(curves, use_case, entity, clock)


def _next(use_case: UseCase, entity: Entity, curve: StoredCurve) -> datetime:
    """The cutoff of the curve after this one."""
    return use_case.cutoff(entity, curve.delivery_day + timedelta(days=1))


def _newest(curves: CurveCache, use_case: UseCase, entity: Entity, clock: Clock) -> Selected:
    days = curves.days(use_case.use_case, entity.id)
    now = clock.now()
    known = [curve for curve in days if curve.issued_at <= now] or days
    if not known:
        raise ProblemError(503, "no-forecast", f"no day-ahead curve of {entity.id} is stored", {"Retry-After": "5"})
    curve = known[-1]
    # in a replay the book may hold curves that are in the future by the clock
    next_at = min([_next(use_case, entity, curve), *(c.issued_at for c in days if c.issued_at > now)])
    if not is_stale(use_case, entity, clock, "day-ahead", curve.first):
        return Selected(curve, stale=False, fallback=None, next_at=next_at)
    if LAST_STORED not in use_case.day_ahead.fallbacks:
        raise ProblemError(503, "no-forecast", f"the curve of {entity.id} is overdue", {"Retry-After": "5"})
    return Selected(curve, stale=True, fallback=LAST_STORED, next_at=next_at)


def _no_curve_for(use_case: UseCase, entity: Entity, clock: Clock, day: date) -> ProblemError | NoCurveError:
    """A curve is issued on one of the days that it holds, or on the day before."""
    days = use_case.day_ahead.days
    first, cutoff = (use_case.cutoff(entity, day - timedelta(days=n)) for n in (days - 1, 0))
    start, end = day_bounds(day - timedelta(days=days), entity.time_zone, days + 1)
    issues = Issues.between(use_case.use_case, "day-ahead", entity.id, start, end)
    now = clock.now()
    text = f"the curve for {day} is made at {cutoff.isoformat()}" if cutoff > now else f"no curve for {day} is stored"
    return NoCurveError(text, issues) if first <= now else ProblemError(404, "no-forecast", text)


def _no_curve_by(use_case: UseCase, entity: Entity, as_of: datetime) -> NoCurveError:
    text = f"no curve of {entity.id} was issued in the week before {as_of.isoformat()}"
    return NoCurveError(text, Issues.between(use_case.use_case, "day-ahead", entity.id, as_of - _LOOK_BACK, as_of))
