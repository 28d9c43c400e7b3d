"""Synthetic histories: daily and weekly cycles with seeded noise, in canonical order."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dualcast.catalogue import Entity, UseCase
from dualcast.features.intraday.plan import IntradayPlan
from dualcast.features.intraday.update import Update, update_of
from dualcast.observations.columns import Columns
from dualcast.observations.publication import published_at
from dualcast.timegrid import iso_duration


def history(use_case: UseCase, entity: Entity, start: str, days: int, seed: int = 7) -> pd.DataFrame:
    """Generate all variables of a use case on its grid, with publication times by its rules, in canonical order.

    Columns: variable, valid_time, published_at, value, unit, resolution.
    """
    rng = np.random.default_rng(seed)
    times = pd.date_range(start, periods=int(pd.Timedelta(days=days) / use_case.grid), freq=use_case.grid, tz="UTC")
    hours = times.as_unit("s").asi8 / 3600
    shape = 1 + 0.2 * np.sin((hours % 24 - 8) / 24 * 2 * np.pi) + 0.1 * np.sin(hours / 168 * 2 * np.pi)
    frames = []
    for name, variable in use_case.variables.items():
        level = 50000.0 if variable.unit == use_case.unit else 10.0
        value = np.round(level * shape * (1 + 0.02 * rng.standard_normal(len(times))), 3)
        frames.append(
            pd.DataFrame(
                {
                    "variable": name,
                    "valid_time": times.as_unit("us"),
                    "published_at": published_at(variable.published, times, use_case.grid, entity.time_zone),
                    "value": value,
                    "unit": variable.unit,
                    "resolution": "PT15M",
                }
            )
        )
    return in_canonical_order(use_case, pd.concat(frames))


def in_canonical_order(use_case: UseCase, observations: pd.DataFrame) -> pd.DataFrame:
    """Sort by publication time, the target last at equal times, so that its row includes all simultaneous values."""
    return (
        observations.assign(last=observations["variable"] == use_case.target)
        .sort_values(["published_at", "last", "variable", "valid_time"], kind="stable")
        .drop(columns="last")
        .reset_index(drop=True)
    )


def as_update(use_case: UseCase, plan: IntradayPlan, observations: pd.DataFrame) -> Update:
    """Convert observations to the update that the state of a plan accepts."""
    resolution = iso_duration(use_case.part("intraday").resolution)
    update, _ = update_of(plan, Columns.from_frame(observations.assign(resolution=resolution)))
    return update


def corrupt_from(observations: pd.DataFrame, moment: pd.Timestamp) -> pd.DataFrame:
    """Corrupt all values published at or after a time, and add wrong corrections of older values."""
    late = observations["published_at"] >= moment
    corrupted = observations.assign(value=observations["value"].where(~late, observations["value"] * 3 + 1))
    corrections = observations[~late].assign(
        published_at=moment + pd.Timedelta(microseconds=1), value=observations["value"] * 0.1
    )
    return pd.concat([corrupted, corrections], ignore_index=True)
