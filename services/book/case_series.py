"""Recent observations of one use case: rings of target and reference, and how far each variable is known."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from dualcast.arrays import Flags, Floats, Ints, Micros, Slots
from dualcast.catalogue import UseCase
from dualcast.observations.aggregation import over_intervals
from dualcast.observations.columns import Columns
from dualcast.observations.grid import on_grid
from dualcast.observations.validation import VALID, YARDSTICK_AGE, faults, implausible
from dualcast.observations.vintages import counts_as_reference
from dualcast.timegrid import MICRO, Grid, from_micros, interval_ends, micros
from services.book.rings import Ring

# How far ahead of the clock intervals are kept. A reference published earlier than this before its interval is dropped.
_AHEAD = {"observed": timedelta(days=1), "forecast": timedelta(days=14)}
_UNKNOWN = -1


class CaseSeries:
    """The recent observations of a use case. Each row of the arrays is an entity."""

    def __init__(self, use_case: UseCase, keep: timedelta, now: datetime) -> None:
        self.use_case = use_case
        self._keep = keep
        self._week = max(YARDSTICK_AGE // use_case.grid, 1)
        self._rows = {entity.id: row for row, entity in enumerate(use_case.entities)}
        self._grids = [Grid(use_case.grid, entity.time_zone) for entity in use_case.entities]
        self._codes = {name: code for code, name in enumerate(use_case.variables)}
        self._rings = {
            name: Ring(len(self._rows), self._size(name), self._oldest(now))
            for name in (use_case.target, use_case.reference)
            if name is not None
        }
        self._kept = np.array([self._codes[name] for name in self._rings])
        self._newest = np.full(len(self._rows), _UNKNOWN, dtype=np.int64)
        self._ends = np.full((len(self._rows), len(self._codes)), _UNKNOWN, dtype=np.int64)
        self._simulated = np.zeros(len(self._rows), dtype=bool)

    def row_of(self, entity_id: str) -> int | None:
        """The row of an entity; None if the use case does not have it."""
        return self._rows.get(entity_id)

    def zone(self, row: int) -> str:
        """The time zone of an entity."""
        return self._grids[row].zone

    def take(self, rows: Ints, columns: Columns, simulated: Flags, now: datetime) -> bool:
        """Store observations (n,) of entities of one time zone, in order of arrival; return whether any was stored."""
        entity = self.use_case.entities[rows[0]]
        codes = self._codes_of(columns)
        valid = np.flatnonzero(faults(self.use_case, columns, micros(now)) == VALID)
        ends = interval_ends(columns.valid_time[valid], columns.spans[valid], entity.time_zone)
        np.maximum.at(self._ends, (rows[valid], codes[valid]), ends)
        kept = valid[np.isin(codes[valid], self._kept) & (ends > micros(now - self._keep))]
        self._simulated[rows[kept]] = simulated[kept]
        found = on_grid(self.use_case, entity, columns, kept)
        source = found.source
        for ring in self._rings.values():
            ring.advance(self._oldest(now))
        return self._store(rows[source], codes[source], found.slot, found.value, columns.published_at[source])

    def simulated(self, row: int) -> bool:
        """Whether the newest observations of an entity came from a simulator."""
        return bool(self._simulated[row])

    def newest_end(self, row: int) -> datetime | None:
        """The end of the newest measured interval."""
        newest = self._newest[row : row + 1]
        if not self._rings[self.use_case.target].holds(newest).all():
            return None
        return from_micros(int(self._grids[row].starts_at(newest + 1)[0]))

    def known_until(self, row: int, variable: str) -> datetime | None:
        """The end of the newest valid interval of a variable, plausible or not."""
        code = self._codes.get(variable)
        end = _UNKNOWN if code is None else int(self._ends[row, code])
        return None if end == _UNKNOWN else from_micros(end)

    def values(self, row: int, variable: str, times: Micros, step: timedelta) -> Floats:
        """Values of intervals that start at ``times`` and are ``step`` long; NaN where a part is unknown."""
        ring, grid = self._rings.get(variable), self._grids[row]
        if ring is None:
            return np.full(times.shape, np.nan)
        ends = interval_ends(times.ravel(), np.full(times.size, step // MICRO), grid.zone).reshape(times.shape)
        rule = self.use_case.variables[variable].aggregate
        return over_intervals(ring.window(row), ring.start, grid.numbers_at(times), grid.numbers_at(ends), rule)

    def _store(self, rows: Ints, codes: Ints, slots: Slots, values: Floats, published: Micros) -> bool:
        """Put values into the rings, a week at a time, so that each finds the value of the week before."""
        weeks = slots // self._week
        stored = False
        for week in np.unique(weeks):
            for name, ring in self._rings.items():
                mine = np.flatnonzero((weeks == week) & (codes == self._codes[name]) & ring.holds(slots))
                mine = mine[~self._implausible(name, rows[mine], slots[mine], values[mine])]
                if len(mine):
                    ranks = self._ranks(name, rows[mine[0]], slots[mine], published[mine])
                    ring.put(rows[mine], slots[mine], values[mine], ranks)
                    stored = True
                if name == self.use_case.target:
                    np.maximum.at(self._newest, rows[mine], slots[mine])
        return stored

    def _implausible(self, variable: str, rows: Ints, slots: Slots, values: Floats) -> Flags:
        bounds = self.use_case.variables[variable].bounds
        ring = None if bounds.relative_to is None else self._rings.get(bounds.relative_to)
        if ring is None:
            return np.zeros(len(rows), dtype=bool)
        return implausible(bounds, values, ring.at(rows, slots - self._week))

    def _ranks(self, variable: str, row: int, slots: Slots, published: Micros) -> Micros:
        """The ranks by which a vintage replaces another: the newest is used.

        Of the reference, the newest one published by the start of its interval is used or, if there is none, the
        oldest.
        """
        if variable != self.use_case.reference:
            return published
        in_time = counts_as_reference(published, self._grids[row].starts_at(slots))
        return np.where(in_time, published, -published)

    def _size(self, variable: str) -> int:
        """The number of slots kept for a variable. Local days begin up to a day before or after those of UTC."""
        return (self._keep + _AHEAD[self.use_case.variables[variable].kind]) // self.use_case.grid + 2

    def _oldest(self, now: datetime) -> int:
        return micros(now - self._keep) // (self.use_case.grid // MICRO) - 1

    def _codes_of(self, columns: Columns) -> Ints:
        """The number of each observation's variable, -1 where the use case has none of this name."""
        which, names = pd.factorize(columns.variable)
        codes: Ints = np.array([self._codes.get(name, _UNKNOWN) for name in names], dtype=np.int64)[which]
        return codes
