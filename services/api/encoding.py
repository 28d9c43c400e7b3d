"""Curves as response bodies: JSON, CSV or Parquet of a whole curve, of its first points or of its median."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol

from cachetools import LRUCache

from dualcast.catalogue import MEDIAN
from dualcast.curves.fields import Rows
from dualcast.curves.forecast import Forecast, Point
from dualcast.curves.frames import point_columns
from dualcast.curves.json_object import curve_members, point_members
from dualcast.curves.quantiles import union_of_levels
from services.http.formats import Format, table_body, to_json

# With its record a curve takes about 15 kB.
_MOST_ENCODED = 2048


@dataclass(frozen=True, slots=True)
class Shape:
    """How a curve is returned: its format, the number of its first points (None: all), all quantiles or the median."""

    format: Format = "json"
    points: int | None = None
    confidence: bool = True


WHOLE = Shape()


class EncodedCurve:
    """The response bodies of one curve. Each is made at its first use and kept."""

    def __init__(self, forecast: Forecast) -> None:
        self.forecast = forecast
        self._bodies: dict[Shape, bytes] = {}

    @cached_property
    def tag(self) -> str:
        """A digest of the whole curve, for ETags."""
        return hashlib.blake2b(self.body(WHOLE), digest_size=8).hexdigest()

    def body(self, shape: Shape) -> bytes:
        """CSV, Parquet, or JSON without the fields that depend on the time of the request (see ``with_fields``)."""
        found = self._bodies.get(shape)
        if found is not None:
            return found
        if shape.points is not None and shape.points >= len(self.forecast.points):
            return self.body(replace(shape, points=None))
        return self._bodies.setdefault(shape, _encode(cut(self.forecast, shape), shape.format))


class HasForecast(Protocol):
    """An object that holds one curve and is hashed by identity."""

    @property
    def forecast(self) -> Forecast:
        """The curve."""


class EncodedCurves:
    """The encoded forms of the curves that were requested last."""

    def __init__(self) -> None:
        self._encoded: LRUCache[HasForecast, EncodedCurve] = LRUCache(_MOST_ENCODED)

    def of(self, curve: HasForecast) -> EncodedCurve:
        """The encoded form of a curve, which all requests for it share."""
        found = self._encoded.get(curve)
        if found is None:
            found = self._encoded[curve] = EncodedCurve(curve.forecast)
        return found


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
