"""What the states of one entity share: its features of the intraday path, and how far they look."""

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

# How many origins are worked on at once: what a feature costs besides its numbers is then paid once.
_TOGETHER = 2048


class IntradayPlan:
    """All that the states of one entity share; made once."""

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
        # values stored together: those of last week that they are compared with must have been there before
        self.chunk = max(self.week - self.ahead, 1)
        self.capacity = max(self.features.lookback, self.week) + self.ahead + self.chunk
        self.bounds = [use_case.variables[v].bounds for v in self.features.variables]
        self.target = self.features.variables.index(self.features.target)
        self.fingerprint = feature_set(use_case)
        reach = min(self._reach() + math.ceil(CLOCK_CHANGE / part.resolution), self.ahead)
        self.reach = [0 if v in self.features.observed else reach for v in self.features.variables]

    def _reach(self) -> int:
        """How many slots from its origin on the features look at: asked of them where nothing is known."""
        start, origin = 0, np.array([[self.features.lookback]])
        nothing = {v: np.full(self.capacity, np.nan) for v in self.features.variables}
        window = self.features.window(nothing, start, origin, origin + np.arange(self.horizons), self.calendar)
        probe = _Probe(**vars(window))
        self.features.compute(probe)
        return max(probe.seen, default=0)


@dataclass(frozen=True)
class _Probe(Window):
    """A window that remembers how far ahead of the origin it was looked into."""

    seen: list[int] = field(default_factory=list)

    def at(self, variable: str, slot: Slots) -> Floats:
        """As Window has it."""
        self.seen.append(int((slot - self.origin).max()) + 1)
        return super().at(variable, slot)


def feature_set(use_case: UseCase) -> str:
    """A fingerprint of the intraday feature definitions: rows of different sets must not be mixed."""
    part = use_case.part("intraday")
    definition = {n: s.model_dump(mode="json") for n, s in part.features.items()}
    text = json.dumps([definition, str(part.resolution), str(part.lookback), part.horizons], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
