"""SMARD, the market data of Germany's regulator: an index of weeks for each series, and a file for each week.

Times are milliseconds since 1970, so weeks of 167 and 169 hours need no special case.
Load is energy per interval, in MWh.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import httpx2
from pydantic import BaseModel
from pydantic_settings import BaseSettings, SettingsConfigDict

from dualcast.catalogue import Strict, UseCase
from dualcast.observations.frames import SourceError
from dualcast.settings import Settings
from dualcast.timegrid import from_micros, iso_duration, micros
from streaming.ingest.pull.http import Api, RetryPolicy
from streaming.ingest.signals import Stop
from streaming.ingest.source import Series, Values, query_of, series_of

NAME = "smard"
_STEPS = {timedelta(minutes=15): "quarterhour", timedelta(hours=1): "hour", timedelta(days=1): "day"}
_MILLISECOND = 1000


class _Connection(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="DUALCAST_SMARD_")

    url: str = "https://www.smard.de/app/chart_data"


class _Query(Strict):
    filter: int
    region: str


class _Index(BaseModel):
    timestamps: list[int]


class _Made(BaseModel):
    created: int | None = None


class _Week(BaseModel):
    meta_data: _Made = _Made()
    series: list[tuple[int, float | None]]


class SmardPuller:
    """Queries the weeks that overlap a time span."""

    name = NAME
    longest = timedelta(days=182)

    def __init__(self, use_case: UseCase, _settings: Settings, stop: Stop, policy: RetryPolicy | None = None) -> None:
        """Raises SourceError if a query in the catalogue is wrong."""
        self.batches = [[series] for series in series_of(use_case, NAME)]
        self._grid = use_case.grid
        for (series,) in self.batches:
            self._address(series)
        self._api = Api(_Connection().url, stop, per_minute=240, policy=policy)

    def pull(self, batch: Sequence[Series], start: datetime, end: datetime) -> Iterable[Values]:
        """See ``Puller``."""
        first, last = micros(start) // _MILLISECOND, micros(end) // _MILLISECOND
        for series in batch:
            step, folder, file = self._address(series)
            index = self._api.get(f"{folder}/index_{_STEPS[step]}.json", _read_index)
            weeks = [*sorted(index.timestamps), None]
            for begin, following in pairwise(weeks):
                if begin is not None and begin < last and (following is None or following > first):
                    week = self._api.get(f"{folder}/{file}_{_STEPS[step]}_{begin}.json", _read_week)
                    yield _values(series, step, week, first, last)

    def close(self) -> None:
        """Close the connections."""
        self._api.close()

    def _address(self, series: Series) -> tuple[timedelta, str, str]:
        """The resolution, the folder and the prefix of the file names of a series."""
        query = query_of(NAME, series, _Query)
        step = series.spec.resolution or self._grid
        if step not in _STEPS:
            raise SourceError(
                f"sources.{NAME}: no resolution {iso_duration(step)}; available: {', '.join(_STEPS.values())}"
            )
        return step, f"{query.filter}/{query.region}", f"{query.filter}_{query.region}"


def _values(series: Series, step: timedelta, week: _Week, first: int, last: int) -> Values:
    rows = [(time, value) for time, value in week.series if first <= time < last]
    made = week.meta_data.created
    return Values.of(
        series,
        step,
        [from_micros(time * _MILLISECOND) for time, _ in rows],
        [value for _, value in rows],
        None if made is None else from_micros(made * _MILLISECOND),
    )


def _read_index(answer: httpx2.Response) -> _Index:
    return _Index.model_validate_json(answer.content)


def _read_week(answer: httpx2.Response) -> _Week:
    return _Week.model_validate_json(answer.content)
