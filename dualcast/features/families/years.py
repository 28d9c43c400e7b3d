"""The time of year: values around this day in earlier years, and the day of the month."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from dualcast.arrays import Floats
from dualcast.catalogue.features import feature
from dualcast.features.window import Window


@feature("target", level=False)
def day_of_month(window: Window) -> Floats:
    """1 to 31."""
    day = window.calendar.local_day(window.target).astype("datetime64[D]")
    since_first: Floats = (day - day.astype("datetime64[M]")).astype(np.float64)
    return since_first + 1


@feature("target", level=True)
def mean_around(window: Window, variable: str, by: timedelta, over: timedelta) -> Floats:
    """The mean over the duration ``over`` around the target's time, ``by`` (whole days) before.

    Raises ValueError where that reaches beyond the lookback.
    """
    width = window.periods(over.total_seconds())
    if window.periods(by.total_seconds()) + width > window.lookback:
        raise ValueError("a mean reaches beyond the lookback")
    end = window.same_local_time(by.days) + width // 2 + 1
    return window.mean(variable, np.minimum(end, window.origin), width)


@feature("target", level=False)
def rise_around(window: Window, variable: str, by: timedelta, over: timedelta, base: timedelta) -> Floats:
    """``mean_around`` divided by the mean over the duration ``base`` before the origin, ``by`` (whole days) before.

    The same time of an earlier year relative to the weeks before it. Raises ValueError where the base reaches
    beyond the lookback.
    """
    width, back = window.periods(base.total_seconds()), window.periods(by.total_seconds())
    if width + back > window.lookback:
        raise ValueError("a base reaches beyond the lookback")
    before = window.mean(variable, window.origin - back, width)
    rise: Floats = mean_around(window, variable, by, over) / np.where(before > 0, before, np.nan)
    return rise
