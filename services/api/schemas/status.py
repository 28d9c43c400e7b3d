"""The state of a service: health, clock, feeds, circuit breakers, newest curves and errors so far."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, Field

from dualcast.catalogue import PathIdentifier
from services.api.schemas.curves import ModelInfo


class Errors(BaseModel):
    """Errors of one path so far, over the intervals with known actuals."""

    points: int = Field(description="intervals that were compared")
    mape: float = Field(description="mean absolute percentage error of the median, %")
    mae: float = Field(description="mean absolute error of the median, in the target's unit")
    coverage: float | None = Field(
        description="share of actuals within the interval of the use case, %; null if no curve has its levels"
    )
    reference_mape: float | None = Field(description="the same error of the reference over the same intervals, %")


class HorizonErrors(Errors):
    """Errors of the intraday path at one horizon."""

    horizon: str = Field(description="ISO 8601 time from the last measured interval to the end of the forecast one")


class EntityErrors(BaseModel):
    """Errors so far of both paths."""

    day_ahead: Errors | None
    intraday: list[HorizonErrors]


class CurveState(BaseModel):
    """The newest curve of one path, without its points."""

    issued_at: datetime
    model: ModelInfo
    newest_input_at: datetime
    input_age_seconds: float
    degraded: bool
    degraded_reasons: list[str]
    fallback: str | None
    stale: bool = Field(description="whether a newer curve is overdue")


class DayAheadState(CurveState):
    """A day-ahead curve, without its points."""

    delivery_date: date


class EntityStatus(BaseModel):
    """The state of one entity."""

    entity_id: str
    title: str
    time_zone: str
    simulated: bool
    newest_actual_at: datetime | None = Field(description="end of the newest measured interval")
    actual_age_seconds: float | None
    day_ahead: list[DayAheadState] = Field(description="stored curves, by delivery day")
    intraday: CurveState | None
    errors: EntityErrors


class FeedStatus(BaseModel):
    """One topic that the service reads."""

    topic: str
    state: Literal["connecting", "reading", "following", "unreachable", "stuck"]
    records: int
    undecodable: int
    refused: int


class CircuitStatus(BaseModel):
    """A server that is called during requests."""

    server: Literal["redis", "store", "registry"]
    failed: bool = Field(description="whether the last call failed; the next one follows after some seconds")


class ClockStatus(BaseModel):
    """The clock of the service: wall time or a replay."""

    now: datetime
    replay: bool
    start: datetime | None
    until: datetime | None
    speed: float
    running: bool = Field(description="false before a replay starts and after it ends")


class UseCaseStatus(BaseModel):
    """The names and the unit of a use case."""

    use_case: str
    title: str
    target: str
    reference: str | None
    unit: str
    interval: dict[PathIdentifier, tuple[float, float]] = Field(
        description="by path, the levels of the interval that is shown and scored around the median"
    )


class DayAheadStatus(BaseModel):
    """The state of both paths, by da-svc."""

    clock: ClockStatus
    use_case: UseCaseStatus
    use_cases: list[str]
    entities: list[EntityStatus]
    feeds: list[FeedStatus]
    circuits: list[CircuitStatus]


class LoadedModel(BaseModel):
    """A model in memory."""

    use_case: str
    alias: str
    name: str
    version: str


class RefusedModel(LoadedModel):
    """A version that has an alias but cannot serve; the version before it continues to serve."""

    reason: str


class IntradayEntityStatus(BaseModel):
    """The state of one entity, by id-svc."""

    entity_id: str
    published_until: datetime | None = Field(description="issued_at of the newest published curve")
    input_age_seconds: float | None
    stale: bool = Field(description="whether a newer published curve is overdue")


class IntradayStatus(BaseModel):
    """The state of the intraday path, by id-svc."""

    clock: ClockStatus
    use_case: UseCaseStatus
    use_cases: list[str]
    models: list[LoadedModel]
    refused: list[RefusedModel]
    entities: list[IntradayEntityStatus]
    counters: dict[str, int] = Field(description="rows published, skipped and failed since the start")
    feeds: list[FeedStatus]
    circuits: list[CircuitStatus]


class Health(BaseModel):
    """Whether the service can return forecasts."""

    ready: bool
    missing: list[str] = Field(description="each missing part as a sentence; a ready service may lack some")
