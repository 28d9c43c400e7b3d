"""Curves in memory: the newest of each delivery day, the newest intraday one, and what is needed to score the rest."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dualcast.catalogue import UseCase
from dualcast.records import Forecast
from dualcast.timegrid import local_date, micros
from services.shared.bodies import forecast_body

_KEPT_DAYS = 40
_KEPT_SPAN = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Track:
    """A curve as numbers: microseconds (n,), values (n, quantiles)."""

    issued_at: datetime
    times: NDArray[np.int64]
    values: NDArray[np.float64]
    levels: tuple[float, ...]

    @classmethod
    def of(cls, forecast: Forecast) -> Track:
        """The numbers of a curve. Raises ValueError where it has no points or they are ragged."""
        if not forecast.points:
            raise ValueError("a curve without points")
        times = np.array([micros(p.valid_time) for p in forecast.points], dtype=np.int64)
        values = np.array([p.values for p in forecast.points], dtype=np.float64)
        if values.shape != (len(times), len(forecast.quantile_levels)):
            raise ValueError("a curve needs one value for each quantile level")
        return cls(forecast.issued_at, times, values, tuple(forecast.quantile_levels))


@dataclass(frozen=True, slots=True)
class StoredCurve:
    """A day-ahead curve with its response body, written once."""

    delivery_day: date
    forecast: Forecast
    track: Track
    body: bytes


@dataclass
class _Shelf:
    days: dict[date, StoredCurve] = field(default_factory=dict)
    newest: Forecast | None = None
    tracks: deque[Track] = field(default_factory=deque)


class CurveBook:
    """What was published, by use case and entity. Safe to share between threads."""

    def __init__(self, catalogue: Mapping[str, UseCase]) -> None:
        self._catalogue = catalogue
        self._shelves: dict[tuple[str, str], _Shelf] = {}
        self._lock = Lock()
        self.version = 0

    def add_record(self, record: dict[str, Any]) -> None:
        """Take a record of a forecast topic. Raises LookupError or ValueError where it fits no use case."""
        self.add(Forecast.from_record(record))

    def add(self, forecast: Forecast, *, only_newer: bool = False) -> None:
        """Take a curve: the newest issue for a day, or of an entity, wins.

        Of equal issues the later to arrive wins, unless ``only_newer``. Raises LookupError or ValueError as above.
        """
        use_case = self._catalogue[forecast.use_case]
        zone = use_case.entity(forecast.entity_id).time_zone
        track = Track.of(forecast)
        if forecast.path == "intraday":
            self._add_intraday(forecast, track, use_case)
            return
        day = local_date(forecast.points[0].valid_time, zone)
        stored = StoredCurve(day, forecast, track, forecast_body(forecast))
        with self._lock:
            days = self._shelf(forecast).days
            held = days.get(day)
            newer = held is None or held.forecast.issued_at < forecast.issued_at
            if newer or (held is not None and held.forecast.issued_at == forecast.issued_at and not only_newer):
                days[day] = stored
                self.version += 1
            while len(days) > _KEPT_DAYS:
                del days[min(days)]

    def day_ahead(self, use_case: str, entity_id: str, delivery_day: date) -> StoredCurve | None:
        """The newest curve that holds a delivery day."""
        shelf = self._shelves.get((use_case, entity_id))
        if shelf is None:
            return None
        begins = (delivery_day - timedelta(days=back) for back in range(self._catalogue[use_case].day_ahead.days))
        return next((shelf.days[day] for day in begins if day in shelf.days), None)

    def days(self, use_case: str, entity_id: str) -> list[StoredCurve]:
        """Every stored day-ahead curve, by delivery day."""
        with self._lock:
            shelf = self._shelves.get((use_case, entity_id))
            return sorted(shelf.days.values(), key=lambda c: c.delivery_day) if shelf else []

    def intraday(self, use_case: str, entity_id: str) -> Forecast | None:
        """The newest intraday curve that was published."""
        shelf = self._shelves.get((use_case, entity_id))
        return shelf.newest if shelf else None

    def intraday_tracks(self, use_case: str, entity_id: str) -> list[Track]:
        """The intraday curves of the last two weeks, by time of issue."""
        with self._lock:
            shelf = self._shelves.get((use_case, entity_id))
            return list(shelf.tracks) if shelf else []

    def has_day_ahead(self) -> bool:
        """Whether there is any day-ahead curve."""
        with self._lock:
            return any(shelf.days for shelf in self._shelves.values())

    def _add_intraday(self, forecast: Forecast, track: Track, use_case: UseCase) -> None:
        most = int(_KEPT_SPAN / use_case.part("intraday").resolution)
        with self._lock:
            shelf = self._shelf(forecast)
            if shelf.newest is not None and forecast.issued_at < shelf.newest.issued_at:
                return
            shelf.newest = forecast
            if shelf.tracks and shelf.tracks[-1].issued_at == forecast.issued_at:
                shelf.tracks.pop()
            shelf.tracks.append(track)
            if len(shelf.tracks) > most:
                shelf.tracks.popleft()
            self.version += 1

    def _shelf(self, forecast: Forecast) -> _Shelf:
        return self._shelves.setdefault((forecast.use_case, forecast.entity_id), _Shelf())
