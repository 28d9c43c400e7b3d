"""``POST /api/v1/predict`` of id-svc: curves scored on request, by a named model or with other feature values."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fastapi import APIRouter, Request
from starlette.responses import Response

from dualcast.catalogue import UseCase
from dualcast.features.plan import FeaturePlan
from services.api.answers import Answered
from services.api.lookup import find
from services.api.routes.predict import (
    PredictBatch,
    PredictedBatch,
    PredictRequest,
    part_of,
    predicted,
    predicted_batch,
)
from services.api.schemas.curves import IntradayForecast
from services.http.bodies import LargeBodyRoute
from services.http.problems import ProblemError, documented
from services.id_svc.deps import Deps, IntradayDeps
from services.id_svc.routes.scored import scored
from services.id_svc.scoring.forecaster import ForecastRequest

router = APIRouter(route_class=LargeBodyRoute)


@router.post("/predict", response_model=IntradayForecast, responses=documented(400, 413, 503), tags=["predict"])
async def predict(deps: Deps, body: PredictRequest) -> Response:
    """One curve, scored now by the champion or a named model, with the values of some features replaced if given."""
    (result,) = await _results(deps, [body])
    return predicted(result)


@router.post(
    "/predict/batch", response_model=PredictedBatch[IntradayForecast], responses=documented(400, 413), tags=["predict"]
)
async def predict_batch(request: Request, deps: Deps, batch: PredictBatch) -> Response:
    """Several curves in one call, read and scored together. A problem of one does not affect the others."""
    return predicted_batch(request, await _results(deps, batch.requests))


async def _results(deps: IntradayDeps, requests: Sequence[PredictRequest]) -> list[bytes | ProblemError]:
    """A curve's JSON or a problem for each request, in order."""
    wanted: dict[int, ForecastRequest] = {}
    results: list[bytes | ProblemError] = [b""] * len(requests)
    for i, request in enumerate(requests):
        try:
            wanted[i] = _forecast_request(deps, request)
        except ProblemError as error:
            results[i] = error
    for i, answer in zip(wanted, await scored(deps, list(wanted.values())), strict=True):
        results[i] = answer if isinstance(answer, ProblemError) else _part(deps, requests[i], answer, wanted[i])
    return results


def _part(
    deps: IntradayDeps, request: PredictRequest, answer: Answered, wanted: ForecastRequest
) -> bytes | ProblemError:
    try:
        return part_of(request, answer, wanted.use_case, wanted.entity, deps.clock.now())
    except ProblemError as error:
        return error


def _forecast_request(deps: IntradayDeps, request: PredictRequest) -> ForecastRequest:
    """The request to the forecaster. Raises ProblemError 403, 404, 422."""
    use_case, entity = find(deps, request.use_case, request.entity_id, "intraday")
    if request.model_version is not None and deps.model_cache.get(use_case.use_case, request.model_version) is None:
        held = ", ".join(f"{m.alias} {m.version}" for m in deps.model_cache.loaded() if m.use_case == use_case.use_case)
        raise ProblemError(404, "unknown-model", f"no such model is in memory; there are: {held or 'none'}")
    return ForecastRequest(use_case, entity, request.model_version, _features(use_case, request))


def _features(use_case: UseCase, request: PredictRequest) -> dict[str, list[float]]:
    """The replaced features, in the form of a row's. Raises ProblemError 422."""
    if not request.features:
        return {}
    plan, horizons = FeaturePlan.of(use_case, "intraday"), use_case.part("intraday").horizons
    found = {}
    for name, given in request.features.items():
        if name not in plan.specs:
            raise ProblemError(
                422, "unknown-feature", f"features: {name[:64]!r} is not a feature of {use_case.use_case}"
            )
        length = horizons if name in plan.per_target else 1
        values = given if isinstance(given, list) else [given] * length
        if len(values) != length:
            raise ProblemError(422, "invalid-request", f"features: {name} takes {length} values, or one")
        found[name] = [math.nan if value is None else value for value in values]
    return found
