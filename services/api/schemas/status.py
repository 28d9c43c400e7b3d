"""The state of a service: health, clock, feeds, circuit breakers, newest curves and errors so far."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, Field

from dualcast.catalogue import PathIdentifier
from services.api.schemas.curves import ModelInfo


class Errors(BaseModel):
    """How good a path was so far, over the intervals that came true."""

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


class DayAheadState(CurveState):
    """A day-ahead curve, without its points."""

    delivery_date: date
    stale: bool


class EntityStatus(BaseModel):
    """One entity."""

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
    """One topic that the service follows."""

    topic: str
    state: Literal["connecting", "reading", "following", "unreachable"]
    records: int
    undecodable: int
    refused: int


class CircuitStatus(BaseModel):
    """A server that is asked while a caller waits."""

    server: Literal["redis", "store", "registry"]
    failed: bool = Field(description="it did not answer when it was last asked; after some seconds it is asked again")


class ClockStatus(BaseModel):
    """The clock that everything here goes by."""

    now: datetime
    replay: bool
    start: datetime | None
    until: datetime | None
    speed: float
    running: bool = Field(description="false before a replay starts and after it ends")


class UseCaseStatus(BaseModel):
    """What a use case is about."""

    use_case: str
    title: str
    target: str
    reference: str | None
    unit: str
    interval: dict[PathIdentifier, tuple[float, float]] = Field(
        description="by path, the levels of the interval that is shown and scored around the median"
    )


class DayAheadStatus(BaseModel):
    """The state of both paths as da-svc sees it."""

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
    """A version that an alias stands for and that cannot serve: the one before it does."""

    reason: str


class IntradayEntityStatus(BaseModel):
    """One entity, as id-svc sees it."""

    entity_id: str
    published_until: datetime | None = Field(description="issued_at of the newest published curve")
    input_age_seconds: float | None


class IntradayStatus(BaseModel):
    """The state of the intraday path."""

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
    """Whether the service can answer."""

    ready: bool
    missing: list[str] = Field(description="what is not there, in words; some may be missing while it is ready")
