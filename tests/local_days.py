"""Synthetic daily orders of warehouses: closed on Sundays, higher during promotions, published by catalogue rules."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dualcast.catalogue import Entity, UseCase
from dualcast.observations.publication import published_at
from dualcast.timegrid import DAY, Grid

WEEKDAYS = np.array([1.2, 1.0, 0.9, 1.0, 1.1, 0.8, 0.0])


def orders(use_case: UseCase, entity: Entity, first: str, days: int, level: float = 100.0) -> pd.DataFrame:
    """Generate all variables of ``warehouses`` for some local days as observations. Closed days have no orders."""
    rng = np.random.default_rng(len(entity.id))
    number = np.datetime64(first, "D").astype(np.int64) + np.arange(days)
    weekday = (number + 3) % 7
    promotion = ((number // 7) % 2).astype(float) * (weekday < 5)
    sold = np.round(level * WEEKDAYS[weekday] * (1 + 0.4 * promotion) * (1 + 0.05 * rng.standard_normal(days)), 3)
    values = {
        "orders": np.where(weekday == 6, np.nan, sold),
        "open": (weekday < 6).astype(float),
        "promotion": promotion,
        "school_holiday": np.zeros(days),
    }
    starts = Grid(DAY, entity.time_zone).starts(number)
    frames = [
        pd.DataFrame(
            {
                "variable": name,
                "valid_time": starts,
                "published_at": published_at(use_case.variables[name].published, starts, DAY, entity.time_zone),
                "value": value,
                "unit": use_case.variables[name].unit,
                "resolution": "P1D",
            }
        ).dropna(subset=["value"])
        for name, value in values.items()
    ]
    return pd.concat(frames, ignore_index=True).sort_values("published_at", kind="stable", ignore_index=True)
