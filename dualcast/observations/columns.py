"""Observations of one entity as arrays: the form in which all rules are applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd

from dualcast.arrays import Floats, Micros, Slots, Texts
from dualcast.timegrid import DAY, MICRO, duration, micros

_LONGEST_SPAN = 366 * (DAY // MICRO)


@dataclass(frozen=True)
class Columns:
    """Observations of one entity as columns of equal length; times are microseconds since 1970."""

    variable: Texts
    valid_time: Micros
    resolution: Texts
    value: Floats
    unit: Texts
    published_at: Micros

    @classmethod
    def from_records(cls, records: Sequence[Mapping[str, Any]]) -> Self:
        """The observations of a decoded message; their times are datetimes or microseconds."""

        def times(name: str) -> Micros:
            moments = (record[name] for record in records)
            return np.array([micros(t) if isinstance(t, datetime) else t for t in moments], dtype=np.int64)

        def texts(name: str) -> Texts:
            return np.array([record[name] for record in records], dtype=object)

        values = np.array([record["value"] for record in records], dtype=np.float64)
        return cls(
            texts("variable"), times("valid_time"), texts("resolution"), values, texts("unit"), times("published_at")
        )

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> Self:
        """The observations of a frame whose times are timezone-aware."""
        return cls(
            variable=frame["variable"].to_numpy(dtype=object),
            valid_time=micros_of(frame["valid_time"]),
            resolution=frame["resolution"].to_numpy(dtype=object),
            value=frame["value"].to_numpy(dtype=np.float64),
            unit=frame["unit"].to_numpy(dtype=object),
            published_at=micros_of(frame["published_at"]),
        )

    def __len__(self) -> int:
        return len(self.value)

    def take(self, rows: Slots) -> Self:
        """Some of the observations, by index."""
        taken = type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))
        if "spans" in self.__dict__:  # parsed already
            taken.__dict__["spans"] = self.spans[rows]
        return taken

    @cached_property
    def spans(self) -> Micros:
        """The nominal lengths in microseconds, 0 where one cannot be read or is longer than a year."""
        which, texts = pd.factorize(self.resolution)
        spans: Micros = np.array([_span(text) for text in texts], dtype=np.int64)[which]
        return spans


def micros_of(times: pd.Series) -> Micros:
    """Times of a frame as microseconds since 1970."""
    return np.asarray(times.dt.as_unit("us").astype("int64"), dtype=np.int64)


def _span(text: str) -> int:
    try:
        span = int(duration(text).total_seconds() * 1e6)
    except ValueError:
        return 0
    return span if span <= _LONGEST_SPAN else 0
