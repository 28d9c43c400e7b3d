"""Open-Meteo: hourly weather forecasts at points, and archived forecasts of past days."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby

import httpx2
import numpy as np
import pandas as pd
from pydantic import BaseModel, Field, SecretStr, TypeAdapter
from pydantic_settings import BaseSettings, SettingsConfigDict

from dualcast.arrays import Floats
from dualcast.catalogue import Strict, UseCase
from dualcast.settings import Settings
from streaming.ingest.pull.http import Api, RefusedError, RetryPolicy
from streaming.ingest.signals import Stop
from streaming.ingest.source import Series, Values, query_of, series_of

NAME = "open_meteo"
_HOUR = timedelta(hours=1)
# The forecast endpoint keeps about three months; older forecasts are in the archive.
_RECENT = timedelta(days=60)


class _Connection(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="DUALCAST_OPEN_METEO_")

    url: str = "https://api.open-meteo.com/v1"
    history_url: str = "https://historical-forecast-api.open-meteo.com/v1"
    token: SecretStr = SecretStr("")


class _Point(Strict):
    latitude: float = Field(ge=-90, le=90)
    longitude: float = Field(ge=-180, le=180)
    weight: float = Field(1.0, gt=0)


class _Query(Strict):
    """The value is the weighted mean over ``points``; default: the entity's location.

    ``preceding``: a value describes the hour before its time, as for radiation and precipitation.
    """

    hourly: str
    points: tuple[_Point, ...] = ()
    preceding: bool = False


class _Hourly(BaseModel):
    hourly_units: dict[str, str]
    hourly: dict[str, list[float | None]]


_PLACES = TypeAdapter(list[_Hourly] | _Hourly)


class OpenMeteoPuller:
    """Queries all variables of an entity at all of its points together."""

    name = NAME
    longest = timedelta(days=90)

    def __init__(self, use_case: UseCase, settings: Settings, stop: Stop, policy: RetryPolicy | None = None) -> None:
        """Raises SourceError if a query in the catalogue is wrong."""
        asked = [(series, _points(series)) for series in series_of(use_case, NAME)]
        asked.sort(key=lambda each: (each[0].entity.id, each[1]))
        groups = groupby(asked, key=lambda each: (each[0].entity.id, each[1]))
        self.batches = [[series for series, _ in group] for _, group in groups]
        self._clock = settings.clock
        connection = _Connection()
        key = connection.token.get_secret_value()
        params = {"apikey": key} if key else {}
        self._recent, self._history = (
            Api(url, stop, per_minute=500, params=params, policy=policy)
            for url in (connection.url, connection.history_url)
        )

    def pull(self, batch: Sequence[Series], start: datetime, end: datetime) -> Iterable[Values]:
        """See ``Puller``."""
        turn = min(max(self._clock.now() - _RECENT, start), end)
        for api, begin, until in ((self._history, start, turn), (self._recent, turn, end)):
            if begin < until:
                yield from _pull(api, batch, begin, until)

    def close(self) -> None:
        """Close the connections."""
        self._recent.close()
        self._history.close()


def _points(series: Series) -> tuple[tuple[float, float, float], ...]:
    """Latitude, longitude and weight of each point."""
    query = query_of(NAME, series, _Query)
    points = query.points or (_Point(latitude=series.entity.latitude, longitude=series.entity.longitude),)
    return tuple((point.latitude, point.longitude, point.weight) for point in points)


def _pull(api: Api, batch: Sequence[Series], start: datetime, end: datetime) -> Iterator[Values]:
    points = np.array(_points(batch[0]))
    queries = [query_of(NAME, series, _Query) for series in batch]
    # whole days, with that of the end: a preceding hour is stamped with its end
    first, last = (moment.astimezone(UTC).date().isoformat() for moment in (start, end))
    request: dict[str, str | int | float] = {
        "latitude": ",".join(map(str, points[:, 0])),
        "longitude": ",".join(map(str, points[:, 1])),
        "hourly": ",".join(dict.fromkeys(query.hourly for query in queries)),
        "start_date": first,
        "end_date": last,
        "timezone": "GMT",
        "timeformat": "unixtime",
        "wind_speed_unit": "ms",
    }
    places = api.get("forecast", _read, request)
    if len(places) != len(points):
        raise RefusedError(f"{len(places)} places returned for {len(points)} points")
    for series, query in zip(batch, queries, strict=True):
        yield _weighted(series, query, places, points[:, 2], start, end)


def _weighted(
    series: Series, query: _Query, places: list[_Hourly], weights: Floats, start: datetime, end: datetime
) -> Values:
    units = {place.hourly_units.get(query.hourly) for place in places}
    if units != {series.spec.unit}:
        raise RefusedError(f"{query.hourly} is in {units}, not in {series.spec.unit}")
    columns = [pd.Series(place.hourly[query.hourly], place.hourly["time"], dtype="float64") for place in places]
    value = pd.concat(columns, axis=1).to_numpy() @ (weights / weights.sum())
    times = pd.to_datetime(np.array(columns[0].index, dtype=np.int64), unit="s", utc=True)
    if query.preceding:
        times -= _HOUR
    inside = (times >= start) & (times < end)
    return Values.of(series, _HOUR, times[inside], value[inside])


def _read(answer: httpx2.Response) -> list[_Hourly]:
    """The weather of each point. Raises ValueError if columns are missing or differ in length."""
    read = _PLACES.validate_json(answer.content)
    places = read if isinstance(read, list) else [read]
    for place in places:
        lengths = {name: len(column) for name, column in place.hourly.items()}
        if "time" not in lengths or len(set(lengths.values())) != 1:
            raise ValueError(f"columns of lengths {lengths}")
    return places
