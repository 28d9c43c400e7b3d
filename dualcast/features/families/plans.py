"""Plans, such as promotions and opening days, and the values of a variable under the same plan."""

from __future__ import annotations

import numpy as np

from dualcast.arrays import Floats
from dualcast.catalogue.features import feature
from dualcast.features.window import Window


@feature("target", level=True)
def near(window: Window, variable: str, days: int) -> Floats:
    """The value at the same local time ``days`` after the target's day; negative for before."""
    return window.at(variable, window.same_local_time(-days))


@feature("target", level=False)
def planned(window: Window, variable: str, first: int, last: int) -> Floats:
    """The number of days, from ``first`` to ``last`` days after the target's, on which the plan is known and not 0."""
    count = np.zeros(window.target.shape)
    for days in range(first, last + 1):
        count += np.nan_to_num(window.at(variable, window.same_local_time(-days))) != 0
    return count


@feature("target", level=False)
def run_length(window: Window, variable: str, within: int) -> Floats:
    """The number of consecutive days before the target's with the target's plan, at most ``within``."""
    now = window.at(variable, window.target)
    going, length = np.ones(now.shape, dtype=bool), np.zeros(now.shape)
    for days in range(1, within + 1):
        before = window.at(variable, window.same_local_time(days))
        going &= (before == now) | ~np.isfinite(before)
        length += going
    return np.where(np.isfinite(now), length, np.nan)


@feature("target", level=True)
def same_plan(window: Window, variable: str, plan: str, count: int, within: int, every: int = 1) -> Floats:
    """The mean of the last ``count`` days with the target's value of ``plan``, at its local time.

    Considers each ``every``-th day (7: the target's weekday), at most ``within`` days back. NaN where none is known.
    """
    wanted = window.at(plan, window.target)
    total, found = np.zeros(wanted.shape), np.zeros(wanted.shape)
    for days in range(every, within + 1, every):
        slot = window.same_local_time(days)
        known = window.at(variable, slot)
        taken = (window.at(plan, slot) == wanted) & np.isfinite(known) & (found < count)
        total += np.where(taken, known, 0.0)
        found += taken
        if (found >= count).all():
            break
    return np.where(found > 0, total / np.maximum(found, 1), np.nan)
