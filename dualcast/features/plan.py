"""The features of one path of a use case, and their computation on windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, partial
from typing import Self

import numpy as np

from dualcast.arrays import Floats, Slots
from dualcast.catalogue import Entity, Path_, UseCase
from dualcast.catalogue.features import FeatureSpec
from dualcast.features.holidays import SlotCalendar
from dualcast.features.window import Window
from dualcast.timegrid import Grid


@dataclass(frozen=True)
class FeaturePlan:
    """The features of a path, the variables that they read, and their grid.

    step: length of a slot in seconds, the path's resolution; lookback: in slots; observed: the measured variables.
    """

    specs: Mapping[str, FeatureSpec]
    target: str
    variables: tuple[str, ...]
    observed: frozenset[str]
    step: int
    lookback: int
    scale: str | None
    unit: str
    units: Mapping[str, str]

    @classmethod
    def of(cls, use_case: UseCase, path: Path_) -> Self:
        """The plan of ``day-ahead`` or ``intraday``."""
        part = use_case.part(path)
        read = {variable for spec in part.features.values() for variable in spec.variables()} | {use_case.target}
        return cls(
            specs=part.features,
            target=use_case.target,
            variables=tuple(v for v in use_case.variables if v in read),
            observed=frozenset(v for v in read if use_case.variables[v].kind == "observed"),
            step=int(part.resolution.total_seconds()),
            lookback=part.lookback // part.resolution,
            scale=part.scale,
            unit=use_case.unit,
            units={name: v.unit for name, v in use_case.variables.items()},
        )

    @property
    def names(self) -> list[str]:
        """All features, in the order of the YAML."""
        return list(self.specs)

    @cached_property
    def per_origin(self) -> list[str]:
        """Features with one value for each origin."""
        return [n for n, s in self.specs.items() if s.definition.shape == "origin"]

    @cached_property
    def per_target(self) -> list[str]:
        """Features with one value for each target."""
        return [n for n, s in self.specs.items() if s.definition.shape == "target"]

    def widths(self, horizons: int) -> dict[str, int]:
        """The number of values of each feature in a row."""
        return {n: 1 if s.definition.shape == "origin" else horizons for n, s in self.specs.items()}

    @cached_property
    def levels(self) -> list[str]:
        """Features in the unit of the target, which a model divides by the scale."""
        return [
            n
            for n, s in self.specs.items()
            if s.definition.level and all(self.units[v] == self.unit for v in s.variables())
        ]

    def grid(self, entity: Entity) -> Grid:
        """The grid of an entity at the path's resolution."""
        return Grid(timedelta(seconds=self.step), entity.time_zone)

    def calendar(self, entity: Entity) -> SlotCalendar:
        """The entity's calendar on this grid."""
        return SlotCalendar(entity, self.step)

    def window(
        self, values: Mapping[str, Floats], start: int | Slots, origin: Slots, target: Slots, calendar: SlotCalendar
    ) -> Window:
        """A window on this plan's grid; see Window for the shapes."""
        return Window(values, self.observed, start, origin, target, self.lookback, self.step, calendar)

    def compute(self, window: Window) -> dict[str, Floats]:
        """Compute all features: (n, 1) for those per origin, (n, horizons) for those per target."""
        return {name: _computed(spec, window) for name, spec in self.specs.items()}


def _computed(spec: FeatureSpec, window: Window) -> Floats:
    call = partial(spec.definition.call, **spec.arguments())
    found = np.asarray(window.by_slot(call) if spec.definition.by_slot else call(window), dtype=np.float64)
    shape = window.origin.shape if spec.definition.shape == "origin" else window.target.shape
    return found if found.shape == shape else np.broadcast_to(found, shape)
