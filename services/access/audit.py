"""The audit trail: every call is written to the store by a background thread, so that no response waits for it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from opentelemetry import metrics

from dualcast.adapters.store.engine import DBAPIError, Engine, StatementError, StoreUnavailableError
from dualcast.adapters.store.forecasts import points_json
from dualcast.adapters.store.tables import COMPUTED_FIELDS, PredictionRow
from dualcast.adapters.store.trail import Entry, append
from dualcast.curves.forecast import Forecast
from services.background import Worker

_LONGEST_QUEUE = 20_000
_BATCH = 1_000
_IDLE_SECONDS = 0.5
_RETRY_SECONDS = 1.0
_log = structlog.get_logger(__name__)


class AuditTrail:
    """A bounded queue and its writer. Entries that do not fit while the store is unavailable count as ``spilled``."""

    def __init__(self, engine: Engine, write: Callable[..., None] = append, longest: int = _LONGEST_QUEUE) -> None:
        self.spilled = 0
        self._engine = engine
        self._write = write
        self._queue: queue.SimpleQueue[Entry] = queue.SimpleQueue()
        self._longest = longest
        self._newest: dict[tuple[str, str], int] = {}
        self._worker = Worker("audit", self._follow)
        self._counter = metrics.get_meter(__name__).create_counter(
            "dualcast.audit.spilled", description="entries of the audit trail that were dropped"
        )

    def start(self) -> None:
        """Start the writer."""
        self._worker.start()

    def stop(self) -> None:
        """Write the queued entries, within two seconds, and stop."""
        self._worker.stop()

    def add(self, entry: Entry) -> None:
        """Queue an entry. Never blocks."""
        if self._queue.qsize() >= self._longest:
            self._spill(1)
        else:
            self._queue.put(entry)

    def add_computed(self, forecast: Forecast, fallback: str | None, who: Mapping[str, Any]) -> None:
        """Queue a curve that was computed for a call, unless it equals the last one of its entity.

        Between two feature rows all curves of an entity are equal, however often they are requested.
        """
        entity = forecast.use_case, forecast.entity_id
        numbers = hash((forecast.model_version, *((p.valid_time, *p.values) for p in forecast.points)))
        if self._newest.get(entity) == numbers:
            return
        self._newest[entity] = numbers
        what = {name: getattr(forecast, name) for name in COMPUTED_FIELDS}
        self.add((PredictionRow, {**who, **what, "fallback": fallback, "points": points_json(forecast)}))

    def _follow(self, stop: threading.Event) -> None:
        while True:
            # entries that arrive during the wait are written in one transaction
            ended = stop.wait(_IDLE_SECONDS)
            while batch := [self._queue.get_nowait() for _ in range(min(self._queue.qsize(), _BATCH))]:
                self._keep(batch, stop)
            if ended:
                return

    def _keep(self, batch: list[Entry], stop: threading.Event) -> None:
        warned = False
        while True:
            try:
                self._write(self._engine, batch)
            except StoreUnavailableError as error:
                if not warned:
                    _log.warning("store unavailable", error=str(error)[:300])
                    warned = True
                if stop.wait(_RETRY_SECONDS):
                    self._spill(len(batch))
                    return
            except (DBAPIError, StatementError) as error:
                self._refused(batch, error, stop)
                return
            else:
                return

    def _refused(self, batch: list[Entry], error: StatementError, stop: threading.Event) -> None:
        """The store rejects an entry permanently: write each entry by itself, to keep the others."""
        if len(batch) == 1:
            _log.warning("entry refused", error=str(error.orig)[:300])
            self._spill(1)
            return
        for entry in batch:
            self._keep([entry], stop)

    def _spill(self, count: int) -> None:
        if self.spilled == 0:
            _log.error("audit trail is losing entries")
        self.spilled += count
        self._counter.add(count)
