"""What was observed, in memory: the newest vintages of target and reference of the last two weeks, for each entity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dualcast.arrays import Floats
from dualcast.catalogue import UseCase
from dualcast.observations.columns import Columns
from dualcast.observations.validation import YARDSTICK_AGE, faults, implausible
from dualcast.timegrid import Clock, duration, from_micros, interval_end, micros

_MICRO = 1_000_000


@dataclass
class _Series:
    """Grid slot (microseconds) -> (value, published_at)."""

    slots: dict[int, tuple[float, int]] = field(default_factory=dict)
    newest: int = 0


class SeriesBook:
    """Recent target and reference values on each use case's grid. Safe to share between threads.

    Recent goes by the clock. The target's newest vintage wins. The reference keeps the newest vintage that was
    published before the interval began, so that a forecast revised afterwards is not held against ours.
    """

    def __init__(self, catalogue: Mapping[str, UseCase], clock: Clock, keep: timedelta = timedelta(days=14)) -> None:
        self._clock = clock
        self._keep = keep + YARDSTICK_AGE
        self._use_cases: dict[str, list[UseCase]] = {}
        for use_case in catalogue.values():
            for entity in use_case.entities:
                self._use_cases.setdefault(entity.id, []).append(use_case)
        self._series: dict[tuple[str, str, str], _Series] = {}
        self._simulated: dict[str, bool] = {}
        self._known_until: dict[tuple[str, str, str], datetime] = {}
        self._pruned = clock.now()
        self._lock = Lock()
        self.version = 0

    def add_record(self, record: dict[str, Any]) -> None:
        """Take a record of ``observations.v1``; what breaks a rule is left out, as everywhere."""
        entity_id, oldest = record["entity_id"], self._clock.now() - self._keep
        for use_case in self._use_cases.get(entity_id, ()):
            self._note(use_case, entity_id, record["observations"])
            wanted = (use_case.target, use_case.reference)
            observations = [
                o for o in record["observations"] if o["variable"] in wanted and o["published_at"] >= oldest
            ]
            if observations:
                self._take(use_case, entity_id, observations)
                self._simulated[entity_id] = observations[-1]["simulated"]

    def simulated(self, entity_id: str) -> bool:
        """Whether an entity's newest observations came from a simulator."""
        return self._simulated.get(entity_id, False)

    def newest_end(self, use_case: UseCase, entity_id: str) -> datetime | None:
        """The end of the newest measured interval."""
        series = self._series.get((use_case.use_case, entity_id, use_case.target))
        if series is None or not series.slots:
            return None
        return interval_end(from_micros(series.newest), use_case.grid, use_case.entity(entity_id).time_zone)

    def known_until(self, use_case: UseCase, entity_id: str, variable: str) -> datetime | None:
        """The end of the newest interval of any variable that was heard of, sound or not."""
        return self._known_until.get((use_case.use_case, entity_id, variable))

    def values(
        self, use_case: UseCase, entity_id: str, variable: str | None, times: NDArray[np.int64], step: timedelta
    ) -> Floats:
        """The mean or sum, as the catalogue has it, of intervals that start at ``times`` (microseconds), ``step`` long.

        NaN where any part of an interval is unknown. Shape as ``times``.
        """
        series = self._series.get((use_case.use_case, entity_id, variable)) if variable else None
        if series is None or variable is None:
            return np.full(times.shape, np.nan)
        grid = micros_of(use_case.grid)
        parts = times[..., np.newaxis] + np.arange(0, micros_of(step), grid)
        with self._lock:
            found = [series.slots.get(t, (np.nan, 0))[0] for t in parts.ravel().tolist()]
        shaped = np.array(found, dtype=np.float64).reshape(parts.shape)
        total: Floats = shaped.sum(axis=-1)
        return total if use_case.variables[variable].aggregate == "sum" else total / parts.shape[-1]

    def _note(self, use_case: UseCase, entity_id: str, observations: Sequence[dict[str, Any]]) -> None:
        """Remember how far each variable reaches. A feed is one thread, so that nothing is noted at the same time."""
        newest = {o["variable"]: o for o in sorted(observations, key=lambda o: o["valid_time"])}
        zone = use_case.entity(entity_id).time_zone
        for variable, observation in newest.items():
            key = use_case.use_case, entity_id, variable
            end = interval_end(observation["valid_time"], duration(observation["resolution"]), zone)
            self._known_until[key] = max(end, self._known_until.get(key, end))

    def _take(self, use_case: UseCase, entity_id: str, observations: Sequence[dict[str, Any]]) -> None:
        columns = _columns(observations)
        reasons = faults(use_case, columns, now=micros(self._clock.now()))
        grid = micros_of(use_case.grid)
        with self._lock:
            for i in np.flatnonzero(reasons == "").tolist():
                variable = str(columns.variable[i])
                series = self._series.setdefault((use_case.use_case, entity_id, variable), _Series())
                span = micros_of(duration(str(columns.resolution[i])))
                value, parts = float(columns.value[i]), span // grid
                if use_case.variables[variable].aggregate == "sum":
                    value /= parts
                start, published = int(columns.valid_time[i]), int(columns.published_at[i])
                for slot in range(start, start + span, grid):
                    self._put(use_case, entity_id, variable, series, slot, value, published)
            self._prune()
            self.version += 1

    def _put(
        self,
        use_case: UseCase,
        entity_id: str,
        variable: str,
        series: _Series,
        slot: int,
        value: float,
        published: int,
    ) -> None:
        held = series.slots.get(slot)
        if held is not None and published < held[1]:
            return
        if variable == use_case.reference and published > slot and held is not None:
            return
        if self._implausible(use_case, entity_id, variable, slot, value):
            return
        series.slots[slot] = value, published
        series.newest = max(series.newest, slot)

    def _implausible(self, use_case: UseCase, entity_id: str, variable: str, slot: int, value: float) -> bool:
        bounds = use_case.variables[variable].bounds
        if bounds.relative_to is None:
            return False
        yardstick = self._series.get((use_case.use_case, entity_id, bounds.relative_to))
        before = yardstick.slots.get(slot - micros_of(YARDSTICK_AGE), (np.nan, 0))[0] if yardstick else np.nan
        return bool(implausible(bounds, np.array([value]), np.array([before]))[0])

    def _prune(self) -> None:
        """Forget what is too old, once a day by the clock."""
        now = self._clock.now()
        if now - self._pruned < timedelta(days=1):
            return
        self._pruned, oldest = now, micros(now - self._keep)
        for series in self._series.values():
            series.slots = {slot: held for slot, held in series.slots.items() if slot >= oldest}


def micros_of(span: timedelta) -> int:
    """A span of time as whole microseconds."""
    return span // timedelta(microseconds=1)


def _columns(observations: Sequence[dict[str, Any]]) -> Columns:
    def texts(name: str) -> NDArray[np.object_]:
        return np.array([o[name] for o in observations], dtype=object)

    def times(name: str) -> NDArray[np.int64]:
        return np.array([micros(o[name]) for o in observations], dtype=np.int64)

    values = np.array([o["value"] for o in observations], dtype=np.float64)
    return Columns(
        texts("variable"), times("valid_time"), texts("resolution"), values, texts("unit"), times("published_at")
    )
