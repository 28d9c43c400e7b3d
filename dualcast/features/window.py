"""What a feature may look at: the values of one entity on a regular grid, as they were known.

Slots are numbered as ``timegrid.Grid`` does, so that every engine numbers them alike. A window holds n
origins and, for each, the slots to forecast. Values that were measured are visible before the origin only: asking for a
later one gives NaN, so that no feature can leak by mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from dualcast.arrays import Floats, Slots

if TYPE_CHECKING:
    from dualcast.features.holidays import SlotCalendar

_Seen = NDArray[np.bool_] | np.bool_
_Number = TypeVar("_Number", np.float64, np.int64)
# Means are taken over integers of this many units, so that a sum does not depend on where the history begins.
_MILLI = 1000.0


@dataclass(frozen=True)
class Window:
    """Values as known, the origins and the targets.

    values: variable -> floats, NaN where unknown: (slots,), or (n, slots) where each origin knew other values
    start: the slot of the first value, one or (n, 1)
    observed: the variables that are measured, and so hidden at and after an origin
    origin: (n, 1), the first slot that is not measured yet
    target: (n, horizons), the slots to forecast
    lookback: no feature sees further back from its origin than this many slots
    step: length of a slot in seconds
    """

    values: Mapping[str, Floats]
    observed: frozenset[str]
    start: int | Slots
    origin: Slots
    target: Slots
    lookback: int
    step: int
    calendar: SlotCalendar

    def at(self, variable: str, slot: Slots) -> Floats:
        """Values at slots, which broadcast against the origins; NaN where unknown, hidden or out of sight."""
        return np.where(self._seen(variable, slot), _taken(self.values[variable], slot - self.start), np.nan)

    def mean(self, variable: str, end: Slots, width: int) -> Floats:
        """Mean of the ``width`` slots before ``end``; NaN where fewer than half of them are known.

        ``end`` must not be later than the origin.
        """
        return self._mean_of(*self._sums(variable, lambda: self.values[variable]), end, width)

    def mean_error(self, forecast: str, observed: str, end: Slots, width: int) -> Floats:
        """Mean of (observed - forecast) over the ``width`` slots before ``end`` where both are known."""
        sums = self._sums(f"{observed} - {forecast}", lambda: self.values[observed] - self.values[forecast])
        return self._mean_of(*sums, end, width)

    def periods(self, seconds: float) -> int:
        """A duration as a number of slots. Raises ValueError where it is none."""
        slots, rest = divmod(int(seconds), self.step)
        if rest:
            raise ValueError(f"{seconds} s is no multiple of the grid's {self.step} s")
        return slots

    def same_local_time(self, days: int) -> Slots:
        """The target slots moved ``days`` back on the local clock, over clock changes too."""
        if days not in self._moved:
            back = self.target - days * (86400 // self.step)
            shift = self._target_offset - self.calendar.utc_offset(back)
            self._moved[days] = back + shift // self.step
        return self._moved[days]

    def by_slot(self, of: Callable[[Window], Floats]) -> Floats:
        """What ``of`` gives for this window, worked out once for each slot that is a target of several origins.

        Where origins follow one another, their rows are views of one sequence. ``of`` must look at each target by
        itself, and at the origin only by what that hides.
        """
        if self._slots is None:
            return of(self)
        try:
            found = of(self._slots)[:, 0]
        except _OriginMattersError:
            return of(self)
        if self._slide:
            return sliding_window_view(found, self.target.shape[1])
        spread: Floats = found.take(self.target - self._slots.target[0, 0])
        return spread

    @cached_property
    def _slots(self) -> Window | None:
        """Each target slot once; None where that saves nothing, or where each origin knew other values."""
        if not self.target.size or any(series.ndim > 1 for series in self.values.values()):
            return None
        first, last = int(self.target.min()), int(self.target.max())
        if self.target.size < 2 * (last - first + 1):
            return None
        slot, lead = np.arange(first, last + 1)[:, np.newaxis], self.target - self.origin
        given = {name: getattr(self, name) for name in ("values", "observed", "start", "lookback", "step", "calendar")}
        return _SlotWindow(**given, target=slot, origin=slot - lead.max(), newest_origin=slot - lead.min())

    @cached_property
    def _slide(self) -> bool:
        """Whether each origin has the targets of the one before, one slot later."""
        rows, targets = self.target.shape
        return np.array_equal(self.target - self.target[0, 0], np.add.outer(np.arange(rows), np.arange(targets)))

    def _seen(self, variable: str, slot: Slots) -> _Seen:
        """Whether the origins see slots."""
        return self._seen_from(self.origin, variable, slot)

    def _seen_from(self, origin: Slots, variable: str, slot: Slots) -> _Seen:
        """Whether origins see slots; one answer for all where they see every one, which is soon told."""
        hidden, ahead = variable in self.observed, slot - origin
        end = self.start + self.values[variable].shape[-1]
        if (
            ahead.size
            and ahead.min() >= -self.lookback
            and (ahead.max() < 0 or not hidden)
            and slot.min() >= np.max(self.start)
            and slot.max() < np.min(end)
        ):
            return np.True_
        return (ahead >= -self.lookback) & (slot >= self.start) & (slot < (np.minimum(end, origin) if hidden else end))

    def mean_before_origin(self, name: str, width: int, of: Callable[[Window], Floats]) -> Floats:
        """The mean of what ``of``, as in ``by_slot``, gives for the ``width`` slots before the origin, (n, 1).

        NaN where fewer than half of that is known. Features that give the same ``name`` to the same ``of`` share it.
        """
        if name not in self._past or self._past[name][0].shape[1] <= width:
            # as many at once as there are targets: what is asked for next is mostly among them
            self._past[name] = _running_sums(self._before_origin(max(width, self.target.shape[1])).by_slot(of))
        total, count = (sums[:, -1:] - sums[:, -1 - width, np.newaxis] for sums in self._past[name])
        return _mean_known(total, count, width)

    @cached_property
    def _past(self) -> dict[str, tuple[Slots, Slots]]:
        """Running sums up to the origin, as ``mean_before_origin`` has worked them out, by name."""
        return {}

    def _before_origin(self, width: int) -> Window:
        """This window with the slots before the origin as its targets."""
        if width not in self._backward:
            self._backward[width] = replace(self, target=self.origin - np.arange(width, 0, -1))
        return self._backward[width]

    @cached_property
    def _backward(self) -> dict[int, Window]:
        return {}

    @cached_property
    def _target_offset(self) -> Slots:
        return self.calendar.utc_offset(self.target)

    @cached_property
    def _moved(self) -> dict[int, Slots]:
        """The target slots on earlier days, which many features ask for."""
        return {}

    def _sums(self, name: str, series: Callable[[], Floats]) -> tuple[Slots, Slots]:
        if name not in self._summed:
            self._summed[name] = _running_sums(series())
        return self._summed[name]

    @cached_property
    def _summed(self) -> dict[str, tuple[Slots, Slots]]:
        """Running sums by what they are of, which several features ask for."""
        return {}

    def _mean_of(self, sums: Slots, counts: Slots, end: Slots, width: int) -> Floats:
        if (end > self.origin).any() or width > self.lookback:
            raise ValueError("a mean reaches beyond the origin or the lookback")
        last, first = end - self.start, end - width - self.start
        total, count = (_taken(running, last) - _taken(running, first) for running in (sums, counts))
        return _mean_known(total, count, width)


class _OriginMattersError(Exception):
    """What a slot shows depends on which origin looks."""


@dataclass(frozen=True)
class _SlotWindow(Window):
    """One target a row; ``origin`` is the oldest of the origins that look at it. Raises where they see other things."""

    newest_origin: Slots

    def _seen(self, variable: str, slot: Slots) -> _Seen:
        oldest, newest = (self._seen_from(origin, variable, slot) for origin in (self.origin, self.newest_origin))
        if not np.array_equal(oldest, newest):
            raise _OriginMattersError
        return oldest

    def _mean_of(self, *_: Any) -> Floats:
        raise _OriginMattersError


def _taken(series: NDArray[_Number], index: Slots) -> NDArray[_Number]:
    """Values at (n, k) positions of (slots,), or of (n, slots) row by row; beyond an end, those at the end."""
    if series.ndim == 1:
        return series.take(index, mode="clip")
    return np.take_along_axis(series, np.clip(index, 0, series.shape[1] - 1), axis=1)


def _mean_known(total: Slots, count: Slots, width: int) -> Floats:
    """Means of ``count`` values with a sum in thousandths; NaN where that is fewer than half of ``width``."""
    return np.where(2 * count >= width, total / _MILLI / np.maximum(count, 1), np.nan)


def is_sliding(values: NDArray[_Number]) -> bool:
    """Whether each row of (n, m) is a view of one sequence, one value later than the row before."""
    return min(values.shape) > 1 and values.strides == (values.itemsize, values.itemsize)


def sequence_of(sliding: NDArray[_Number]) -> NDArray[_Number]:
    """The sequence, (n + m - 1,), of which rows are views."""
    return np.concatenate((sliding[:, 0], sliding[-1, 1:]))


def _running_sums(series: Floats) -> tuple[Slots, Slots]:
    """Sum in thousandths and count of the known values before each slot, exact in integers.

    Of rows that are views of one sequence, sums since its beginning.
    """
    if series.ndim > 1 and is_sliding(series):
        total, count = _running_sums(sequence_of(series))
        return sliding_window_view(total, series.shape[1] + 1), sliding_window_view(count, series.shape[1] + 1)
    known = np.isfinite(series)
    milli = np.rint(np.where(known, series, 0.0) * _MILLI).astype(np.int64)
    return _before_each(milli), _before_each(known.astype(np.int64))


def _before_each(amounts: Slots) -> Slots:
    """The sum of all amounts before each slot, and of all: one more than there are slots."""
    nothing = np.zeros((*amounts.shape[:-1], 1), dtype=np.int64)
    return np.concatenate((nothing, np.cumsum(amounts, axis=-1)), axis=-1)
