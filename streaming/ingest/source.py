"""The two kinds of sources: one is read by publication time, the other is queried for values of a time span.

A new source is one file with a class of either protocol, and one line in ``sources.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, Self, TypeVar

import pandas as pd
from pydantic import ValidationError

from dualcast.catalogue import Entity, SourceSeries, Strict, UseCase
from dualcast.observations.frames import TIME_DTYPE, Extent, SourceError
from dualcast.observations.validation import EARLIEST, LATEST
from dualcast.timegrid import from_micros

# Of one series in one answer: three years of minutes.
MOST_VALUES = 1_500_000
_SHORTEST = timedelta(minutes=1)
_EARLIEST, _LATEST = pd.Timestamp(from_micros(EARLIEST)), pd.Timestamp(from_micros(LATEST))
Query = TypeVar("Query", bound=Strict)


class Source(Protocol):
    """Observations of every entity of one use case, by time of publication."""

    @property
    def name(self) -> str:
        """The name in logs and in the progress file."""

    @property
    def extent(self) -> Extent:
        """The time range that the source covers."""

    @property
    def notes(self) -> Sequence[str]:
        """Remarks for users, such as variables that are missing; one sentence each."""

    def observations(self, start: datetime, end: datetime) -> pd.DataFrame:
        """The values published in [start, end): a frame of COLUMNS in canonical order, perhaps empty.

        Times are ``TIME_DTYPE``, resolution is ISO 8601 text, value a finite float. The rows do not depend on
        how time is split into windows.
        """


@dataclass(frozen=True)
class Series:
    """One series of a source for one entity; ``spec`` is its entry in the catalogue."""

    entity: Entity
    spec: SourceSeries


@dataclass(frozen=True)
class Values:
    """The values that a source returned for one series, in the unit of the source.

    resolution: the length of its intervals. columns: valid_time (UTC), value (NaN where missing) and published_at, NaT
    where the source does not provide it; in any order.
    """

    series: Series
    resolution: timedelta
    columns: pd.DataFrame

    @classmethod
    def of(
        cls, series: Series, resolution: timedelta, times: Sequence[Any], values: Sequence[Any], published: Any = pd.NaT
    ) -> Self:
        """From zoned times, values (None where missing) and publication times: one for all values or one for each.

        Raises ValueError if they cannot be those of a series: too many, of no length, or from another age.
        """
        if resolution < _SHORTEST:
            raise ValueError(f"intervals of {resolution}")
        if len(times) > MOST_VALUES:
            raise ValueError(f"{len(times):,} values in one answer")
        frame = pd.DataFrame({"valid_time": pd.to_datetime(pd.Series(times, dtype="object"), utc=True)})
        frame["value"] = pd.Series(values, dtype="float64")
        frame["published_at"] = pd.to_datetime(pd.Series(published, index=frame.index, dtype="object"), utc=True)
        frame = frame.astype({"valid_time": TIME_DTYPE, "published_at": TIME_DTYPE})
        if not frame["valid_time"].between(_EARLIEST, _LATEST).all():
            raise ValueError("a value has no time, or one before 1980 or after 2199")
        return cls(series, resolution, frame)


class Puller(Protocol):
    """A source that is queried for the current values of a time span."""

    @property
    def name(self) -> str:
        """The name in the catalogue, in commands and in every observation."""

    @property
    def longest(self) -> timedelta:
        """The longest time span of one query."""

    @property
    def batches(self) -> Sequence[Sequence[Series]]:
        """The series, grouped by those that one query returns together."""

    def pull(self, batch: Sequence[Series], start: datetime, end: datetime) -> Iterable[Values]:
        """The values of intervals that start in [start, end), perhaps of some more.

        Raises UnavailableError, RefusedError and Stopped as ``http.Api.get`` does.
        """

    def close(self) -> None:
        """Close connections."""


def series_of(use_case: UseCase, source: str) -> list[Series]:
    """The catalogue's series of a source; a series without an entity counts for every entity."""
    return [
        Series(entity, spec)
        for spec in use_case.sources.get(source, ())
        for entity in use_case.entities
        if spec.entity in {None, entity.id}
    ]


def query_of(source: str, series: Series, model: type[Query]) -> Query:
    """The query of a series, parsed. Raises SourceError, which names the mistakes in the catalogue."""
    try:
        return model.model_validate(series.spec.query)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, f['loc'])) or 'query'}: {f['msg']}" for f in error.errors())
        raise SourceError(f"sources.{source}, {series.spec.variable} of {series.entity.id}: query: {faults}") from error
