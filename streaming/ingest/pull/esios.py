"""ESIOS, the data of Spain's system operator: JSON for each indicator, with local and UTC times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import httpx2
from pydantic import AwareDatetime, BaseModel, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from dualcast.catalogue import Strict, UseCase
from dualcast.observations.frames import SourceError
from dualcast.settings import Settings
from streaming.ingest.pull.http import Api, RefusedError, RetryPolicy
from streaming.ingest.signals import Stop
from streaming.ingest.source import Series, Values, query_of, series_of

NAME = "esios"


class _Connection(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="DUALCAST_ESIOS_")

    url: str = "https://api.esios.ree.es"
    token: SecretStr = SecretStr("")


class _Query(Strict):
    indicator: int
    geo: int | None = None


class _Value(BaseModel):
    value: float | None
    datetime_utc: AwareDatetime
    geo_id: int | None = None


class _Indicator(BaseModel):
    values: list[_Value]
    values_updated_at: AwareDatetime | None = None


class _Answer(BaseModel):
    indicator: _Indicator


class EsiosPuller:
    """Queries one indicator at a time."""

    name = NAME
    longest = timedelta(days=30)

    def __init__(self, use_case: UseCase, _settings: Settings, stop: Stop, policy: RetryPolicy | None = None) -> None:
        """Raises SourceError if a query in the catalogue is wrong or the key is missing."""
        self.batches = [[series] for series in series_of(use_case, NAME)]
        self._grid = use_case.grid
        for (series,) in self.batches:
            query_of(NAME, series, _Query)
        connection = _Connection()
        token = connection.token.get_secret_value()
        if not token:
            raise SourceError("DUALCAST_ESIOS_TOKEN is not set: ESIOS requires a key")
        headers = {"x-api-key": token, "accept": "application/json; application/vnd.esios-api-v1+json"}
        self._api = Api(connection.url, stop, per_minute=50, headers=headers, policy=policy)

    def pull(self, batch: Sequence[Series], start: datetime, end: datetime) -> Iterable[Values]:
        """See ``Puller``."""
        for series in batch:
            query = query_of(NAME, series, _Query)
            request: dict[str, str | int | float] = {
                "start_date": _text(start),
                "end_date": _text(end - timedelta(seconds=1)),
            }
            if query.geo is not None:
                request["geo_ids[]"] = query.geo
            found = self._api.get(f"indicators/{query.indicator}", _read, request)
            values = [value for value in found.values if query.geo is None or value.geo_id == query.geo]
            places = {value.geo_id for value in values}
            if len(places) > 1:
                raise RefusedError(f"indicator {query.indicator} has several regions {places}; 'geo' must name one")
            yield Values.of(
                series,
                series.spec.resolution or self._grid,
                [value.datetime_utc for value in values],
                [value.value for value in values],
                found.values_updated_at,
            )

    def close(self) -> None:
        """Close the connections."""
        self._api.close()


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _read(answer: httpx2.Response) -> _Indicator:
    return _Answer.model_validate_json(answer.content).indicator
