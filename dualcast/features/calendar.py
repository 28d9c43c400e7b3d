"""The calendar at the target: clocks, weekdays, holidays. Known for ever, so it never leaks."""

from __future__ import annotations

import numpy as np

from dualcast.features.registry import Floats, feature
from dualcast.features.window import Window

_YEAR_SECONDS = 365.2425 * 86400


@feature("target", level=False)
def local_hour(window: Window) -> Floats:
    """Hours since local midnight, with fractions."""
    return (window.calendar.local_seconds(window.target) % 86400) / 3600.0


@feature("target", level=False)
def weekday(window: Window) -> Floats:
    """0 for Monday to 6 for Sunday."""
    return window.calendar.weekday(window.target).astype(np.float64)


@feature("target", level=False)
def day_type(window: Window) -> Floats:
    """0 workday, 1 Saturday, 2 Sunday or holiday."""
    return window.calendar.day_type(window.target).astype(np.float64)


@feature("target", level=False)
def holiday(window: Window, days: int = 0) -> Floats:
    """Share of the population on holiday ``days`` after the target's day; negative for before."""
    return window.calendar.holiday_share(window.calendar.local_day(window.target) + days)


@feature("target", level=False)
def season_sin(window: Window) -> Floats:
    """Sine of the time of year."""
    return np.sin(_angle(window))


@feature("target", level=False)
def season_cos(window: Window) -> Floats:
    """Cosine of the time of year."""
    return np.cos(_angle(window))


@feature("target", level=False)
def lead(window: Window) -> Floats:
    """Hours from the origin to the start of the target."""
    return (window.target - window.origin) * (window.step / 3600.0)


def _angle(window: Window) -> Floats:
    return window.calendar.local_seconds(window.target) / _YEAR_SECONDS * (2 * np.pi)
