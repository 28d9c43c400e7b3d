"""Time: regular grids, delivery days of 23, 24 and 25 hours, cutoffs, and the one clock.

Everything is UTC and timezone-aware. Local time appears only here in the kernel. A grid of days is a grid of
local days: each begins at local midnight and has 23, 24 or 25 hours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from dualcast.arrays import Micros, Slots

DAY = timedelta(days=1)
# The largest clock change of a zone: a local day has 24 hours plus or minus this.
CLOCK_CHANGE = timedelta(hours=2)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICRO = timedelta(microseconds=1)
_DURATION = TypeAdapter(timedelta)
_ISO_DURATION = re.compile(
    r"[-+]?P(?=[\dT])(\d{1,9}Y)?(\d{1,9}M)?(\d{1,9}W)?(\d{1,9}D)?"
    r"(T(?=\d)(\d{1,9}H)?(\d{1,9}M)?(\d{1,9}(\.\d{1,6})?S)?)?",
    re.ASCII,
)


@lru_cache(maxsize=4096)
def duration(text: str) -> timedelta:
    """Parse an ISO 8601 duration such as ``PT15M`` or ``P7D``.

    Raises ValueError for any other text.

    >>> duration("PT15M")
    datetime.timedelta(seconds=900)
    """
    if not _ISO_DURATION.fullmatch(text):
        raise ValueError(f"not a duration in ISO 8601, such as PT15M: {text[:40]!r}")
    return _DURATION.validate_python(text)


def iso_duration(step: timedelta) -> str:
    """Write a duration as ISO 8601, in its largest whole unit.

    >>> iso_duration(timedelta(minutes=15)), iso_duration(timedelta(hours=1)), iso_duration(timedelta(days=1))
    ('PT15M', 'PT1H', 'P1D')
    """
    seconds = int(step.total_seconds())
    for size, text in ((86400, "P{}D"), (3600, "PT{}H"), (60, "PT{}M")):
        if seconds % size == 0:
            return text.format(seconds // size)
    return f"PT{seconds}S"


@dataclass(frozen=True)
class Grid:
    """How the intervals of one entity are numbered: in steps since 1970-01-01T00:00Z; days in local days since then."""

    step: timedelta
    zone: str

    def numbers(self, times: pd.DatetimeIndex) -> Slots:
        """The number of the interval that each moment lies in; times are timezone-aware."""
        return self.numbers_at(np.asarray(times.as_unit("us").asi8, dtype=np.int64))

    def numbers_at(self, moments: Micros) -> Slots:
        """The number of the interval that each moment (microseconds since 1970) lies in; shape as ``moments``."""
        if self.step < DAY:
            return moments // (self.step // MICRO)
        return _wall_clock(moments, self.zone) // (DAY // MICRO)

    def number(self, moment: datetime) -> int:
        """The number of the interval that a moment lies in."""
        return int(self.numbers(pd.DatetimeIndex([moment]))[0])

    def starts(self, numbers: Slots) -> pd.DatetimeIndex:
        """When intervals begin, UTC; a day without a midnight begins at its clock change."""
        if self.step < DAY:
            seconds = numbers * int(self.step.total_seconds())
            return pd.DatetimeIndex(pd.to_datetime(seconds, unit="s", utc=True)).as_unit("us")
        local = pd.DatetimeIndex(pd.to_datetime(numbers, unit="D"))
        first_of_two = np.ones(len(local), dtype=bool)
        zoned = local.tz_localize(self.zone, nonexistent="shift_forward", ambiguous=first_of_two)
        return zoned.tz_convert("UTC").as_unit("us")

    def starts_at(self, numbers: Slots) -> Micros:
        """When intervals begin, in microseconds since 1970; shape as ``numbers``."""
        if self.step < DAY:
            return numbers * (self.step // MICRO)
        return np.asarray(self.starts(numbers.ravel()).asi8, dtype=np.int64).reshape(numbers.shape)


def delivery_slots(day: date, zone: str, step: timedelta, days: int = 1) -> pd.DatetimeIndex:
    """The starts of all intervals of a local calendar day, or of several from it on, in UTC.

    A day has 23 or 25 hours where the zone changes its clocks. With intervals of a day, it is one interval.

    >>> len(delivery_slots(date(2022, 3, 27), "Europe/Berlin", timedelta(hours=1)))
    23
    """
    if step >= DAY:
        return Grid(step, zone).starts(day_number(day) + np.arange(days))
    start, end = day_bounds(day, zone, days)
    return pd.date_range(start, end, freq=step, inclusive="left")


def interval_end(start: datetime, length: timedelta, zone: str) -> datetime:
    """When an interval ends, UTC; intervals of days end on the local clock, after 23, 24 or 25 hours."""
    if length % DAY:
        return start + length
    (end,) = interval_ends(np.array([micros(start)]), np.array([length // MICRO]), zone).tolist()
    return from_micros(end)


def interval_ends(starts: Micros, lengths: Micros, zone: str) -> Micros:
    """When intervals end, (n,) microseconds since 1970, from their starts and nominal lengths in microseconds, (n,).

    Lengths of whole days are counted on the local clock: a day that begins at local midnight ends at the next one,
    after 23, 24 or 25 hours. Where the clock shows the end twice, the first counts.
    """
    ends = starts + lengths
    of_days = np.flatnonzero(lengths % (DAY // MICRO) == 0)
    if len(of_days):
        begin = starts[of_days]
        day = _wall_clock(begin, zone) // (DAY // MICRO)
        at_midnight = Grid(DAY, zone).starts_at(day) == begin
        # the first moment of a day is its midnight, also where the clock skips that
        wall = np.where(at_midnight, day * (DAY // MICRO), _wall_clock(begin, zone))
        ends[of_days] = _moments(wall + lengths[of_days], zone)
    return ends


def _wall_clock(moments: Micros, zone: str) -> Micros:
    """What the local clock shows at moments, as microseconds since 1970-01-01T00:00 local; shape as ``moments``."""
    utc = pd.DatetimeIndex(moments.ravel().view("M8[us]")).tz_localize("UTC")
    return np.asarray(utc.tz_convert(zone).tz_localize(None).asi8, dtype=np.int64).reshape(moments.shape)


def _moments(wall: Micros, zone: str) -> Micros:
    """The moments, (n,), at which the local clock shows times: the first where it shows one twice.

    A time that the clock skips is read as if the clock had not changed yet, as ``zoneinfo`` does.
    """
    naive, first_of_two = pd.DatetimeIndex(wall.view("M8[us]")), np.ones(len(wall), dtype=bool)
    shown = naive.tz_localize(zone, nonexistent="shift_backward", ambiguous=first_of_two)
    skipped = wall - np.asarray(shown.tz_localize(None).asi8, dtype=np.int64)
    return np.asarray(shown.tz_convert("UTC").asi8, dtype=np.int64) + skipped


def day_bounds(day: date, zone: str, days: int = 1) -> tuple[datetime, datetime]:
    """The first moment of a local calendar day and of the one ``days`` later, in UTC."""
    tz = ZoneInfo(zone)
    first, last = (datetime.combine(d, time(0), tzinfo=tz).astimezone(UTC) for d in (day, day + timedelta(days=days)))
    return first, last


def local_moment(day: date, at: time, zone: str) -> datetime:
    """A wall-clock time on a local day, in UTC; the first of the two where the clock shows it twice."""
    return datetime.combine(day, at, tzinfo=ZoneInfo(zone)).astimezone(UTC)


@lru_cache(maxsize=4096)  # every request needs it, for a few days
def cutoff_of(delivery_day: date, at: time, zone: str) -> datetime:
    """The moment the day-ahead forecast for a delivery day is made: a wall-clock time on the day before."""
    return local_moment(delivery_day - timedelta(days=1), at, zone)


def local_date(moment: datetime, zone: str) -> date:
    """The local calendar day that a moment falls on."""
    return moment.astimezone(ZoneInfo(zone)).date()


def parse_moment(text: str) -> datetime:
    """Parse an ISO 8601 time, UTC; a date is its first moment, a time without zone is UTC.

    Raises ValueError for any other text.
    """
    return as_utc(datetime.fromisoformat(text))


def as_utc(moment: datetime) -> datetime:
    """A time in UTC; a time without zone is read as UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def day_number(day: date) -> int:
    """A date as days since 1970-01-01."""
    return (day - _EPOCH.date()).days


def micros(moment: datetime) -> int:
    """A moment as whole microseconds since 1970-01-01T00:00Z."""
    return (moment - _EPOCH) // MICRO


def from_micros(value: int) -> datetime:
    """The moment that ``micros`` wrote, UTC."""
    return _EPOCH + timedelta(microseconds=value)


def floor(moment: datetime, step: timedelta) -> datetime:
    """The newest grid point that is not after a moment."""
    seconds = step.total_seconds()
    return datetime.fromtimestamp(moment.timestamp() // seconds * seconds, UTC)


class Clock(BaseModel):
    """The one source of "now": wall time, or a replay with an offset and a speed.

    A replay shows ``start`` until the wall reaches ``epoch``, then runs ``speed`` times as fast as the wall, and
    stops at ``until``. It is a pure function of the wall time, so that all processes with the same settings agree.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: AwareDatetime | None = None
    epoch: AwareDatetime = datetime.fromtimestamp(0, UTC)
    speed: float = Field(default=1.0, gt=0)
    until: AwareDatetime | None = None

    @property
    def is_replay(self) -> bool:
        """Whether this is a replay."""
        return self.start is not None

    def now(self) -> datetime:
        """The present moment, UTC."""
        return self.at(datetime.now(UTC))

    def at(self, wall: datetime) -> datetime:
        """The time of this clock at the wall time ``wall``."""
        if self.start is None:
            return wall
        shown = self.start.astimezone(UTC) + max(wall - self.epoch, timedelta(0)) * self.speed
        return shown if self.until is None else min(shown, self.until.astimezone(UTC))

    def wall_seconds_until(self, moment: datetime) -> float:
        """How many seconds of wall time remain until this clock shows ``moment``; 0 where it has passed."""
        wall = datetime.now(UTC)
        waiting = max((self.epoch - wall).total_seconds(), 0.0) if self.is_replay else 0.0
        speed = self.speed if self.is_replay else 1.0
        remaining = (moment - self.at(wall)).total_seconds()
        return waiting + remaining / speed if remaining > 0 else 0.0
