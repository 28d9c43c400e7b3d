"""What a sender may send: the shape of a batch, and the rules that every observation has to keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from dualcast.catalogue import UseCase
from dualcast.observations.columns import Columns
from dualcast.observations.validation import UNKNOWN_ENTITY, faults
from dualcast.records import Observation, ObservationBatch
from dualcast.timegrid import micros

MOST_OBSERVATIONS = 10_000
_SHOWN_FAULTS = 100


class Sent(BaseModel):
    """One observation as it is sent."""

    model_config = ConfigDict(extra="forbid")

    entity_id: str = Field(min_length=1, max_length=64)
    variable: str = Field(min_length=1, max_length=64)
    valid_time: AwareDatetime = Field(description="start of the interval, with its offset")
    resolution: str = Field(max_length=32, description="length of the interval, ISO 8601", examples=["PT15M"])
    value: FiniteFloat
    unit: str = Field(max_length=32)
    published_at: AwareDatetime | None = Field(None, description="when it became known; without it, now")
    source: str = Field("push", min_length=1, max_length=64)


class SentBatch(BaseModel):
    """Observations that are taken together or not at all."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "observations": [
                    {
                        "entity_id": "park-17",
                        "variable": "generation",
                        "valid_time": "2024-05-01T10:00:00Z",
                        "resolution": "PT15M",
                        "value": 12.5,
                        "unit": "MW",
                    }
                ]
            }
        },
    )

    observations: list[Sent] = Field(min_length=1, max_length=MOST_OBSERVATIONS)


class Fault(BaseModel):
    """What is wrong with one observation; ``item`` counts from 0, None where the batch is wrong as a whole."""

    item: int | None
    field: str
    reason: str


class FaultyError(ValueError):
    """A batch is not taken; ``faults`` are the first that were found."""

    def __init__(self, found: Sequence[Fault]) -> None:
        super().__init__(f"{len(found)} faults, first: {found[0]}")
        self.faults = found[:_SHOWN_FAULTS]


def parse(body: bytes) -> SentBatch:
    """A batch from JSON. Raises FaultyError where its shape is wrong, ValueError where it is no JSON."""
    try:
        return SentBatch.model_validate_json(body)
    except ValidationError as error:
        if any(fault["type"] == "json_invalid" for fault in error.errors()):
            raise ValueError(error.errors()[0]["msg"]) from None
        raise FaultyError([_fault(fault["loc"], fault["msg"]) for fault in error.errors()]) from None


def _fault(location: tuple[int | str, ...], text: str) -> Fault:
    steps = location[1:] if location[:1] == ("observations",) else location
    item = steps[0] if steps and isinstance(steps[0], int) else None
    names = steps if item is None else steps[1:]
    return Fault(item=item, field=".".join(map(str, names)) or "observations", reason=text)


class Rules:
    """The rules of all use cases: an observation is taken where one of them takes it."""

    def __init__(self, catalogue: Mapping[str, UseCase]) -> None:
        self._of: dict[str, list[UseCase]] = {}
        for use_case in catalogue.values():
            for entity in use_case.entities:
                self._of.setdefault(entity.id, []).append(use_case)

    def batches(self, sent: SentBatch, now: datetime) -> list[ObservationBatch]:
        """A message for each entity, in order. Raises FaultyError where an observation breaks a rule."""
        by_entity: dict[str, list[tuple[int, Observation]]] = {}
        for item, one in enumerate(sent.observations):
            fields = one.model_dump(exclude={"entity_id"}) | {"published_at": one.published_at or now}
            by_entity.setdefault(one.entity_id, []).append((item, Observation(**fields)))
        found = [fault for entity_id, rows in by_entity.items() for fault in self._faults(entity_id, rows, micros(now))]
        if found:
            raise FaultyError(sorted(found, key=lambda fault: fault.item or 0))
        return [ObservationBatch(entity_id, [o for _, o in rows]) for entity_id, rows in by_entity.items()]

    def _faults(self, entity_id: str, rows: Sequence[tuple[int, Observation]], now: int) -> list[Fault]:
        if entity_id not in self._of:
            return [Fault(item=item, field="entity_id", reason=UNKNOWN_ENTITY) for item, _ in rows]
        columns = _columns([observation for _, observation in rows])
        verdicts = [faults(use_case, columns, now) for use_case in self._of[entity_id]]
        known = [np.isin(columns.variable.astype(str), list(use_case.variables)) for use_case in self._of[entity_id]]
        found = []
        for position, (item, _) in enumerate(rows):
            reasons = [verdict[position] for verdict in verdicts]
            if "" not in reasons:
                # a use case that has the variable knows best what is wrong with it
                telling = [r for r, has in zip(reasons, known, strict=True) if has[position]] or reasons
                found.append(Fault(item=item, field="observation", reason=str(telling[0])))
        return found


def _columns(observations: Sequence[Observation]) -> Columns:
    return Columns(
        variable=np.array([o.variable for o in observations], dtype=object),
        valid_time=np.array([micros(o.valid_time) for o in observations], dtype=np.int64),
        resolution=np.array([o.resolution for o in observations], dtype=object),
        value=np.array([o.value for o in observations], dtype=np.float64),
        unit=np.array([o.unit for o in observations], dtype=object),
        published_at=np.array([micros(o.published_at) for o in observations], dtype=np.int64),
    )
