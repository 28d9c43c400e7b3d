"""Levels: values, lags, changes and means of a variable, in its unit."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from dualcast.arrays import Floats
from dualcast.catalogue.features import feature
from dualcast.features.window import Window


@feature("target", level=True, by_slot=True)
def value(window: Window, variable: str) -> Floats:
    """The value at the target, for forecasts by others; measured values are NaN there."""
    return window.at(variable, window.target)


@feature("target", level=True, by_slot=True)
def lag(window: Window, variable: str, by: timedelta) -> Floats:
    """The value at the same local time, whole days before the target."""
    return window.at(variable, window.same_local_time(by.days))


@feature("origin", level=True)
def recent(window: Window, variable: str, back: int = 1) -> Floats:
    """The value ``back`` slots before the origin; 1 is the newest."""
    return window.at(variable, window.origin - back)


@feature("origin", level=True)
def change(window: Window, variable: str, over: timedelta) -> Floats:
    """How much the newest value differs from the one ``over`` earlier."""
    newest = window.origin - 1
    return window.at(variable, newest) - window.at(variable, newest - window.periods(over.total_seconds()))


@feature("origin", level=True)
def mean(window: Window, variable: str, over: timedelta) -> Floats:
    """The mean of the values in the time before the origin."""
    return window.mean(variable, window.origin, window.periods(over.total_seconds()))


@feature("origin", level=True)
def mean_change(window: Window, variable: str, over: timedelta, by: timedelta) -> Floats:
    """The mean of the time before the origin less the mean of as long a time ``by`` earlier.

    Raises ValueError where that reaches beyond the lookback.
    """
    width, back = window.periods(over.total_seconds()), window.periods(by.total_seconds())
    if width + back > window.lookback:
        raise ValueError("a change of means reaches beyond the lookback")
    return window.mean(variable, window.origin, width) - window.mean(variable, window.origin - back, width)


@feature("origin", level=True)
def typical_error(window: Window, variable: str, over: timedelta, count: int, within: int = 21) -> Floats:
    """The mean difference between the values before the origin and ``same_day_type`` at their slots."""

    def error(past: Window) -> Floats:
        return past.at(variable, past.target) - same_day_type(past, variable, count, within)

    name = f"{variable} less its mean of {count} days within {within}"
    return window.mean_before_origin(name, window.periods(over.total_seconds()), error)


@feature("origin", level=True)
def mean_rise(window: Window, variable: str, over: timedelta, by: timedelta) -> Floats:
    """The mean of the time before the origin less that of the same local time whole days before."""

    def rise(past: Window) -> Floats:
        return past.at(variable, past.target) - lag(past, variable, by)

    return window.mean_before_origin(f"{variable} since {by}", window.periods(over.total_seconds()), rise)


@feature("target", level=True, by_slot=True)
def same_day_type(window: Window, variable: str, count: int, within: int = 21) -> Floats:
    """The mean of the last ``count`` days of the target's day type, at its local time, at most ``within`` days back.

    A holiday of half the population or more counts as a Sunday. NaN where no such day is known.
    """
    kind = window.calendar.day_type(window.target)
    total, found = np.zeros(window.target.shape), np.zeros(window.target.shape)
    for days in range(1, within + 1):
        slot = window.same_local_time(days)
        known = window.at(variable, slot)
        taken = (window.calendar.day_type(slot) == kind) & np.isfinite(known) & (found < count)
        total += np.where(taken, known, 0.0)
        found += taken
        if (found >= count).all():
            break
    return np.where(found > 0, total / np.maximum(found, 1), np.nan)


@feature("target", level=True, by_slot=True)
def slope(window: Window, variable: str, by: int, days: int = 0) -> Floats:
    """How much the value ``by`` slots after the target differs from that at the target; negative for before.

    For measured values: that difference ``days`` before, at the target's local time.
    """
    slot = window.same_local_time(days)
    return window.at(variable, slot + by) - window.at(variable, slot)


@feature("target", level=True)
def day_mean(window: Window, variable: str, by: timedelta = timedelta(0)) -> Floats:
    """The mean over all targets of a row, or over the same slots whole days before: the level of a delivery day."""
    values = window.at(variable, window.same_local_time(by.days))
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=1, keepdims=True)
    count = known.sum(axis=1, keepdims=True)
    return np.broadcast_to(np.where(count > 0, total / np.maximum(count, 1), np.nan), values.shape)
