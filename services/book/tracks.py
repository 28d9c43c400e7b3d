"""Curves as arrays, small enough to keep hundreds of thousands in memory."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import datetime

import numpy as np
from cachetools import LRUCache

from dualcast.arrays import Floats, Micros
from dualcast.curves.forecast import Forecast, Point
from dualcast.timegrid import from_micros, micros

# These differ from curve to curve; the other fields are the same for many curves of an entity.
_OWN_FIELDS = {"issued_at", "newest_input_at", "points"}
_SHARED_FIELDS = tuple(field.name for field in fields(Forecast) if field.name not in _OWN_FIELDS)
_MOST_SHARED = 16_384


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """A curve as arrays: times in microseconds (n,), values (n, quantiles). ``shared`` has its other fields."""

    issued_at: datetime
    newest_input_at: datetime
    times: Micros
    values: Floats
    shared: Forecast

    @property
    def head(self) -> Forecast:
        """The curve without its points."""
        return replace(self.shared, issued_at=self.issued_at, newest_input_at=self.newest_input_at)

    @property
    def levels(self) -> tuple[float, ...]:
        """The quantile levels, rising."""
        return tuple(self.shared.quantile_levels)

    def forecast(self) -> Forecast:
        """The curve as a record."""
        points = zip(self.times.tolist(), self.values.tolist(), strict=True)
        return replace(self.head, points=[Point(from_micros(time), values) for time, values in points])


class TrackMaker:
    """Makes tracks that share equal times and equal fields. Not safe to share between threads."""

    def __init__(self) -> None:
        self._times: LRUCache[bytes, Micros] = LRUCache(_MOST_SHARED)
        self._shared: LRUCache[tuple[object, ...], Forecast] = LRUCache(_MOST_SHARED)

    def make(self, forecast: Forecast) -> Track:
        """The arrays of a curve. Raises ValueError if it has no points, or if their numbers of values differ."""
        if not forecast.points:
            raise ValueError("a curve without points")
        times = np.array([micros(p.valid_time) for p in forecast.points], dtype=np.int64)
        values = np.array([p.values for p in forecast.points], dtype=np.float64)
        if values.shape != (len(times), len(forecast.quantile_levels)):
            raise ValueError("a curve needs one value for each quantile level")
        times = self._times.setdefault(times.tobytes(), times)
        key = tuple(
            tuple(value) if isinstance(value, list) else value
            for value in (getattr(forecast, name) for name in _SHARED_FIELDS)
        )
        shared = self._shared.get(key)
        if shared is None:
            shared = self._shared[key] = replace(forecast, points=[])
        return Track(forecast.issued_at, forecast.newest_input_at, times, values, shared)
