"""The format of a pushed batch, and the validation of its observations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import numpy as np
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from dualcast.catalogue import UseCase
from dualcast.observations.columns import Columns
from dualcast.observations.validation import UNKNOWN_ENTITY, faults
from dualcast.records import Observation, ObservationBatch
from dualcast.timegrid import micros

MOST_OBSERVATIONS = 10_000
_SHOWN_FAULTS = 100


def _in_iso(given: Any) -> Any:
    """Refuse seconds since 1970, which pydantic would accept as a number or as text."""
    if given is None or (isinstance(given, str) and given[4:5] == "-"):
        return given
    raise PydanticCustomError("time_form", "Input should be a time in ISO 8601")


_Time = Annotated[AwareDatetime, BeforeValidator(_in_iso)]


class Sent(BaseModel):
    """One observation of a batch."""

    model_config = ConfigDict(extra="forbid")

    entity_id: str = Field(min_length=1, max_length=64)
    variable: str = Field(min_length=1, max_length=64)
    valid_time: _Time = Field(description="start of the interval, with its offset")
    resolution: str = Field(max_length=32, description="length of the interval, ISO 8601", examples=["PT15M"])
    value: float = Field(strict=True, allow_inf_nan=False)
    unit: str = Field(max_length=32)
    published_at: _Time | None = Field(None, description="publication time; default: now")
    source: str = Field("push", min_length=1, max_length=64)


class SentBatch(BaseModel):
    """Observations that are accepted together or not at all."""

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
    """A fault of one observation; ``item`` counts from 0, None for a fault of the whole batch."""

    item: int | None
    field: str
    reason: str


class FaultyError(ValueError):
    """A batch is refused; ``faults`` are the first ones found."""

    def __init__(self, found: Sequence[Fault]) -> None:
        super().__init__(f"{len(found)} faults, first: {found[0]}")
        self.faults = found[:_SHOWN_FAULTS]


def parse(body: bytes) -> SentBatch:
    """Parse a batch. Raises FaultyError if its format is wrong, ValueError if it is not JSON."""
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
    """The validation rules of all use cases: an observation is valid if it is valid in one of them."""

    def __init__(self, catalogue: Mapping[str, UseCase]) -> None:
        self._of: dict[str, list[UseCase]] = {}
        for use_case in catalogue.values():
            for entity in use_case.entities:
                self._of.setdefault(entity.id, []).append(use_case)

    def batches(self, sent: SentBatch, now: datetime) -> list[ObservationBatch]:
        """A message for each entity, in order. Raises FaultyError if an observation is invalid."""
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
        columns = Columns.from_records([asdict(observation) for _, observation in rows])
        verdicts = [faults(use_case, columns, now) for use_case in self._of[entity_id]]
        known = [np.isin(columns.variable.astype(str), list(use_case.variables)) for use_case in self._of[entity_id]]
        found = []
        for position, (item, _) in enumerate(rows):
            reasons = [verdict[position] for verdict in verdicts]
            if "" not in reasons:
                # prefer the reason of a use case that has the variable
                telling = [r for r, has in zip(reasons, known, strict=True) if has[position]] or reasons
                found.append(Fault(item=item, field="observation", reason=str(telling[0])))
        return found
