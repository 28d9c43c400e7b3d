"""The dependencies that turn parameters into requests: the use case and the entity looked up, access checked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated

from fastapi import Depends, Header, Path, Query

from dualcast.catalogue import Entity, Path_, UseCase
from services.api.deps import Deps, ServiceDeps
from services.api.encoding import Shape
from services.api.lookup import find, find_use_case
from services.api.queries import (
    CurveKey,
    CurveQuery,
    DayAheadQuery,
    EntitiesQuery,
    PageQuery,
    UseCaseQuery,
    WindowQuery,
)

EntityId = Annotated[str, Path(description="the entity, as in the catalogue", max_length=64)]
PathName = Annotated[Path_, Path(description="the forecast path")]
Accept = Annotated[str | None, Header(include_in_schema=False)]
IfNoneMatch = Annotated[str | None, Header(description="an ETag: 304 if the answer would be the same")]


@dataclass(frozen=True, slots=True)
class CurveRequest:
    """A request for one curve: the newest, that of a delivery date, or the one that was the newest at ``as_of``."""

    key: CurveKey
    use_case: UseCase
    entity: Entity
    shape: Shape
    if_none_match: str | None


@dataclass(frozen=True, slots=True)
class CurvesRequest:
    """A request for the curves of several entities: ``names`` may contain unknown entities."""

    use_case: UseCase
    names: list[str]
    next_cursor: str | None
    delivery_date: date | None
    as_of: datetime | None
    shape: Shape


@dataclass(frozen=True, slots=True)
class WindowRequest:
    """A request for an entity's intervals from ``start`` to before ``end``."""

    use_case: UseCase
    entity: Entity
    start: datetime
    end: datetime


# These are async because FastAPI runs other dependencies in a thread, which takes longer than most responses.
async def _day_ahead(
    deps: Deps,
    entity_id: EntityId,
    query: Annotated[DayAheadQuery, Query()],
    accept: Accept = None,
    if_none_match: IfNoneMatch = None,
) -> CurveRequest:
    return _curve_request(deps, "day-ahead", entity_id, query, (accept, if_none_match))


async def _intraday(
    deps: Deps,
    entity_id: EntityId,
    query: Annotated[CurveQuery, Query()],
    accept: Accept = None,
    if_none_match: IfNoneMatch = None,
) -> CurveRequest:
    return _curve_request(deps, "intraday", entity_id, query, (accept, if_none_match))


async def _day_ahead_of_many(
    deps: Deps,
    query: Annotated[DayAheadQuery, Query()],
    entities: Annotated[EntitiesQuery, Query()],
    page: Annotated[PageQuery, Query()],
    accept: Accept = None,
) -> CurvesRequest:
    return _curves_request(deps, "day-ahead", query, (entities, page), accept)


async def _intraday_of_many(
    deps: Deps,
    query: Annotated[CurveQuery, Query()],
    entities: Annotated[EntitiesQuery, Query()],
    page: Annotated[PageQuery, Query()],
    accept: Accept = None,
) -> CurvesRequest:
    return _curves_request(deps, "intraday", query, (entities, page), accept)


async def _window(
    deps: Deps,
    entity_id: EntityId,
    query: Annotated[UseCaseQuery, Query()],
    window: Annotated[WindowQuery, Query()],
) -> WindowRequest:
    return WindowRequest(*find(deps, query.use_case, entity_id, "day-ahead"), *window.bounds(deps.clock))


async def _use_case(deps: Deps, query: Annotated[UseCaseQuery, Query()]) -> UseCase:
    return find_use_case(deps, query.use_case, "day-ahead")


DayAheadRequest = Annotated[CurveRequest, Depends(_day_ahead)]
IntradayRequest = Annotated[CurveRequest, Depends(_intraday)]
DayAheadsRequest = Annotated[CurvesRequest, Depends(_day_ahead_of_many)]
IntradaysRequest = Annotated[CurvesRequest, Depends(_intraday_of_many)]
HistoryRequest = Annotated[WindowRequest, Depends(_window)]
RequestedUseCase = Annotated[UseCase, Depends(_use_case)]


def _curve_request(
    deps: ServiceDeps, path: Path_, entity_id: str, query: CurveQuery, headers: tuple[str | None, str | None]
) -> CurveRequest:
    accept, if_none_match = headers
    use_case, entity = find(deps, query.use_case, entity_id, path)
    shape = query.shape(use_case.part(path).resolution, accept)
    key = query.key(path, use_case.use_case, entity.id)
    return CurveRequest(key, use_case, entity, shape, if_none_match)


def _curves_request(
    deps: ServiceDeps, path: Path_, query: CurveQuery, listed: tuple[EntitiesQuery, PageQuery], accept: str | None
) -> CurvesRequest:
    entities, page = listed
    use_case = find_use_case(deps, query.use_case, path)
    shape = query.shape(use_case.part(path).resolution, accept)
    names, next_cursor = page.page(entities.names(use_case))
    return CurvesRequest(use_case, names, next_cursor, query.selected_day, query.as_of, shape)
