"""Actuals: the newest vintage of measured values, and the reference forecast as it stood when its interval began."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta

import numpy as np
import pandas as pd

from dualcast.arrays import Floats, Micros, Slots
from dualcast.catalogue import Entity, UseCase
from dualcast.observations.aggregation import coarsen
from dualcast.observations.columns import Columns, micros_of
from dualcast.observations.grid import valid_on_grid
from dualcast.observations.validation import YARDSTICK_AGE, implausible
from dualcast.observations.vintages import Vintages, counts_as_reference
from dualcast.timegrid import MICRO, Grid


def actuals(use_case: UseCase, entity: Entity, vintages: Mapping[str, Vintages], resolution: timedelta) -> pd.DataFrame:
    """Values of an entity at a resolution: valid_time (UTC), then a column for each variable of ``vintages``.

    ``vintages`` hold the vintages on the use case's grid. Of the reference, vintages published after their interval
    began are ignored. NaN where a part of an interval is unknown or implausible; intervals without any value are left
    out.
    """
    grid = Grid(use_case.grid, entity.time_zone)
    held = {name: _newest(use_case, grid, name, of_name) for name, of_name in vintages.items()}
    slots = np.concatenate([newest.slot for newest in held.values()])
    ratio = resolution // use_case.grid
    if not len(slots):
        return pd.DataFrame({"valid_time": grid.starts(slots)} | {name: np.empty(0) for name in held})
    first, last = int(slots.min()) // ratio, int(slots.max()) // ratio
    fine = {n: _dense(newest.slot, newest.value, first * ratio, (last + 1) * ratio) for n, newest in held.items()}
    fine = {name: _plausible(use_case, name, fine) for name in fine}
    whole = {name: coarsen(values, ratio, use_case.variables[name].aggregate) for name, values in fine.items()}
    starts = Grid(resolution, entity.time_zone).starts(np.arange(first, last + 1))
    frame = pd.DataFrame({"valid_time": starts} | whole)
    return frame.dropna(how="all", subset=list(whole)).reset_index(drop=True)


def valid_vintages(
    use_case: UseCase, entity: Entity, messages: Iterable[Columns], variables: Collection[str]
) -> dict[str, Vintages]:
    """The valid vintages of some variables on the use case's grid, from an entity's messages in order of arrival."""
    found: dict[str, list[tuple[Micros, Slots, Floats]]] = {name: [] for name in variables}
    for message in messages:
        placed = valid_on_grid(use_case, entity, message)
        for name, parts in found.items():
            rows = np.flatnonzero(message.variable[placed.source] == name)
            parts.append((message.published_at[placed.source[rows]], placed.slot[rows], placed.value[rows]))
    return {name: Vintages.of(*map(np.concatenate, zip(*parts, strict=True))) for name, parts in found.items()}


def target_values(use_case: UseCase, observations: pd.DataFrame, resolution: timedelta) -> pd.Series:
    """Actuals of the target: its newest vintage at a resolution, by valid_time (UTC); known values only.

    ``observations`` are those of one entity on the use case's grid, with every vintage: variable, valid_time,
    published_at, value.
    """
    # starts serve as slots, since a frame does not say in which zone its local days are
    newest = Vintages.of_frame(observations, use_case.target, micros_of(observations["valid_time"])).newest()
    starts, values = newest.slot, newest.value
    if resolution > use_case.grid and len(starts):
        step, ratio = use_case.grid // MICRO, resolution // use_case.grid
        first, last = (int(start) // (ratio * step) for start in (starts[0], starts[-1]))
        fine = _dense(starts // step, values, first * ratio, (last + 1) * ratio)
        starts = np.arange(first, last + 1) * (ratio * step)
        values = coarsen(fine, ratio, use_case.variables[use_case.target].aggregate)
    index = pd.DatetimeIndex(starts.view("M8[us]")).tz_localize("UTC")
    return pd.Series(values, index=index, name=use_case.target).dropna()


def _dense(slot: Slots, value: Floats, begin: int, end: int) -> Floats:
    """The value of each of the slots [begin, end), NaN where there is none."""
    values = np.full(end - begin, np.nan)
    values[slot - begin] = value
    return values


def _newest(use_case: UseCase, grid: Grid, name: str, vintages: Vintages) -> Vintages:
    """The newest vintage of each slot; of the reference, the newest published before its interval began."""
    if name == use_case.reference:
        vintages = vintages.take(counts_as_reference(vintages.published, grid.starts_at(vintages.slot)))
    return vintages.newest()


def _plausible(use_case: UseCase, name: str, fine: Mapping[str, Floats]) -> Floats:
    """The values of a variable on the grid, NaN where they are out of proportion to those a week before."""
    bounds, week = use_case.variables[name].bounds, YARDSTICK_AGE // use_case.grid
    yardstick = fine.get(bounds.relative_to or "")
    if yardstick is None:
        return fine[name]
    week_ago = np.concatenate((np.full(week, np.nan), yardstick))[: len(yardstick)]
    return np.where(implausible(bounds, fine[name], week_ago), np.nan, fine[name])
