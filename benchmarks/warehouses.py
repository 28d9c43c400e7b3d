"""Synthetic warehouses for the benchmarks: any number of series, under the rules of ``use_cases/warehouses.yaml``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from dualcast.catalogue import UseCase, load_use_case
from dualcast.features.plan import FeaturePlan
from dualcast.observations.publication import published_at
from dualcast.timegrid import DAY, Grid

_SITES = 52


def warehouses(series: int) -> UseCase:
    """The use case with so many series: 52 warehouses and their items."""
    use_case = load_use_case("warehouses", Path(__file__).parent.parent / "use_cases")
    pattern = use_case.entities[0]
    entities = tuple(
        pattern.model_copy(update={"id": f"W{number % _SITES:02d}.{number // _SITES:05d}", "title": f"Series {number}"})
        for number in range(series)
    )
    return use_case.model_copy(update={"entities": entities})


def gold_rows(use_case: UseCase, entity_ids: Sequence[str], days: Sequence[date], seed: int = 1) -> pd.DataFrame:
    """Rows as Gold has them, of random features around a level, and an ``actual`` that follows from some of them."""
    rng = np.random.default_rng(seed)
    plan, first = FeaturePlan.of(use_case, "day-ahead"), use_case.entities[0]
    curves = [(use_case.cutoff(first, day), day, use_case.delivery_slots(first, day)) for day in days]
    points = len(curves[0][2])
    count = len(entity_ids) * len(days) * points
    level = np.repeat(rng.lognormal(4, 1, len(entity_ids)), len(days) * points)
    columns = {name: level * rng.normal(1, 0.2, count) for name in plan.levels}
    columns |= {name: rng.integers(0, 3, count).astype(float) for name in plan.names if name not in columns}
    columns |= {"open": np.ones(count), "weekday": np.tile(np.arange(points) % 7, count // points).astype(float)}
    base = columns["orders_same_plan_4"] * (1 + 0.3 * (columns["promotion"] > 1))
    return pd.DataFrame(
        {
            "entity_id": np.repeat(np.array(entity_ids, dtype=object), len(days) * points),
            "valid_time": np.tile(
                np.concatenate([times.tz_convert(None).to_numpy() for *_, times in curves]), len(entity_ids)
            ),
            "cutoff": np.tile(
                np.repeat([pd.Timestamp(c).tz_convert(None) for c, *_ in curves], points), len(entity_ids)
            ),
            "delivery_day": np.tile(
                np.repeat(np.array([day for _, day, _ in curves], dtype=object), points), len(entity_ids)
            ),
            **columns,
            "actual": base * rng.normal(1, 0.1, count),
            "actual_week_before": base * rng.normal(1, 0.1, count),
        }
    ).pipe(_as_gold)


def observations(use_case: UseCase, first: date, days: int) -> pd.DataFrame:
    """The orders and plans of all series on some days, in the columns of Bronze."""
    numbers = (np.datetime64(first, "D") + np.arange(days)).astype(np.int64)
    weekday = (numbers + 3) % 7
    zone = use_case.entities[0].time_zone
    starts = Grid(DAY, zone).starts(numbers)
    rng, count = np.random.default_rng(3), len(use_case.entities)
    promotion = ((numbers // 7) % 2 * (weekday < 5)).astype(float)
    level = rng.lognormal(4, 1, count)[:, np.newaxis] * (1 + 0.3 * promotion) * np.where(weekday < 6, 1.0, 0.2)
    plans = {"open": np.ones(days), "promotion": promotion, "school_holiday": np.zeros(days)}
    values = {name: np.tile(plan, count) for name, plan in plans.items()}
    values["orders"] = (level * rng.normal(1, 0.1, level.shape)).round(3).ravel()
    ids = np.repeat(np.array([e.id for e in use_case.entities], dtype=object), days)
    frames = []
    for name, value in values.items():
        variable = use_case.variables[name]
        known = published_at(variable.published, starts, DAY, zone)
        times = {"valid_time": np.tile(starts, count), "published_at": np.tile(known, count)}
        frames.append(
            pd.DataFrame({"entity_id": ids, "variable": name, **times, "value": value, "unit": variable.unit})
        )
    return pd.concat(frames, ignore_index=True).assign(
        resolution="P1D", source="made up", simulated=True, topic="observations.v1", partition=0, offset=0, position=0
    )


def _as_gold(rows: pd.DataFrame) -> pd.DataFrame:
    times = {name: rows[name].dt.tz_localize("UTC").dt.as_unit("us") for name in ("valid_time", "cutoff")}
    known = times["cutoff"] - timedelta(hours=1)
    return rows.assign(
        **times, newest_input_at=known, event_timestamp=times["cutoff"], data_version="made@1", simulated=True
    )
