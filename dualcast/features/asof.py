"""Features from history: each delivery day with exactly what was published before its cutoff.

``observations`` frames here have the columns variable, valid_time, published_at (both UTC) and value, on the use case's
grid, with every vintage; one frame belongs to one entity.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd

from dualcast.catalogue import Entity, UseCase
from dualcast.features.plan import FeaturePlan
from dualcast.features.registry import Floats
from dualcast.features.window import Slots
from dualcast.timegrid import delivery_slots, micros

UNKNOWN_TIME = -1


@dataclass(frozen=True)
class History:
    """All vintages of one variable, by time of publication: slots on the grid, seconds, values."""

    published: Slots
    slot: Slots
    value: Floats


class Replay:
    """The values of one entity as they were known at moments that only move forward."""

    def __init__(self, observations: pd.DataFrame, variables: Sequence[str], step: int) -> None:
        self.start, self._length = _extent(observations, step)
        self._history = {name: _history(observations, name, step) for name in variables}
        self._applied = dict.fromkeys(variables, 0)
        self.values = {name: np.full(self._length, np.nan) for name in variables}
        self.newest_input = UNKNOWN_TIME

    def advance(self, moment: int) -> None:
        """Apply all that was published before ``moment`` (microseconds since 1970)."""
        for name, history in self._history.items():
            begin, end = self._applied[name], int(np.searchsorted(history.published, moment, side="left"))
            if end > begin:
                self.values[name][history.slot[begin:end] - self.start] = history.value[begin:end]
                self.newest_input = max(self.newest_input, int(history.published[end - 1]))
                self._applied[name] = end

    def window(self, name: str, begin: int, end: int) -> Floats:
        """Values of the slots [begin, end), NaN where unknown."""
        out = np.full(end - begin, np.nan)
        first, last = max(begin, self.start), min(end, self.start + self._length)
        if last > first:
            out[first - begin : last - begin] = self.values[name][first - self.start : last - self.start]
        return out


def day_ahead_features(
    use_case: UseCase, entity: Entity, observations: pd.DataFrame, delivery_days: Sequence[date]
) -> pd.DataFrame:
    """The day-ahead feature rows of one entity for some delivery days, in any order.

    Returns one row for each delivery interval: entity_id, valid_time, cutoff (when the row is as of), newest_input_at
    (published_at of the newest value that was known then), delivery_day, then the features in the order of the YAML.
    Days whose cutoff comes before any value are left out.
    """
    plan = FeaturePlan.of(use_case, "day-ahead")
    frames = list(_day_ahead_frames(use_case, entity, observations, sorted(delivery_days), plan))
    return pd.concat(frames, ignore_index=True) if frames else _empty(plan)


def _day_ahead_frames(
    use_case: UseCase, entity: Entity, observations: pd.DataFrame, days: Sequence[date], plan: FeaturePlan
) -> Iterator[pd.DataFrame]:
    if observations.empty:
        return
    grid = int(use_case.grid.total_seconds())
    ratio = plan.step // grid
    replay = Replay(observations, plan.variables, grid)
    calendar = plan.calendar(entity)
    for day in days:
        cutoff = use_case.cutoff(entity, day)
        replay.advance(micros(cutoff))
        if replay.newest_input == UNKNOWN_TIME:
            continue
        times = delivery_slots(day, entity.time_zone, use_case.day_ahead.resolution)
        target = (times.as_unit("s").asi8 // plan.step)[np.newaxis, :]
        origin = _origin(cutoff, use_case.day_ahead.measurement_delay, plan.step)
        begin, end = int(origin[0, 0]) - plan.lookback, int(target[0, -1]) + 1
        values = {
            name: to_resolution(
                replay.window(name, begin * ratio, end * ratio), ratio, use_case.variables[name].aggregate
            )
            for name in plan.variables
        }
        rows = plan.compute(plan.window(values, begin, origin, target, calendar))
        yield pd.DataFrame(
            {
                "entity_id": entity.id,
                "valid_time": times.as_unit("us"),
                "cutoff": pd.Timestamp(cutoff).as_unit("us"),
                "newest_input_at": pd.Timestamp(replay.newest_input, unit="us", tz="UTC").as_unit("us"),
                "delivery_day": day,
                **{name: np.broadcast_to(v, target.shape)[0] for name, v in rows.items()},
            }
        )


def intraday_features(
    use_case: UseCase, entity: Entity, observations: pd.DataFrame, since: datetime | None = None
) -> pd.DataFrame:
    """The intraday feature rows of one entity, one for each value of the target, each as of that value's publication.

    The plain twin of ``state``: simple and slow, for tests and for checks of what was served. Returns entity_id,
    valid_time (the origin), as_of, then the features: floats where per origin, arrays of (horizons,) where per target.
    """
    plan = FeaturePlan.of(use_case, "intraday")
    replay = Replay(observations, plan.variables, plan.step)
    calendar = plan.calendar(entity)
    ahead = use_case.intraday.ahead // use_case.intraday.resolution
    rows = []
    for moment, origin in _origins(observations, use_case.target, plan.step, since):
        replay.advance(moment + 1)
        begin = origin - plan.lookback
        values = {name: replay.window(name, begin, origin + ahead) for name in plan.variables}
        column = np.array([[origin]])
        features = plan.compute(
            plan.window(values, begin, column, column + np.arange(use_case.intraday.horizons), calendar)
        )
        cells = {n: float(features[n][0, 0]) for n in plan.per_origin} | {n: features[n][0] for n in plan.per_target}
        rows.append({"entity_id": entity.id, "valid_time": origin * plan.step, "as_of": replay.newest_input} | cells)
    frame = pd.DataFrame(rows, columns=["entity_id", "valid_time", "as_of", *plan.names])
    frame["valid_time"] = pd.to_datetime(frame["valid_time"], unit="s", utc=True).dt.as_unit("us")
    frame["as_of"] = pd.to_datetime(frame["as_of"], unit="us", utc=True).dt.as_unit("us")
    return frame


def _origins(observations: pd.DataFrame, target: str, step: int, since: datetime | None) -> Iterator[tuple[int, int]]:
    """(published_at in microseconds, origin slot) of each publication of the target that advanced it, in order."""
    history = _history(observations, target, step)
    newest = np.maximum.accumulate(history.slot)
    first = micros(since) if since else 0
    advanced = np.concatenate(([True], newest[1:] > newest[:-1])) & (history.published >= first)
    yield from zip(history.published[advanced].tolist(), (newest[advanced] + 1).tolist(), strict=True)


def to_resolution(values: Floats, ratio: int, aggregate: str) -> Floats:
    """Fine slots to coarse ones, ``ratio`` at a time; NaN where one is missing."""
    if ratio == 1:
        return values
    total: Floats = values.reshape(-1, ratio).sum(axis=1)
    return total / ratio if aggregate == "mean" else total


def target_values(use_case: UseCase, observations: pd.DataFrame, resolution: timedelta) -> pd.Series:
    """What came true: the newest vintage of the target at a resolution, by valid_time (UTC), known values only."""
    grid = int(use_case.grid.total_seconds())
    replay = Replay(observations, [use_case.target], grid)
    replay.advance(np.iinfo(np.int64).max)
    ratio = int(resolution.total_seconds()) // grid
    begin, end = -(-replay.start // ratio), (replay.start + len(replay.values[use_case.target])) // ratio
    values = to_resolution(
        replay.window(use_case.target, begin * ratio, end * ratio), ratio, use_case.variables[use_case.target].aggregate
    )
    times = pd.to_datetime(np.arange(begin, end) * grid * ratio, unit="s", utc=True).as_unit("us")
    return pd.Series(values, index=times, name=use_case.target).dropna()


def _origin(cutoff: datetime, delay: timedelta, step: int) -> Slots:
    """The first slot that is not wholly measured at the cutoff."""
    return np.array([[int((cutoff - delay).timestamp()) // step]])


def _history(observations: pd.DataFrame, variable: str, step: int) -> History:
    rows = observations[observations["variable"] == variable]
    published = rows["published_at"].dt.as_unit("us").astype("int64").to_numpy()
    slot = rows["valid_time"].dt.as_unit("s").astype("int64").to_numpy() // step
    order = np.lexsort((slot, published))
    return History(published[order], slot[order], rows["value"].to_numpy(dtype=np.float64)[order])


def _extent(observations: pd.DataFrame, step: int) -> tuple[int, int]:
    """First slot, and how many there are."""
    slots = observations["valid_time"].dt.as_unit("s").astype("int64").to_numpy() // step
    return int(slots.min()), int(slots.max() - slots.min()) + 1


def _empty(plan: FeaturePlan) -> pd.DataFrame:
    return pd.DataFrame(columns=["entity_id", "valid_time", "cutoff", "newest_input_at", "delivery_day", *plan.names])
