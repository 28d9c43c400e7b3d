"""The calendar at the target: local time, weekdays, holidays. Known in advance, so that it cannot leak."""

from __future__ import annotations

import numpy as np

from dualcast.arrays import Floats, Slots
from dualcast.catalogue.features import feature
from dualcast.features.window import Window

_YEAR_SECONDS = 365.2425 * 86400
# 1970-01-01 was a Thursday
_EPOCH_WEEKDAY = 3
_WORK = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.0])


@feature("target", level=False, by_slot=True)
def local_hour(window: Window) -> Floats:
    """Hours since local midnight, with fractions."""
    return (window.calendar.local_seconds(window.target) % 86400) / 3600.0


@feature("target", level=False, by_slot=True)
def weekday(window: Window) -> Floats:
    """0 for Monday to 6 for Sunday."""
    return window.calendar.weekday(window.target).astype(np.float64)


@feature("target", level=False, by_slot=True)
def day_type(window: Window) -> Floats:
    """0 workday, 1 Saturday, 2 Sunday or holiday."""
    return window.calendar.day_type(window.target).astype(np.float64)


@feature("target", level=False, by_slot=True)
def holiday(window: Window, days: int = 0) -> Floats:
    """Share of the population on holiday ``days`` after the target's day; negative for before."""
    return window.calendar.holiday_share(window.calendar.local_day(window.target) + days)


@feature("target", level=False, by_slot=True)
def school_holiday(window: Window, days: int = 0) -> Floats:
    """Share of the population with school holidays ``days`` after the target's day; negative for before."""
    return window.calendar.school_holiday_share(window.calendar.local_day(window.target) + days)


@feature("target", level=False, by_slot=True)
def workday_lost(window: Window, days: int = 0) -> Floats:
    """The share of a working day lost to a holiday ``days`` after the target's day; Saturdays are half working days."""
    day = window.calendar.local_day(window.target) + days
    lost: Floats = window.calendar.holiday_share(day) * _WORK[(day + _EPOCH_WEEKDAY) % 7]
    return lost


@feature("target", level=False, by_slot=True)
def bridge(window: Window, days: int = 0) -> Floats:
    """How much the day is squeezed between days off, 0 to 1, ``days`` after the target's day."""
    day = window.calendar.local_day(window.target) + days
    before, here, after = (_off(window, day + shift) for shift in (-1, 0, 1))
    squeezed: Floats = np.minimum(before, after) * (1.0 - here)
    return squeezed


@feature("target", level=False, by_slot=True)
def special_day(window: Window) -> Floats:
    """The kind of the target's day, as a code: see ``special_days``."""
    return window.calendar.special_day(window.calendar.local_day(window.target)).astype(np.float64)


@feature("target", level=False, by_slot=True)
def season_sin(window: Window) -> Floats:
    """Sine of the time of year."""
    return np.sin(_angle(window))


@feature("target", level=False, by_slot=True)
def season_cos(window: Window) -> Floats:
    """Cosine of the time of year."""
    return np.cos(_angle(window))


@feature("target", level=False)
def lead(window: Window) -> Floats:
    """Hours from the origin to the start of the target."""
    return (window.target - window.origin) * (window.step / 3600.0)


def _off(window: Window, day: Slots) -> Floats:
    """The share of the population that has a day off."""
    return np.where((day + _EPOCH_WEEKDAY) % 7 >= 5, 1.0, window.calendar.holiday_share(day))


def _angle(window: Window) -> Floats:
    return window.calendar.local_seconds(window.target) / _YEAR_SECONDS * (2 * np.pi)
