"""Feature rows of a backtest, by the functions that Spark and Flink run, and targets as known at a fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd

from dualcast.adapters.lake import target_column
from dualcast.arrays import Floats
from dualcast.catalogue import Entity, Path_, UseCase
from dualcast.features.as_of import day_ahead_features
from dualcast.features.intraday.plan import IntradayPlan
from dualcast.features.intraday.state import IntradayState, Rows
from dualcast.features.intraday.update import update_of
from dualcast.observations.columns import Columns
from dualcast.timegrid import day_bounds
from models.evaluation.actuals import actual_values

# The first rows of the stream lack older values: it starts so long before the first day.
_WARM_UP = timedelta(days=14)


@dataclass(frozen=True)
class RowMaker:
    """Makes the feature rows of some local days, one entity at a time; can be pickled for a worker.

    Rows have entity_id, valid_time (of the delivery interval; intraday: the origin), event_timestamp (the cutoff; the
    moment the origin's value became known), delivery_day (local; intraday: the origin's) and the features: floats, and
    arrays of (horizons,) for intraday features per target.
    """

    use_case: UseCase
    path: Path_
    days: tuple[date, ...]

    def __call__(self, entity_id: str, observations: pd.DataFrame) -> pd.DataFrame:
        """The rows of one entity, from its observations."""
        entity = self.use_case.entity(entity_id)
        if self.path == "day-ahead":
            rows = day_ahead_features(self.use_case, entity, observations, self.days)
            return rows.assign(event_timestamp=rows["cutoff"])
        return self._intraday(entity, observations)

    def _intraday(self, entity: Entity, observations: pd.DataFrame) -> pd.DataFrame:
        """The rows that the stream makes of the same observations in the same order."""
        plan = IntradayPlan(self.use_case, entity)
        begin, end = day_bounds(self.days[0], entity.time_zone)[0], day_bounds(self.days[-1], entity.time_zone)[1]
        since = begin - self.use_case.part("intraday").lookback - _WARM_UP
        seen = observations[(observations["published_at"] >= since) & (observations["valid_time"] <= end)]
        update, _ = update_of(plan, Columns.from_frame(seen))
        chunks, _ = IntradayState(plan).apply(update)
        rows = _frame(entity, plan, chunks)
        return rows[(rows["valid_time"] >= begin) & (rows["valid_time"] < end)].reset_index(drop=True)


# Runs a RowMaker over every entity of some observations and gathers what it makes.
EachEntity = Callable[[RowMaker, pd.DataFrame], pd.DataFrame]


def one_by_one(maker: RowMaker, observations: pd.DataFrame) -> pd.DataFrame:
    """One entity after the other, in this process."""
    parts = [maker(str(entity_id), part) for entity_id, part in observations.groupby("entity_id", sort=True)]
    return pd.concat(parts, ignore_index=True)


def with_targets(
    use_case: UseCase, path: Path_, rows: pd.DataFrame, on_grid: pd.DataFrame, until: datetime
) -> pd.DataFrame:
    """Rows with the column ``target_column(path)``: actuals in the vintage known before ``until``."""
    horizons = use_case.part("intraday").horizons if path == "intraday" else 1
    actual = actual_values(use_case, rows, on_grid, until, use_case.part(path).resolution, horizons)
    return rows.assign(**{target_column(path): actual[:, 0] if path == "day-ahead" else list(actual)})


def _frame(entity: Entity, plan: IntradayPlan, chunks: list[Rows]) -> pd.DataFrame:
    """The rows that a state made, as a frame."""
    per_origin = set(plan.features.per_origin)
    columns: dict[str, Floats | list[Floats]] = {}
    for name in plan.features.names:
        width = 1 if name in per_origin else plan.horizons
        parts = [c.features[name] for c in chunks]
        values = np.concatenate(parts) if parts else np.empty((0, width))
        columns[name] = values[:, 0] if width == 1 else list(values)
    origin = np.concatenate([c.origin for c in chunks]) if chunks else np.empty(0, np.int64)
    as_of = np.concatenate([c.as_of for c in chunks]) if chunks else np.empty(0, np.int64)
    valid_time = pd.to_datetime(origin * plan.features.step, unit="s", utc=True).as_unit("us")
    head = {
        "entity_id": entity.id,
        "valid_time": valid_time,
        "event_timestamp": pd.to_datetime(as_of, unit="us", utc=True).as_unit("us"),
        "delivery_day": valid_time.tz_convert(entity.time_zone).date,
    }
    return pd.DataFrame(head | columns)
