"""Curves, the curves of several entities, issued curves beside actuals, and history."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, create_model

from dualcast.curves.fields import CurveField
from dualcast.curves.json_object import member_fields
from services.http.problems import Problem

_TRACE: dict[str, JsonValue] = {
    "use_case": "de_load",
    "entity_id": "DE",
    "issued_at": "2022-05-02T09:00:00Z",
    "target": "load",
    "unit": "MW",
    "resolution": "PT1H",
    "model": {"name": "model_da_de_load", "version": "3"},
    "code_version": "4f2a91c",
    "data_version": "silver@12",
    "newest_input_at": "2022-05-02T08:00:00Z",
    "degraded": False,
    "degraded_reasons": [],
    "simulated": False,
    "points": [{"valid_time": "2022-05-02T22:00:00Z", "quantiles": {"0.1": 43310.5, "0.5": 44120.0, "0.9": 44980.2}}],
    "input_age_seconds": 5400.0,
    "fallback": None,
}


class ModelInfo(BaseModel):
    """The model that made a curve."""

    name: str
    version: str


class PointInfo(BaseModel):
    """One interval."""

    valid_time: datetime = Field(description="start of the interval, UTC")
    quantiles: dict[str, float] = Field(description="value by quantile level, in the curve's unit")


def _member(fields: list[CurveField]) -> tuple[Any, Any]:
    """Type and description of a member of a curve's JSON object."""
    first, *others = fields
    return (ModelInfo, ...) if others else (first.type, Field(description=first.meaning))


if TYPE_CHECKING:

    class CurveFacts(BaseModel):
        """What every answer states about a curve: the members that ``dualcast.curves`` declares."""

        def __getattr__(self, name: str) -> Any: ...

else:
    CurveFacts = create_model(
        "CurveFacts",
        __doc__="What every answer states about a curve.",
        **{name: _member(fields) for name, fields in member_fields().items()},
    )


class CurveInfo(CurveFacts):
    """The members of a day-ahead and of an intraday curve."""

    points: list[PointInfo]
    input_age_seconds: float = Field(description="age of the newest input now, by the service's clock")
    fallback: str | None = Field(description="the fallback that made or found this curve; null if none was needed")
    stale: bool = Field(description="whether a newer curve is overdue; then the curve is degraded")


class DayAheadForecast(CurveInfo):
    """The curve of a delivery day."""

    model_config = ConfigDict(
        json_schema_extra={"example": _TRACE | {"delivery_date": "2022-05-03", "stale": False, "path": "day_ahead"}}
    )

    path: Literal["day_ahead"]
    delivery_date: date = Field(description="the local calendar day that the curve is for")


class InputInfo(BaseModel):
    """One variable that the features of a curve read."""

    variable: str
    known_until: datetime | None = Field(description="end of its newest known interval; null if none is known")
    age_seconds: float | None = Field(description="seconds since then; negative for a forecast of the future")


class IntradayForecast(CurveInfo):
    """The curve of the coming hours."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": _TRACE
            | {
                "path": "intraday",
                "stale": False,
                "issued_at": "2022-05-02T10:15:00Z",
                "resolution": "PT15M",
                "model": {"name": "model_id_de_load", "version": "1"},
                "data_version": "features@1f6f0c2ab9d4",
                "newest_input_at": "2022-05-02T10:15:00Z",
                "input_age_seconds": 41.5,
            }
        }
    )

    path: Literal["intraday"]
    inputs: list[InputInfo] = Field([], description="the age of each input, of curves scored on request")


class DayAheadForecasts(BaseModel):
    """Curves of several entities, and the problems of those that have none."""

    forecasts: list[DayAheadForecast]
    problems: list[Problem]
    next_cursor: str | None = Field(description="send it as `cursor` for the next page; null on the last page")


class IntradayForecasts(BaseModel):
    """Intraday curves of several entities, and the problems of those that have none."""

    forecasts: list[IntradayForecast]
    problems: list[Problem]
    next_cursor: str | None = Field(description="send it as `cursor` for the next page; null on the last page")


class IssuedPoint(PointInfo):
    """One interval with its actual value."""

    actual: float | None = Field(description="the actual value; null if it is not known yet")


class IssuedForecast(CurveFacts):
    """A curve as it was issued, with actuals."""

    points: list[IssuedPoint]


class IssuedForecasts(BaseModel):
    """Curves by time of issue, oldest first."""

    forecasts: list[IssuedForecast]
    next_cursor: str | None = Field(description="send it as `cursor` for the next page; null on the last page")


class HistoryPoint(BaseModel):
    """The actual value and the reference of one interval."""

    valid_time: datetime
    actual: float | None
    reference: float | None = Field(description="the forecast by others that ours is compared with")


class History(BaseModel):
    """Actuals and reference of an entity."""

    use_case: str
    entity_id: str
    target: str
    reference: str | None
    unit: str
    resolution: str
    simulated: bool
    points: list[HistoryPoint]
