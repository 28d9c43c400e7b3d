"""The records that packages exchange: observations, feature rows, dead letters; topics and schemas of all records."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any, Self


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
