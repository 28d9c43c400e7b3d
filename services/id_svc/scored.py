"""Curves that were scored on request, as answers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from services.access.call import note_computed
from services.api.answers import Answered, next_row_at
from services.http.problems import ProblemError
from services.id_svc.deps import IntradayDeps
from services.id_svc.forecaster import Answer, Ask, NoForecastError


async def scored(deps: IntradayDeps, asks: Sequence[Ask]) -> list[Answered | ProblemError]:
    """The curves of some entities as of now, in order, or why there is none."""
    answers = await deps.scoring.ask(asks)
    return [
        ProblemError(503, "no-forecast", str(answer), {"Retry-After": "5"})
        if isinstance(answer, NoForecastError)
        else _answered(deps, ask, answer)
        for ask, answer in zip(asks, answers, strict=True)
    ]


def _answered(deps: IntradayDeps, ask: Ask, answer: Answer) -> Answered:
    forecast, now = answer.forecast, deps.clock.now()
    note_computed(forecast, answer.fallback)
    first = forecast.points[0].valid_time
    fields = {
        "fallback": answer.fallback,
        "inputs": [
            {
                "variable": variable,
                "known_until": until,
                "age_seconds": None if until is None else round((now - until).total_seconds(), 3),
            }
            for variable, until in answer.inputs.items()
        ],
    }
    # the same row, factors, model and reasons make the same numbers, until the first of them has begun
    same = f"{forecast.data_version}{forecast.model_name}{forecast.model_version}{first}{forecast.degraded_reasons}"
    origin = answer.inputs.get(ask.use_case.target) or first
    tag = hashlib.blake2b(same.encode(), digest_size=8).hexdigest()
    return Answered(forecast, deps.encoded.of(answer), tag, fields, next_row_at(ask.use_case, ask.entity, origin))
