"""Feature rows as the arrays that forecasters take, by one function in training and in serving.

Rows of the lake (a frame) and of the stream (records) become equal numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dualcast.arrays import Floats, Ints
from dualcast.catalogue import Entity
from dualcast.features.holidays import SlotCalendar
from dualcast.records import FeatureRow
from dualcast.timegrid import micros
from models.inputs.layout import DAY_SECONDS, Layout


class FeatureMismatchError(ValueError):
    """A row lacks features that the model was trained on: it was made by other definitions."""


@dataclass(frozen=True)
class ModelInputs:
    """n origins (or delivery intervals) with H targets each, ready for a forecaster.

    values: (n, H, features), levels divided by the scale, NaN where unknown
    scale: (n,) in the unit of the target; clock: (n, H) slot of the local day of each target
    entity: (n,) index into the layout's entities, -1 where it is not one of them
    """

    values: NDArray[np.float32]
    scale: Floats
    clock: Ints
    entity: Ints

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Ints | NDArray[np.bool_] | slice) -> ModelInputs:
        """Some of the rows."""
        return ModelInputs(self.values[rows], self.scale[rows], self.clock[rows], self.entity[rows])


def feature(layout: Layout, inputs: ModelInputs, name: str) -> Floats:
    """One feature, (n, H)."""
    values: Floats = inputs.values[:, :, layout.column[name]].astype(np.float64)
    return values


def idle(layout: Layout, inputs: ModelInputs) -> NDArray[np.bool_]:
    """Where the target is 0 by plan, (n, H)."""
    if layout.active is None:
        return np.zeros(inputs.clock.shape, dtype=bool)
    return np.equal(inputs.values[:, :, layout.column[layout.active]], 0)


class Assembler:
    """Makes inputs from rows, by a layout and the local clocks of the entities."""

    def __init__(self, layout: Layout, entities: Iterable[Entity]) -> None:
        self._layout = layout
        self._calendars: dict[str, SlotCalendar] = {}
        self._calendar_of_zone: dict[str, SlotCalendar] = {}
        self._codes = {entity: i for i, entity in enumerate(layout.entities)}
        self._level = np.isin(layout.features, layout.levels)
        for entity in entities:
            self.add_entity(entity)

    def add_entity(self, entity: Entity) -> None:
        """Add the local clock of an entity, which may be newer than the model. Daily targets need none."""
        if self._layout.step_seconds < DAY_SECONDS and entity.id not in self._calendars:
            # only the local time is read, and a calendar has a table of 600 kB
            if entity.time_zone not in self._calendar_of_zone:
                self._calendar_of_zone[entity.time_zone] = SlotCalendar(entity, self._layout.step_seconds)
            self._calendars[entity.id] = self._calendar_of_zone[entity.time_zone]

    def from_frame(self, frame: pd.DataFrame) -> ModelInputs:
        """From rows with entity_id, valid_time (UTC) and one column for each feature: floats, or arrays per target.

        Raises FeatureMismatchError where a feature is missing, KeyError where an entity was not added.
        """
        which, entities = pd.factorize(frame["entity_id"])
        code = np.array([self._codes.get(e, -1) for e in entities], dtype=np.int64)[which]
        clock = self._clocks(which, entities, _seconds(frame["valid_time"]))
        return self.assemble(
            {n: per_target(frame[n], self._layout.horizons) for n in self._layout.features if n in frame}, clock, code
        )

    def clock(self, entity_id: pd.Series, valid_time: pd.Series) -> Ints:
        """The slot of the local day of each target of some rows, (n, H). Raises KeyError as ``from_frame``."""
        which, entities = pd.factorize(entity_id)
        return self._clocks(which, entities, _seconds(valid_time))

    def from_row(self, row: FeatureRow) -> ModelInputs:
        """From one record of the stream. Raises as ``from_frame`` does."""
        return self.from_rows([row])

    def from_rows(self, rows: Sequence[FeatureRow]) -> ModelInputs:
        """From records of the stream, which may be of several entities. Raises as ``from_frame`` does."""
        entities = list(dict.fromkeys(row.entity_id for row in rows))
        which = np.array([entities.index(row.entity_id) for row in rows], dtype=np.int64)
        code = np.array([self._codes.get(e, -1) for e in entities], dtype=np.int64)[which]
        clock = self._clocks(which, entities, np.array([micros(row.valid_time) // 10**6 for row in rows]))
        given = set.intersection(*(set(row.features) for row in rows))
        columns = {n: np.array([row.features[n] for row in rows]) for n in self._layout.features if n in given}
        return self.assemble(columns, clock, code)

    def assemble(self, columns: Mapping[str, Floats], clock: Ints, entity: Ints) -> ModelInputs:
        """Columns of (n, 1) or (n, H) as inputs; the only place where levels are divided by the scale."""
        layout = self._layout
        missing = [n for n in layout.features if n not in columns]
        if missing:
            raise FeatureMismatchError(f"rows lack the features {', '.join(missing)}")
        shape = clock.shape
        values = np.empty((*shape, len(layout.features)), dtype=np.float32)
        scale = np.ones(shape[0]) if layout.scale is None else _positive(columns[layout.scale][:, 0])
        for i, name in enumerate(layout.features):
            values[:, :, i] = columns[name] / scale[:, np.newaxis] if self._level[i] else columns[name]
        return ModelInputs(values, scale, clock, entity)

    def _clocks(self, which: Ints, entities: Sequence[str], origins: Ints) -> Ints:
        """The slot of the local day of each target, (n, H); origins (n,) in seconds, ``which`` (n,) their entities."""
        step, horizons = self._layout.step_seconds, self._layout.horizons
        if step >= DAY_SECONDS:
            return np.zeros((len(origins), horizons), dtype=np.int64)
        targets = origins[:, np.newaxis] // step + np.arange(horizons)
        clock = np.empty(targets.shape, dtype=np.int64)
        order = np.argsort(which, kind="stable")
        for mine in np.split(order, np.flatnonzero(np.diff(which[order])) + 1) if len(order) else ():
            local = self._calendars[entities[which[mine[0]]]].local_seconds(targets[mine])
            clock[mine] = (local % DAY_SECONDS) // step
        return clock


def _seconds(times: pd.Series) -> Ints:
    found: Ints = pd.DatetimeIndex(times).as_unit("s").asi8
    return found


def _positive(scale: Floats) -> Floats:
    """A scale that can be divided by: NaN where it is not positive."""
    return np.where(scale > 0, scale, np.nan)


def per_target(column: pd.Series, horizons: int) -> Floats:
    """A column of numbers as (n, 1), one of arrays of (horizons,) as (n, H); NaN where it has nothing."""
    if column.dtype != object:
        numbers: Floats = column.to_numpy(dtype=np.float64)
        return numbers[:, np.newaxis]
    nothing = np.full(horizons, np.nan)
    return np.stack([np.asarray(v, dtype=np.float64) if isinstance(v, Sized) else nothing for v in column])
