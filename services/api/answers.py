"""One curve or many as a response: the format, what a cache may do with it, and where the next page is."""

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
from dualcast.curves.fallbacks import fallback_of
from dualcast.curves.forecast import Forecast
from dualcast.timegrid import Clock
from services.access.call import note_answer
from services.api.application import SharedDeps, archive_problem
from services.api.encoding import EncodedCurve, Shape, columns_of, cut
from services.book.archive import ArchiveUnavailableError, Issues, NoCurveError
from services.book.curves import CurveBook
from services.http.formats import MEDIA_TYPES, table_body, to_json, with_fields
from services.http.problems import ProblemError, problem_of

# What was expected by now may come at any moment.
_SOON_SECONDS = 1
_LONGEST_SECONDS = 86_400
T = TypeVar("T")
_OF_TABLES: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}

# How OpenAPI describes the formats and headers of a curve.
CURVE_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {MEDIA_TYPES["csv"]: {"schema": {"type": "string"}}, MEDIA_TYPES["parquet"]: _OF_TABLES},
        "headers": {
            "Cache-Control": {"description": "`max-age`: seconds until a newer one", "schema": {"type": "string"}},
            "ETag": {"description": "for If-None-Match", "schema": {"type": "string"}},
        },
    },
    304: {"description": "the answer would be the one whose ETag was sent"},
}
LIST_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": CURVE_RESPONSES[200]["content"],
        "headers": {"Link": {"description": '`rel="next"`: the next page', "schema": {"type": "string"}}},
    }
}


@dataclass(frozen=True, slots=True)
class Answered:
    """A curve to answer with, and what is said of it besides.

    tag: changes with all but the ages; next_at: when a newer one comes
    """

    forecast: Forecast
    encoded: EncodedCurve
    tag: str
    fields: Mapping[str, Any]
    next_at: datetime

    def json(self, shape: Shape, now: datetime) -> bytes:
        """The curve, its fields, and how old its newest input is."""
        age = age_seconds(self.forecast.newest_input_at, now)
        return with_fields(self.encoded.body(shape), {**self.fields, "input_age_seconds": age})


def one(answered: Answered, shape: Shape, clock: Clock, if_none_match: str | None = None) -> Response:
    """One curve, fresh until the next one comes; 304 where the asker has it already."""
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


def many(
    request: Request,
    answers: Sequence[Answered],
    problems: Sequence[Mapping[str, Any]],
    shape: Shape,
    now: datetime,
    next_cursor: str | None = None,
) -> Response:
    """Some curves and the problems of others; as a table the curves alone."""
    headers = {"Vary": "Accept", "Cache-Control": "private, no-cache"}
    if next_cursor is not None:
        headers["Link"] = f'<{request.url.include_query_params(cursor=next_cursor)}>; rel="next"'
    if shape.format != "json":
        table = columns_of([cut(answered.forecast, shape) for answered in answers])
        return Response(table_body(table, shape.format), headers=headers, media_type=MEDIA_TYPES[shape.format])
    rest = to_json({"problems": problems, "next_cursor": next_cursor})
    body = b'{"forecasts":[' + b",".join(answered.json(shape, now) for answered in answers) + b"]," + rest[1:]
    return Response(body, headers=headers, media_type=MEDIA_TYPES["json"])


async def each(
    request: Request,
    deps: SharedDeps,
    page: tuple[Sequence[str], str | None],
    answer: Callable[[str, CurveBook], Answered],
    shape: Shape,
) -> Response:
    """What ``answer`` says of each entity of a page, from memory or the archive, and the next page's cursor."""
    entity_ids, next_cursor = page
    found = await select_all(deps, [partial(answer, entity_id) for entity_id in entity_ids])
    answers, problems = told_apart(request, entity_ids, found)
    return many(request, answers, problems, shape, deps.clock.now(), next_cursor)


async def select_all(
    deps: SharedDeps, selections: Sequence[Callable[[CurveBook], T | ProblemError]]
) -> list[T | ProblemError]:
    """The result of each selection from memory or the archive, or the problem that it raised, in order."""
    found = await deps.archive.select_all(deps.curves, [partial(_attempt, selection) for selection in selections])
    return [
        archive_problem(result) if isinstance(result, NoCurveError | ArchiveUnavailableError) else result
        for result in found
    ]


def _attempt(selection: Callable[[CurveBook], T | ProblemError], curves: CurveBook) -> T | ProblemError:
    try:
        return selection(curves)
    except ProblemError as error:
        return error


def told_apart(
    request: Request, entity_ids: Sequence[str], found: Sequence[Answered | ProblemError]
) -> tuple[list[Answered], list[dict[str, Any]]]:
    """The answers among what was found of each entity, and the problems of the others."""
    answers, problems = [], []
    for entity_id, answered in zip(entity_ids, found, strict=True):
        if isinstance(answered, ProblemError):
            problems.append(problem_in_list(request, entity_id, answered))
        else:
            answers.append(answered)
    return answers, problems


def problem_in_list(request: Request, entity_id: str, error: ProblemError) -> dict[str, Any]:
    """A problem of one entity among others; its instance is the entity's own address."""
    return problem_of(f"{request.url.path}/{entity_id}", error.status, error.detail, error.kind).model_dump()


def age_seconds(moment: datetime, now: datetime) -> float:
    """How old something is; never negative."""
    return max(round((now - moment).total_seconds(), 3), 0.0)


def published_intraday(
    deps: SharedDeps, use_case: UseCase, entity: Entity, as_of: datetime | None, curves: CurveBook
) -> Answered:
    """The newest intraday curve that was published, or that had been at a moment.

    Raises NoCurveError where that curve is not among these, ProblemError 404 where there can be none, 503 where there
    is none yet.
    """
    stored = curves.intraday(use_case.use_case, entity.id)
    if as_of is not None:
        forecast = curves.intraday_as_of(use_case.use_case, entity.id, as_of)
        if forecast is None:
            raise _no_curve_by(use_case, entity, as_of)
        encoded = EncodedCurve(forecast)
    elif stored is not None:
        forecast, encoded = stored.forecast, deps.encoded.of(stored)
    else:
        raise ProblemError(503, "no-forecast", f"no intraday curve of {entity.id} yet", {"Retry-After": "5"})
    note_answer(forecast)
    fields = {"fallback": fallback_of(forecast.degraded_reasons)}
    return Answered(
        forecast, encoded, encoded.tag, fields, next_row_at(use_case, entity, forecast.points[0].valid_time)
    )


def next_row_at(use_case: UseCase, entity: Entity, origin: datetime) -> datetime:
    """When the value of the interval that begins at ``origin`` is published, and with it the next intraday curve."""
    return use_case.variables[use_case.target].published.published_at(
        origin, use_case.part("intraday").resolution, entity.time_zone
    )


def _no_curve_by(use_case: UseCase, entity: Entity, as_of: datetime) -> ProblemError | NoCurveError:
    """One of long ago is looked for as far back as a curve reaches."""
    text = f"no intraday curve of {entity.id} that was issued by {as_of.isoformat()} reached that moment"
    part = use_case.part("intraday")
    try:
        start = as_of - part.resolution * part.horizons
        return NoCurveError(text, Issues.between(use_case.use_case, "intraday", entity.id, start, as_of))
    except OverflowError:
        return ProblemError(404, "no-forecast", text)


def _seconds_until(moment: datetime, clock: Clock) -> int:
    return min(max(math.ceil(clock.wall_seconds_until(moment)), _SOON_SECONDS), _LONGEST_SECONDS)


def _matches(if_none_match: str, etag: str) -> bool:
    """Weak comparison: ages differ between answers that are otherwise the same."""
    sent = [text.strip().removeprefix("W/") for text in if_none_match.split(",")]
    return "*" in sent or etag.removeprefix("W/") in sent
