"""From feature rows to the arrays that forecasters see: one way for training and for serving.

A layout is what a model remembers of its use case, so that it reads rows the same way wherever it is loaded. Whether
rows come as a frame from the lake or as one record from the stream, the same ``assemble`` makes the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from dualcast.arrays import Floats, Ints
from dualcast.catalogue import Entity, Path_, UseCase
from dualcast.features.holidays import SlotCalendar
from dualcast.features.plan import FeaturePlan
from dualcast.features.special_days import FIRST_NAMED
from dualcast.records import FeatureRow
from dualcast.timegrid import micros

# Feature functions whose values are codes, with how many there are: linear models give each code its own level.
_CODES = {"weekday": 7, "day_type": 3, "special_day": FIRST_NAMED}
_DAY_SECONDS = 86400


class FeatureMismatchError(ValueError):
    """A row lacks features that the model was trained on: it was made by other definitions."""


class Layout(BaseModel):
    """How one path of a use case looks to a model.

    levels: features in the unit of the target, which are divided by the feature ``scale``
    codes: features whose values are codes, with how many codes there are
    readers: variable -> features that read it; at_target: the same, but only its value at the target itself
    anchor: the feature that holds the newest measured value of the target, where there is one
    reference_anchor: the feature that holds the reference forecast of the same interval, where there is one
    day_type: the feature that tells workdays, Saturdays and Sundays apart, where there is one
    active: the feature that is 0 where nothing can happen, where there is one
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path_
    features: tuple[str, ...]
    levels: tuple[str, ...]
    scale: str | None
    codes: dict[str, int]
    readers: dict[str, tuple[str, ...]]
    at_target: dict[str, tuple[str, ...]]
    anchor: str | None
    day_type: str | None
    reference: str | None
    reference_anchor: str | None = None
    optional: tuple[str, ...]
    active: str | None = None
    entities: tuple[str, ...]
    step_seconds: int
    horizons: int

    @classmethod
    def of(cls, use_case: UseCase, path: Path_) -> Self:
        """The layout of a use case as the catalogue has it now."""
        plan = FeaturePlan.of(use_case, path)
        part = use_case.part(path)
        functions = {name: spec.function for name, spec in plan.specs.items()}
        kinds = max(len(entity.holidays.kinds) for entity in use_case.entities)
        readers = {v: tuple(n for n, s in plan.specs.items() if v in s.variables()) for v in plan.variables}
        return cls(
            path=path,
            features=tuple(plan.names),
            levels=tuple(plan.levels),
            scale=plan.scale,
            codes={n: _CODES[f] + (kinds if f == "special_day" else 0) for n, f in functions.items() if f in _CODES},
            readers=readers,
            at_target={v: tuple(n for n in names if functions[n] == "value") for v, names in readers.items()},
            anchor=_newest(plan, plan.target),
            day_type=next((n for n, f in functions.items() if f == "day_type"), None),
            active=_active(plan, use_case),
            reference=use_case.reference if use_case.reference in readers else None,
            reference_anchor=_newest(plan, use_case.reference),
            optional=tuple(v for v in part.optional if v in readers),
            entities=tuple(e.id for e in use_case.entities),
            step_seconds=plan.step,
            horizons=use_case.part("intraday").horizons if path == "intraday" else 1,
        )

    @property
    def slots_per_day(self) -> int:
        """How many different times of day a target can have."""
        return max(_DAY_SECONDS // self.step_seconds, 1)

    @cached_property
    def column(self) -> dict[str, int]:
        """Feature -> its column."""
        return {name: i for i, name in enumerate(self.features)}

    @property
    def reference_at_target(self) -> str | None:
        """The feature that is the reference forecast at the target, where it is in the target's unit."""
        names = self.at_target.get(self.reference or "", ())
        return next((n for n in names if n in self.levels), None)

    def columns(self, names: Sequence[str]) -> list[int]:
        """The columns of some features, in order."""
        return [self.column[name] for name in names]


def _active(plan: FeaturePlan, use_case: UseCase) -> str | None:
    variable = use_case.active
    return next((n for n, s in plan.specs.items() if variable and s.reads_at_target(variable)), None)


def _newest(plan: FeaturePlan, variable: str | None) -> str | None:
    """The feature that is a variable's value just before the origin."""
    for name, spec in plan.specs.items():
        if spec.function == "recent" and spec.arguments() == {"variable": variable}:
            return name
    return None


def feature(layout: Layout, inputs: ModelInputs, name: str) -> Floats:
    """One feature, (n, H)."""
    values: Floats = inputs.values[:, :, layout.column[name]].astype(np.float64)
    return values


def idle(layout: Layout, inputs: ModelInputs) -> NDArray[np.bool_]:
    """Where nothing can happen, (n, H)."""
    if layout.active is None:
        return np.zeros(inputs.clock.shape, dtype=bool)
    return np.equal(inputs.values[:, :, layout.column[layout.active]], 0)


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


class Assembler:
    """Makes inputs from rows, by one layout and the local clocks of the entities."""

    def __init__(self, layout: Layout, entities: Iterable[Entity]) -> None:
        self._layout = layout
        self._calendars: dict[str, SlotCalendar] = {}
        self._calendar_of_zone: dict[str, SlotCalendar] = {}
        self._codes = {entity: i for i, entity in enumerate(layout.entities)}
        self._level = np.isin(layout.features, layout.levels)
        for entity in entities:
            self.enter(entity)

    def enter(self, entity: Entity) -> None:
        """Make the clock of an entity known, which may be younger than the model. Days need none."""
        if self._layout.step_seconds < _DAY_SECONDS and entity.id not in self._calendars:
            # only the local time is read, and a calendar has a table of 600 kB
            if entity.time_zone not in self._calendar_of_zone:
                self._calendar_of_zone[entity.time_zone] = SlotCalendar(entity, self._layout.step_seconds)
            self._calendars[entity.id] = self._calendar_of_zone[entity.time_zone]

    def from_frame(self, frame: pd.DataFrame) -> ModelInputs:
        """From rows with entity_id, valid_time (UTC) and one column for each feature: floats, or arrays per target.

        Raises FeatureMismatchError where a feature is missing, KeyError where an entity was never entered.
        """
        which, entities = pd.factorize(frame["entity_id"])
        code = np.array([self._codes.get(e, -1) for e in entities], dtype=np.int64)[which]
        clock = self._clocks(which, entities, _seconds(frame["valid_time"]))
        return self.assemble(
            {n: per_target(frame[n], self._layout.horizons) for n in self._layout.features if n in frame}, clock, code
        )

    def clock(self, entity_id: pd.Series, valid_time: pd.Series) -> Ints:
        """The slot of the local day of each target of some rows (n,), (n, H). Raises KeyError as ``from_frame``."""
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
        """The slot of the local day of each target of origins in seconds (n,), (n, H); ``which`` entity each has."""
        step, horizons = self._layout.step_seconds, self._layout.horizons
        if step >= _DAY_SECONDS:
            return np.zeros((len(origins), horizons), dtype=np.int64)
        targets = origins[:, np.newaxis] // step + np.arange(horizons)
        clock = np.empty(targets.shape, dtype=np.int64)
        order = np.argsort(which, kind="stable")
        for mine in np.split(order, np.flatnonzero(np.diff(which[order])) + 1) if len(order) else ():
            local = self._calendars[entities[which[mine[0]]]].local_seconds(targets[mine])
            clock[mine] = (local % _DAY_SECONDS) // step
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
