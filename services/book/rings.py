"""The newest values of one variable of many entities, over the slots of a window that moves with the clock."""

from __future__ import annotations

import numpy as np

from dualcast.arrays import Flags, Floats, Ints, Micros, Slots
from dualcast.observations.vintages import newest_rows, supersedes

_NEVER = np.iinfo(np.int64).min


class Ring:
    """Values and their ranks, (entities, size): slot n is in column n % size, for n in [start, start + size).

    A value replaces one of a lower rank. A rank is a time of publication, or another number that orders vintages.
    """

    def __init__(self, entities: int, size: int, start: int) -> None:
        self.start = start
        self._value = np.full((entities, size), np.nan)
        self._rank = np.full((entities, size), _NEVER, dtype=np.int64)

    @property
    def size(self) -> int:
        """The number of slots in the window."""
        return int(self._value.shape[1])

    def advance(self, start: int) -> None:
        """Move the window forward; the slots before it are dropped. A start before the present one changes nothing."""
        dropped = min(start - self.start, self.size)
        if dropped > 0:
            columns = (self.start + np.arange(dropped)) % self.size
            self._value[:, columns], self._rank[:, columns] = np.nan, _NEVER
            self.start = start

    def holds(self, slots: Slots) -> Flags:
        """Which slots lie in the window; shape as ``slots``."""
        inside: Flags = (slots >= self.start) & (slots < self.start + self.size)
        return inside

    def put(self, rows: Ints, slots: Slots, values: Floats, ranks: Micros) -> None:
        """Store the values of entities (their rows) in slots of the window, all (n,), in the order of arrival."""
        best = newest_rows(ranks, slots, rows)
        row, column, rank = rows[best], slots[best] % self.size, ranks[best]
        better = supersedes(rank, self._rank[row, column])
        row, column, best = row[better], column[better], best[better]
        self._value[row, column], self._rank[row, column] = values[best], ranks[best]

    def at(self, rows: Ints, slots: Slots) -> Floats:
        """The values of entities in slots, both (n,); NaN where unknown."""
        found = self._value[rows, slots % self.size]
        return np.where(self.holds(slots), found, np.nan)

    def window(self, row: int) -> Floats:
        """The values of one entity from ``start`` on, (size,)."""
        return np.roll(self._value[row], -(self.start % self.size))
