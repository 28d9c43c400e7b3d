"""Valid observations of one entity on the intraday grid: the input of its state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dualcast.arrays import Floats, Slots
from dualcast.features.intraday.plan import IntradayPlan
from dualcast.observations.columns import Columns
from dualcast.observations.grid import place


@dataclass(frozen=True)
class Update:
    """Valid observations of one entity in order of arrival, as columns of equal length.

    variable: index into ``plan.variables``; slot: first grid slot; span: how many slots the interval covers; value: of
    each of these slots; published: microseconds since 1970.
    """

    variable: Slots
    slot: Slots
    span: Slots
    value: Floats
    published: Slots


def update_of(plan: IntradayPlan, columns: Columns) -> tuple[Update, Slots]:
    """Valid observations as an Update, and the indices of those whose variable the plan reads."""
    codes = np.full(len(columns), -1, dtype=np.int64)
    for i, name in enumerate(plan.features.variables):
        codes[columns.variable == name] = i
    used = np.flatnonzero(codes >= 0)
    code, starts, spans = codes[used], columns.valid_time[used], columns.spans[used]
    placed = place(plan.grid, starts, spans, columns.value[used], plan.sums[code])
    return Update(code, placed.slot, placed.count, placed.value, columns.published_at[used]), used
