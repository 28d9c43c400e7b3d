"""The API of id-svc: intraday curves as of now, and the state of the path."""

from __future__ import annotations

from functools import partial

from fastapi import Request
from starlette.responses import Response

from dualcast.catalogue import Entity, UseCase
from services.api import events, issued
from services.api.answers import (
    CURVE_RESPONSES,
    LIST_RESPONSES,
    Answered,
    age_seconds,
    each,
    many,
    one,
    problem_in_list,
    published_intraday,
    told_apart,
)
from services.api.application import (
    api_router,
    circuit_status,
    clock_status,
    entity_of,
    feed_status,
    find,
    find_use_case,
    use_case_status,
    visible_entities,
    visible_use_cases,
)
from services.api.schemas import IntradayEntityStatus, IntradayForecast, IntradayForecasts, IntradayStatus
from services.book.curves import CurveBook
from services.http.params import (
    AsOf,
    EntityId,
    EntityIds,
    Form,
    IfNoneMatch,
    Paging,
    UseCaseName,
)
from services.http.problems import ProblemError, documented
from services.id_svc import predict
from services.id_svc.deps import Deps, IntradayDeps
from services.id_svc.forecaster import Ask
from services.id_svc.scored import scored

router = api_router()
router.include_router(predict.router)
router.include_router(issued.router)
router.include_router(events.router)


@router.get("/forecasts/intraday", response_model=IntradayForecasts, responses=LIST_RESPONSES, tags=["forecasts"])
async def intraday_of_many(
    request: Request,
    deps: Deps,
    form: Form,
    paging: Paging,
    entity_id: EntityIds = None,
    use_case: UseCaseName = None,
    as_of: AsOf = None,
) -> Response:
    """The coming hours of several entities, read at once and scored at once."""
    found = find_use_case(deps, use_case)
    shape = form.shape(found.part("intraday").resolution)
    page, next_cursor = paging.of(found, entity_id)
    if as_of is not None:

        def answer(name: str, curves: CurveBook) -> Answered:
            return published_intraday(deps, found, entity_of(found, name), as_of, curves)

        return await each(request, deps, (page, next_cursor), answer, shape)
    known, refused = [], []
    for name in page:
        try:
            known.append(entity_of(found, name))
        except ProblemError as error:
            refused.append(problem_in_list(request, name, error))
    made = await scored(deps, [Ask(found, entity) for entity in known])
    answers, problems = told_apart(request, [entity.id for entity in known], made)
    return many(request, answers, refused + problems, shape, deps.clock.now(), next_cursor)


@router.get(
    "/forecasts/intraday/{entity_id}",
    response_model=IntradayForecast,
    responses=CURVE_RESPONSES | documented(503),
    tags=["forecasts"],
)
async def intraday(
    deps: Deps,
    form: Form,
    entity_id: EntityId,
    use_case: UseCaseName = None,
    as_of: AsOf = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The coming hours, scored now from the newest features; with `as_of`, the curve that had been published then.

    Where the champion cannot answer, `fallback` names what did.
    """
    found, entity = find(deps, use_case, entity_id)
    shape = form.shape(found.part("intraday").resolution)
    if as_of is not None:
        published = await deps.archive.select(deps.curves, partial(published_intraday, deps, found, entity, as_of))
        return one(published, shape, deps.clock, if_none_match)
    (made,) = await scored(deps, [Ask(found, entity)])
    if isinstance(made, ProblemError):
        raise made
    return one(made, shape, deps.clock, if_none_match)


@router.get("/status", tags=["status"])
async def status(deps: Deps, use_case: UseCaseName = None) -> IntradayStatus:
    """The clock, the models in memory, what was published, and the feeds."""
    found = find_use_case(deps, use_case)
    return IntradayStatus(
        clock=clock_status(deps.clock),
        use_case=use_case_status(found),
        use_cases=visible_use_cases(deps),
        models=deps.model_cache.loaded(),
        refused=deps.model_cache.refused(),
        entities=[_entity_status(deps, found, entity) for entity in visible_entities(found)],
        counters=dict(deps.publisher.counters) if deps.publisher else {},
        feeds=feed_status(deps.feeds),
        circuits=circuit_status(deps.circuits),
    )


def _entity_status(deps: IntradayDeps, use_case: UseCase, entity: Entity) -> IntradayEntityStatus:
    newest = deps.curves.intraday(use_case.use_case, entity.id)
    if newest is None:
        return IntradayEntityStatus(entity_id=entity.id, published_until=None, input_age_seconds=None)
    return IntradayEntityStatus(
        entity_id=entity.id,
        published_until=newest.forecast.issued_at,
        input_age_seconds=age_seconds(newest.forecast.newest_input_at, deps.clock.now()),
    )
