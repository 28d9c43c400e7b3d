"""Curves in memory: every issue for the delivery days of weeks, and two weeks of intraday curves as numbers.

The first level of three, and the only one that new curves come to by themselves: it is as old as its feed.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dualcast.catalogue import Path_, UseCase
from dualcast.curves.forecast import Forecast, Point
from dualcast.timegrid import from_micros, local_date, micros

_KEPT_DAYS = 40
# A day's curve is made once, and again where an input came late or an operator asks for it.
_KEPT_ISSUES = 8
_KEPT_SPAN = timedelta(days=14)
# Of the kept days the last are tomorrow and those that a longer curve adds.
_COVERED = {"day-ahead": timedelta(days=35), "intraday": _KEPT_SPAN}


@dataclass(frozen=True, slots=True)
class Track:
    """A curve as numbers: microseconds (n,), values (n, quantiles); ``head`` is all that it says besides."""

    head: Forecast
    times: NDArray[np.int64]
    values: NDArray[np.float64]

    @classmethod
    def of(cls, forecast: Forecast) -> Track:
        """The numbers of a curve. Raises ValueError where it has no points or they are ragged."""
        if not forecast.points:
            raise ValueError("a curve without points")
        times = np.array([micros(p.valid_time) for p in forecast.points], dtype=np.int64)
        values = np.array([p.values for p in forecast.points], dtype=np.float64)
        if values.shape != (len(times), len(forecast.quantile_levels)):
            raise ValueError("a curve needs one value for each quantile level")
        return cls(replace(forecast, points=[]), times, values)

    @property
    def issued_at(self) -> datetime:
        """When the curve was made."""
        return self.head.issued_at

    @property
    def levels(self) -> tuple[float, ...]:
        """The quantile levels, rising."""
        return tuple(self.head.quantile_levels)

    def forecast(self) -> Forecast:
        """The curve again."""
        points = zip(self.times.tolist(), self.values.tolist(), strict=True)
        return replace(self.head, points=[Point(from_micros(time), values) for time, values in points])


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class StoredCurve:
    """A curve in memory; ``delivery_day`` is the local day of its first interval. Equal only to itself."""

    delivery_day: date
    forecast: Forecast
    track: Track


@dataclass
class _Shelf:
    """``days`` holds every issue of a day, oldest first."""

    days: dict[date, list[StoredCurve]] = field(default_factory=dict)
    newest: StoredCurve | None = None
    tracks: list[Track] = field(default_factory=list)


class CurveBook:
    """What was published, by use case and entity. Safe to share between threads."""

    def __init__(self, catalogue: Mapping[str, UseCase]) -> None:
        self._catalogue = catalogue
        self._shelves: dict[tuple[str, str], _Shelf] = {}
        self._lock = Lock()
        self._listeners: list[Callable[[StoredCurve], None]] = []
        self.version = 0

    def add_record(self, record: dict[str, Any]) -> None:
        """Take a record of a forecast topic. Raises LookupError or ValueError where it fits no use case."""
        self.add(Forecast.from_record(record))

    def add(self, forecast: Forecast, *, only_newer: bool = False) -> None:
        """Take a curve. Of equal issues the later to arrive wins, unless ``only_newer``.

        Listeners hear of it, where it is not an intraday curve that a newer one has replaced already.
        Raises LookupError or ValueError as above.
        """
        zone = self._catalogue[forecast.use_case].entity(forecast.entity_id).time_zone
        track = Track.of(forecast)
        stored = StoredCurve(local_date(forecast.points[0].valid_time, zone), forecast, track)
        with self._lock:
            is_news = (
                self._add_intraday(stored, only_newer=only_newer)
                if forecast.path == "intraday"
                else self._add_day_ahead(stored, only_newer=only_newer)
            )
            self.version += 1
        if is_news:
            for listener in list(self._listeners):
                listener(stored)

    def listen(self, listener: Callable[[StoredCurve], None]) -> Callable[[], None]:
        """Call ``listener`` with every curve that is taken, in the feed's thread; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def day_ahead(
        self, use_case: str, entity_id: str, delivery_day: date, as_of: datetime | None = None
    ) -> StoredCurve | None:
        """The newest curve that holds a delivery day; of those issued by ``as_of``, where that is given."""
        shelf = self._shelves.get((use_case, entity_id))
        if shelf is None:
            return None
        for back in range(self._catalogue[use_case].day_ahead.days):
            found = _issued_by(shelf.days.get(delivery_day - timedelta(days=back), []), as_of)
            if found is not None:
                return found
        return None

    def days(self, use_case: str, entity_id: str, as_of: datetime | None = None) -> list[StoredCurve]:
        """The newest day-ahead curve of each stored day, of those issued by ``as_of``, by delivery day."""
        with self._lock:
            shelf = self._shelves.get((use_case, entity_id))
            newest = [_issued_by(shelf.days[day], as_of) for day in sorted(shelf.days)] if shelf else []
        return [curve for curve in newest if curve is not None]

    @staticmethod
    def covered_since(path: Path_, now: datetime) -> datetime:
        """From when on every issue of a path is here, once the feeds have caught up."""
        return now - _COVERED[path]

    def issues(self, use_case: str, entity_id: str, path: Path_) -> list[Track]:
        """Every stored issue of a path, by time of issue."""
        if path == "intraday":
            return self.intraday_tracks(use_case, entity_id)
        with self._lock:
            shelf = self._shelves.get((use_case, entity_id))
            found = [curve.track for issues in shelf.days.values() for curve in issues] if shelf else []
        return sorted(found, key=lambda track: track.issued_at)

    def intraday(self, use_case: str, entity_id: str) -> StoredCurve | None:
        """The newest intraday curve that was published."""
        shelf = self._shelves.get((use_case, entity_id))
        return shelf.newest if shelf else None

    def intraday_as_of(self, use_case: str, entity_id: str, as_of: datetime) -> Forecast | None:
        """The newest intraday curve that was issued by a moment of the last two weeks."""
        known = [track for track in self.intraday_tracks(use_case, entity_id) if track.issued_at <= as_of]
        return known[-1].forecast() if known else None

    def intraday_tracks(self, use_case: str, entity_id: str) -> list[Track]:
        """The intraday curves of the last two weeks, by time of issue."""
        with self._lock:
            shelf = self._shelves.get((use_case, entity_id))
            return list(shelf.tracks) if shelf else []

    def has_day_ahead(self) -> bool:
        """Whether there is any day-ahead curve."""
        with self._lock:
            return any(shelf.days for shelf in self._shelves.values())

    def _add_day_ahead(self, stored: StoredCurve, *, only_newer: bool) -> bool:
        days = self._shelf(stored.forecast).days
        issues = days.setdefault(stored.delivery_day, [])
        same = [i for i, held in enumerate(issues) if held.forecast.issued_at == stored.forecast.issued_at]
        if same and only_newer:
            return False
        for i in same:
            del issues[i]
        insort(issues, stored, key=lambda curve: curve.forecast.issued_at)
        del issues[:-_KEPT_ISSUES]
        while len(days) > _KEPT_DAYS:
            del days[min(days)]
        return True

    def _add_intraday(self, stored: StoredCurve, *, only_newer: bool) -> bool:
        shelf, issued_at = self._shelf(stored.forecast), stored.forecast.issued_at
        tracks, place = shelf.tracks, bisect_left(shelf.tracks, issued_at, key=_issued_at)
        if place < len(tracks) and tracks[place].issued_at == issued_at:
            if only_newer:
                return False
            tracks[place] = stored.track
        else:
            tracks.insert(place, stored.track)
        del tracks[: bisect_left(tracks, tracks[-1].issued_at - _KEPT_SPAN, key=_issued_at)]
        if shelf.newest is not None and issued_at < shelf.newest.forecast.issued_at:
            return False
        shelf.newest = stored
        return True

    def _shelf(self, forecast: Forecast) -> _Shelf:
        return self._shelves.setdefault((forecast.use_case, forecast.entity_id), _Shelf())


def _issued_at(track: Track) -> datetime:
    return track.issued_at


def _issued_by(issues: list[StoredCurve], as_of: datetime | None) -> StoredCurve | None:
    """The newest of the issues of a day, oldest first, that was there at a moment."""
    if as_of is None:
        return issues[-1] if issues else None
    return next((curve for curve in reversed(issues) if curve.forecast.issued_at <= as_of), None)
