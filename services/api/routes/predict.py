"""``POST /api/v1/predict``: one form of question for both services.

id-svc scores now, and can pretend that features were others; da-svc answers what was made at the cutoff.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Annotated, Generic, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from dualcast.catalogue import Entity, UseCase, path_of
from dualcast.curves.forecast import Forecast
from dualcast.timegrid import local_date
from services.api.answers import Answered
from services.api.encoding import EncodedCurve, Shape
from services.api.params import ISO_DURATION, parse_duration, points_within
from services.http.formats import MEDIA_TYPES, to_json
from services.http.problems import Problem, ProblemError, problem_of

_MOST = 200
_NO_STORE = {"Cache-Control": "no-store"}
Value = Annotated[float, Field(allow_inf_nan=False)] | None
Curve = TypeVar("Curve")


class PredictRequest(BaseModel):
    """One curve that is asked for."""

    model_config = ConfigDict(extra="forbid")

    entity_id: str = Field(max_length=64)
    use_case: str | None = Field(None, max_length=64, description="without it, the service's own")
    forecast_date: date | None = Field(None, description="only the intervals of this local day")
    horizon: str | None = Field(
        None, pattern=ISO_DURATION, description="ISO 8601: only so much of the curve, from its first interval on"
    )
    include_confidence: bool = Field(True, description="whether to answer all quantiles, or the median alone")
    model_version: str | None = Field(
        None,
        max_length=64,
        description="`champion`, `previous`, `challenger` or a version; without it, the champion and its fallbacks",
    )
    features: dict[str, Value | list[Value]] = Field(
        default_factory=dict,
        max_length=200,
        description="what if: values in place of the stored ones, null where unknown; one, or one for each interval",
    )


class PredictBatch(BaseModel):
    """Several curves that are asked for at once."""

    model_config = ConfigDict(extra="forbid")

    requests: list[PredictRequest] = Field(min_length=1, max_length=_MOST)


class Predicted(BaseModel, Generic[Curve]):
    """One answer: a curve, or why there is none."""

    forecast: Curve | None = None
    problem: Problem | None = None


class PredictedBatch(BaseModel, Generic[Curve]):
    """The answers, in the order of asking."""

    results: list[Predicted[Curve]]


def part_of(ask: PredictRequest, answered: Answered, use_case: UseCase, entity: Entity, now: datetime) -> bytes:
    """The JSON of what was asked of a curve. Raises ProblemError 404 where it holds nothing of the day, and 422."""
    resolution = use_case.part(path_of(answered.forecast.path)).resolution
    points = points_within(None if ask.horizon is None else parse_duration(ask.horizon), resolution)
    if ask.forecast_date is not None:
        answered = replace(answered, encoded=EncodedCurve(_of_day(answered.forecast, ask.forecast_date, entity)))
    return answered.json(Shape(points=points, confidence=ask.include_confidence), now)


def predicted(result: bytes | ProblemError) -> Response:
    """One answer. Raises the problem."""
    if isinstance(result, ProblemError):
        raise result
    return Response(result, headers=_NO_STORE, media_type=MEDIA_TYPES["json"])


def predicted_batch(request: Request, results: Sequence[bytes | ProblemError]) -> Response:
    """Several answers, in order."""
    path = request.url.path
    parts = [
        b'{"problem":' + to_json(problem_of(path, r.status, r.detail, r.kind).model_dump()) + b"}"
        if isinstance(r, ProblemError)
        else b'{"forecast":' + r + b"}"
        for r in results
    ]
    body = b'{"results":[' + b",".join(parts) + b"]}"
    return Response(body, headers=_NO_STORE, media_type=MEDIA_TYPES["json"])


def _of_day(forecast: Forecast, day: date, entity: Entity) -> Forecast:
    points = [p for p in forecast.points if local_date(p.valid_time, entity.time_zone) == day]
    if not points:
        first, last = (local_date(forecast.points[i].valid_time, entity.time_zone) for i in (0, -1))
        raise ProblemError(404, "no-forecast", f"the curve of {entity.id} reaches from {first} to {last}, not to {day}")
    return replace(forecast, points=points)
