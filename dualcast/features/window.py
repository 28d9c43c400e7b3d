"""The values that a feature may read: those of one entity on a regular grid, as known at its origins.

Slots are numbered by ``timegrid.Grid``, in all engines alike. A window holds n origins and, for each, the slots to
forecast. Measured values are visible before the origin only: later ones are NaN, so that no feature can leak.
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

_Visible = NDArray[np.bool_] | np.bool_
_Number = TypeVar("_Number", np.float64, np.int64)
# Means are computed from integers, in thousandths, so that a sum does not depend on where the history begins.
_MILLI = 1000.0


@dataclass(frozen=True)
class Window:
    """The known values, the origins and the targets.

    values: variable -> floats, NaN where unknown: (slots,), or (n, slots) where the known values differ by origin
    start: the slot of the first value, one or (n, 1)
    observed: the measured variables, whose values at and after an origin are hidden
    origin: (n, 1), the first slot that is not measured yet
    target: (n, horizons), the slots to forecast
    lookback: how many slots before its origin a feature may read
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
        """Values at slots, which broadcast against the origins; NaN where unknown, hidden or beyond the lookback."""
        return np.where(self._visible(variable, slot), _taken(self.values[variable], slot - self.start), np.nan)

    def mean(self, variable: str, end: Slots, width: int) -> Floats:
        """Mean of the ``width`` slots before ``end``; NaN where less than half of them are known.

        ``end`` must not be later than the origin.
        """
        return self._mean_of(*self._sums(variable, lambda: self.values[variable]), end, width)

    def mean_error(self, forecast: str, observed: str, end: Slots, width: int) -> Floats:
        """Mean of (observed - forecast) over the ``width`` slots before ``end`` where both are known."""
        sums = self._sums(f"{observed} - {forecast}", lambda: self.values[observed] - self.values[forecast])
        return self._mean_of(*sums, end, width)

    def periods(self, seconds: float) -> int:
        """A duration as a number of slots. Raises ValueError where it is no whole number."""
        slots, rest = divmod(int(seconds), self.step)
        if rest:
            raise ValueError(f"{seconds} s is not a multiple of the grid's {self.step} s")
        return slots

    def same_local_time(self, days: int) -> Slots:
        """The slots at the targets' local time ``days`` before, across clock changes too."""
        if days not in self._moved:
            back = self.target - days * (86400 // self.step)
            shift = self._target_offset - self.calendar.utc_offset(back)
            self._moved[days] = back + shift // self.step
        return self._moved[days]

    def by_slot(self, of: Callable[[Window], Floats]) -> Floats:
        """The result of ``of`` for this window, computed once for each slot that is a target of several origins.

        For consecutive origins, the rows are sliding views of one sequence. ``of`` must treat each target separately
        and depend on the origin only through the values that it hides.
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
        """Each target slot once; None where that saves nothing, or where the known values differ by origin."""
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
        """Whether the targets of each origin are those of the one before it, one slot later."""
        rows, targets = self.target.shape
        return np.array_equal(self.target - self.target[0, 0], np.add.outer(np.arange(rows), np.arange(targets)))

    def _visible(self, variable: str, slot: Slots) -> _Visible:
        """Whether slots are visible from the origins."""
        return self._visible_from(self.origin, variable, slot)

    def _visible_from(self, origin: Slots, variable: str, slot: Slots) -> _Visible:
        """Whether slots are visible from origins; a single True where all are, which is quick to check."""
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
        """The mean of ``of``, a function as in ``by_slot``, over the ``width`` slots before the origin, (n, 1).

        NaN where less than half of these are known. The result is cached by ``name``.
        """
        if name not in self._past or self._past[name][0].shape[1] <= width:
            # at least as many slots as targets, so that most further calls find their sums here
            self._past[name] = _running_sums(self._before_origin(max(width, self.target.shape[1])).by_slot(of))
        total, count = (sums[:, -1:] - sums[:, -1 - width, np.newaxis] for sums in self._past[name])
        return _mean_known(total, count, width)

    @cached_property
    def _past(self) -> dict[str, tuple[Slots, Slots]]:
        """Running sums up to the origin, cached by ``mean_before_origin`` under its names."""
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
        """The target slots on earlier days, cached by number of days."""
        return {}

    def _sums(self, name: str, series: Callable[[], Floats]) -> tuple[Slots, Slots]:
        if name not in self._summed:
            self._summed[name] = _running_sums(series())
        return self._summed[name]

    @cached_property
    def _summed(self) -> dict[str, tuple[Slots, Slots]]:
        """Running sums, cached by name of the series."""
        return {}

    def _mean_of(self, sums: Slots, counts: Slots, end: Slots, width: int) -> Floats:
        if (end > self.origin).any() or width > self.lookback:
            raise ValueError("a mean reaches beyond the origin or the lookback")
        last, first = end - self.start, end - width - self.start
        total, count = (_taken(running, last) - _taken(running, first) for running in (sums, counts))
        return _mean_known(total, count, width)


class _OriginMattersError(Exception):
    """The visible values of a slot differ by origin."""


@dataclass(frozen=True)
class _SlotWindow(Window):
    """One target in each row; ``origin`` and ``newest_origin`` are the oldest and newest origin that forecast it.

    Raises _OriginMattersError where these two see different values.
    """

    newest_origin: Slots

    def _visible(self, variable: str, slot: Slots) -> _Visible:
        oldest, newest = (self._visible_from(origin, variable, slot) for origin in (self.origin, self.newest_origin))
        if not np.array_equal(oldest, newest):
            raise _OriginMattersError
        return oldest

    def _mean_of(self, *_: Any) -> Floats:
        raise _OriginMattersError


def _taken(series: NDArray[_Number], index: Slots) -> NDArray[_Number]:
    """Values at (n, k) positions of (slots,), or of (n, slots) row by row; positions beyond an end mean that end."""
    if series.ndim == 1:
        return series.take(index, mode="clip")
    return np.take_along_axis(series, np.clip(index, 0, series.shape[1] - 1), axis=1)


def _mean_known(total: Slots, count: Slots, width: int) -> Floats:
    """Means of ``count`` values with a sum in thousandths; NaN where ``count`` is less than half of ``width``."""
    return np.where(2 * count >= width, total / _MILLI / np.maximum(count, 1), np.nan)


def is_sliding(values: NDArray[_Number]) -> bool:
    """Whether the rows of (n, m) are sliding views of one sequence, each one value later than the row before."""
    return min(values.shape) > 1 and values.strides == (values.itemsize, values.itemsize)


def sequence_of(sliding: NDArray[_Number]) -> NDArray[_Number]:
    """The sequence, (n + m - 1,), whose sliding views are the rows."""
    return np.concatenate((sliding[:, 0], sliding[-1, 1:]))


def _running_sums(series: Floats) -> tuple[Slots, Slots]:
    """Sum in thousandths and count of the known values before each slot, exact in integers.

    For sliding views of one sequence, sums since its beginning.
    """
    if series.ndim > 1 and is_sliding(series):
        total, count = _running_sums(sequence_of(series))
        return sliding_window_view(total, series.shape[1] + 1), sliding_window_view(count, series.shape[1] + 1)
    known = np.isfinite(series)
    milli = np.rint(np.where(known, series, 0.0) * _MILLI).astype(np.int64)
    return _before_each(milli), _before_each(known.astype(np.int64))


def _before_each(amounts: Slots) -> Slots:
    """The sum of the amounts before each slot, and of all of them: (slots,) -> (slots + 1,)."""
    nothing = np.zeros((*amounts.shape[:-1], 1), dtype=np.int64)
    return np.concatenate((nothing, np.cumsum(amounts, axis=-1)), axis=-1)
