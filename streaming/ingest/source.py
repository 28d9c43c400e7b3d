"""What a source of observations is: one that is read by time of publication, or one that is asked for values.

A new source is one file with a class of one of these shapes, and one line in ``sources.py``.
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

Query = TypeVar("Query", bound=Strict)


class Source(Protocol):
    """Observations of every entity of one use case, by time of publication."""

    @property
    def name(self) -> str:
        """What it is, for logs and for the memory of what was published."""

    @property
    def extent(self) -> Extent:
        """How far it reaches."""

    @property
    def notes(self) -> Sequence[str]:
        """What a user must know of it, such as what is missing or left out; one sentence each."""

    def observations(self, start: datetime, end: datetime) -> pd.DataFrame:
        """What became known in [start, end): a frame of COLUMNS in canonical order, empty where nothing did.

        Times are ``TIME_DTYPE``, resolution is ISO 8601 text, value a finite float. The same moment always gives the
        same rows, however the time is cut into windows.
        """


@dataclass(frozen=True)
class Series:
    """One series of a source, for one entity; ``spec`` is what the catalogue says of it."""

    entity: Entity
    spec: SourceSeries


@dataclass(frozen=True)
class Values:
    """What a source answered for one series, in its own unit.

    resolution: the length of its intervals. columns: valid_time (UTC), value (NaN where missing) and published_at, NaT
    where the source does not say it; any order.
    """

    series: Series
    resolution: timedelta
    columns: pd.DataFrame

    @classmethod
    def of(
        cls, series: Series, resolution: timedelta, times: Sequence[Any], values: Sequence[Any], published: Any = pd.NaT
    ) -> Self:
        """From times with a zone, values with None where missing, and when they were published: one for all or each."""
        frame = pd.DataFrame({"valid_time": pd.to_datetime(pd.Series(times, dtype="object"), utc=True)})
        frame["value"] = pd.Series(values, dtype="float64")
        frame["published_at"] = pd.to_datetime(pd.Series(published, index=frame.index, dtype="object"), utc=True)
        return cls(series, resolution, frame.astype({"valid_time": TIME_DTYPE, "published_at": TIME_DTYPE}))


class Puller(Protocol):
    """A source that is asked for the values of a span of time, as it knows them now."""

    @property
    def name(self) -> str:
        """What it is called in the catalogue, in commands and in every observation."""

    @property
    def longest(self) -> timedelta:
        """The longest span that it is asked for at once."""

    @property
    def batches(self) -> Sequence[Sequence[Series]]:
        """Its series; those that one question answers together."""

    def pull(self, batch: Sequence[Series], start: datetime, end: datetime) -> Iterable[Values]:
        """The values of intervals that start in [start, end), more where that is what one gets.

        Raises UnavailableError, RefusedError and Stopped as ``http.Api.get`` does.
        """

    def close(self) -> None:
        """Let go of what it holds."""


def series_of(use_case: UseCase, source: str) -> list[Series]:
    """The series that the catalogue has of a source, those without an entity once for each."""
    return [
        Series(entity, spec)
        for spec in use_case.sources.get(source, ())
        for entity in use_case.entities
        if spec.entity in {None, entity.id}
    ]


def query_of(source: str, series: Series, model: type[Query]) -> Query:
    """What a source is asked for one of its series. Raises SourceError, which says what is wrong in the catalogue."""
    try:
        return model.model_validate(series.spec.query)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, f['loc'])) or 'query'}: {f['msg']}" for f in error.errors())
        raise SourceError(f"sources.{source}, {series.spec.variable} of {series.entity.id}: query: {faults}") from error
