"""The status of da-svc, which the page and the demo show."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from dualcast.catalogue import Entity, UseCase, path_of
from dualcast.curves.fallbacks import fallback_of
from dualcast.curves.staleness import as_stale, is_stale
from dualcast.timegrid import iso_duration
from services.api.answers import age_seconds
from services.api.lookup import visible_entities, visible_use_cases
from services.api.routes.status import circuit_status, clock_status, feed_status, use_case_status
from services.api.schemas.curves import ModelInfo
from services.api.schemas.status import (
    CurveState,
    DayAheadState,
    DayAheadStatus,
    EntityErrors,
    EntityStatus,
    Errors,
    HorizonErrors,
)
from services.book.curves import StoredCurve
from services.book.scores import PathErrors
from services.da_svc.deps import DayAheadDeps


def status_of(deps: DayAheadDeps, use_case: UseCase) -> DayAheadStatus:
    """The status of one use case."""
    return DayAheadStatus(
        clock=clock_status(deps.clock),
        use_case=use_case_status(use_case),
        use_cases=visible_use_cases(deps),
        entities=[_entity(deps, use_case, entity) for entity in visible_entities(use_case)],
        feeds=feed_status(deps.feeds),
        circuits=circuit_status(deps.circuits),
    )


def _entity(deps: DayAheadDeps, use_case: UseCase, entity: Entity) -> EntityStatus:
    newest = deps.series.newest_end(use_case, entity.id)
    intraday = deps.curves.intraday(use_case.use_case, entity.id)
    return EntityStatus(
        entity_id=entity.id,
        title=entity.title,
        time_zone=entity.time_zone,
        simulated=deps.series.simulated(entity.id),
        newest_actual_at=newest,
        actual_age_seconds=None if newest is None else age_seconds(newest, deps.clock.now()),
        day_ahead=_days(deps, use_case, entity),
        intraday=None if intraday is None else CurveState(**_state(deps, use_case, entity, intraday)),
        errors=_errors(deps.scores.errors(use_case, entity.id)),
    )


def _days(deps: DayAheadDeps, use_case: UseCase, entity: Entity) -> list[DayAheadState]:
    """The stored curves. Only the newest can be stale."""
    curves = deps.curves.days(use_case.use_case, entity.id)
    return [
        DayAheadState(
            delivery_date=curve.delivery_day, **_state(deps, use_case, entity, curve, newest=curve is curves[-1])
        )
        for curve in curves
    ]


def _state(
    deps: DayAheadDeps, use_case: UseCase, entity: Entity, curve: StoredCurve, *, newest: bool = True
) -> dict[str, Any]:
    head = curve.head
    stale = newest and is_stale(use_case, entity, deps.clock, path_of(head.path), curve.first)
    forecast = as_stale(head) if stale else head
    return {
        "issued_at": forecast.issued_at,
        "model": ModelInfo(name=forecast.model_name, version=forecast.model_version),
        "newest_input_at": forecast.newest_input_at,
        "input_age_seconds": age_seconds(forecast.newest_input_at, deps.clock.now()),
        "degraded": forecast.degraded,
        "degraded_reasons": forecast.degraded_reasons,
        "fallback": fallback_of(forecast.degraded_reasons),
        "stale": stale,
    }


def _errors(errors: PathErrors) -> EntityErrors:
    return EntityErrors(
        day_ahead=None if errors.day_ahead is None else Errors(**asdict(errors.day_ahead)),
        intraday=[
            HorizonErrors(horizon=iso_duration(horizon), **asdict(of_horizon))
            for horizon, of_horizon in errors.intraday.items()
        ],
    )
