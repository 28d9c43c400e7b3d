"""What was issued, beside what came true: the record of a path, a page of curves at a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from dualcast.catalogue import Entity, Path_, UseCase
from dualcast.records import Forecast
from dualcast.timegrid import from_micros, micros
from services.shared.answers import LIST_RESPONSES
from services.shared.api import Shared, SharedDeps, entity_of, find_intraday_case, find_use_case
from services.shared.bodies import MEDIA_TYPES, columns_of, cut, forecast_body, table_body, to_json
from services.shared.memory.curves import CurveBook, Track
from services.shared.params import EntityId, Form, Paging, PathName, UseCaseName, Within
from services.shared.problems import ProblemError
from services.shared.schemas import IssuedForecasts

router = APIRouter()


@router.get(
    "/forecasts/{path}/{entity_id}/issued", response_model=IssuedForecasts, responses=LIST_RESPONSES, tags=["history"]
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

    Day-ahead curves of the last weeks are kept, intraday ones of the last two.
    """
    found = find_use_case(deps, use_case) if path == "day-ahead" else find_intraday_case(deps, use_case)
    entity, bounds = entity_of(found, entity_id), within.bounds(deps.clock)
    shape = form.shape(found.part(path).resolution)
    tracks = _behind(deps.curves, found, entity, path, bounds, page.cursor)
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


def _behind(
    curves: CurveBook,
    use_case: UseCase,
    entity: Entity,
    path: Path_,
    within: tuple[datetime, datetime],
    cursor: str | None,
) -> list[Track]:
    """The issues that have points in the window, behind the cursor, oldest first."""
    if cursor is not None and not cursor.isdecimal():
        raise ProblemError(422, "invalid-request", "cursor: not one of this question")
    first, last = (micros(moment) for moment in within)
    behind = -1 if cursor is None else int(cursor)
    return [
        track
        for track in curves.issues(use_case.use_case, entity.id, path)
        if micros(track.issued_at) > behind and track.times[-1] >= first and track.times[0] < last
    ]


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
