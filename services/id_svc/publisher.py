"""Publishes a curve for every feature row that arrives, in order and once, except for rows that are too old.

A row is committed after its curve was acknowledged. Rows that arrive again after a crash between the two are
recognised by the newest curve on the topic.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta

import structlog
from opentelemetry import metrics, propagate, trace

from dualcast.catalogue import UseCase
from dualcast.timegrid import Clock
from services.background import Worker
from services.id_svc.ports import Arrival, Arrivals, Outbox
from services.id_svc.scoring.forecaster import IntradayForecaster, NoForecastError
from services.id_svc.scoring.model_cache import ModelCache

_POLL_SECONDS = 0.02
_RETRY_SECONDS = 1.0
# A replay runs many times faster than wall time, so that a short delay is long by its clock.
_LATE_WALL = timedelta(minutes=15)
_log = structlog.get_logger(__name__)
_tracer = trace.get_tracer(__name__)


def oldest_worth(clock: Clock, max_age: timedelta) -> datetime:
    """The time of the oldest row for which a curve is still published."""
    if clock.start is None:
        return clock.now() - max_age
    late = max(max_age, _LATE_WALL * clock.speed)
    return max(clock.now() - late, clock.start - max_age)


class Publisher:
    """A background thread from feature rows to published curves."""

    def __init__(
        self,
        arrivals: Arrivals,
        outbox: Outbox,
        forecaster: IntradayForecaster,
        model_cache: ModelCache,
        catalogue: Mapping[str, UseCase],
        clock: Clock,
    ) -> None:
        self._arrivals = arrivals
        self._outbox = outbox
        self._forecaster = forecaster
        self._model_cache = model_cache
        self._catalogue = catalogue
        self._clock = clock
        self._worker = Worker("publisher", self.run)
        self._counter = metrics.get_meter(__name__).create_counter(
            "dualcast.intraday.rows", description="feature rows, by outcome"
        )
        self.newest: dict[tuple[str, str], datetime] = {}
        self.counters: Counter[str] = Counter()

    def start(self) -> None:
        """Start to publish."""
        self._worker.start()

    def stop(self) -> None:
        """Stop after the current rows."""
        self._worker.stop()

    def run(self, stop: threading.Event) -> None:
        """Publish until stopped."""
        while not stop.is_set() and not self._model_cache.polled.wait(0.2):
            pass
        while not stop.is_set():
            try:
                # curves sent before a failure may have arrived: read the newest from the topic
                self.newest = self._outbox.newest()
                with self._arrivals as arrivals:
                    while not stop.is_set():
                        self.step(arrivals)
            except OSError as error:
                _log.warning("publishing interrupted", error=str(error)[:200])
                self._count("interrupted")
                stop.wait(_RETRY_SECONDS)
        with suppress(OSError):
            self._outbox.close()

    def step(self, arrivals: Arrivals) -> None:
        """One poll: every row's curve is sent and acknowledged before the rows are committed. Raises OSError."""
        since = min(map(self._oldest_worth, self._catalogue.values()), default=self._clock.now())
        arrived = arrivals.poll(_POLL_SECONDS, since)
        if not arrived:
            return
        sent = dict(self.newest)
        for arrival in _last_of_each_moment(arrived):
            self._publish(arrival, sent)
        self._outbox.flush()
        self.newest = sent
        arrivals.commit()

    def _publish(self, arrival: Arrival, sent: dict[tuple[str, str], datetime]) -> None:
        row = arrival.row
        key = row.use_case, row.entity_id
        use_case = self._catalogue.get(row.use_case)
        entity = next((e for e in use_case.entities if e.id == row.entity_id), None) if use_case else None
        if use_case is None or entity is None:
            self._count("unknown")
        elif key in sent and row.as_of <= sent[key]:
            self._count("repeated")
        elif row.as_of < self._oldest_worth(use_case):
            self._count("too_old")
        else:
            try:
                with _tracer.start_as_current_span("publish intraday", context=propagate.extract(arrival.trace)):
                    self._outbox.send(self._forecaster.on_arrival(use_case, entity, row).forecast)
            except NoForecastError as error:
                _log.warning("no forecast to publish", entity=row.entity_id, error=str(error)[:200])
                self._count("no_forecast")
            else:
                sent[key] = row.as_of
                self._count("published")

    def _oldest_worth(self, use_case: UseCase) -> datetime:
        return oldest_worth(self._clock, use_case.part("intraday").max_feature_age)

    def _count(self, outcome: str) -> None:
        self.counters[outcome] += 1
        self._counter.add(1, {"outcome": outcome})


def _last_of_each_moment(arrivals: list[Arrival]) -> list[Arrival]:
    """The last of the rows of an entity as of the same moment, which has the newest origin. The order is kept."""
    last = {(a.row.use_case, a.row.entity_id, a.row.as_of): i for i, a in enumerate(arrivals)}
    return [arrivals[i] for i in sorted(last.values())]
