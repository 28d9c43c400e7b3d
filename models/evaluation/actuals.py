"""Actuals in the vintage that was known at a moment, for training rows and for published points."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from dualcast.arrays import Floats
from dualcast.catalogue import Path_, UseCase
from dualcast.observations.actuals import target_values


def with_actuals(
    use_case: UseCase, path: Path_, points: pd.DataFrame, observations: pd.DataFrame, cutoff: datetime
) -> pd.DataFrame:
    """Published points with the column ``actual``, in the vintage known before ``cutoff``."""
    points = points.reset_index(drop=True)
    known = actual_values(use_case, points, observations, cutoff, use_case.part(path).resolution)
    return points.assign(actual=known[:, 0])


def actual_values(
    use_case: UseCase, rows: pd.DataFrame, on_grid: pd.DataFrame, until: datetime, step: timedelta, horizons: int = 1
) -> Floats:
    """The target at the valid_time of rows and the steps after it, in the vintage known before ``until``, (n, H).

    ``on_grid`` are observations on the grid, every vintage: entity_id, variable, valid_time, published_at, value.
    """
    known = on_grid[(on_grid["variable"] == use_case.target) & (on_grid["published_at"] < until)]
    of_entity = dict(iter(known.groupby("entity_id")))
    actual = np.full((len(rows), horizons), np.nan)
    for entity_id, where in rows.reset_index(drop=True).groupby("entity_id").groups.items():
        if entity_id in of_entity:
            series = target_values(use_case, of_entity[entity_id], step)
            actual[where] = _ahead(series, rows["valid_time"].iloc[where], step, horizons)
    return actual


def _ahead(series: pd.Series, starts: pd.Series, step: timedelta, horizons: int) -> Floats:
    """The values of a series at some times and the steps after them, (n, horizons)."""
    first = starts.dt.tz_convert(None).to_numpy(dtype="datetime64[us]")
    times = first[:, np.newaxis] + np.arange(horizons) * np.timedelta64(step)
    values = series.reindex(pd.DatetimeIndex(times.ravel(), tz="UTC"))
    return np.asarray(values, dtype=np.float64).reshape(times.shape)
