"""The intraday fallback that needs no intraday model: day-ahead quantiles, shifted by their recent error."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

import numpy as np

from dualcast.arrays import Floats, Micros
from dualcast.catalogue import MEDIAN, UseCase
from dualcast.observations.aggregation import are_sums, share
from dualcast.timegrid import MICRO

# The error of the day-ahead median is measured over so long.
_RECENT = timedelta(hours=1)


@dataclass(frozen=True)
class DayAheadQuantiles:
    """Day-ahead quantiles of one entity, in order of time.

    starts: (m,) beginnings of the intervals, values: (m, levels), levels: the quantile levels, rising.
    """

    starts: Micros
    values: Floats
    levels: tuple[float, ...]

    @classmethod
    def of(cls, curves: Iterable[DayAheadQuantiles], use_case: UseCase, first: int, last: int) -> Self:
        """The curves that intraday intervals from ``first`` to ``last`` (microseconds) need, as one.

        It has the levels that all these curves have: levels may be added to the catalogue between two of them.
        """
        # values are interpolated from the day-ahead interval before and after
        margin = 2 * (use_case.day_ahead.resolution // MICRO)
        needed = [
            c for c in curves if len(c.starts) and c.starts[-1] >= first - margin and c.starts[0] <= last + margin
        ]
        if not needed:
            return cls(np.empty(0, np.int64), np.empty((0, 0)), ())
        levels = [level for level in needed[0].levels if all(level in c.levels for c in needed)]
        starts = np.concatenate([c.starts for c in needed])
        values = np.concatenate([c.values[:, [c.levels.index(level) for level in levels]] for c in needed])
        order = np.argsort(starts)
        return cls(starts[order], values[order], tuple(levels))

    def at(self, use_case: UseCase, times: Micros) -> Floats:
        """The quantiles of intraday intervals that begin at ``times`` (n,): (n, levels), NaN where none is known.

        Values are interpolated between the middles of the day-ahead intervals; those of summed variables are divided
        among the intraday intervals.
        """
        if not len(self.starts):
            return np.full((len(times), max(len(self.levels), 1)), np.nan)
        wide, narrow = use_case.day_ahead.resolution // MICRO, intraday_step(use_case)
        holder = np.searchsorted(self.starts, times, side="right") - 1
        inside = (holder >= 0) & (times < self.starts[holder] + wide)
        middles = times + narrow // 2
        columns = [np.interp(middles, self.starts + wide // 2, column) for column in self.values.T]
        values = np.stack(columns, axis=1)
        values = share(values, wide // narrow, sums=are_sums(use_case, [use_case.target]))
        values[~inside] = np.nan
        return values


def intraday_step(use_case: UseCase) -> int:
    """The length of an intraday interval in microseconds."""
    return use_case.part("intraday").resolution // MICRO


def recent_times(use_case: UseCase, newest_end: int) -> Micros:
    """The beginnings of the intraday intervals of the hour before the end of the newest measured one."""
    step = intraday_step(use_case)
    count = max((_RECENT // MICRO) // step, 1)
    return newest_end - np.arange(count, 0, -1, dtype=np.int64) * step


def shifted(use_case: UseCase, day_ahead: DayAheadQuantiles, times: Micros, recent: Micros, actual: Floats) -> Floats:
    """Quantiles of the leading intraday intervals that the day-ahead curves cover, (k, levels), k <= n.

    All quantiles are shifted by the mean error of the median at the intervals ``recent``, whose ``actual`` values are
    NaN where unknown; by nothing where no error is known.
    """
    values = day_ahead.at(use_case, times)
    unknown = np.flatnonzero(np.isnan(values).any(axis=1))
    covered = values[: unknown[0] if len(unknown) else len(values)]
    if not len(covered) or not len(recent):
        return covered
    error = actual - day_ahead.at(use_case, recent)[:, day_ahead.levels.index(MEDIAN)]
    known = error[np.isfinite(error)]
    return covered + float(known.mean()) if len(known) else covered
