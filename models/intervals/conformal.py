"""Intervals by split conformal prediction: quantiles of residuals on days that the forecaster was not trained on.

Residuals are taken in units of the scale, separately for each horizon and part of the day (Vovk et al., 2005; Lei et
al., 2018). The median is the point forecast itself, and quantiles cannot cross.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from dualcast.arrays import Floats, Ints
from dualcast.catalogue import MEDIAN

# A part of the day with fewer residuals uses those of the whole day.
_ENOUGH = 40


class ConformalIntervals:
    """Offsets from the point forecast for each horizon, part of the day and level: (H, parts, levels)."""

    def __init__(self, levels: Sequence[float], slots_per_day: int, offsets: Floats) -> None:
        self.levels = tuple(levels)
        self.slots_per_day = slots_per_day
        self._offsets = offsets

    @classmethod
    def fit(cls, residuals: Floats, clock: Ints, levels: Sequence[float], slots_per_day: int, parts: int) -> Self:
        """From residuals (n, H) in units of the scale, NaN where unknown, at slots of the day (n, H).

        A part of the day shares the residuals of the parts before and after it, so that a season of days is enough.
        Raises ValueError where a horizon has no residual at all.
        """
        parts = min(parts, slots_per_day)
        part = clock * parts // slots_per_day
        horizons = residuals.shape[1]
        offsets = np.empty((horizons, parts, len(levels)))
        for horizon in range(horizons):
            known = np.isfinite(residuals[:, horizon])
            if not known.any():
                raise ValueError(f"no residual is known at horizon {horizon}")
            found, where = residuals[known, horizon], part[known, horizon]
            for p in range(parts):
                near = (where - p + 1) % parts <= 2
                pool = found[near] if near.sum() >= _ENOUGH else found
                offsets[horizon, p] = [_quantile(pool, level) for level in levels]
        return cls(levels, slots_per_day, offsets)

    def apply(self, point: Floats, scale: Floats, clock: Ints, factors: Floats | None = None) -> Floats:
        """Point forecasts (n, H) in the unit of the target as quantiles (n, H, levels), ascending.

        ``factors`` (n, 1 or H, levels) scale the offsets.
        """
        offsets = self.offsets(clock) * scale[:, np.newaxis, np.newaxis]
        if factors is not None:
            offsets = offsets * factors
        quantiles: Floats = np.sort(point[:, :, np.newaxis] + offsets, axis=2)
        return quantiles

    @property
    def horizons(self) -> int:
        """The number of horizons."""
        return len(self._offsets)

    def offsets(self, clock: Ints) -> Floats:
        """The offsets at slots of the day (n, H), in units of the scale: (n, H, levels)."""
        return self.offsets_at(np.arange(clock.shape[1]), clock)

    def offsets_at(self, horizon: Ints, clock: Ints) -> Floats:
        """The offsets of some horizons at slots of the day, which broadcast: (..., levels)."""
        found: Floats = self._offsets[horizon, clock * self._offsets.shape[1] // self.slots_per_day]
        return found

    def save(self, path: Path) -> None:
        """Write the offsets."""
        np.savez(path, levels=np.array(self.levels), slots_per_day=self.slots_per_day, offsets=self._offsets)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what ``save`` wrote."""
        with np.load(path) as stored:
            return cls(tuple(stored["levels"].tolist()), int(stored["slots_per_day"]), stored["offsets"])


def _quantile(residuals: Floats, level: float) -> float:
    """The conformal quantile: rounded outwards, and never on the inner side of the point forecast."""
    if level == MEDIAN:
        return 0.0
    if level < MEDIAN:
        return min(float(np.quantile(residuals, level, method="lower")), 0.0)
    return max(float(np.quantile(residuals, level, method="higher")), 0.0)
