"""Errors of the forecasts by others, in the unit of their variable."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from dualcast.arrays import Floats
from dualcast.catalogue.features import feature
from dualcast.features.window import Window


@feature("origin", level=True)
def mean_error(window: Window, variable: str, observed: str, over: timedelta) -> Floats:
    """Mean of (observed - forecast) in the time before the origin."""
    return window.mean_error(variable, observed, window.origin, window.periods(over.total_seconds()))


@feature("target", level=True, by_slot=True)
def error_lag(window: Window, variable: str, observed: str, by: timedelta) -> Floats:
    """(observed - forecast) at the same local time, whole days before the target."""
    slot = window.same_local_time(by.days)
    return window.at(observed, slot) - window.at(variable, slot)


@feature("target", level=True, by_slot=True)
def error_same_time(window: Window, variable: str, observed: str, days: int) -> Floats:
    """Mean of (observed - forecast) at the target's local time over the newest ``days`` days with both known."""
    total, found = np.zeros(window.target.shape), np.zeros(window.target.shape)
    for back in range(1, days + 3):
        error = error_lag(window, variable, observed, timedelta(days=back))
        taken = np.isfinite(error) & (found < days)
        total += np.where(taken, error, 0.0)
        found += taken
    return np.where(found > 0, total / np.maximum(found, 1), np.nan)


@feature("target", level=True, by_slot=True)
def corrected(window: Window, variable: str, observed: str, days: int) -> Floats:
    """The forecast of others at the target plus its recent error at the target's local time."""
    return window.at(variable, window.target) + error_same_time(window, variable, observed, days)


@feature("target", level=True, by_slot=True)
def moved_lag(window: Window, variable: str, forecast: str, by: timedelta) -> Floats:
    """The value at the same local time, whole days before, plus the change since then that others forecast."""
    before = window.same_local_time(by.days)
    return window.at(variable, before) + window.at(forecast, window.target) - window.at(forecast, before)
