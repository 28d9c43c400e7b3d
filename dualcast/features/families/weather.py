"""Weather: smoothed values, because buildings react slowly, and degrees below or above a base."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from dualcast.arrays import Floats
from dualcast.catalogue.features import feature
from dualcast.features.window import Window

_NOW = timedelta(0)
# Values older than this many half-lives have weights below 2%.
_MEMORY = 6


@feature("target", level=False)
def smoothed(window: Window, variable: str, half_life: timedelta, by: timedelta = _NOW) -> Floats:
    """The exponentially weighted mean up to the target, or up to the same local time whole days before."""
    target = window.same_local_time(by.days)
    if not half_life:
        return window.at(variable, target)
    periods = window.periods(half_life.total_seconds())
    back = np.arange(_MEMORY * periods)
    weight = 0.5 ** (back / periods)
    rows, targets = target.shape
    values = window.at(variable, (target[:, :, np.newaxis] - back).reshape(rows, -1)).reshape(rows, targets, -1)
    known = np.isfinite(values)
    total = (known * weight).sum(axis=2)
    # NaN where less than half of the weight is known
    enough = total > weight.sum() / 2
    return np.where(enough, (np.where(known, values, 0.0) * weight).sum(axis=2) / np.where(enough, total, 1.0), np.nan)


@feature("target", level=False)
def degrees_below(
    window: Window, variable: str, base: float, half_life: timedelta = _NOW, by: timedelta = _NOW
) -> Floats:
    """How far the (smoothed) value lies below a base, 0 above it (heating)."""
    return np.maximum(base - smoothed(window, variable, half_life, by), 0.0)


@feature("target", level=False)
def degrees_above(
    window: Window, variable: str, base: float, half_life: timedelta = _NOW, by: timedelta = _NOW
) -> Floats:
    """How far the (smoothed) value lies above a base, 0 below it (cooling)."""
    return np.maximum(smoothed(window, variable, half_life, by) - base, 0.0)
