"""A forecast curve as a record."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Point:
    """The quantiles of one interval."""

    valid_time: datetime
    values: list[float]


@dataclass(frozen=True, slots=True)
class Forecast:
    """One whole curve of one entity, with all that traces it back. See ``schemas/forecasts.avsc``."""

    use_case: str
    path: str
    entity_id: str
    issued_at: datetime
    target: str
    unit: str
    resolution: str
    model_name: str
    model_version: str
    code_version: str
    data_version: str
    newest_input_at: datetime
    degraded: bool
    degraded_reasons: list[str]
    quantile_levels: list[float]
    points: list[Point]
    simulated: bool = False

    @property
    def key(self) -> tuple[str, str, datetime, str]:
        """What is published once: use case, entity, issued_at, model version."""
        return self.use_case, self.entity_id, self.issued_at, self.model_version

    def to_record(self) -> dict[str, Any]:
        """As the Avro schema has it."""
        record = {name: getattr(self, name) for name in _FORECAST_FIELDS}
        return record | {"points": [{"valid_time": p.valid_time, "values": p.values} for p in self.points]}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """From a decoded Avro record."""
        return cls(**{**record, "points": [Point(**p) for p in record["points"]]})


# asdict copies what it finds, which takes most of the time of writing a curve
_FORECAST_FIELDS = tuple(field.name for field in fields(Forecast))
