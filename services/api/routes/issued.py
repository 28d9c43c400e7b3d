"""Issued curves beside actuals, by time of issue, one page at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from dualcast.catalogue import Entity, Path_, UseCase
from dualcast.curves.forecast import Forecast
from dualcast.timegrid import MICRO, from_micros, micros
from services.api.answers import LIST_RESPONSES, list_headers
from services.api.deps import Deps, ServiceDeps
from services.api.encoding import Shape, columns_of, cut, forecast_body
from services.api.lookup import find
from services.api.params import Accept, EntityId, PathName
from services.api.queries import FormQuery, PageQuery, WindowQuery
from services.api.schemas.curves import IssuedForecasts
from services.book.archive import Issues
from services.book.tracks import Track
from services.http.formats import MEDIA_TYPES, table_body, to_json
from services.http.problems import ProblemError, documented

# The archive is read this many days at a time, until a page is full.
_DAYS_AT_ONCE = 4
router = APIRouter()


@dataclass(frozen=True, slots=True)
class IssuedRequest:
    """A request for the issues that have intervals from ``start`` to before ``end``.

    ``after`` is the time of issue, in microseconds, of the last curve of the previous page; -1 on the first page.
    """

    path: Path_
    use_case: UseCase
    entity: Entity
    shape: Shape
    start: datetime
    end: datetime
    after: int
    limit: int


async def _issued_request(
    deps: Deps,
    path: PathName,
    entity_id: EntityId,
    query: Annotated[FormQuery, Query()],
    window: Annotated[WindowQuery, Query()],
    page: Annotated[PageQuery, Query()],
    accept: Accept = None,
) -> IssuedRequest:
    use_case, entity = find(deps, query.use_case, entity_id, path)
    start, end = window.bounds(deps.clock)
    shape = query.shape(use_case.part(path).resolution, accept)
    if page.cursor is not None and not page.cursor.isdecimal():
        raise ProblemError(422, "invalid-request", "cursor: not one of this request")
    after = -1 if page.cursor is None else int(page.cursor)
    return IssuedRequest(path, use_case, entity, shape, start, end, after, page.limit)


@router.get(
    "/forecasts/{path}/{entity_id}/issued",
    response_model=IssuedForecasts,
    responses=LIST_RESPONSES | documented(503),
    tags=["history"],
)
async def issued(request: Request, deps: Deps, wanted: Annotated[IssuedRequest, Depends(_issued_request)]) -> Response:
    """All curves that were issued for a window of intervals, by time of issue, with the actuals of these intervals.

    Actuals are kept for two weeks.
    """
    tracks = await _issues(deps, wanted)
    page, more = tracks[: wanted.limit], len(tracks) > wanted.limit
    forecasts = [_within(cut(track.forecast(), wanted.shape), wanted) for track in page]
    forecasts = [forecast for forecast in forecasts if forecast.points]
    next_cursor = str(micros(page[-1].issued_at)) if more else None
    actuals = _actuals(deps, wanted, forecasts)
    headers, format_ = list_headers(request, next_cursor), wanted.shape.format
    if format_ != "json":
        columns = columns_of(forecasts, {(wanted.entity.id, time): value for time, value in actuals.items()})
        return Response(table_body(columns, format_), headers=headers, media_type=MEDIA_TYPES[format_])
    bodies = b",".join(forecast_body(forecast, actuals) for forecast in forecasts)
    body = b'{"forecasts":[' + bodies + b"]," + to_json({"next_cursor": next_cursor})[1:]
    return Response(body, headers=headers, media_type=MEDIA_TYPES["json"])


async def _issues(deps: ServiceDeps, wanted: IssuedRequest) -> list[Track]:
    """The requested issues, oldest first: at most one more than a page if the archive is read.

    Raises ArchiveUnavailableError.
    """
    name, entity_id, path = wanted.use_case.use_case, wanted.entity.id, wanted.path
    start, end = micros(wanted.start), micros(wanted.end)

    def select(tracks: Iterable[Track]) -> list[Track]:
        return [t for t in tracks if micros(t.issued_at) > wanted.after and t.times[-1] >= start and t.times[0] < end]

    in_memory = deps.curves.issues(name, entity_id, path)
    # all issues from this moment on are in memory, or from the first curve in memory if that is earlier
    complete = micros(deps.curves.covered_since(path, deps.clock.now()))
    since = min([complete, *(micros(track.issued_at) for track in in_memory[:1])])
    found: list[Track] = []
    for days in _days(max(start - _longest_reach(wanted.use_case, path), wanted.after, 0), min(since, end)):
        book = await deps.archive.book([Issues(name, path, entity_id, days[0], days[-1])])
        older = book.issues(name, entity_id, path)
        found += select(track for track in older if micros(track.issued_at) < since)
        if len(found) > wanted.limit:
            return found
    return found + select(in_memory)


def _days(start: int, end: int) -> Iterator[list[date]]:
    """The UTC days between two moments, ``_DAYS_AT_ONCE`` at a time."""
    if start < end:
        first, last = from_micros(start).date(), from_micros(end).date()
        days = [first + timedelta(days=i) for i in range((last - first).days + 1)]
        for i in range(0, len(days), _DAYS_AT_ONCE):
            yield days[i : i + _DAYS_AT_ONCE]


def _longest_reach(use_case: UseCase, path: Path_) -> int:
    """The longest time between the issue of a curve and one of its intervals, in microseconds."""
    if path == "day-ahead":
        return timedelta(days=use_case.day_ahead.days + 1) // MICRO
    part = use_case.part("intraday")
    return part.resolution * (part.horizons + 1) // MICRO


def _within(forecast: Forecast, wanted: IssuedRequest) -> Forecast:
    return replace(forecast, points=[p for p in forecast.points if wanted.start <= p.valid_time < wanted.end])


def _actuals(deps: ServiceDeps, wanted: IssuedRequest, forecasts: Sequence[Forecast]) -> dict[datetime, float]:
    """The known actuals of the intervals of some curves."""
    use_case, resolution = wanted.use_case, wanted.use_case.part(wanted.path).resolution
    times = np.array(sorted({micros(p.valid_time) for f in forecasts for p in f.points}), dtype=np.int64)
    values = deps.series.values(use_case, wanted.entity.id, use_case.target, times, resolution)
    known = np.isfinite(values)
    pairs = zip(times[known].tolist(), values[known].tolist(), strict=True)
    return {from_micros(time): value for time, value in pairs}
