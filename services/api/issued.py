"""What was issued, beside what came true: the record of a path, a page of curves at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from dualcast.catalogue import Entity, Path_, UseCase
from dualcast.curves.forecast import Forecast
from dualcast.timegrid import from_micros, micros
from services.api.answers import LIST_RESPONSES
from services.api.application import Shared, SharedDeps, entity_of, find_intraday_case, find_use_case
from services.api.encoding import columns_of, cut, forecast_body
from services.api.schemas import IssuedForecasts
from services.book.archive import Issues
from services.book.curves import Track
from services.book.series import micros_of
from services.http.formats import MEDIA_TYPES, table_body, to_json
from services.http.params import EntityId, Form, Page, Paging, PathName, UseCaseName, Within
from services.http.problems import ProblemError, documented

# So much of the past is read before it is known whether it fills a page.
_DAYS_AT_ONCE = 4
router = APIRouter()


@router.get(
    "/forecasts/{path}/{entity_id}/issued",
    response_model=IssuedForecasts,
    responses=LIST_RESPONSES | documented(503),
    tags=["history"],
)
async def issued(
    request: Request,
    deps: Shared,
    form: Form,
    path: PathName,
    entity_id: EntityId,
    within: Within,
    page: Paging,
    use_case: UseCaseName = None,
) -> Response:
    """Every curve that was issued for some intervals, by time of issue, beside what came true.

    What came true is kept for two weeks.
    """
    found = find_use_case(deps, use_case) if path == "day-ahead" else find_intraday_case(deps, use_case)
    entity, bounds = entity_of(found, entity_id), within.bounds(deps.clock)
    shape = form.shape(found.part(path).resolution)
    tracks = await _behind(deps, found, entity, path, bounds, page)
    forecasts = [_within(cut(track.forecast(), shape), bounds) for track in tracks[: page.limit]]
    forecasts = [forecast for forecast in forecasts if forecast.points]
    next_cursor = str(micros(tracks[page.limit - 1].issued_at)) if len(tracks) > page.limit else None
    actuals = _actuals(deps, found, entity, path, forecasts)
    headers = {"Vary": "Accept", "Cache-Control": "private, no-cache"}
    if next_cursor is not None:
        headers["Link"] = f'<{request.url.include_query_params(cursor=next_cursor)}>; rel="next"'
    if shape.format != "json":
        columns = columns_of(forecasts, {(entity.id, time): value for time, value in actuals.items()})
        return Response(table_body(columns, shape.format), headers=headers, media_type=MEDIA_TYPES[shape.format])
    bodies = b",".join(forecast_body(forecast, actuals) for forecast in forecasts)
    body = b'{"forecasts":[' + bodies + b"]," + to_json({"next_cursor": next_cursor})[1:]
    return Response(body, headers=headers, media_type=MEDIA_TYPES["json"])


async def _behind(
    deps: SharedDeps, use_case: UseCase, entity: Entity, path: Path_, within: tuple[datetime, datetime], page: Page
) -> list[Track]:
    """The issues that have points in the window, behind the cursor, oldest first: a page of them and one more.

    Raises ProblemError 422, 503.
    """
    if page.cursor is not None and not page.cursor.isdecimal():
        raise ProblemError(422, "invalid-request", "cursor: not one of this question")
    behind = -1 if page.cursor is None else int(page.cursor)
    first, last = (micros(moment) for moment in within)

    def wanted(tracks: Iterable[Track]) -> list[Track]:
        return [t for t in tracks if micros(t.issued_at) > behind and t.times[-1] >= first and t.times[0] < last]

    kept = deps.curves.issues(use_case.use_case, entity.id, path)
    # memory goes back to here, or to its first curve where that is older
    since = min([micros(deps.curves.covered_since(path, deps.clock.now())), *(micros(t.issued_at) for t in kept[:1])])
    found: list[Track] = []
    for days in _days(max(first - _reach(use_case, path), behind, 0), min(since, last)):
        book = await deps.archive.book([Issues(use_case.use_case, path, entity.id, days[0], days[-1])])
        older = book.issues(use_case.use_case, entity.id, path)
        found += wanted(track for track in older if micros(track.issued_at) < since)
        if len(found) > page.limit:
            return found
    return found + wanted(kept)


def _days(start: int, end: int) -> Iterator[list[date]]:
    """The days, UTC, between two moments, some at a time."""
    if start < end:
        first, last = from_micros(start).date(), from_micros(end).date()
        days = [first + timedelta(days=i) for i in range((last - first).days + 1)]
        for i in range(0, len(days), _DAYS_AT_ONCE):
            yield days[i : i + _DAYS_AT_ONCE]


def _reach(use_case: UseCase, path: Path_) -> int:
    """How long before an interval a curve that holds it may have been issued, in microseconds."""
    if path == "day-ahead":
        return micros_of(timedelta(days=use_case.day_ahead.days + 1))
    part = use_case.part("intraday")
    return micros_of(part.resolution * (part.horizons + 1))


def _within(forecast: Forecast, within: tuple[datetime, datetime]) -> Forecast:
    first, last = within
    return replace(forecast, points=[p for p in forecast.points if first <= p.valid_time < last])


def _actuals(
    deps: SharedDeps, use_case: UseCase, entity: Entity, path: Path_, forecasts: list[Forecast]
) -> dict[datetime, float]:
    """What came true of the intervals of some curves, where it is known."""
    times = np.array(sorted({micros(p.valid_time) for f in forecasts for p in f.points}), dtype=np.int64)
    values = deps.series.values(use_case, entity.id, use_case.target, times, use_case.part(path).resolution)
    known = np.isfinite(values)
    pairs = zip(times[known].tolist(), values[known].tolist(), strict=True)
    return {from_micros(time): value for time, value in pairs}
