"""Where observations lie on the grid: each interval becomes consecutive slots of its entity's grid.

The value of a mean holds for each slot; a sum is shared out evenly. An interval of days covers local days: on a finer
grid as many slots as its 23, 24 or 25 hours hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from dualcast.arrays import Flags, Floats, Micros, Slots
from dualcast.catalogue import Entity, UseCase
from dualcast.observations.aggregation import are_sums, share
from dualcast.observations.columns import Columns
from dualcast.observations.validation import VALID, faults
from dualcast.timegrid import DAY, MICRO, Grid, interval_ends, micros

_DAY_MICROS = DAY // MICRO


@dataclass(frozen=True)
class Placed:
    """Observations on a grid, as columns of equal length.

    slot: number of the first slot that each covers; count: how many slots it covers; value: of each of these slots
    """

    slot: Slots
    count: Slots
    value: Floats

    def each_slot(self) -> tuple[Slots, Slots]:
        """Every covered slot: the index of the observation it comes from, and its number."""
        if (self.count == 1).all():
            return np.arange(len(self.slot)), self.slot
        index = np.repeat(np.arange(len(self.slot)), self.count)
        first = np.cumsum(self.count) - self.count
        return index, self.slot[index] + np.arange(len(index)) - first[index]


@dataclass(frozen=True)
class OnGrid:
    """Valid observations of one entity, one row for each slot that they cover.

    source: index of the observation in the columns it was read from
    """

    source: Slots
    slot: Slots
    value: Floats


def place(grid: Grid, starts: Micros, spans: Micros, values: Floats, sums: Flags) -> Placed:
    """Place observations of one entity on its grid.

    ``starts`` and ``spans`` (nominal lengths, multiples of the grid's step) are in microseconds, (n,); ``sums`` says
    which values are sums over their interval.
    """
    slot, count = grid.numbers_at(starts), spans // (grid.step // MICRO)
    of_days = np.flatnonzero(spans % _DAY_MICROS == 0) if grid.step < DAY else ()
    if len(of_days):
        ends = interval_ends(starts[of_days], spans[of_days], grid.zone)
        count[of_days] = grid.numbers_at(ends) - slot[of_days]
    return Placed(slot, count, share(values, count, sums=sums) if sums.any() else values)


def valid_on_grid(use_case: UseCase, entity: Entity, columns: Columns, now: datetime | None = None) -> OnGrid:
    """The observations of an entity that obey the rules (``faults``), on the use case's grid.

    The comparison with last week's value is left to the caller, which holds the history.
    """
    valid = np.flatnonzero(faults(use_case, columns, None if now is None else micros(now)) == VALID)
    return on_grid(use_case, entity, columns, valid)


def on_grid(use_case: UseCase, entity: Entity, columns: Columns, valid: Slots) -> OnGrid:
    """Some observations of an entity, by index, on the use case's grid. They must obey the rules."""
    kept = columns.take(valid)
    grid = Grid(use_case.grid, entity.time_zone)
    placed = place(grid, kept.valid_time, kept.spans, kept.value, are_sums(use_case, kept.variable))
    index, slot = placed.each_slot()
    return OnGrid(valid[index], slot, placed.value[index])
