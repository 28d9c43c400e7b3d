"""The API of da-svc: curves as they were published, and what came true."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated, Any

import numpy as np
from fastapi import Header, Query
from pydantic import AwareDatetime
from starlette.responses import Response

from dualcast.catalogue import Entity, UseCase
from dualcast.timegrid import Grid, from_micros, iso_duration
from services.da_svc.deps import DayAheadDeps, Deps
from services.da_svc.selection import select
from services.da_svc.status import status_of
from services.shared.access.call import answered
from services.shared.api import Format, UseCaseName, api_router, find, find_use_case
from services.shared.bodies import CSV, age_seconds, csv_response, fallback_of, forecast_body, wants_csv, with_fields
from services.shared.problems import ProblemError, documented
from services.shared.schemas import DayAheadForecast, DayAheadStatus, History, HistoryPoint, IntradayForecast

_LONGEST = timedelta(days=31)
_CSV: dict[str, Any] = {"content": {CSV: {"schema": {"type": "string"}}}}
router = api_router()


@router.get(
    "/forecasts/day-ahead/{entity_id}",
    response_model=DayAheadForecast,
    responses={200: _CSV, **documented(503)},
    tags=["forecasts"],
)
async def day_ahead(
    deps: Deps,
    entity_id: str,
    use_case: UseCaseName = None,
    delivery_date: Annotated[date | None, Query(description="local day; without it, the newest curve")] = None,
    format: Format = None,  # noqa: A002 - the name of the parameter
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    """The curve of a delivery day: every interval of it, 23, 24 or 25 hours, and where it holds more days, of those.

    Without a date, the newest; where a newer one is overdue, the last stored one answers and says `stale`.
    """
    found, entity = find(deps, use_case, entity_id)
    selected = select(deps.curves, found, entity, deps.clock, delivery_date)
    forecast = selected.curve.forecast
    answered(forecast)
    if wants_csv(format, accept):
        return csv_response(forecast)
    fields = {
        "delivery_date": selected.curve.delivery_day,
        "stale": selected.stale,
        "input_age_seconds": age_seconds(forecast.newest_input_at, deps.clock.now()),
        "fallback": selected.fallback or fallback_of(forecast),
    }
    return Response(with_fields(selected.curve.body, fields), media_type="application/json")


@router.get(
    "/forecasts/intraday/{entity_id}",
    response_model=IntradayForecast,
    responses={200: _CSV, **documented(503)},
    tags=["forecasts"],
)
async def intraday(
    deps: Deps,
    entity_id: str,
    use_case: UseCaseName = None,
    format: Format = None,  # noqa: A002 - the name of the parameter
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    """The newest intraday curve that was published. id-svc computes one on request."""
    found, entity = find(deps, use_case, entity_id)
    forecast = deps.curves.intraday(found.use_case, entity.id)
    if forecast is None:
        raise ProblemError(503, "no-forecast", f"no intraday curve of {entity.id} yet", {"Retry-After": "5"})
    answered(forecast)
    if wants_csv(format, accept):
        return csv_response(forecast)
    fields = {
        "input_age_seconds": age_seconds(forecast.newest_input_at, deps.clock.now()),
        "fallback": fallback_of(forecast),
    }
    return Response(with_fields(forecast_body(forecast), fields), media_type="application/json")


@router.get("/history/{entity_id}", tags=["history"])
async def history(
    deps: Deps,
    entity_id: str,
    use_case: UseCaseName = None,
    from_: Annotated[AwareDatetime | None, Query(alias="from", description="two days ago, unless told")] = None,
    to: Annotated[AwareDatetime | None, Query(description="in two days, unless told; at most 31 days later")] = None,
) -> History:
    """What came true, in its newest vintage, and the reference, on the use case's grid. The last two weeks are kept."""
    found, entity = find(deps, use_case, entity_id)
    now = deps.clock.now()
    start, end = from_ or now - timedelta(days=2), to or now + timedelta(days=2)
    if not timedelta(0) < end - start <= _LONGEST:
        raise ProblemError(422, "invalid-request", "'to' must be after 'from', by at most 31 days")
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
