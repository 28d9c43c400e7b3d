"""Responses with one curve or with several: the format, the cache headers, and the link to the next page."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from fastapi import Request
from starlette.responses import Response

from dualcast.catalogue import Entity, UseCase
from dualcast.curves.fallbacks import LAST_STORED, fallback_of
from dualcast.curves.forecast import Forecast
from dualcast.curves.staleness import is_stale, next_row_at
from dualcast.timegrid import Clock
from services.access.call import note_answer
from services.api.deps import ServiceDeps
from services.api.encoding import EncodedCurve, Shape, columns_of, cut
from services.api.params import CurvesRequest
from services.book.archive import ArchiveUnavailableError, Issues, NoCurveError
from services.book.curves import CurveCache
from services.http.formats import MEDIA_TYPES, table_body, to_json, with_fields
from services.http.problems import ProblemError, problem_of

# The max-age of an answer when the next curve is already due, because it may arrive at any moment.
_SHORTEST_SECONDS = 1
_LONGEST_SECONDS = 86_400
T = TypeVar("T")
_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}

# How OpenAPI describes the formats and headers of a curve.
CURVE_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {MEDIA_TYPES["csv"]: {"schema": {"type": "string"}}, MEDIA_TYPES["parquet"]: _BINARY},
        "headers": {
            "Cache-Control": {
                "description": "`max-age`: seconds until the next curve",
                "schema": {"type": "string"},
            },
            "ETag": {"description": "for If-None-Match", "schema": {"type": "string"}},
        },
    },
    304: {"description": "unchanged: the answer has the ETag that was sent"},
}
LIST_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": CURVE_RESPONSES[200]["content"],
        "headers": {"Link": {"description": '`rel="next"`: the next page', "schema": {"type": "string"}}},
    }
}


@dataclass(frozen=True, slots=True)
class Answered:
    """A curve, and the ``fields`` of the answer that are not in the curve.

    ``tag`` identifies the answer apart from ages and shape. ``next_at`` is when the next curve is expected.
    """

    forecast: Forecast
    encoded: EncodedCurve
    tag: str
    fields: Mapping[str, Any]
    next_at: datetime

    def json(self, shape: Shape, now: datetime) -> bytes:
        """The curve's JSON with the additional fields and the age of the newest input."""
        age = age_seconds(self.forecast.newest_input_at, now)
        return with_fields(self.encoded.body(shape), {**self.fields, "input_age_seconds": age})


def age_seconds(moment: datetime, now: datetime) -> float:
    """Seconds from ``moment`` to ``now``, at least 0."""
    return max(round((now - moment).total_seconds(), 3), 0.0)


def curve_response(answered: Answered, shape: Shape, clock: Clock, if_none_match: str | None = None) -> Response:
    """One curve, which may be cached until the next one is expected; 304 if the client has it already."""
    etag = f'W/"{answered.tag}-{shape.format[0]}{shape.points or ""}{"" if shape.confidence else "m"}"'
    headers = {
        "ETag": etag,
        "Cache-Control": f"private, max-age={_seconds_until(answered.next_at, clock)}",
        "Vary": "Accept",
    }
    if if_none_match is not None and _matches(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    body = answered.json(shape, clock.now()) if shape.format == "json" else answered.encoded.body(shape)
    return Response(body, headers=headers, media_type=MEDIA_TYPES[shape.format])


def curves_response(
    request: Request,
    wanted: CurvesRequest,
    answers: Sequence[Answered],
    problems: Sequence[Mapping[str, Any]],
    now: datetime,
) -> Response:
    """The curves of some entities and the problems of the others. CSV and Parquet contain the curves only."""
    shape, headers = wanted.shape, list_headers(request, wanted.next_cursor)
    if shape.format != "json":
        table = columns_of([cut(answered.forecast, shape) for answered in answers])
        return Response(table_body(table, shape.format), headers=headers, media_type=MEDIA_TYPES[shape.format])
    rest = to_json({"problems": problems, "next_cursor": wanted.next_cursor})
    body = b'{"forecasts":[' + b",".join(answered.json(shape, now) for answered in answers) + b"]," + rest[1:]
    return Response(body, headers=headers, media_type=MEDIA_TYPES["json"])


async def published_curves_response(
    request: Request, deps: ServiceDeps, wanted: CurvesRequest, select: Callable[[str, CurveCache], Answered]
) -> Response:
    """The curves that ``select`` finds for each entity, in memory or in the archive."""
    found = await select_all(deps, [partial(select, name) for name in wanted.names])
    answers, problems = split_problems(request, wanted.names, found)
    return curves_response(request, wanted, answers, problems, deps.clock.now())


async def select_all(
    deps: ServiceDeps, selections: Sequence[Callable[[CurveCache], T | ProblemError]]
) -> list[T | ProblemError]:
    """The result of each selection from memory or the archive, or the problem that it raised, in order."""
    found = await deps.archive.select_all(deps.curves, [partial(_attempt, selection) for selection in selections])
    return [
        archive_problem(result) if isinstance(result, NoCurveError | ArchiveUnavailableError) else result
        for result in found
    ]


def split_problems(
    request: Request, names: Sequence[str], found: Sequence[Answered | ProblemError]
) -> tuple[list[Answered], list[dict[str, Any]]]:
    """The answers among the results for some entities, and the problems."""
    answers, problems = [], []
    for name, answered in zip(names, found, strict=True):
        if isinstance(answered, ProblemError):
            problems.append(problem_in_list(request, name, answered))
        else:
            answers.append(answered)
    return answers, problems


def problem_in_list(request: Request, entity_id: str, error: ProblemError) -> dict[str, Any]:
    """The problem of one entity in a list; its instance is the entity's own path."""
    return problem_of(f"{request.url.path}/{entity_id}", error.status, error.detail, error.kind).model_dump()


def archive_problem(error: NoCurveError | ArchiveUnavailableError) -> ProblemError:
    """The problem that reports an error of the archive: 404 or 503."""
    if isinstance(error, NoCurveError):
        return ProblemError(404, "no-forecast", str(error))
    return ProblemError(503, "archive-unavailable", str(error), {"Retry-After": "5"})


def list_headers(request: Request, next_cursor: str | None) -> dict[str, str]:
    """The headers of a page of a list."""
    headers = {"Vary": "Accept", "Cache-Control": "private, no-cache"}
    if next_cursor is not None:
        url = request.url.include_query_params(cursor=next_cursor)
        headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'  # without the host, which the client has sent
    return headers


def published_intraday(
    deps: ServiceDeps, use_case: UseCase, entity: Entity, as_of: datetime | None, curves: CurveCache
) -> Answered:
    """The newest published intraday curve, or the one that was the newest at ``as_of``.

    Raises NoCurveError if ``curves`` has no curve of that time, and ProblemError 503 if none has been published yet.
    """
    stored, stale = curves.intraday(use_case.use_case, entity.id), False
    if as_of is not None:
        forecast = curves.intraday_as_of(use_case.use_case, entity.id, as_of)
        if forecast is None:
            raise _no_curve_by(use_case, entity, as_of)
        encoded = deps.encoded.own(forecast)
    elif stored is not None:
        stale = is_stale(use_case, entity, deps.clock, "intraday", stored.first)
        if stale and LAST_STORED not in use_case.part("intraday").fallbacks:
            raise ProblemError(503, "no-forecast", f"the curve of {entity.id} is overdue", {"Retry-After": "5"})
        encoded = deps.encoded.of(stored).stale if stale else deps.encoded.of(stored)
    else:
        raise ProblemError(503, "no-forecast", f"no intraday curve of {entity.id} yet", {"Retry-After": "5"})
    forecast = encoded.forecast
    note_answer(forecast)
    fields = {"stale": stale, "fallback": fallback_of(forecast.degraded_reasons)}
    next_at = next_row_at(use_case, entity, forecast.points[0].valid_time)
    return Answered(forecast, encoded, encoded.tag, fields, next_at)


def _attempt(selection: Callable[[CurveCache], T | ProblemError], curves: CurveCache) -> T | ProblemError:
    try:
        return selection(curves)
    except ProblemError as error:
        return error


def _no_curve_by(use_case: UseCase, entity: Entity, as_of: datetime) -> NoCurveError:
    """A curve that reaches ``as_of`` was issued at most one curve length before it."""
    text = f"no intraday curve of {entity.id} that was issued by {as_of.isoformat()} reached that moment"
    part = use_case.part("intraday")
    start = as_of - part.resolution * part.horizons
    return NoCurveError(text, Issues.between(use_case.use_case, "intraday", entity.id, start, as_of))


def _seconds_until(moment: datetime, clock: Clock) -> int:
    return min(max(math.ceil(clock.wall_seconds_until(moment)), _SHORTEST_SECONDS), _LONGEST_SECONDS)


def _matches(if_none_match: str, etag: str) -> bool:
    """Weak comparison, because ages differ between answers that are otherwise equal."""
    sent = [text.strip().removeprefix("W/") for text in if_none_match.split(",")]
    return "*" in sent or etag.removeprefix("W/") in sent
