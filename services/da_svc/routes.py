"""The routes of da-svc: published curves, actuals and status."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from fastapi import Request
from starlette.responses import Response

from dualcast.timegrid import MICRO, Grid, from_micros, iso_duration
from services.api.answers import (
    CURVE_RESPONSES,
    LIST_RESPONSES,
    Answered,
    curve_response,
    published_curves_response,
    published_intraday,
)
from services.api.application import api_router
from services.api.lookup import find_entity
from services.api.params import (
    CurveRequest,
    DayAheadRequest,
    DayAheadsRequest,
    HistoryRequest,
    IntradayRequest,
    IntradaysRequest,
    RequestedUseCase,
    WindowRequest,
)
from services.api.routes import events, issued
from services.api.schemas.curves import (
    DayAheadForecast,
    DayAheadForecasts,
    History,
    HistoryPoint,
    IntradayForecast,
    IntradayForecasts,
)
from services.api.schemas.status import DayAheadStatus
from services.book.curves import CurveCache
from services.da_svc import published
from services.da_svc.deps import DayAheadDeps, Deps
from services.da_svc.published import published_day_ahead
from services.da_svc.status import status_of
from services.http.problems import documented

router = api_router()
router.include_router(published.router)
router.include_router(issued.router)
router.include_router(events.router)


@router.get("/forecasts/day-ahead", response_model=DayAheadForecasts, responses=LIST_RESPONSES, tags=["forecasts"])
async def day_ahead_of_many(request: Request, deps: Deps, wanted: DayAheadsRequest) -> Response:
    """The curves of several entities, each as the path of one entity returns it."""

    def select(name: str, curves: CurveCache) -> Answered:
        entity = find_entity(wanted.use_case, name)
        return published_day_ahead(deps, curves, wanted.use_case, entity, wanted.delivery_date, wanted.as_of)

    return await published_curves_response(request, deps, wanted, select)


@router.get(
    "/forecasts/day-ahead/{entity_id}",
    response_model=DayAheadForecast,
    responses=CURVE_RESPONSES | documented(503),
    tags=["forecasts"],
)
async def day_ahead(deps: Deps, wanted: DayAheadRequest) -> Response:
    """The curve of a delivery day with all its intervals, 23, 24 or 25 hours, and of further days if it has them.

    Without a date, the newest curve; if a newer one is overdue, the last stored curve with `stale` true.
    """

    def select(curves: CurveCache) -> Answered:
        return published_day_ahead(
            deps, curves, wanted.use_case, wanted.entity, wanted.key.delivery_date, wanted.key.as_of
        )

    return await _published_response(deps, wanted, select)


@router.get("/forecasts/intraday", response_model=IntradayForecasts, responses=LIST_RESPONSES, tags=["forecasts"])
async def intraday_of_many(request: Request, deps: Deps, wanted: IntradaysRequest) -> Response:
    """The intraday curves of several entities, each as the path of one entity returns it."""

    def select(name: str, curves: CurveCache) -> Answered:
        return published_intraday(deps, wanted.use_case, find_entity(wanted.use_case, name), wanted.as_of, curves)

    return await published_curves_response(request, deps, wanted, select)


@router.get(
    "/forecasts/intraday/{entity_id}",
    response_model=IntradayForecast,
    responses=CURVE_RESPONSES | documented(503),
    tags=["forecasts"],
)
async def intraday(deps: Deps, wanted: IntradayRequest) -> Response:
    """The newest published intraday curve. id-svc computes one on request."""

    def select(curves: CurveCache) -> Answered:
        return published_intraday(deps, wanted.use_case, wanted.entity, wanted.key.as_of, curves)

    return await _published_response(deps, wanted, select)


@router.get("/history/{entity_id}", tags=["history"])
async def history(deps: Deps, wanted: HistoryRequest) -> History:
    """Actuals in their newest vintage and the reference, on the grid of the use case, for the last two weeks."""
    use_case, entity = wanted.use_case, wanted.entity
    return History(
        use_case=use_case.use_case,
        entity_id=entity.id,
        target=use_case.target,
        reference=use_case.reference,
        unit=use_case.unit,
        resolution=iso_duration(use_case.grid),
        simulated=deps.series.simulated(entity.id),
        points=_points(deps, wanted),
    )


@router.get("/status", tags=["status"])
async def status(deps: Deps, use_case: RequestedUseCase) -> DayAheadStatus:
    """The clock, the entities with the newest curves of both paths and their errors so far, models, ages, feeds."""
    return status_of(deps, use_case)


async def _published_response(
    deps: DayAheadDeps, wanted: CurveRequest, select: Callable[[CurveCache], Answered]
) -> Response:
    """A published curve. The answer is cached if the curve is in memory."""
    version = deps.curves.version

    def selection(curves: CurveCache) -> Answered:
        answered = select(curves)
        if curves is deps.curves:
            deps.answers.put(wanted.key, answered, version)
        return answered

    answered = await deps.archive.select(deps.curves, selection)
    return curve_response(answered, wanted.shape, deps.clock, wanted.if_none_match)


def _points(deps: DayAheadDeps, wanted: WindowRequest) -> list[HistoryPoint]:
    use_case, entity = wanted.use_case, wanted.entity
    grid = Grid(use_case.grid, entity.time_zone)
    last = grid.number(wanted.end - MICRO)
    starts = grid.starts(np.arange(grid.number(wanted.start), last + 1))
    times = starts.as_unit("us").asi8
    actual = deps.series.values(use_case, entity.id, use_case.target, times, use_case.grid)
    reference = deps.series.values(use_case, entity.id, use_case.reference, times, use_case.grid)
    known = np.flatnonzero(np.isfinite(actual) | np.isfinite(reference)).tolist()
    return [
        HistoryPoint(valid_time=from_micros(int(times[i])), actual=_number(actual[i]), reference=_number(reference[i]))
        for i in known
    ]


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
