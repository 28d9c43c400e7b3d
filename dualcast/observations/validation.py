"""What an acceptable observation is: one set of rules for the stream and the lake.

Each fault is a short reason code; it goes with the record to the dead letters or to quarantine.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dualcast.arrays import Floats, Micros, Texts
from dualcast.catalogue import Bounds, UseCase
from dualcast.timegrid import CLOCK_CHANGE, duration

UNKNOWN_ENTITY = "unknown_entity"
UNKNOWN_VARIABLE = "unknown_variable"
WRONG_UNIT = "wrong_unit"
BAD_RESOLUTION = "bad_resolution"
OFF_GRID = "off_grid"
NOT_FINITE = "not_finite"
OUT_OF_BOUNDS = "out_of_bounds"
FUTURE_DATED = "future_dated"
BAD_TIME = "bad_time"
IMPLAUSIBLE = "implausible"

# What an observation is tried for, in this order.
_REASONS = np.array(["", WRONG_UNIT, BAD_RESOLUTION, OFF_GRID, NOT_FINITE, OUT_OF_BOUNDS, FUTURE_DATED], dtype=object)
# Clocks of senders may be this far ahead of ours.
CLOCK_TOLERANCE = timedelta(minutes=5)
# Intervals of an hour and less start on their own multiple; longer ones on an hour, local days on a quarter of one.
_HOUR = 3_600_000_000
_DAY, _QUARTER_HOUR = 24 * _HOUR, _HOUR // 4
_CLOCK_CHANGE = int(CLOCK_CHANGE.total_seconds()) * 1_000_000
YARDSTICK_AGE = timedelta(days=7)
# 1980 to 2200 and a year: no real value lies outside, and sums of what lies inside cannot overflow.
EARLIEST, LATEST = 315_532_800_000_000, 7_258_118_400_000_000
_LONGEST_SPAN = 366 * _DAY


@dataclass(frozen=True)
class Columns:
    """Observations of one entity as columns of equal length; times are microseconds since 1970."""

    variable: Texts
    valid_time: Micros
    resolution: Texts
    value: Floats
    unit: Texts
    published_at: Micros

    @cached_property
    def spans(self) -> Micros:
        """The resolutions in microseconds, 0 where one cannot be read or is longer than a year."""
        which, texts = pd.factorize(self.resolution)
        spans: Micros = np.array([_span(text) for text in texts], dtype=np.int64)[which]
        return spans


def faults(use_case: UseCase, columns: Columns, now: int | None = None) -> Texts:
    """A reason code for each observation, "" where it is sound.

    ``now`` (microseconds) refuses what claims to be published later. The test against last week's value is not made
    here, since it needs history: see ``implausible``.
    """
    reason = np.full(len(columns.value), UNKNOWN_VARIABLE, dtype=object)
    grid = int(use_case.grid.total_seconds()) * 1_000_000
    which, names = pd.factorize(columns.variable)
    for name, variable in use_case.variables.items():
        rows = np.flatnonzero(which == names.tolist().index(name)) if name in names else ()
        if not len(rows):
            continue
        start, span = columns.valid_time[rows], columns.spans[rows]
        value, published = columns.value[rows], columns.published_at[rows]
        bad_span = (span <= 0) | (span % grid != 0)
        low, high = variable.bounds.min, variable.bounds.max
        days = ~bad_span & (span % _DAY == 0)
        # where clocks are changed, a local day ends earlier than after 24 hours
        end = start + span - np.where(days, _CLOCK_CHANGE, 0)
        early = (published < end) if variable.kind == "observed" else np.zeros(len(rows), dtype=bool)
        if now is not None:
            early |= published > now + int(CLOCK_TOLERANCE.total_seconds() * 1e6)
        found = np.select(
            [
                columns.unit[rows] != variable.unit,
                bad_span,
                start % np.where(bad_span, grid, np.where(days, _QUARTER_HOUR, np.minimum(span, _HOUR))) != 0,
                ~np.isfinite(value),
                (value < (-np.inf if low is None else low)) | (value > (np.inf if high is None else high)),
                early,
            ],
            range(1, len(_REASONS)),
        )
        reason[rows] = _REASONS[found]
    for times in (columns.valid_time, columns.published_at):
        reason[(times < EARLIEST) | (times >= LATEST)] = BAD_TIME
    return reason


def implausible(bounds: Bounds, value: Floats, yardstick: Floats) -> NDArray[np.bool_]:
    """Which values lie outside the allowed ratio to last week's; never where last week is unknown."""
    if bounds.ratio is None:
        return np.zeros(value.shape, dtype=bool)
    low, high = bounds.ratio
    known = np.isfinite(yardstick) & (yardstick > 0)
    return known & ((value < low * yardstick) | (value > high * yardstick))


def _span(text: str) -> int:
    try:
        span = int(duration(text).total_seconds() * 1e6)
    except ValueError:
        return 0
    return span if span <= _LONGEST_SPAN else 0
