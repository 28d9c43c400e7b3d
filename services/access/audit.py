"""The audit trail: every call is written to the store, behind the answer's back, and none holds up an answer."""

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
    """A bounded queue and its writer. What does not fit, while the store is away, is counted in ``spilled``."""

    def __init__(self, engine: Engine, write: Callable[..., None] = append, longest: int = _LONGEST_QUEUE) -> None:
        self.spilled = 0
        self._engine = engine
        self._write = write
        self._queue: queue.SimpleQueue[Entry] = queue.SimpleQueue()
        self._longest = longest
        self._newest: dict[tuple[str, str], int] = {}
        self._worker = Worker("audit", self._follow)
        self._counter = metrics.get_meter(__name__).create_counter(
            "dualcast.audit.spilled", description="entries of the audit trail that could not be kept"
        )

    def start(self) -> None:
        """Begin to write."""
        self._worker.start()

    def stop(self) -> None:
        """Write what waits, within two seconds."""
        self._worker.stop()

    def add(self, entry: Entry) -> None:
        """Take an entry; never waits."""
        if self._queue.qsize() >= self._longest:
            self._spill(1)
        else:
            self._queue.put(entry)

    def add_computed(self, forecast: Forecast, fallback: str | None, who: Mapping[str, Any]) -> None:
        """Take a curve that was computed for one call; one with the numbers of the last of its entity is passed over.

        Between two feature rows a curve asked for a hundred times a second is the same a hundred times.
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
            # what comes in the meantime is written in one transaction
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
        """The store takes one of them never: the others are written each by itself."""
        if len(batch) == 1:
            _log.warning("entry refused", error=str(error.orig)[:300])
            self._spill(1)
            return
        for entry in batch:
            self._keep([entry], stop)

    def _spill(self, count: int) -> None:
        if self.spilled == 0:
            _log.error("the audit trail loses entries")
        self.spilled += count
        self._counter.add(count)
