"""Splits frames into messages for ``observations.v1`` without an object for each value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from dualcast.timegrid import from_micros

_FIELDS = ("variable", "valid_time", "resolution", "value", "unit", "published_at", "source", "simulated")
_TIMES = ("valid_time", "published_at")


@dataclass(frozen=True)
class ObservationColumns:
    """Observations of one entity as columns: an ``ObservationBatch`` that is quick to encode.

    columns: the fields of ``_FIELDS`` as lists of equal length; times are microseconds since 1970, the unit of Avro's
    timestamp-micros.
    """

    entity_id: str
    columns: dict[str, list[Any]]

    def __len__(self) -> int:
        return len(self.columns["value"])

    @property
    def newest(self) -> datetime:
        """The publication time of the newest value."""
        return from_micros(max(self.columns["published_at"]))

    def to_record(self) -> dict[str, Any]:
        """The fields of the Avro schema."""
        rows = zip(*self.columns.values(), strict=True)
        return {
            "entity_id": self.entity_id,
            "observations": [dict(zip(self.columns, row, strict=True)) for row in rows],
        }


def messages(observations: pd.DataFrame, most: int) -> Iterator[ObservationColumns]:
    """Split a frame in canonical order into messages of one entity with at most ``most`` observations, in order."""
    for entity_id, rows in observations.groupby("entity_id", sort=False):
        columns = {name: _plain(rows[name]) for name in _FIELDS}
        for first in range(0, len(rows), most):
            part = {name: values[first : first + most] for name, values in columns.items()}
            yield ObservationColumns(str(entity_id), part)


def _plain(column: pd.Series) -> list[Any]:
    values: list[Any] = (column.astype("int64") if column.name in _TIMES else column).to_list()
    return values
