"""Features from history: of each delivery day, from exactly what was published before its cutoff.

``observations`` frames here have the columns variable, valid_time, published_at (both UTC) and value, on the use case's
grid, with every vintage; one frame belongs to one entity.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby, islice

import numpy as np
import pandas as pd

from dualcast.arrays import Floats, Slots
from dualcast.catalogue import Entity, UseCase
from dualcast.features.holidays import SlotCalendar
from dualcast.features.plan import FeaturePlan
from dualcast.observations.aggregation import coarsen
from dualcast.observations.vintages import UNKNOWN_TIME, Replay, Vintages
from dualcast.timegrid import Grid, micros

# Plans (promotions, opening days) are read this far beyond the last target, since features may look ahead.
PLANS_AHEAD = timedelta(days=7)
# Runs are computed together up to this many values: more takes memory and is no faster.
_VALUES_AT_ONCE = 2_000_000


def day_ahead_features(
    use_case: UseCase, entity: Entity, observations: pd.DataFrame, delivery_days: Sequence[date]
) -> pd.DataFrame:
    """The day-ahead feature rows of one entity for some delivery days, in any order.

    Returns one row for each interval of each day's curve: entity_id, valid_time, cutoff (when the row is as of),
    newest_input_at (published_at of the newest value known then), delivery_day (the curve's first), then the
    features in the order of the YAML. Days whose cutoff is before the first publication are left out.
    """
    plan = FeaturePlan.of(use_case, "day-ahead")
    frames = list(_day_ahead_frames(use_case, entity, observations, sorted(delivery_days), plan))
    return pd.concat(frames, ignore_index=True) if frames else _empty(plan)


@dataclass(frozen=True)
class _Run:
    """One day-ahead run: what was known at its cutoff, on the path's grid from slot ``begin`` on."""

    day: date
    cutoff: datetime
    newest_input: int
    begin: int
    origin: int
    target: Slots
    values: dict[str, Floats]

    @property
    def shape(self) -> tuple[int, int]:
        """Runs of one shape can be computed at once: number of targets, slots from the origin to the first."""
        return len(self.target), int(self.target[0]) - self.origin


def _day_ahead_frames(
    use_case: UseCase, entity: Entity, observations: pd.DataFrame, days: Sequence[date], plan: FeaturePlan
) -> Iterator[pd.DataFrame]:
    if observations.empty:
        return
    calendar, grid = plan.calendar(entity), plan.grid(entity)
    runs = _runs(use_case, entity, observations, days, plan)
    for _, alike in groupby(runs, key=lambda run: run.shape):
        while chunk := list(islice(alike, max(_VALUES_AT_ONCE // _size(plan), 1))):
            yield _rows(entity, chunk, plan, grid, calendar)


def _runs(
    use_case: UseCase, entity: Entity, observations: pd.DataFrame, days: Sequence[date], plan: FeaturePlan
) -> Iterator[_Run]:
    part, fine = use_case.day_ahead, Grid(use_case.grid, entity.time_zone)
    ratio = part.resolution // use_case.grid
    replay, grid = Replay(observations, plan.variables, fine), plan.grid(entity)
    for day in days:
        cutoff = use_case.cutoff(entity, day)
        replay.advance(micros(cutoff))
        if replay.newest_input == UNKNOWN_TIME:
            continue
        target = grid.numbers(use_case.delivery_slots(entity, day))
        # the first slot that is not completely measured at the cutoff
        origin = grid.number(cutoff - part.measurement_delay)
        begin, end = origin - plan.lookback, int(target[-1]) + 1 + PLANS_AHEAD // part.resolution
        values = {
            name: coarsen(replay.window(name, begin * ratio, end * ratio), ratio, use_case.variables[name].aggregate)
            for name in plan.variables
        }
        yield _Run(day, cutoff, replay.newest_input, begin, origin, target, values)


def _rows(entity: Entity, runs: Sequence[_Run], plan: FeaturePlan, grid: Grid, calendar: SlotCalendar) -> pd.DataFrame:
    """The feature rows of runs of one shape."""
    values = {name: np.stack([run.values[name] for run in runs]) for name in plan.variables}
    begin, origin = (np.array([[getattr(run, name)] for run in runs]) for name in ("begin", "origin"))
    target = np.stack([run.target for run in runs])
    features = plan.compute(plan.window(values, begin, origin, target, calendar))
    points = target.shape[1]
    return pd.DataFrame(
        {
            "entity_id": entity.id,
            "valid_time": grid.starts(target.ravel()),
            "cutoff": pd.DatetimeIndex([run.cutoff for run in runs]).as_unit("us").repeat(points),
            "newest_input_at": pd.to_datetime([run.newest_input for run in runs], unit="us", utc=True)
            .as_unit("us")
            .repeat(points),
            "delivery_day": np.repeat(np.array([run.day for run in runs], dtype=object), points),
            **{name: np.broadcast_to(v, target.shape).ravel() for name, v in features.items()},
        }
    )


def _size(plan: FeaturePlan) -> int:
    """About how many values one run reads."""
    return max(plan.lookback * len(plan.variables), 1)


def intraday_features(
    use_case: UseCase, entity: Entity, observations: pd.DataFrame, since: datetime | None = None
) -> pd.DataFrame:
    """The intraday feature rows of one entity, one for each value of the target, each as of that value's publication.

    A simple, slow implementation of what ``intraday.state`` computes, for tests and for checks of served rows. Returns
    entity_id, valid_time (the origin), as_of, then the features: floats per origin, arrays of (horizons,) per target.
    A row's as_of is at least a microsecond later than that of the row before it.
    """
    grid = Grid(use_case.part("intraday").resolution, entity.time_zone)
    frame = _intraday_rows(use_case, entity, observations, _origins(observations, use_case.target, grid, since))
    count = np.arange(len(frame))
    as_of = frame["as_of"].astype("int64").to_numpy()
    later = pd.to_datetime(np.maximum.accumulate(as_of - count) + count, unit="us", utc=True)
    return frame.assign(as_of=pd.DatetimeIndex(later).as_unit("us"))


def intraday_features_at(
    use_case: UseCase, entity: Entity, observations: pd.DataFrame, rows: pd.DataFrame
) -> pd.DataFrame:
    """The features of given rows (valid_time, as_of; UTC), from what was published by as_of; in order of as_of.

    Returns the columns of ``intraday_features``; as_of is the newest publication up to the given one.
    """
    rows = rows.sort_values(["as_of", "valid_time"])
    numbers = Grid(use_case.part("intraday").resolution, entity.time_zone).numbers(pd.DatetimeIndex(rows["valid_time"]))
    moments = rows["as_of"].dt.as_unit("us").astype("int64").tolist()
    return _intraday_rows(use_case, entity, observations, zip(moments, numbers.tolist(), strict=True))


def _intraday_rows(
    use_case: UseCase, entity: Entity, observations: pd.DataFrame, wanted: Iterable[tuple[int, int]]
) -> pd.DataFrame:
    """Rows at (moment in microseconds, origin slot), by moment."""
    plan = FeaturePlan.of(use_case, "intraday")
    part, grid = use_case.part("intraday"), plan.grid(entity)
    replay = Replay(observations, plan.variables, grid)
    calendar = plan.calendar(entity)
    ahead = part.ahead // part.resolution
    rows = []
    for moment, origin in wanted:
        replay.advance(moment + 1)
        begin = origin - plan.lookback
        values = {name: replay.window(name, begin, origin + ahead) for name in plan.variables}
        column = np.array([[origin]])
        features = plan.compute(plan.window(values, begin, column, column + np.arange(part.horizons), calendar))
        cells = {n: float(features[n][0, 0]) for n in plan.per_origin} | {n: features[n][0] for n in plan.per_target}
        rows.append({"entity_id": entity.id, "valid_time": origin * plan.step, "as_of": replay.newest_input} | cells)
    frame = pd.DataFrame(rows, columns=["entity_id", "valid_time", "as_of", *plan.names])
    frame["valid_time"] = pd.to_datetime(frame["valid_time"], unit="s", utc=True).dt.as_unit("us")
    frame["as_of"] = pd.to_datetime(frame["as_of"], unit="us", utc=True).dt.as_unit("us")
    return frame


def _origins(observations: pd.DataFrame, target: str, grid: Grid, since: datetime | None) -> Iterator[tuple[int, int]]:
    """(published_at in microseconds, origin slot) of each target value newer than all before it, by publication."""
    history = Vintages.of_frame(observations, target, grid.numbers(pd.DatetimeIndex(observations["valid_time"])))
    newest = np.maximum.accumulate(history.slot)
    first = micros(since) if since else 0
    advanced = np.concatenate(([True], newest[1:] > newest[:-1])) & (history.published >= first)
    yield from zip(history.published[advanced].tolist(), (newest[advanced] + 1).tolist(), strict=True)


def _empty(plan: FeaturePlan) -> pd.DataFrame:
    return pd.DataFrame(columns=["entity_id", "valid_time", "cutoff", "newest_input_at", "delivery_day", *plan.names])
