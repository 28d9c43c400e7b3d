"""The API of da-svc: curves as they were published, and what came true."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import numpy as np
from fastapi import Request
from starlette.responses import Response

from dualcast.catalogue import Entity, UseCase
from dualcast.timegrid import Grid, from_micros, iso_duration
from services.api import events, issued
from services.api.answers import CURVE_RESPONSES, LIST_RESPONSES, Answered, each, one, published_intraday
from services.api.application import api_router, entity_of, find, find_intraday_case, find_use_case
from services.api.encoding import Shape
from services.api.schemas import (
    DayAheadForecast,
    DayAheadForecasts,
    DayAheadStatus,
    History,
    HistoryPoint,
    IntradayForecast,
    IntradayForecasts,
)
from services.book.curves import CurveBook
from services.da_svc import published
from services.da_svc.answer_cache import remember
from services.da_svc.deps import DayAheadDeps, Deps
from services.da_svc.published import published_day_ahead
from services.da_svc.status import status_of
from services.http.params import (
    AsOf,
    DeliveryDate,
    EntityId,
    EntityIds,
    Form,
    IfNoneMatch,
    Paging,
    UseCaseName,
    Within,
)
from services.http.problems import documented

router = api_router()
router.include_router(published.router)
router.include_router(issued.router)
router.include_router(events.router)


@router.get(
    "/forecasts/day-ahead",
    response_model=DayAheadForecasts,
    responses=LIST_RESPONSES,
    tags=["forecasts"],
)
async def day_ahead_of_many(
    request: Request,
    deps: Deps,
    form: Form,
    paging: Paging,
    entity_id: EntityIds = None,
    use_case: UseCaseName = None,
    delivery_date: DeliveryDate = None,
    as_of: AsOf = None,
) -> Response:
    """The curves of several entities, each as the address of one would answer it."""
    found = find_use_case(deps, use_case)
    shape = form.shape(found.day_ahead.resolution)

    def answer(name: str, curves: CurveBook) -> Answered:
        return published_day_ahead(deps, curves, found, entity_of(found, name), delivery_date, as_of)

    return await each(request, deps, paging.of(found, entity_id), answer, shape)


@router.get(
    "/forecasts/day-ahead/{entity_id}",
    response_model=DayAheadForecast,
    responses=CURVE_RESPONSES | documented(503),
    tags=["forecasts"],
)
async def day_ahead(
    request: Request,
    deps: Deps,
    form: Form,
    entity_id: EntityId,
    use_case: UseCaseName = None,
    delivery_date: DeliveryDate = None,
    as_of: AsOf = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The curve of a delivery day: every interval of it, 23, 24 or 25 hours, and where it holds more days, of those.

    Without a date, the newest; where a newer one is overdue, the last stored one answers and says `stale`.
    """
    found, entity = find(deps, use_case, entity_id)
    shape = form.shape(found.day_ahead.resolution)

    def answer(curves: CurveBook) -> Answered:
        return published_day_ahead(deps, curves, found, entity, delivery_date, as_of)

    return await _one(request, deps, answer, shape, if_none_match)


@router.get(
    "/forecasts/intraday",
    response_model=IntradayForecasts,
    responses=LIST_RESPONSES,
    tags=["forecasts"],
)
async def intraday_of_many(
    request: Request,
    deps: Deps,
    form: Form,
    paging: Paging,
    entity_id: EntityIds = None,
    use_case: UseCaseName = None,
    as_of: AsOf = None,
) -> Response:
    """The intraday curves of several entities, each as the address of one would answer it."""
    found = find_intraday_case(deps, use_case)
    shape = form.shape(found.part("intraday").resolution)

    def answer(name: str, curves: CurveBook) -> Answered:
        return published_intraday(deps, found, entity_of(found, name), as_of, curves)

    return await each(request, deps, paging.of(found, entity_id), answer, shape)


@router.get(
    "/forecasts/intraday/{entity_id}",
    response_model=IntradayForecast,
    responses=CURVE_RESPONSES | documented(503),
    tags=["forecasts"],
)
async def intraday(
    request: Request,
    deps: Deps,
    form: Form,
    entity_id: EntityId,
    use_case: UseCaseName = None,
    as_of: AsOf = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The newest intraday curve that was published. id-svc computes one on request."""
    found = find_intraday_case(deps, use_case)
    entity = entity_of(found, entity_id)
    shape = form.shape(found.part("intraday").resolution)
    return await _one(request, deps, partial(published_intraday, deps, found, entity, as_of), shape, if_none_match)


@router.get("/history/{entity_id}", tags=["history"])
async def history(deps: Deps, entity_id: EntityId, within: Within, use_case: UseCaseName = None) -> History:
    """What came true, in its newest vintage, and the reference, on the use case's grid. The last two weeks are kept."""
    found, entity = find(deps, use_case, entity_id)
    start, end = within.bounds(deps.clock)
    return History(
        use_case=found.use_case,
        entity_id=entity.id,
        target=found.target,
        reference=found.reference,
        unit=found.unit,
        resolution=iso_duration(found.grid),
        simulated=deps.series.simulated(entity.id),
        points=_points(deps, found, entity, start, end),
    )


@router.get("/status", tags=["status"])
async def status(deps: Deps, use_case: UseCaseName = None) -> DayAheadStatus:
    """The clock, the entities, the newest curves of both paths and their errors so far, models, ages, feeds."""
    return status_of(deps, find_use_case(deps, use_case))


async def _one(
    request: Request,
    deps: DayAheadDeps,
    published: Callable[[CurveBook], Answered],
    shape: Shape,
    if_none_match: str | None,
) -> Response:
    """A published curve, which is remembered where it is in memory."""

    def answer(curves: CurveBook) -> Answered:
        answered = published(curves)
        if curves is deps.curves:
            remember(request, answered, shape)
        return answered

    return one(await deps.archive.select(deps.curves, answer), shape, deps.clock, if_none_match)


def _points(
    deps: DayAheadDeps, use_case: UseCase, entity: Entity, start: datetime, end: datetime
) -> list[HistoryPoint]:
    grid = Grid(use_case.grid, entity.time_zone)
    starts = grid.starts(np.arange(grid.number(start), grid.number(end - timedelta(microseconds=1)) + 1))
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
