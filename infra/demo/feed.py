"""What da-svc says about the replay: read over its API, as any other consumer would."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass
from datetime import date
from http.client import HTTPException
from typing import TypeVar

from pydantic import AwareDatetime, BaseModel, ValidationError

_M = TypeVar("_M", bound=BaseModel)
_TIMEOUT_SECONDS = 5.0


class Errors(BaseModel):
    """Errors so far over the intervals that came true, in per cent."""

    points: int
    mape: float
    reference_mape: float | None
    horizon: str = ""


class Clock(BaseModel):
    """The clock that the services go by."""

    now: AwareDatetime
    running: bool


class Curve(BaseModel):
    """One stored curve, without its points."""

    issued_at: AwareDatetime
    model: dict[str, str]
    degraded: bool
    delivery_date: date | None = None


class PathErrors(BaseModel):
    """Errors of both paths."""

    day_ahead: Errors | None
    intraday: list[Errors]


class Entity(BaseModel):
    """What there is of one entity."""

    entity_id: str
    title: str
    simulated: bool
    newest_actual_at: AwareDatetime | None
    day_ahead: list[Curve]
    intraday: Curve | None
    errors: PathErrors


class Unit(BaseModel):
    """The unit of the target, and whose forecast ours is compared with."""

    unit: str
    reference: str | None


class Status(BaseModel):
    """The answer of ``/api/v1/status``."""

    clock: Clock
    use_case: Unit
    entities: list[Entity]


class Point(BaseModel):
    """The quantiles of one interval."""

    valid_time: AwareDatetime
    quantiles: dict[str, float]


class Points(BaseModel):
    """The points of a forecast."""

    points: list[Point]

    def medians(self) -> list[float]:
        """The median of each interval, in order."""
        return [point.quantiles["0.5"] for point in self.points if "0.5" in point.quantiles]


@dataclass(frozen=True)
class Snapshot:
    """All that is shown at one moment; ``curves`` by entity and path."""

    status: Status
    curves: dict[tuple[str, str], Points]


def read(url: str, use_case: str) -> Snapshot | None:
    """Ask the service, or None while it does not answer."""
    found = _get(f"{url}/api/v1/status?use_case={use_case}", Status)
    if found is None:
        return None
    curves = {}
    for entity in found.entities:
        forecasts = f"{url}/api/v1/forecasts"
        if entity.day_ahead:
            query = f"use_case={use_case}&delivery_date={entity.day_ahead[-1].delivery_date}"
            curves[entity.entity_id, "day-ahead"] = _get(f"{forecasts}/day-ahead/{entity.entity_id}?{query}", Points)
        if entity.intraday:
            query = f"use_case={use_case}"
            curves[entity.entity_id, "intraday"] = _get(f"{forecasts}/intraday/{entity.entity_id}?{query}", Points)
    return Snapshot(found, {key: points for key, points in curves.items() if points is not None})


def _get(url: str, model: type[_M]) -> _M | None:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310 - http://, ours
            return model.model_validate(json.load(response))
    except (OSError, HTTPException, ValidationError, json.JSONDecodeError):
        return None
