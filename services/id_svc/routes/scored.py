"""Curves scored on request, as answers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from dualcast.curves.fallbacks import LAST_STORED
from dualcast.curves.staleness import is_stale, next_row_at
from services.access.call import note_computed
from services.api.answers import Answered
from services.http.problems import ProblemError
from services.id_svc.deps import IntradayDeps
from services.id_svc.scoring.forecaster import ForecastRequest, ForecastResult, NoForecastError


async def scored(deps: IntradayDeps, requests: Sequence[ForecastRequest]) -> list[Answered | ProblemError]:
    """The curve or the problem of each request as of now, in order."""
    results = await deps.scoring.submit(requests)
    return [
        ProblemError(503, "no-forecast", str(result), {"Retry-After": "5"})
        if isinstance(result, NoForecastError)
        else _answered(deps, request, result)
        for request, result in zip(requests, results, strict=True)
    ]


def _answered(deps: IntradayDeps, request: ForecastRequest, result: ForecastResult) -> Answered:
    forecast, now = result.forecast, deps.clock.now()
    note_computed(forecast, result.fallback)
    first = forecast.points[0].valid_time
    origin = result.inputs.get(request.use_case.target) or first
    overdue = is_stale(request.use_case, request.entity, deps.clock, "intraday", origin)
    fields = {
        "stale": overdue or result.fallback == LAST_STORED,
        "fallback": result.fallback,
        "inputs": [
            {
                "variable": variable,
                "known_until": until,
                "age_seconds": None if until is None else round((now - until).total_seconds(), 3),
            }
            for variable, until in result.inputs.items()
        ],
    }
    # equal rows, factors, models and reasons make equal curves, until the first interval has begun
    same = f"{forecast.data_version}{forecast.model_name}{forecast.model_version}{first}{forecast.degraded_reasons}"
    tag = hashlib.blake2b(same.encode(), digest_size=8).hexdigest()
    return Answered(
        forecast, deps.encoded.of(result), tag, fields, next_row_at(request.use_case, request.entity, origin)
    )
