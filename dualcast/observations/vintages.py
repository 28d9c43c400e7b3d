"""Which vintage of a value counts: the newest that was known at a moment.

A vintage is one value of a slot with its time of publication. Of two vintages that were published at the same moment,
the first to arrive counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dualcast.arrays import Flags, Floats, Micros, Slots
from dualcast.observations.columns import micros_of
from dualcast.timegrid import Grid

UNKNOWN_TIME = -1


def supersedes(published: Micros, held: Micros) -> Flags:
    """Whether vintages replace those held of the same slot, which arrived before them."""
    return published > held


def counts_as_reference(published: Micros, starts: Micros) -> Flags:
    """Whether vintages of the reference forecast count: published no later than their interval began.

    A forecast that was revised during or after its interval is not compared with ours.
    """
    return published <= starts


def newest(published: Micros, *keys: Slots) -> Slots:
    """The index of the newest vintage of each distinct key, in the order of the keys; the first key sorts first.

    Rows are in the order of arrival.
    """
    arrived_last = -np.arange(len(published))
    order = np.lexsort((arrived_last, published, *reversed(keys)))
    is_last = np.ones(len(order), dtype=bool)
    is_last[:-1] = np.any([np.diff(key[order]) != 0 for key in keys], axis=0)
    chosen: Slots = order[is_last]
    return chosen


@dataclass(frozen=True)
class History:
    """All vintages of one variable in order of publication, (n,): microseconds, slots, values."""

    published: Micros
    slot: Slots
    value: Floats

    @classmethod
    def of(cls, observations: pd.DataFrame, variable: str, slots: Slots) -> History:
        """The vintages of a variable in a frame of observations, whose rows lie at ``slots``."""
        mine = (observations["variable"] == variable).to_numpy()
        rows, slot = observations[mine], slots[mine]
        published = micros_of(rows["published_at"])
        # of equal vintages the first to arrive is applied last
        order = np.lexsort((-np.arange(len(slot)), slot, published))
        return cls(published[order], slot[order], rows["value"].to_numpy(dtype=np.float64)[order])


class Replay:
    """The values of one entity as they were known at moments that only move forward."""

    def __init__(self, observations: pd.DataFrame, variables: Sequence[str], grid: Grid) -> None:
        slots = grid.numbers(pd.DatetimeIndex(observations["valid_time"]))
        self.start, self._length = int(slots.min()), int(slots.max() - slots.min()) + 1
        self._history = {name: History.of(observations, name, slots) for name in variables}
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
