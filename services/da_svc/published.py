"""Published day-ahead curves as answers to GET and to ``POST /api/v1/predict``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import Response

from dualcast.catalogue import Entity, UseCase
from dualcast.curves.fallbacks import fallback_of
from dualcast.lifecycle.registered_model import CHAMPION
from services.access.call import note_answer
from services.api.answers import Answered, select_all
from services.api.lookup import find
from services.api.routes.predict import (
    PredictBatch,
    PredictedBatch,
    PredictRequest,
    part_of,
    predicted,
    predicted_batch,
)
from services.api.schemas.curves import DayAheadForecast
from services.book.curves import CurveCache
from services.da_svc.deps import DayAheadDeps, Deps
from services.da_svc.selection import select
from services.http.bodies import LargeBodyRoute
from services.http.problems import ProblemError, documented

router = APIRouter(route_class=LargeBodyRoute)


@router.post("/predict", response_model=DayAheadForecast, responses=documented(400, 413, 503), tags=["predict"])
async def predict(deps: Deps, body: PredictRequest) -> Response:
    """One curve as it was made at the cutoff. `model_version` must be the version that made it."""
    return predicted(*await _results(deps, [body]))


@router.post(
    "/predict/batch", response_model=PredictedBatch[DayAheadForecast], responses=documented(400, 413), tags=["predict"]
)
async def predict_batch(request: Request, deps: Deps, batch: PredictBatch) -> Response:
    """Several curves in one call. A problem of one does not affect the others."""
    return predicted_batch(request, await _results(deps, batch.requests))


def published_day_ahead(
    deps: DayAheadDeps,
    curves: CurveCache,
    use_case: UseCase,
    entity: Entity,
    delivery_date: date | None = None,
    as_of: datetime | None = None,
) -> Answered:
    """The curve of a delivery day, or the newest. Raises as ``select``."""
    selected = select(curves, use_case, entity, deps.clock, delivery_date, as_of)
    curve, encoded = selected.curve, deps.encoded.of(selected.curve)
    encoded = encoded.stale if selected.stale else encoded
    forecast = encoded.forecast
    note_answer(forecast)
    fields = {
        "delivery_date": curve.delivery_day,
        "stale": selected.stale,
        "fallback": selected.fallback or fallback_of(forecast.degraded_reasons),
    }
    return Answered(forecast, encoded, encoded.tag, fields, selected.next_at)


async def _results(deps: DayAheadDeps, requests: Sequence[PredictRequest]) -> list[bytes | ProblemError]:
    """A curve's JSON or a problem for each request, in order."""
    return await select_all(deps, [partial(_part, deps, request) for request in requests])


def _part(deps: DayAheadDeps, request: PredictRequest, curves: CurveCache) -> bytes:
    use_case, entity = find(deps, request.use_case, request.entity_id, "day-ahead")
    if request.features:
        raise ProblemError(422, "invalid-request", "features: day-ahead curves are made at the cutoff; use id-svc")
    answered = published_day_ahead(deps, curves, use_case, entity, request.forecast_date)
    made_by = answered.forecast.model_version
    if request.model_version not in (None, CHAMPION, made_by):
        raise ProblemError(404, "unknown-model", f"the curve of {entity.id} was made by version {made_by}")
    return part_of(request, answered, use_case, entity, deps.clock.now())
