"""Validation of observations. Each fault has a reason code, which dead letters and quarantined rows carry."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import timedelta

import numpy as np
import pandas as pd

from dualcast.arrays import Flags, Floats, Micros, Slots, Texts
from dualcast.catalogue import Bounds, UseCase, Variable
from dualcast.observations.aggregation import share
from dualcast.observations.columns import Columns
from dualcast.timegrid import CLOCK_CHANGE, MICRO

VALID = ""
UNKNOWN_ENTITY = "unknown_entity"
UNKNOWN_VARIABLE = "unknown_variable"
WRONG_UNIT = "wrong_unit"
BAD_RESOLUTION = "bad_resolution"
INTERVAL_TOO_LONG = "interval_too_long"
OFF_GRID = "off_grid"
NOT_FINITE = "not_finite"
OUT_OF_BOUNDS = "out_of_bounds"
FUTURE_DATED = "future_dated"
TOO_FAR_AHEAD = "too_far_ahead"
TOO_OLD = "too_old"
BAD_TIME = "bad_time"
IMPLAUSIBLE = "implausible"
# Not a fault: only other use cases of the entity have this variable, and they validate it.
OF_OTHER_USE_CASE = "of_other_use_case"

# The faults of one variable's observations, in the order of the checks; the first that applies is reported.
_REASONS = np.array(
    [
        "",
        WRONG_UNIT,
        BAD_RESOLUTION,
        INTERVAL_TOO_LONG,
        OFF_GRID,
        NOT_FINITE,
        OUT_OF_BOUNDS,
        FUTURE_DATED,
        TOO_FAR_AHEAD,
        TOO_OLD,
    ],
    dtype=object,
)
# The clock of a sender may be this far ahead of ours.
CLOCK_TOLERANCE = timedelta(minutes=5)
# Intervals of up to an hour start on a multiple of their length; longer ones on an hour, local days on a quarter.
_HOUR = 3_600_000_000
_DAY, _QUARTER_HOUR = 24 * _HOUR, _HOUR // 4
_CLOCK_CHANGE = CLOCK_CHANGE // MICRO
# Values are compared with those this much earlier.
YARDSTICK_AGE = timedelta(days=7)
# 1980 to 2200. Sums of times and spans within these bounds cannot overflow.
EARLIEST, LATEST = 315_532_800_000_000, 7_258_118_400_000_000


def faults(use_case: UseCase, columns: Columns, now: int | None = None, elsewhere: Collection[str] = ()) -> Texts:
    """A reason code for each observation of an entity of the use case, ``VALID`` where it obeys the rules.

    ``now`` (microseconds) refuses observations that claim to be published later, and old ones. ``elsewhere`` are the
    variables that other use cases have of this entity (``variables_elsewhere``): those that this one lacks are marked
    ``OF_OTHER_USE_CASE``. The comparison with last week's value needs history: see ``implausible``.
    """
    reason = np.full(len(columns), UNKNOWN_VARIABLE, dtype=object)
    which, names = pd.factorize(columns.variable)
    for code, name in enumerate(names.tolist()):
        if name in use_case.variables:
            rows = np.flatnonzero(which == code)
            reason[rows] = _REASONS[_faults_of(use_case, name, columns, rows, now)]
        elif name in elsewhere:
            reason[which == code] = OF_OTHER_USE_CASE
    for times in (columns.valid_time, columns.published_at):
        reason[(times < EARLIEST) | (times >= LATEST)] = BAD_TIME
    return reason


def _faults_of(use_case: UseCase, name: str, columns: Columns, rows: Slots, now: int | None) -> Slots:
    """The first fault of each of the rows that hold one variable, as an index into _REASONS."""
    variable, grid = use_case.variables[name], use_case.grid // MICRO
    start, span, value = columns.valid_time[rows], columns.spans[rows], columns.value[rows]
    bad_span = (span <= 0) | (span % grid != 0)
    days = ~bad_span & (span % _DAY == 0)
    return np.select(
        [
            columns.unit[rows] != variable.unit,
            bad_span,
            span > variable.bounds.longest // MICRO,
            start % np.where(bad_span, grid, np.where(days, _QUARTER_HOUR, np.minimum(span, _HOUR))) != 0,
            ~np.isfinite(value),
            _out_of_bounds(variable, value, span // grid, np.where(days, _CLOCK_CHANGE // grid, 0)),
            *_time_faults(variable, start, span - np.where(days, _CLOCK_CHANGE, 0), columns.published_at[rows], now),
        ],
        range(1, len(_REASONS)),
    )


def _out_of_bounds(variable: Variable, value: Floats, slots: Slots, change: Slots) -> Flags:
    """Whether the value of a slot is outside the bounds; intervals have ``slots`` slots, ``change`` more or fewer."""
    low, high = variable.bounds.min, variable.bounds.max
    outside = np.zeros(len(value), dtype=bool)
    for count in (slots - change, slots + change) if variable.aggregate == "sum" else (slots,):
        each = share(value, np.maximum(count, 1), sums=variable.aggregate == "sum")
        outside |= (each < (-np.inf if low is None else low)) | (each > (np.inf if high is None else high))
    return outside


def _time_faults(variable: Variable, start: Micros, span: Micros, published: Micros, now: int | None) -> list[Flags]:
    """Which observations are dated in the future, too far ahead or too old, as in _REASONS.

    ``span`` is the shortest that an interval may be: where the clock changes, a local day may end before 24 hours.
    """
    observed, bounds = variable.kind == "observed", variable.bounds
    early = published < (start + span if observed else EARLIEST)
    latest = published
    if now is not None:
        early |= published > now + CLOCK_TOLERANCE // MICRO
        latest = np.maximum(published, now)
    ahead = start - published > (0 if observed else bounds.ahead // MICRO)
    return [early, ahead, latest - start > bounds.oldest // MICRO]


def variables_elsewhere(catalogue: Iterable[UseCase], use_case: UseCase) -> dict[str, frozenset[str]]:
    """The variables that the other use cases of a catalogue have of each of their entities, by entity."""
    found: dict[str, frozenset[str]] = {}
    for other in catalogue:
        if other.use_case != use_case.use_case:
            for entity in other.entities:
                found[entity.id] = found.get(entity.id, frozenset()) | frozenset(other.variables)
    return found


def implausible(bounds: Bounds, value: Floats, yardstick: Floats) -> Flags:
    """Which values are outside the allowed ratio to last week's; none where last week's is unknown."""
    if bounds.ratio is None:
        return np.zeros(value.shape, dtype=bool)
    low, high = bounds.ratio
    known = np.isfinite(yardstick) & (yardstick > 0)
    return known & ((value < low * yardstick) | (value > high * yardstick))
