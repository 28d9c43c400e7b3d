"""What the states of one entity share: its intraday features, its grid, and how far the features read."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field

import numpy as np

from dualcast.arrays import Floats, Slots
from dualcast.catalogue import Entity, UseCase
from dualcast.features.plan import FeaturePlan
from dualcast.features.window import Window
from dualcast.observations.aggregation import are_sums
from dualcast.observations.validation import YARDSTICK_AGE
from dualcast.timegrid import CLOCK_CHANGE

# How many origins are computed at once, so that the fixed cost of a feature call is paid once for all of them.
_TOGETHER = 2048


class IntradayPlan:
    """What the states of one entity share; computed once.

    together: origins computed at once; chunk: slots stored at once; capacity: slots that a state keeps;
    reach: for each variable, how many slots from the origin on the features read.
    """

    def __init__(self, use_case: UseCase, entity: Entity) -> None:
        part = use_case.part("intraday")
        self.features = FeaturePlan.of(use_case, "intraday")
        self.calendar = self.features.calendar(entity)
        self.grid = self.features.grid(entity)
        self.sums = are_sums(use_case, self.features.variables)
        self.horizons = part.horizons
        self.ahead = part.ahead // part.resolution
        self.week = YARDSTICK_AGE // part.resolution
        self.together = _TOGETHER
        # values stored at once are compared with last week's, which must have been stored before them
        self.chunk = max(self.week - self.ahead, 1)
        self.capacity = max(self.features.lookback, self.week) + self.ahead + self.chunk
        self.bounds = [use_case.variables[v].bounds for v in self.features.variables]
        self.target = self.features.variables.index(self.features.target)
        self.fingerprint = feature_set(use_case)
        reach = min(self._reach() + math.ceil(CLOCK_CHANGE / part.resolution), self.ahead)
        self.reach = [0 if v in self.features.observed else reach for v in self.features.variables]

    def _reach(self) -> int:
        """How many slots from the origin on the features read, found by computing them without any known value."""
        start, origin = 0, np.array([[self.features.lookback]])
        unknown = {v: np.full(self.capacity, np.nan) for v in self.features.variables}
        window = self.features.window(unknown, start, origin, origin + np.arange(self.horizons), self.calendar)
        probe = _Probe(**vars(window))
        self.features.compute(probe)
        return max(probe.read, default=0)


@dataclass(frozen=True)
class _Probe(Window):
    """A window that records how far beyond the origin values were read."""

    read: list[int] = field(default_factory=list)

    def at(self, variable: str, slot: Slots) -> Floats:
        """As ``Window.at``."""
        self.read.append(int((slot - self.origin).max()) + 1)
        return super().at(variable, slot)


def feature_set(use_case: UseCase) -> str:
    """A fingerprint of the intraday feature definitions. Rows with different fingerprints must not be mixed."""
    part = use_case.part("intraday")
    definition = {n: s.model_dump(mode="json") for n, s in part.features.items()}
    text = json.dumps([definition, str(part.resolution), str(part.lookback), part.horizons], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
