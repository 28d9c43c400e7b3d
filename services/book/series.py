"""Recent observations in memory: the newest vintages of target and reference of the last two weeks, by entity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from threading import Lock

import numpy as np

from dualcast.adapters.kafka.wire.decoder import ObservationMessage
from dualcast.arrays import Floats, Ints, Micros
from dualcast.catalogue import UseCase
from dualcast.observations.columns import Columns
from dualcast.observations.validation import YARDSTICK_AGE
from dualcast.timegrid import Clock
from services.book.case_series import CaseSeries

_FIELDS = [field.name for field in fields(Columns)]


class SeriesCache:
    """Target and reference values of the last weeks on each use case's grid. Safe to share between threads.

    The window of time follows the clock. Of the target the newest vintage is used; of the reference the newest that
    was published by the start of its interval, so that our forecasts are not compared with later revisions.
    """

    def __init__(self, catalogue: Mapping[str, UseCase], clock: Clock, keep: timedelta = timedelta(days=14)) -> None:
        self._clock = clock
        self._keep = keep + YARDSTICK_AGE
        self._cases = {name: CaseSeries(use_case, self._keep, clock.now()) for name, use_case in catalogue.items()}
        self._lock = Lock()
        self.version = 0

    def add(self, messages: Sequence[ObservationMessage]) -> None:
        """Store messages of ``observations.v1``, in the order of arrival; invalid observations are left out."""
        now = self._clock.now()
        with self._lock:
            for case in self._cases.values():
                for rows, mine in _by_zone(case, messages):
                    columns = _joined([message.columns for message in mine])
                    simulated = np.concatenate([message.simulated() for message in mine])
                    if len(rows) and case.take(rows, columns, simulated, now):
                        self.version += 1

    def covered_since(self, now: datetime) -> datetime:
        """The moment since which every observation is in memory, once the feed has caught up."""
        return now - self._keep

    def simulated(self, entity_id: str) -> bool:
        """Whether an entity's newest observations came from a simulator."""
        return any(case.simulated(row) for case, row in self._of_entity(entity_id))

    def newest_end(self, use_case: UseCase, entity_id: str) -> datetime | None:
        """The end of the newest measured interval."""
        found = self._find(use_case, entity_id)
        return found and found[0].newest_end(found[1])

    def known_until(self, use_case: UseCase, entity_id: str, variable: str) -> datetime | None:
        """The end of the newest valid interval of any variable, plausible or not."""
        found = self._find(use_case, entity_id)
        return found and found[0].known_until(found[1], variable)

    def values(self, use_case: UseCase, entity_id: str, variable: str | None, times: Micros, step: timedelta) -> Floats:
        """The mean or sum, by the catalogue's aggregation, of intervals that start at ``times`` and are ``step`` long.

        NaN where any part of an interval is unknown. Shape as ``times``.
        """
        found = self._find(use_case, entity_id)
        if found is None or variable is None:
            return np.full(times.shape, np.nan)
        with self._lock:
            return found[0].values(found[1], variable, times, step)

    def _find(self, use_case: UseCase, entity_id: str) -> tuple[CaseSeries, int] | None:
        case = self._cases.get(use_case.use_case)
        row = None if case is None else case.row_of(entity_id)
        return None if case is None or row is None else (case, row)

    def _of_entity(self, entity_id: str) -> Iterator[tuple[CaseSeries, int]]:
        for case in self._cases.values():
            row = case.row_of(entity_id)
            if row is not None:
                yield case, row


def _by_zone(
    case: CaseSeries, messages: Sequence[ObservationMessage]
) -> Iterator[tuple[Ints, list[ObservationMessage]]]:
    """The messages of a use case's entities by time zone, with the row of each observation."""
    zones: dict[str, list[tuple[int, ObservationMessage]]] = {}
    for message in messages:
        row = case.row_of(message.entity_id)
        if row is not None:
            zones.setdefault(case.zone(row), []).append((row, message))
    for found in zones.values():
        lengths = [len(message.columns.value) for _, message in found]
        yield np.repeat([row for row, _ in found], lengths), [message for _, message in found]


def _joined(parts: Sequence[Columns]) -> Columns:
    return Columns(*(np.concatenate([getattr(part, name) for part in parts]) for name in _FIELDS))
