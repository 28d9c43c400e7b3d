"""A forecast curve as a record, and the one declaration of its fields.

A new field is a line here (with a default, for the curves made before it), a field of ``schemas/forecasts.avsc`` and a
migration of the store. Frames, Arrow and SQL columns and the API's JSON and OpenAPI follow from the line.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any, Self

from dualcast.catalogue import PathIdentifier
from dualcast.curves.fields import Rows, declared_fields, described


@dataclass(frozen=True, slots=True)
class Point:
    """The quantiles of one interval: one value for each quantile level of the curve."""

    valid_time: datetime
    values: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """One whole curve of one entity, with all that traces it back."""

    use_case: str = field(metadata=described("use case", rows=Rows.EXPORT, length=64, key=True))
    path: PathIdentifier = field(
        metadata=described("forecast path: day_ahead or intraday", rows=Rows.EXPORT, length=16, key=True)
    )
    entity_id: str = field(metadata=described("entity that the curve is for", key=True))
    issued_at: datetime = field(
        metadata=described("when the forecast was made, UTC; nothing published later was used", key=True)
    )
    target: str = field(metadata=described("variable that is forecast", rows=Rows.NONE))
    unit: str = field(metadata=described("unit of the values", rows=Rows.NONE, length=32))
    resolution: str = field(metadata=described("ISO 8601 length of each interval", rows=Rows.NONE, length=32))
    model_name: str = field(
        metadata=described("registered model", rows=Rows.EXPORT | Rows.LAKE, member="model.name", length=256)
    )
    model_version: str = field(metadata=described("version of the registered model", member="model.version", key=True))
    code_version: str = field(metadata=described("commit of the code", rows=Rows.EXPORT | Rows.LAKE))
    data_version: str = field(
        metadata=described("data version that the inputs were read from", rows=Rows.EXPORT | Rows.LAKE, length=256)
    )
    newest_input_at: datetime = field(metadata=described("when the newest input was published, UTC", rows=Rows.NONE))
    degraded: bool = field(
        metadata=described("whether an input was missing or a fallback was used", rows=Rows.EXPORT | Rows.LAKE)
    )
    degraded_reasons: list[str] = field(metadata=described("why the curve is degraded"))
    simulated: bool = field(default=False, metadata=described("whether the inputs come from a simulator"))
    quantile_levels: list[float] = field(
        metadata=described("levels of the values of each point, rising", rows=Rows.NONE, member="")
    )
    points: list[Point]

    @property
    def key(self) -> tuple[str, str, datetime, str]:
        """What is published once: use case, entity, issued_at, model version."""
        return self.use_case, self.entity_id, self.issued_at, self.model_version

    def to_record(self) -> dict[str, Any]:
        """As the Avro schema has it."""
        # dataclasses.asdict copies lists, which took most of the time of writing a curve
        record = dict(zip(FIELD_NAMES, field_values(self), strict=True))
        record["points"] = [{"valid_time": p.valid_time, "values": p.values} for p in self.points]
        return record

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """From a decoded Avro record; fields of a newer schema are left out, those that an older one lacks are default.

        Raises KeyError or TypeError where the record is no curve.
        """
        known = {name: record[name] for name in FIELD_NAMES if name in record}
        return cls(**known, points=[Point(**p) for p in record["points"]])


FIELDS = declared_fields(Forecast)  # all but the points
FIELD_NAMES = tuple(f.name for f in FIELDS)
TIME_FIELDS = tuple(f.name for f in FIELDS if f.type is datetime)
field_values = attrgetter(*FIELD_NAMES)  # the values of a curve, in the order of FIELDS
