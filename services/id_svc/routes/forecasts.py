"""The routes of id-svc: intraday curves scored on request, and status."""

from __future__ import annotations

from functools import partial

from fastapi import Request
from starlette.responses import Response

from dualcast.catalogue import Entity, UseCase
from dualcast.curves.staleness import is_stale
from services.api.answers import (
    CURVE_RESPONSES,
    LIST_RESPONSES,
    Answered,
    age_seconds,
    curve_response,
    curves_response,
    problem_in_list,
    published_curves_response,
    published_intraday,
    split_problems,
)
from services.api.application import api_router
from services.api.lookup import find_entity, visible_entities, visible_use_cases
from services.api.params import IntradayRequest, IntradaysRequest, RequestedUseCase
from services.api.routes import events, issued
from services.api.routes.status import circuit_status, clock_status, feed_status, use_case_status
from services.api.schemas.curves import IntradayForecast, IntradayForecasts
from services.api.schemas.status import IntradayEntityStatus, IntradayStatus
from services.book.curves import CurveCache
from services.http.problems import ProblemError, documented
from services.id_svc.deps import Deps, IntradayDeps
from services.id_svc.routes import predict
from services.id_svc.routes.scored import scored
from services.id_svc.scoring.forecaster import ForecastRequest

router = api_router()
router.include_router(predict.router)
router.include_router(issued.router)
router.include_router(events.router)


@router.get("/forecasts/intraday", response_model=IntradayForecasts, responses=LIST_RESPONSES, tags=["forecasts"])
async def intraday_of_many(request: Request, deps: Deps, wanted: IntradaysRequest) -> Response:
    """The coming hours of several entities. Their features are read together and scored together."""
    use_case, as_of = wanted.use_case, wanted.as_of
    if as_of is not None:

        def select(name: str, curves: CurveCache) -> Answered:
            return published_intraday(deps, use_case, find_entity(use_case, name), as_of, curves)

        return await published_curves_response(request, deps, wanted, select)
    known, refused = [], []
    for name in wanted.names:
        try:
            known.append(find_entity(use_case, name))
        except ProblemError as error:
            refused.append(problem_in_list(request, name, error))
    made = await scored(deps, [ForecastRequest(use_case, entity) for entity in known])
    answers, problems = split_problems(request, [entity.id for entity in known], made)
    return curves_response(request, wanted, answers, refused + problems, deps.clock.now())


@router.get(
    "/forecasts/intraday/{entity_id}",
    response_model=IntradayForecast,
    responses=CURVE_RESPONSES | documented(503),
    tags=["forecasts"],
)
async def intraday(deps: Deps, wanted: IntradayRequest) -> Response:
    """The coming hours, scored now from the newest features; with `as_of`, the curve published by then.

    If the champion fails, `fallback` names the fallback that made the curve.
    """
    if wanted.key.as_of is not None:
        select = partial(published_intraday, deps, wanted.use_case, wanted.entity, wanted.key.as_of)
        published = await deps.archive.select(deps.curves, select)
        return curve_response(published, wanted.shape, deps.clock, wanted.if_none_match)
    (made,) = await scored(deps, [ForecastRequest(wanted.use_case, wanted.entity)])
    if isinstance(made, ProblemError):
        raise made
    return curve_response(made, wanted.shape, deps.clock, wanted.if_none_match)


@router.get("/status", tags=["status"])
async def status(deps: Deps, use_case: RequestedUseCase) -> IntradayStatus:
    """The clock, the models in memory, the published curves, and the feeds."""
    return IntradayStatus(
        clock=clock_status(deps.clock),
        use_case=use_case_status(use_case),
        use_cases=visible_use_cases(deps),
        models=deps.model_cache.loaded(),
        refused=deps.model_cache.refused(),
        entities=[_entity_status(deps, use_case, entity) for entity in visible_entities(use_case)],
        counters=dict(deps.publisher.counters) if deps.publisher else {},
        feeds=feed_status(deps.feeds),
        circuits=circuit_status(deps.circuits),
    )


def _entity_status(deps: IntradayDeps, use_case: UseCase, entity: Entity) -> IntradayEntityStatus:
    newest = deps.curves.intraday(use_case.use_case, entity.id)
    if newest is None:
        return IntradayEntityStatus(entity_id=entity.id, published_until=None, input_age_seconds=None, stale=False)
    return IntradayEntityStatus(
        entity_id=entity.id,
        published_until=newest.issued_at,
        input_age_seconds=age_seconds(newest.track.newest_input_at, deps.clock.now()),
        stale=is_stale(use_case, entity, deps.clock, "intraday", newest.first),
    )
