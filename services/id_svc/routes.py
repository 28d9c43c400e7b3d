"""The API of id-svc: an intraday curve as of now, and the state of the path."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Header
from starlette.responses import Response

from services.id_svc.deps import Deps
from services.id_svc.forecaster import NoForecastError
from services.shared.access.call import computed
from services.shared.api import (
    Format,
    UseCaseName,
    api_router,
    clock_status,
    feed_status,
    find,
    find_use_case,
    use_case_status,
    visible_use_cases,
)
from services.shared.bodies import CSV, age_seconds, csv_response, forecast_body, wants_csv, with_fields
from services.shared.problems import ProblemError, documented
from services.shared.schemas import IntradayEntityStatus, IntradayForecast, IntradayStatus

_CSV: dict[str, Any] = {"content": {CSV: {"schema": {"type": "string"}}}}
router = api_router()


@router.get(
    "/forecasts/intraday/{entity_id}",
    response_model=IntradayForecast,
    responses={200: _CSV, **documented(503)},
    tags=["forecasts"],
)
def intraday(
    deps: Deps,
    entity_id: str,
    use_case: UseCaseName = None,
    format: Format = None,  # noqa: A002 - the name of the parameter
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    """The coming hours, scored now from the newest features.

    Where the champion cannot answer, `fallback` names what did.
    """
    found, entity = find(deps, use_case, entity_id)
    try:
        answer = deps.forecaster.on_request(found, entity)
    except NoForecastError as error:
        raise ProblemError(503, "no-forecast", str(error), {"Retry-After": "5"}) from error
    forecast = answer.forecast
    computed(forecast, answer.fallback)
    if wants_csv(format, accept):
        return csv_response(forecast)
    fields = {
        "input_age_seconds": age_seconds(forecast.newest_input_at, deps.clock.now()),
        "fallback": answer.fallback,
    }
    return Response(with_fields(forecast_body(forecast), fields), media_type="application/json")


@router.get("/status", tags=["status"])
def status(deps: Deps, use_case: UseCaseName = None) -> IntradayStatus:
    """The clock, the models in memory, what was published, and the feeds."""
    found = find_use_case(deps, use_case)
    now = deps.clock.now()
    entities = []
    for entity in found.entities:
        newest = deps.curves.intraday(found.use_case, entity.id)
        entities.append(
            IntradayEntityStatus(
                entity_id=entity.id,
                published_until=newest.issued_at if newest else None,
                input_age_seconds=age_seconds(newest.newest_input_at, now) if newest else None,
            )
        )
    return IntradayStatus(
        clock=clock_status(deps.clock),
        use_case=use_case_status(found),
        use_cases=visible_use_cases(deps),
        models=deps.shelf.loaded(),
        entities=entities,
        counters=dict(deps.publisher.counters) if deps.publisher else {},
        feeds=feed_status(deps.feeds),
    )
