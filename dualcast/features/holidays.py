"""Local time and holidays of an entity by slot, from the ``holidays`` library."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from zoneinfo import ZoneInfo

import holidays as holidays_library
import numpy as np
import pandas as pd
from holidays.constants import SCHOOL

from dualcast.arrays import Floats, Slots
from dualcast.catalogue import Entity, HolidayCalendar
from dualcast.features.special_days import special_days
from dualcast.timegrid import day_number

_FIRST_YEAR, _LAST_YEAR = 2000, 2100
# A holiday of at least this share of the population makes the day count as a Sunday.
_HOLIDAY_AS_SUNDAY = 0.5
WORKDAY, SATURDAY, SUNDAY = 0, 1, 2
_DAY_SECONDS, _QUARTER_SECONDS = 86400, 900
_TABLE_MARGIN_SECONDS = 200 * 86400


@dataclass(frozen=True, slots=True)
class _Table:
    """The calendar of a run of slots from ``first`` on."""

    first: int
    utc_offset: Slots
    day_type: Slots


class SlotCalendar:
    """Local time, weekdays and holidays for arrays of slots of any shape.

    ``step`` is the length of a slot in seconds. Results are tabulated for a range of slots that grows as needed.
    """

    def __init__(self, entity: Entity, step: int) -> None:
        self._shares = holiday_shares(entity.holidays)
        self._calendar = entity.holidays
        self._step = step
        # slots of a day are numbered by local day already
        self._changes, self._offsets = _utc_offsets("UTC" if step >= _DAY_SECONDS else entity.time_zone)
        self._table = self._tabled(np.zeros(1, dtype=np.int64))

    def utc_offset(self, slot: Slots) -> Slots:
        """Seconds that the local clock is ahead of UTC."""
        table = self._table_for(slot)
        offset: Slots = table.utc_offset[slot - table.first]
        return offset

    def local_seconds(self, slot: Slots) -> Slots:
        """Local wall-clock time as seconds since 1970-01-01T00:00 local."""
        return slot * self._step + self.utc_offset(slot)

    def local_day(self, slot: Slots) -> Slots:
        """Local calendar day, as days since 1970-01-01."""
        return self.local_seconds(slot) // 86400

    def weekday(self, slot: Slots) -> Slots:
        """0 for Monday to 6 for Sunday."""
        return (self.local_day(slot) + 3) % 7

    def holiday_share(self, day: Slots) -> Floats:
        """The share of the population that has a holiday on local days (days since 1970-01-01)."""
        return self._shares[self._index(day)]

    def school_holiday_share(self, day: Slots) -> Floats:
        """The share of the population whose schools are closed on local days, NaN where unknown."""
        return school_holiday_shares(self._calendar)[self._index(day)]

    def special_day(self, day: Slots) -> Slots:
        """The codes of ``special_days`` for local days (days since 1970-01-01)."""
        return special_day_codes(self._calendar)[self._index(day)]

    def _index(self, day: Slots) -> Slots:
        return np.clip(day - day_number(date(_FIRST_YEAR, 1, 1)), 0, len(self._shares) - 1)

    def day_type(self, slot: Slots) -> Slots:
        """0 workday, 1 Saturday, 2 Sunday; a holiday of half the population or more counts as a Sunday."""
        table = self._table_for(slot)
        kind: Slots = table.day_type[slot - table.first]
        return kind

    def _table_for(self, slot: Slots) -> _Table:
        """A table that covers these slots. Computing it for each feature would take most of the feature's time."""
        table = self._table
        first, last = (int(slot.min()), int(slot.max())) if slot.size else (table.first, table.first)
        if first < table.first or last >= table.first + len(table.utc_offset):
            margin = _TABLE_MARGIN_SECONDS // self._step
            table = self._table = self._tabled(np.arange(first - margin, last + margin + 1))
        return table

    def _tabled(self, slots: Slots) -> _Table:
        seconds = slots * self._step
        offset: Slots = self._offsets[np.searchsorted(self._changes, seconds, side="right") - 1]
        day = (seconds + offset) // 86400
        weekday = (day + 3) % 7
        kind = np.where(weekday == 6, SUNDAY, np.where(weekday == 5, SATURDAY, WORKDAY))
        day_type = np.where(self.holiday_share(day) >= _HOLIDAY_AS_SUNDAY, SUNDAY, kind)
        return _Table(int(slots[0]), offset, day_type)


def holiday_shares(calendar: HolidayCalendar) -> Floats:
    """For each day from 2000 to 2100: the share of the population that has a holiday, (days,)."""
    key = tuple(sorted(calendar.subdivisions.items())), tuple(sorted(calendar.special_days.items()))
    return _holiday_shares(calendar.country, *key)


def school_holiday_shares(calendar: HolidayCalendar) -> Floats:
    """For each day from 2000 to 2100: the share of the population that has school holidays, (days,).

    NaN in years for which the library has none: school holidays are published a few years ahead.
    """
    return _school_holiday_shares(calendar.country, tuple(sorted(calendar.subdivisions.items())))


def special_day_codes(calendar: HolidayCalendar) -> Slots:
    """For each day from 2000 to 2100: the code of its kind, (days,)."""
    key = tuple(sorted(calendar.subdivisions.items())), tuple(sorted(calendar.special_days.items()))
    return _special_day_codes(calendar.country, *key, calendar.kinds)


@lru_cache(maxsize=256)
def _special_day_codes(
    country: str,
    subdivisions: tuple[tuple[str, float], ...],
    special: tuple[tuple[str, float], ...],
    kinds: tuple[str, ...],
) -> Slots:
    shares = _holiday_shares(country, subdivisions, special)
    codes = special_days(country, subdivisions, kinds, shares, date(_FIRST_YEAR, 1, 1))
    codes.setflags(write=False)
    return codes


@lru_cache(maxsize=256)
def _holiday_shares(
    country: str, subdivisions: tuple[tuple[str, float], ...], special: tuple[tuple[str, float], ...]
) -> Floats:
    first = date(_FIRST_YEAR, 1, 1)
    shares = np.zeros((date(_LAST_YEAR, 12, 31) - first).days + 1)
    years = range(_FIRST_YEAR, _LAST_YEAR + 1)
    for subdivision, share in subdivisions or ((None, 1.0),):
        for day in holidays_library.country_holidays(country, subdiv=subdivision, years=years):
            shares[(day - first).days] += share
    for text, share in special:
        month, of_month = map(int, text.split("-"))
        for year in years:
            index = (date(year, month, of_month) - first).days
            shares[index] = max(shares[index], share)
    shares = np.minimum(shares, 1.0)
    shares.setflags(write=False)
    return shares


@lru_cache(maxsize=256)
def _school_holiday_shares(country: str, subdivisions: tuple[tuple[str, float], ...]) -> Floats:
    first = date(_FIRST_YEAR, 1, 1)
    shares = np.zeros((date(_LAST_YEAR, 12, 31) - first).days + 1)
    year = (np.datetime64(first) + np.arange(len(shares))).astype("datetime64[Y]")
    for subdivision, share in subdivisions or ((None, 1.0),):
        closed = np.zeros(len(shares), dtype=bool)
        for day in _school_holidays(country, subdivision):
            closed[(day - first).days] = True
        shares += np.where(np.isin(year, year[closed]), share * closed, np.nan)
    shares.setflags(write=False)
    return shares


def _school_holidays(country: str, subdivision: str | None) -> list[date]:
    years = range(_FIRST_YEAR, _LAST_YEAR + 1)
    if SCHOOL not in holidays_library.country_holidays(country).supported_categories:
        return []
    return list(holidays_library.country_holidays(country, subdiv=subdivision, years=years, categories=SCHOOL))


@lru_cache(maxsize=64)
def _utc_offsets(zone: str) -> tuple[Slots, Slots]:
    """The moments (seconds since 1970) at which the zone's offset changes, and the offset in seconds from each on."""
    # for a fast start, quarter-hours are examined only on days on which the offset changes
    first, last = day_number(date(_FIRST_YEAR, 1, 1)), day_number(date(_LAST_YEAR, 12, 31))
    days = np.arange(first, last + 1) * _DAY_SECONDS
    eve = days[np.flatnonzero(np.diff(_offsets_at(days, zone)))]
    quarters = (eve[:, np.newaxis] + np.arange(0, _DAY_SECONDS, _QUARTER_SECONDS)).ravel()
    moments = np.union1d(days, quarters)
    offsets = _offsets_at(moments, zone)
    change = np.concatenate(([0], np.flatnonzero(np.diff(offsets)) + 1))
    return moments[change], offsets[change]


def _offsets_at(seconds: Slots, zone: str) -> Slots:
    """How many seconds a zone's clock is ahead of UTC at moments in seconds since 1970."""
    times = pd.DatetimeIndex(seconds.astype("datetime64[s]"), tz="UTC")
    offsets: Slots = times.tz_convert(ZoneInfo(zone)).tz_localize(None).as_unit("s").asi8 - seconds
    return offsets
