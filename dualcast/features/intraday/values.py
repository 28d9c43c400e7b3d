"""The values of one entity in bounded memory: the newest vintage of each slot of each variable that a plan reads."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dualcast.arrays import Flags, Slots
from dualcast.features.intraday.plan import IntradayPlan
from dualcast.features.intraday.update import Update
from dualcast.observations.validation import implausible
from dualcast.observations.vintages import supersedes

UNKNOWN = np.iinfo(np.int64).min
_Number = TypeVar("_Number", np.float64, np.int64)


class ValueBuffer:
    """Values of consecutive slots and when each was published, (variables, slots).

    start: the first slot; UNKNOWN before the first value is stored
    values: NaN where unknown; published: microseconds since 1970, UNKNOWN where the value is unknown
    """

    def __init__(self, plan: IntradayPlan) -> None:
        self._plan = plan
        shape = len(plan.features.variables), plan.capacity
        self.start = UNKNOWN
        self.values: NDArray[np.float64] = np.full(shape, np.nan)
        self.published: NDArray[np.int64] = np.full(shape, UNKNOWN)

    @property
    def end(self) -> int:
        """The first slot after the buffer."""
        return self.start + len(self.values[0])

    def store(self, update: Update, indices: Slots, newest_end: int) -> tuple[Slots, Slots]:
        """Write the values that are newer vintages; return the indices stored and those refused as implausible.

        ``newest_end`` is the end of the newest slot whose row exists. Until ``keep`` is called, the buffer holds
        all that the rows of these values read.
        """
        end, is_target = (update.slot + update.span)[indices], update.variable[indices] == self._plan.target
        newest = np.maximum.accumulate(np.where(is_target, end, newest_end))
        if self.start == UNKNOWN:
            first = update.slot[indices][is_target] if is_target.any() else update.slot[indices]
            self.start = int(first.min()) - self._plan.week
        at = np.maximum(newest, self.start)
        self.keep(int(newest[-1]) + self._plan.ahead, more=min(int(at[-1] - at[0]), self._plan.together))
        limit = np.where(newest > UNKNOWN + 1, newest + self._plan.ahead, self.end)
        parts = np.split(np.arange(len(indices)), np.flatnonzero(np.diff((at - at[0]) // self._plan.chunk)) + 1)
        stored = [self._store_part(update, indices[part], limit[part]) for part in parts]
        return np.concatenate([taken for taken, _ in stored]), np.concatenate([bad for _, bad in stored])

    def keep(self, end: int, more: int = 0) -> None:
        """Extend the buffer to the slot ``end``; drop the oldest slots beyond the plan's capacity plus ``more``."""
        first = max(self.start, end - self._plan.capacity - more)
        width = max(end, self.start + self._plan.capacity) - first
        if (first, width) != (self.start, self.values.shape[1]):
            self.values = _moved(self.values, first - self.start, width, np.nan)
            self.published = _moved(self.published, first - self.start, width, UNKNOWN)
            self.start = first

    def to_bytes(self) -> bytes:
        """The values, then the times of publication; ``restore`` reads them."""
        return self.values.tobytes() + self.published.tobytes()

    def restore(self, start: int, data: bytes) -> None:
        """Read what ``to_bytes`` wrote. Raises ValueError where it was written for another plan."""
        size, shape = self.values.size, self.values.shape
        if len(data) != 16 * size:
            raise ValueError("the stored state belongs to other features; start from a fresh state or the old features")
        self.start = start
        self.values = np.frombuffer(data, np.float64, size).reshape(shape).copy()
        self.published = np.frombuffer(data, np.int64, size, 8 * size).reshape(shape).copy()

    def _store_part(self, update: Update, indices: Slots, limit: Slots) -> tuple[Slots, Slots]:
        """As ``store``, for values that must end by their limit and are not compared with each other."""
        slot, end = update.slot[indices] - self.start, (update.slot + update.span)[indices]
        inside = (slot >= 0) & (end <= np.minimum(limit, self.end))
        slot, indices = slot[inside], indices[inside]
        variable = update.variable[indices]
        newer = supersedes(update.published[indices], self.published[variable, slot])
        bad = newer & self._implausible(update, indices, variable, slot)
        kept = newer & ~bad
        for offset in range(int(update.span[indices].max(initial=1))):
            wide = np.flatnonzero(kept & (update.span[indices] > offset))
            wide = wide[np.argsort(update.published[indices[wide]], kind="stable")]
            where = variable[wide], slot[wide] + offset
            self.values[where] = update.value[indices[wide]]
            self.published[where] = update.published[indices[wide]]
        return indices[kept], indices[bad]

    def _implausible(self, update: Update, indices: Slots, variable: Slots, slot: Slots) -> Flags:
        """Which values are out of proportion to last week's; ``slot`` counts from the start of the buffer."""
        bad = np.zeros(len(indices), dtype=bool)
        names = self._plan.features.variables
        for code in np.unique(variable):
            bounds = self._plan.bounds[code]
            if bounds.relative_to in names:
                mine = variable == code
                before = slot[mine] - self._plan.week
                week_ago = self.values[names.index(bounds.relative_to), np.maximum(before, 0)]
                yardstick = np.where(before >= 0, week_ago, np.nan)
                bad[mine] = implausible(bounds, update.value[indices][mine], yardstick)
        return bad


def _moved(buffer: NDArray[_Number], shift: int, width: int, empty: float) -> NDArray[_Number]:
    """The columns [shift, shift + width) of a buffer, filled with ``empty`` beyond its end."""
    out = np.full((len(buffer), width), empty, dtype=buffer.dtype)
    kept = buffer[:, shift : shift + width]
    out[:, : kept.shape[1]] = kept
    return out
