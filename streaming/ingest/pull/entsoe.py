"""The ENTSO-E Transparency Platform: XML documents, several in a zip, or one with the reason why there is no data.

Parsed strictly: a truncated document must not pass for a complete one.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import httpx2
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from dualcast.catalogue import Strict, UseCase
from dualcast.observations.frames import SourceError
from dualcast.settings import Settings
from dualcast.timegrid import duration
from streaming.ingest.pull.http import Api, RefusedError, RetryPolicy
from streaming.ingest.signals import Stop
from streaming.ingest.source import MOST_VALUES, Series, Values, query_of, series_of

NAME = "entsoe"
_NO_DATA = "No matching data found"
_STEPPED_CURVE = "A03"  # omits positions whose value equals the one before
_LARGEST_DOCUMENT = 64 * 2**20


class _Connection(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="DUALCAST_ENTSOE_")

    url: str = "https://web-api.tp.entsoe.eu"
    token: SecretStr = SecretStr("")


class _Query(Strict):
    """The parameters of the API; documentType A65 with processType A16 is the load, with A01 its day-ahead forecast."""

    documentType: str  # noqa: N815
    processType: str | None = None  # noqa: N815
    outBiddingZone_Domain: str | None = None  # noqa: N815
    in_Domain: str | None = None  # noqa: N815
    out_Domain: str | None = None  # noqa: N815


class EntsoePuller:
    """Queries one document type of one zone at a time."""

    name = NAME
    longest = timedelta(days=90)

    def __init__(self, use_case: UseCase, _settings: Settings, stop: Stop, policy: RetryPolicy | None = None) -> None:
        """Raises SourceError if a query in the catalogue is wrong or the token is missing."""
        self.batches = [[series] for series in series_of(use_case, NAME)]
        for (series,) in self.batches:
            query_of(NAME, series, _Query)
        connection = _Connection()
        token = connection.token.get_secret_value()
        if not token:
            raise SourceError("DUALCAST_ENTSOE_TOKEN is not set: ENTSO-E requires a token")
        self._api = Api(connection.url, stop, per_minute=380, params={"securityToken": token}, policy=policy)

    def pull(self, batch: Sequence[Series], start: datetime, end: datetime) -> Iterable[Values]:
        """See ``Puller``."""
        for series in batch:
            query = query_of(NAME, series, _Query).model_dump(exclude_none=True)
            period = {"periodStart": start.astimezone(UTC), "periodEnd": end.astimezone(UTC)}
            request = query | {name: moment.strftime("%Y%m%d%H%M") for name, moment in period.items()}
            documents = self._api.get("api", _documents, request, also=frozenset({400}))
            for document in documents:
                yield from _values(series, document)

    def close(self) -> None:
        """Close the connections."""
        self._api.close()


def _documents(answer: httpx2.Response) -> list[Element]:
    """The documents of a response; none if there is no data."""
    content = answer.content
    if not content.startswith(b"PK"):
        return _document(content)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(part.file_size for part in archive.infolist()) > _LARGEST_DOCUMENT:
                raise RefusedError("the zip exceeds the size limit")
            return [found for part in archive.infolist() for found in _document(archive.read(part))]
    except zipfile.BadZipFile as error:
        raise ValueError(f"not a zip: {error}") from error


def _document(content: bytes) -> list[Element]:
    try:
        root: Element = fromstring(content)
    except (ParseError, DefusedXmlException) as error:
        raise ValueError(f"not XML: {error}") from error
    if not root.tag.endswith("}Acknowledgement_MarketDocument"):
        return [root]
    why = _text(root, "{*}Reason/{*}text")
    if _NO_DATA in why:
        return []
    raise RefusedError(f"ENTSO-E refuses the request: {why[:300]}")


def _values(series: Series, document: Element) -> Iterator[Values]:
    """The values of each period of a document, including those that a stepped curve leaves out."""
    for found in document.iterfind("{*}TimeSeries"):
        _check_unit(series, found)
        stepped = _text(found, "{*}curveType") == _STEPPED_CURVE
        for period in found.iterfind("{*}Period"):
            step = duration(_text(period, "{*}resolution"))
            begin, end = (_moment(_text(period, f"{{*}}timeInterval/{{*}}{edge}")) for edge in ("start", "end"))
            points = dict(map(_point, period.iterfind("{*}Point")))
            slots = range(1, _count(begin, end, step) + 1)
            if not set(points) <= set(slots):
                raise RefusedError(f"a period of {len(slots)} intervals with positions {sorted(points)[-3:]}")
            filled = list(_filled(points, slots)) if stepped else [points.get(slot) for slot in slots]
            yield Values.of(series, step, [begin + (slot - 1) * step for slot in slots], filled)


def _count(begin: datetime, end: datetime, step: timedelta) -> int:
    """The number of intervals of a period, bounded before they are made. Raises ValueError."""
    count = (end - begin) // step if step > timedelta(0) else 0
    if not 0 < count <= MOST_VALUES:
        raise ValueError(f"a period from {begin} to {end} in steps of {step}")
    return count


def _filled(points: dict[int, float], slots: Iterable[int]) -> Iterator[float | None]:
    held = None
    for slot in slots:
        held = points.get(slot, held)
        yield held


def _point(point: Element) -> tuple[int, float]:
    value = point.find("{*}quantity")
    if value is None:
        value = point.find("{*}price.amount")
    if value is None:
        raise RefusedError("a point has neither a quantity nor a price")
    return int(_text(point, "{*}position")), float(value.text or "nan")


def _check_unit(series: Series, found: Element) -> None:
    parts = ("{*}quantity_Measure_Unit.name",), ("{*}currency_Unit.name", "{*}price_Measure_Unit.name")
    units = ["/".join(_text(found, tag) for tag in tags) for tags in parts if found.find(tags[0]) is not None]
    if units and series.spec.unit not in units:
        raise RefusedError(f"{series.spec.variable} is in {units[0]}, not in {series.spec.unit}")


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _text(element: Any, path: str) -> str:
    found = element.find(path)
    return "" if found is None else (found.text or "").strip()
