"""Published curves in memory, as arrays: every issue of the last weeks, and the intraday curves of up to two weeks.

Older curves are read by ``archive``. The feeds add new curves.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from threading import Lock
from typing import Any

from dualcast.catalogue import Path_, UseCase
from dualcast.curves.forecast import Forecast
from dualcast.timegrid import DAY, from_micros, local_date
from services.book.tracks import Track, TrackMaker

_KEPT_DAYS = 40
# A day's curve is issued once, and again if an input arrives late or an operator requests it.
_KEPT_ISSUES = 8
# The kept days include tomorrow and, for curves of several days, those after it.
_COVERED_DAY_AHEAD = timedelta(days=35)
_LONGEST_INTRADAY, _SHORTEST_INTRADAY = timedelta(days=14), timedelta(hours=12)
# The approximate memory of a curve, in bytes, besides its values.
_TRACK_BYTES = 400


@dataclass(frozen=True, slots=True, eq=False)
class StoredCurve:
    """A curve in memory; ``delivery_day`` is the local day of its first interval. Equal only to itself."""

    delivery_day: date
    track: Track

    @property
    def issued_at(self) -> datetime:
        """The time of issue."""
        return self.track.issued_at

    @property
    def first(self) -> datetime:
        """The start of its first interval."""
        return from_micros(int(self.track.times[0]))

    @property
    def head(self) -> Forecast:
        """The curve without its points."""
        return self.track.head

    @property
    def forecast(self) -> Forecast:
        """The whole curve as a record, made at each call."""
        return self.track.forecast()


@dataclass
class _EntityCurves:
    """``days`` holds every issue of a day, ``intraday`` those of the intraday path, both oldest first."""

    days: dict[date, list[StoredCurve]] = field(default_factory=dict)
    newest: StoredCurve | None = None
    intraday: list[Track] = field(default_factory=list)


def intraday_span(use_cases: Iterable[UseCase], most_bytes: int) -> timedelta:
    """How long intraday curves can be kept in ``most_bytes``: at most two weeks, at least half a day."""
    daily = 0.0
    for use_case in use_cases:
        part = use_case.intraday
        if part is not None:
            size = part.horizons * len(part.quantiles) * 8 + _TRACK_BYTES
            daily += len(use_case.entities) * (DAY / part.resolution) * size
    span = DAY * (most_bytes / daily) if daily else _LONGEST_INTRADAY
    return min(max(span, _SHORTEST_INTRADAY), _LONGEST_INTRADAY)


class CurveCache:
    """Published curves by use case and entity. Safe to share between threads.

    ``intraday_span`` is how long intraday curves are kept (see the function of this name).
    """

    def __init__(self, catalogue: Mapping[str, UseCase], intraday_span: timedelta = _LONGEST_INTRADAY) -> None:
        self._catalogue = catalogue
        self._intraday_span = intraday_span
        self._entities: dict[tuple[str, str], _EntityCurves] = {}
        self._maker = TrackMaker()
        self._lock = Lock()
        self._listeners: list[Callable[[StoredCurve], None]] = []
        self.version = 0

    def add_record(self, record: dict[str, Any]) -> None:
        """Store a record of a forecast topic. Raises LookupError or ValueError if it fits no use case."""
        self.add(Forecast.from_record(record))

    def add(self, forecast: Forecast, *, only_newer: bool = False) -> None:
        """Store a curve. Of equal issues the later to arrive is kept; with ``only_newer``, the stored one.

        Listeners are called with it, unless it is an intraday curve older than the newest.
        Raises LookupError or ValueError as above.
        """
        zone = self._catalogue[forecast.use_case].entity(forecast.entity_id).time_zone
        with self._lock:
            track = self._maker.make(forecast)
            stored = StoredCurve(local_date(forecast.points[0].valid_time, zone), track)
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
        """Call ``listener`` with every new curve, in the feed's thread; the returned function unregisters it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def day_ahead(
        self, use_case: str, entity_id: str, delivery_day: date, as_of: datetime | None = None
    ) -> StoredCurve | None:
        """The newest curve that holds a delivery day; with ``as_of``, the newest of those issued by then."""
        held = self._entities.get((use_case, entity_id))
        if held is None:
            return None
        for back in range(self._catalogue[use_case].day_ahead.days):
            found = _issued_by(held.days.get(delivery_day - timedelta(days=back), []), as_of)
            if found is not None:
                return found
        return None

    def days(self, use_case: str, entity_id: str, as_of: datetime | None = None) -> list[StoredCurve]:
        """The newest day-ahead curve of each stored day, by delivery day; with ``as_of``, of those issued by then."""
        with self._lock:
            held = self._entities.get((use_case, entity_id))
            newest = [_issued_by(held.days[day], as_of) for day in sorted(held.days)] if held else []
        return [curve for curve in newest if curve is not None]

    def covered_since(self, path: Path_, now: datetime) -> datetime:
        """The moment since which every issue of a path is in memory, once the feeds have caught up."""
        return now - (self._intraday_span if path == "intraday" else _COVERED_DAY_AHEAD)

    def issues(self, use_case: str, entity_id: str, path: Path_) -> list[Track]:
        """Every stored issue of a path, by time of issue."""
        if path == "intraday":
            return self.intraday_tracks(use_case, entity_id)
        with self._lock:
            held = self._entities.get((use_case, entity_id))
            found = [curve.track for issues in held.days.values() for curve in issues] if held else []
        return sorted(found, key=lambda track: track.issued_at)

    def intraday(self, use_case: str, entity_id: str) -> StoredCurve | None:
        """The newest intraday curve that was published."""
        held = self._entities.get((use_case, entity_id))
        return held.newest if held else None

    def intraday_as_of(self, use_case: str, entity_id: str, as_of: datetime) -> Forecast | None:
        """The newest intraday curve in memory that was issued by a moment."""
        known = [track for track in self.intraday_tracks(use_case, entity_id) if track.issued_at <= as_of]
        return known[-1].forecast() if known else None

    def intraday_tracks(self, use_case: str, entity_id: str) -> list[Track]:
        """The intraday curves in memory, by time of issue."""
        with self._lock:
            held = self._entities.get((use_case, entity_id))
            return list(held.intraday) if held else []

    def has_day_ahead(self) -> bool:
        """Whether there is any day-ahead curve."""
        with self._lock:
            return any(held.days for held in self._entities.values())

    def _add_day_ahead(self, stored: StoredCurve, *, only_newer: bool) -> bool:
        days = self._curves_of(stored.track).days
        issues = days.setdefault(stored.delivery_day, [])
        same = [i for i, held in enumerate(issues) if held.issued_at == stored.issued_at]
        if same and only_newer:
            return False
        for i in same:
            del issues[i]
        insort(issues, stored, key=_issued_at)
        del issues[:-_KEPT_ISSUES]
        while len(days) > _KEPT_DAYS:
            del days[min(days)]
        return True

    def _add_intraday(self, stored: StoredCurve, *, only_newer: bool) -> bool:
        held, issued_at = self._curves_of(stored.track), stored.issued_at
        tracks, place = held.intraday, bisect_left(held.intraday, issued_at, key=_issued_at)
        if place < len(tracks) and tracks[place].issued_at == issued_at:
            if only_newer:
                return False
            tracks[place] = stored.track
        else:
            tracks.insert(place, stored.track)
        del tracks[: bisect_left(tracks, tracks[-1].issued_at - self._intraday_span, key=_issued_at)]
        if held.newest is not None and issued_at < held.newest.issued_at:
            return False
        held.newest = stored
        return True

    def _curves_of(self, track: Track) -> _EntityCurves:
        return self._entities.setdefault((track.shared.use_case, track.shared.entity_id), _EntityCurves())


def _issued_at(curve: Track | StoredCurve) -> datetime:
    return curve.issued_at


def _issued_by(issues: list[StoredCurve], as_of: datetime | None) -> StoredCurve | None:
    """The newest of a day's issues that was issued by a moment. ``issues`` are sorted, oldest first."""
    if as_of is None:
        return issues[-1] if issues else None
    return next((curve for curve in reversed(issues) if curve.issued_at <= as_of), None)
