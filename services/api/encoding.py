"""Curves as response bodies: JSON, CSV or Parquet of a whole curve, of its first points or of its median."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol
from weakref import ReferenceType, ref

from cachetools import LRUCache

from dualcast.catalogue import MEDIAN
from dualcast.curves.fields import Rows
from dualcast.curves.forecast import Forecast, Point
from dualcast.curves.frames import point_columns
from dualcast.curves.json_object import curve_members, point_members
from dualcast.curves.quantiles import union_of_levels
from dualcast.curves.staleness import as_stale
from services.http.formats import Format, table_body, to_json

# With its record a curve takes about 15 kB.
_MOST_ENCODED = 2048
# The bodies of all curves, each with what it takes to keep it. Callers can ask for hundreds of shapes of each curve.
_MOST_BYTES = 64 * 2**20
_KEEPING_BYTES = 600


@dataclass(frozen=True, slots=True)
class Shape:
    """How a curve is returned: its format, the number of its first points (None: all), all quantiles or the median."""

    format: Format = "json"
    points: int | None = None
    confidence: bool = True


WHOLE = Shape()


class KeptBodies:
    """The bodies that curves have kept, in order. Beyond ``_MOST_BYTES`` the oldest are dropped from their curves."""

    def __init__(self) -> None:
        self._kept: deque[tuple[ReferenceType[EncodedCurve], Shape, int]] = deque()
        self._bytes = 0

    def add(self, curve: EncodedCurve, shape: Shape, body: bytes) -> None:
        """Count a body that ``curve`` has kept."""
        size = len(body) + _KEEPING_BYTES
        self._kept.append((ref(curve), shape, size))
        self._bytes += size
        while self._bytes > _MOST_BYTES:
            oldest, shape, size = self._kept.popleft()
            self._bytes -= size
            if (found := oldest()) is not None:
                found.drop(shape)


class EncodedCurve:
    """The response bodies of one curve. Each is made at its first use and kept until ``kept`` drops it."""

    def __init__(self, forecast: Forecast, kept: KeptBodies | None = None) -> None:
        self.forecast = forecast
        self._bodies: dict[Shape, bytes] = {}
        self._kept = kept

    @cached_property
    def tag(self) -> str:
        """A digest of the whole curve, for ETags."""
        return hashlib.blake2b(self.body(WHOLE), digest_size=8).hexdigest()

    @cached_property
    def stale(self) -> EncodedCurve:
        """The curve as it is returned while a newer one is overdue."""
        return EncodedCurve(as_stale(self.forecast), self._kept)

    def body(self, shape: Shape) -> bytes:
        """CSV, Parquet, or JSON without the fields that depend on the time of the request (see ``with_fields``)."""
        found = self._bodies.get(shape)
        if found is not None:
            return found
        if shape.points is not None and shape.points >= len(self.forecast.points):
            return self.body(replace(shape, points=None))
        # a copy: the JSON library's result may occupy four times its length
        body = self._bodies[shape] = bytes(memoryview(_encode(cut(self.forecast, shape), shape.format)))
        if self._kept is not None:
            self._kept.add(self, shape, body)
        return body

    def drop(self, shape: Shape) -> None:
        """Release a body."""
        self._bodies.pop(shape, None)


class HasForecast(Protocol):
    """An object that holds one curve and is hashed by identity."""

    @property
    def forecast(self) -> Forecast:
        """The curve."""


class EncodedCurves:
    """The encoded forms of the curves that were requested last."""

    def __init__(self) -> None:
        self._encoded: LRUCache[HasForecast, EncodedCurve] = LRUCache(_MOST_ENCODED)
        self._kept = KeptBodies()

    def of(self, curve: HasForecast) -> EncodedCurve:
        """The encoded form of a curve, which all requests for it share."""
        found = self._encoded.get(curve)
        if found is None:
            found = self._encoded[curve] = self.own(curve.forecast)
        return found

    def own(self, forecast: Forecast) -> EncodedCurve:
        """The encoded form of a curve for one request and its cached answer."""
        return EncodedCurve(forecast, self._kept)


def cut(forecast: Forecast, shape: Shape) -> Forecast:
    """The part of a curve that a shape selects: its first points, or only its median."""
    points, levels = forecast.points[: shape.points], forecast.quantile_levels
    if not shape.confidence:
        middle = levels.index(MEDIAN)
        points, levels = [Point(p.valid_time, [p.values[middle]]) for p in points], [MEDIAN]
    return replace(forecast, points=points, quantile_levels=levels)


def _encode(forecast: Forecast, format_: Format) -> bytes:
    return forecast_body(forecast) if format_ == "json" else table_body(columns_of([forecast]), format_)


def forecast_body(forecast: Forecast, actuals: Mapping[datetime, float] | None = None, **more: Any) -> bytes:
    """The JSON of a curve; ``actuals`` adds the actual value to each point, ``more`` adds members."""
    points = point_members(forecast)
    if actuals is not None:
        points = [point | {"actual": actuals.get(point["valid_time"])} for point in points]
    return to_json({**curve_members(forecast), "points": points, **more})


def columns_of(
    forecasts: Sequence[Forecast], actuals: Mapping[tuple[str, datetime], float] | None = None
) -> dict[str, list[Any]]:
    """Curves as the columns of one table, a row for each point; a level that a curve lacks is None."""
    levels = union_of_levels(f.quantile_levels for f in forecasts)
    if actuals is None:
        return point_columns(forecasts, Rows.API, levels)
    found = [actuals.get((f.entity_id, p.valid_time)) for f in forecasts for p in f.points]
    return point_columns(forecasts, Rows.API, levels, beside={"actual": found})
