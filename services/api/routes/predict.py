"""``POST /api/v1/predict``: the requests and responses of both services.

id-svc scores on request, also with other feature values; da-svc returns the curve that was made at the cutoff.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.responses import Response

from dualcast.catalogue import Entity, UseCase, path_of
from dualcast.curves.forecast import Forecast
from dualcast.timegrid import local_date
from services.api.answers import Answered
from services.api.encoding import EncodedCurve, Shape
from services.api.queries import ISO_DURATION, RequestedDay, parse_duration, points_within
from services.http.formats import MEDIA_TYPES, to_json
from services.http.problems import Problem, ProblemError, problem_of

_MAX_REQUESTS = 200
_MAX_FEATURES = 200
_MAX_VALUES = 1000
_NO_STORE = {"Cache-Control": "no-store"}
Value = Annotated[float, Field(allow_inf_nan=False)] | None
# Lists are validated up to their first fault: a description of each would take seconds for a large wrong body.
Values = Annotated[list[Value], Field(max_length=_MAX_VALUES, fail_fast=True)]
Features = Annotated[dict[str, Value | Values], Field(max_length=_MAX_FEATURES)]
Curve = TypeVar("Curve")


class PredictRequest(BaseModel):
    """A request for one curve."""

    model_config = ConfigDict(extra="forbid")

    entity_id: str = Field(max_length=64)
    use_case: str | None = Field(None, max_length=64, description="default: that of the service")
    forecast_date: RequestedDay | None = Field(None, description="return only the intervals of this local day")
    horizon: str | None = Field(
        None, pattern=ISO_DURATION, description="ISO 8601 duration: only this part of the curve, from its start"
    )
    include_confidence: bool = Field(True, description="return all quantiles, or only the median")
    model_version: str | None = Field(
        None,
        max_length=64,
        description="`champion`, `previous`, `challenger` or a version; default: the champion and its fallbacks",
    )
    features: Features = Field(
        default_factory=dict,
        description="values that replace the stored ones, null for unknown; one, or one for each interval",
    )

    @model_validator(mode="before")
    @classmethod
    def _bounded(cls, sent: Any) -> Any:
        """Refuse many unknown fields or features at once, before each is described."""
        if isinstance(sent, dict):
            features = sent.get("features")
            if len(sent) > len(cls.model_fields) or (isinstance(features, dict) and len(features) > _MAX_FEATURES):
                raise ValueError(f"takes {len(cls.model_fields)} fields, and {_MAX_FEATURES} features at most")
        return sent


class PredictBatch(BaseModel):
    """A request for several curves."""

    model_config = ConfigDict(extra="forbid")

    requests: list[PredictRequest] = Field(min_length=1, max_length=_MAX_REQUESTS, fail_fast=True)


class Predicted(BaseModel, Generic[Curve]):
    """A curve, or the problem that explains why there is none."""

    forecast: Curve | None = None
    problem: Problem | None = None


class PredictedBatch(BaseModel, Generic[Curve]):
    """The results, in the order of the requests."""

    results: list[Predicted[Curve]]


def part_of(wanted: PredictRequest, answered: Answered, use_case: UseCase, entity: Entity, now: datetime) -> bytes:
    """The JSON of the requested part of a curve. Raises ProblemError 404 if it has no interval of the day, and 422."""
    resolution = use_case.part(path_of(answered.forecast.path)).resolution
    points = points_within(None if wanted.horizon is None else parse_duration(wanted.horizon), resolution)
    if wanted.forecast_date is not None:
        answered = replace(answered, encoded=EncodedCurve(_of_day(answered.forecast, wanted.forecast_date, entity)))
    return answered.json(Shape(points=points, confidence=wanted.include_confidence), now)


def predicted(result: bytes | ProblemError) -> Response:
    """The response for one result. Raises the problem."""
    if isinstance(result, ProblemError):
        raise result
    return Response(result, headers=_NO_STORE, media_type=MEDIA_TYPES["json"])


def predicted_batch(request: Request, results: Sequence[bytes | ProblemError]) -> Response:
    """The response for several results, in order."""
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
