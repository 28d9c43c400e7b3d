"""The records that cross rooms: observations, feature rows, forecasts, dead letters, and their topics and schemas."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any, Self

import numpy as np
import pandas as pd


class Topic(StrEnum):
    """The topics of the platform. Keys are entity ids."""

    OBSERVATIONS = "observations.v1"
    FEATURES_INTRADAY = "features.intraday.v1"
    FORECASTS_DAY_AHEAD = "forecasts.day_ahead.v1"
    FORECASTS_INTRADAY = "forecasts.intraday.v1"
    DEAD_LETTERS = "dead_letters.v1"


_SCHEMA_FILES = {
    Topic.OBSERVATIONS: "observations.avsc",
    Topic.FEATURES_INTRADAY: "features_intraday.avsc",
    Topic.FORECASTS_DAY_AHEAD: "forecasts.avsc",
    Topic.FORECASTS_INTRADAY: "forecasts.avsc",
    Topic.DEAD_LETTERS: "dead_letters.avsc",
}


@cache
def schema_text(topic: Topic) -> str:
    """The Avro schema of a topic's values, as JSON text."""
    return json.dumps(json.loads((files("dualcast") / "schemas" / _SCHEMA_FILES[topic]).read_text(encoding="utf-8")))


@dataclass(frozen=True, slots=True)
class Observation:
    """One value that was measured or forecast by others, in one vintage."""

    variable: str
    valid_time: datetime
    resolution: str
    value: float
    unit: str
    published_at: datetime
    source: str
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class ObservationBatch:
    """Observations of one entity: the value of a message on ``observations.v1``."""

    entity_id: str
    observations: list[Observation]

    def to_record(self) -> dict[str, Any]:
        """As the Avro schema has it."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """From a decoded Avro record."""
        return cls(record["entity_id"], [Observation(**o) for o in record["observations"]])


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """The intraday features of one entity at one origin (``valid_time``): arrays of 1 or of as many as horizons."""

    use_case: str
    entity_id: str
    valid_time: datetime
    as_of: datetime
    feature_set: str
    features: dict[str, list[float]]

    def to_record(self) -> dict[str, Any]:
        """As the Avro schema has it: a message of one row."""
        return asdict(self)


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

    def to_frame(self) -> pd.DataFrame:
        """Long form; see ``forecast_frame``."""
        return forecast_frame([self])


def forecast_frame(forecasts: Sequence[Forecast]) -> pd.DataFrame:
    """Curves in long form: entity_id, issued_at, valid_time, q10, q50, ... and what traces them; one row a point.

    Raises ValueError where there is no curve, or where their quantile levels differ.
    """
    sets = {tuple(f.quantile_levels) for f in forecasts}
    if len(sets) != 1:
        raise ValueError(f"{len(forecasts)} forecasts of {len(sets)} sets of quantile levels make no table")
    levels = sets.pop()
    points = [p for f in forecasts for p in f.points]
    values = np.array([p.values for p in points])

    def repeated(name: str) -> list[Any]:
        return [value for f in forecasts for value in [getattr(f, name)] * len(f.points)]

    return pd.DataFrame(
        {
            **{name: repeated(name) for name in ("use_case", "path", "entity_id")},
            "issued_at": pd.to_datetime(repeated("issued_at"), utc=True).as_unit("us"),
            "valid_time": pd.to_datetime([p.valid_time for p in points], utc=True).as_unit("us"),
            **{quantile_column(q): values[:, i] for i, q in enumerate(levels)},
            **{name: repeated(name) for name in ("model_name", "model_version", "code_version", "data_version")},
            "degraded": repeated("degraded"),
            "degraded_reasons": [";".join(reasons) for reasons in repeated("degraded_reasons")],
            "simulated": repeated("simulated"),
        }
    )


# asdict copies what it finds, which takes most of the time of writing a curve
_FORECAST_FIELDS = tuple(field.name for field in fields(Forecast))


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that could not be used, as it came, and why."""

    reason: str
    detail: str
    component: str
    topic: str
    partition: int
    offset: int
    occurred_at: datetime
    key: bytes | None = field(default=None, repr=False)
    value: bytes | None = field(default=None, repr=False)

    def to_record(self) -> dict[str, Any]:
        """As the Avro schema has it."""
        return asdict(self)


def quantile_column(level: float) -> str:
    """The column of a quantile: 0.1 -> q10, 0.5 -> q50, 0.025 -> q025.

    >>> quantile_column(0.1), quantile_column(0.05), quantile_column(0.975)
    ('q10', 'q05', 'q975')
    """
    return "q" + f"{level:.3f}"[2:].removesuffix("0")
