"""Which vintage of a value counts: the newest that was known at a moment.

A vintage is one value of a slot with its time of publication. Of two vintages that were published at the same moment,
the first to arrive counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from dualcast.arrays import Flags, Floats, Micros, Slots
from dualcast.observations.columns import micros_of
from dualcast.timegrid import Grid

UNKNOWN_TIME = -1


def supersedes(published: Micros, held: Micros) -> Flags:
    """Whether vintages replace those held of the same slot, which arrived before them."""
    return published > held


def newest_rows(published: Micros, *keys: Slots) -> Slots:
    """The index of the newest vintage of each distinct combination of keys; rows are in the order of arrival."""
    arrived_last = -np.arange(len(published))
    order: Slots = np.lexsort((arrived_last, published, *keys))
    last = np.ones(len(order), dtype=bool)
    last[:-1] = np.any([np.diff(key[order]) != 0 for key in keys], axis=0)
    rows: Slots = order[last]
    return rows


def counts_as_reference(published: Micros, starts: Micros) -> Flags:
    """Whether vintages of the reference forecast count: published no later than their interval began.

    A forecast that was revised during or after its interval is not compared with ours.
    """
    return published <= starts


@dataclass(frozen=True)
class Vintages:
    """The vintages of one variable of an entity, each once, by publication and then slot.

    published: microseconds (n,), slot: (n,), value: (n,)
    """

    published: Micros
    slot: Slots
    value: Floats

    @classmethod
    def of(cls, published: Micros, slot: Slots, value: Floats) -> Self:
        """From vintages in the order of their arrival."""
        order = np.lexsort((slot, published))
        published, slot, value = published[order], slot[order], value[order]
        again = np.zeros(len(order), dtype=bool)
        again[1:] = (np.diff(published) == 0) & (np.diff(slot) == 0)
        return cls(published, slot, value) if not again.any() else cls(published[~again], slot[~again], value[~again])

    @classmethod
    def of_frame(cls, observations: pd.DataFrame, variable: str, slots: Slots) -> Self:
        """The vintages of a variable in a frame of observations, in the order of their arrival, which lie at slots."""
        mine = (observations["variable"] == variable).to_numpy()
        rows = observations[mine]
        return cls.of(micros_of(rows["published_at"]), slots[mine], rows["value"].to_numpy(dtype=np.float64))

    def take(self, rows: Slots | Flags) -> Self:
        """Some of the vintages."""
        return type(self)(self.published[rows], self.slot[rows], self.value[rows])

    def newest(self) -> Self:
        """The newest vintage of each slot, by slot."""
        return self.take(newest_rows(self.published, self.slot))


class Replay:
    """The values of one entity as they were known at moments that only move forward."""

    def __init__(self, observations: pd.DataFrame, variables: Sequence[str], grid: Grid) -> None:
        slots = grid.numbers(pd.DatetimeIndex(observations["valid_time"]))
        self.start, self._length = int(slots.min()), int(slots.max() - slots.min()) + 1
        self._history = {name: Vintages.of_frame(observations, name, slots) for name in variables}
        self._applied = dict.fromkeys(variables, 0)
        self.values = {name: np.full(self._length, np.nan) for name in variables}
        self.newest_input = UNKNOWN_TIME

    def advance(self, moment: int) -> None:
        """Apply all vintages published before ``moment`` (microseconds since 1970)."""
        for name, history in self._history.items():
            begin, end = self._applied[name], int(np.searchsorted(history.published, moment, side="left"))
            if end > begin:
                self.values[name][history.slot[begin:end] - self.start] = history.value[begin:end]
                self.newest_input = max(self.newest_input, int(history.published[end - 1]))
                self._applied[name] = end

    def window(self, name: str, begin: int, end: int) -> Floats:
        """Values of the slots [begin, end), NaN where unknown."""
        out = np.full(end - begin, np.nan)
        first, last = max(begin, self.start), min(end, self.start + self._length)
        if last > first:
            out[first - begin : last - begin] = self.values[name][first - self.start : last - self.start]
        return out
