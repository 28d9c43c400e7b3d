"""Errors of the curves in memory against actuals, and of the reference forecast over the same intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from dualcast.arrays import Floats
from dualcast.catalogue import Path_, UseCase
from dualcast.metrics import coverage, mae, mape
from dualcast.timegrid import MICRO, floor, micros
from services.book.curves import CurveCache
from services.book.series import SeriesCache
from services.book.tracks import Track

# The error of the reference is computed only if the reference is known for nearly all intervals.
_COMPARABLE = 0.95
_LEADS = tuple(timedelta(hours=h) for h in (1, 2, 4, 6, 12, 24))


@dataclass(frozen=True, slots=True)
class Errors:
    """Errors of the median over ``points`` intervals, in percent or (``mae``) in the unit of the target.

    ``coverage`` is the percentage of actuals inside the interval; ``reference_mape`` is None if the reference is
    unknown for too many intervals.
    """

    points: int
    mape: float
    mae: float
    coverage: float | None
    reference_mape: float | None


@dataclass(frozen=True, slots=True)
class PathErrors:
    """Errors of both paths for one entity; those of the intraday path by horizon."""

    day_ahead: Errors | None
    intraday: dict[timedelta, Errors]


@dataclass(frozen=True)
class _Pairs:
    """Forecasts, actuals and the reference of some intervals, all (n,)."""

    low: Floats
    median: Floats
    high: Floats
    actual: Floats
    reference: Floats


class Scores:
    """Errors of each entity, cached until a curve or an observation arrives."""

    def __init__(self, curves: CurveCache, series: SeriesCache) -> None:
        self._curves = curves
        self._series = series
        self._cached: dict[tuple[str, str], tuple[tuple[int, int], PathErrors]] = {}

    def errors(self, use_case: UseCase, entity_id: str) -> PathErrors:
        """The errors of both paths over the curves and actuals in memory: at most the last two weeks."""
        key, version = (use_case.use_case, entity_id), (self._curves.version, self._series.version)
        held = self._cached.get(key)
        if held is not None and held[0] == version:
            return held[1]
        found = PathErrors(day_ahead=self._day_ahead(use_case, entity_id), intraday=self._intraday(use_case, entity_id))
        self._cached[key] = version, found
        return found

    def _day_ahead(self, use_case: UseCase, entity_id: str) -> Errors | None:
        tracks = [curve.track for curve in self._curves.days(use_case.use_case, entity_id)]
        pairs = self._pairs(use_case, entity_id, tracks, "day-ahead")
        return None if pairs is None else _errors(pairs, slice(None))

    def _intraday(self, use_case: UseCase, entity_id: str) -> dict[timedelta, Errors]:
        if "intraday" not in use_case.paths:
            return {}
        tracks = self._curves.intraday_tracks(use_case.use_case, entity_id)
        resolution = use_case.part("intraday").resolution
        pairs = self._pairs(use_case, entity_id, tracks, "intraday")
        if pairs is None:
            return {}
        origins = [micros(floor(t.issued_at, resolution)) for t in tracks]
        steps = np.concatenate(
            [(t.times - origin) // (resolution // MICRO) + 1 for t, origin in zip(tracks, origins, strict=True)]
        )
        found = ((step * resolution, _errors(pairs, steps == step)) for step in horizon_steps(use_case))
        return {horizon: errors for horizon, errors in found if errors is not None}

    def _pairs(self, use_case: UseCase, entity_id: str, tracks: Sequence[Track], path: Path_) -> _Pairs | None:
        if not tracks:
            return None
        resolution = use_case.part(path).resolution
        times = np.concatenate([t.times for t in tracks])
        unique, where = np.unique(times, return_inverse=True)
        actual = self._series.values(use_case, entity_id, use_case.target, unique, resolution)[where]
        reference = self._series.values(use_case, entity_id, use_case.reference, unique, resolution)[where]
        shown = use_case.part(path).shown_levels
        low, median, high = (np.concatenate([_at_level(track, level) for track in tracks]) for level in shown)
        return _Pairs(low, median, high, actual, reference)


def horizon_steps(use_case: UseCase) -> list[int]:
    """The horizons that are shown, in steps: the first, some full hours, and the last.

    >>> from dualcast.catalogue import load_use_case
    >>> horizon_steps(load_use_case("de_load"))
    [1, 4, 8, 16, 24]
    """
    part = use_case.part("intraday")
    whole = {lead // part.resolution for lead in _LEADS if lead % part.resolution == timedelta(0)}
    return sorted(s for s in {1, part.horizons} | whole if 1 <= s <= part.horizons)


def _at_level(track: Track, level: float) -> Floats:
    """The values of a quantile; NaN where the curve lacks the level."""
    if level not in track.levels:
        return np.full(len(track.times), np.nan)
    values: Floats = track.values[:, track.levels.index(level)]
    return values


def _errors(pairs: _Pairs, chosen: slice | NDArray[np.bool_]) -> Errors | None:
    actual, median = pairs.actual[chosen], pairs.median[chosen]
    low, high, reference = pairs.low[chosen], pairs.high[chosen], pairs.reference[chosen]
    known = np.isfinite(actual) & (np.abs(actual) > 1e-9) & np.isfinite(median)
    if not known.any():
        return None
    compared = known & np.isfinite(reference)
    fair = compared.sum() >= _COMPARABLE * known.sum()
    return Errors(
        points=int(known.sum()),
        mape=mape(actual[known], median[known]),
        mae=mae(actual[known], median[known]),
        coverage=None if np.isnan(inside := coverage(actual[known], low[known], high[known])) else inside,
        reference_mape=mape(actual[compared], reference[compared]) if fair else None,
    )
