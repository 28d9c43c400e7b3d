"""The day-ahead daemon: makes the curves of each delivery day at its cutoff, in one Spark session."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import count
from time import monotonic
from typing import Self, TypeVar
from uuid import uuid4

import stamina
import structlog
from pyspark.errors import PySparkException

from batch.engine.jvm_watch import jvm_watched
from batch.forecasts.published_curves import CurveKey
from batch.runs.day_ahead import DayAheadJob
from dualcast.adapters.kafka.connection import OUTAGES, DeliveryError
from dualcast.adapters.kafka.consumer import GroupConsumer
from dualcast.adapters.kafka.wire.decoder import Decoder
from dualcast.adapters.model_registry import UnknownModelError
from dualcast.catalogue import UseCase
from dualcast.observations.validation import CLOCK_TOLERANCE
from dualcast.records import Topic
from dualcast.settings import Settings
from dualcast.timegrid import from_micros, local_date, micros

# Wall time that a run waits after its cutoff for observations that were published before the cutoff.
GRACE_SECONDS = 5.0
# The same in a replay, whose clock may run ahead of a busy machine: the run waits for the slowest process.
_REPLAY_GRACE_SECONDS = 60.0
_POLL_SECONDS = 0.2
# Delivery days that were missed within this time are made at start.
_CATCH_UP = timedelta(days=7)
# Errors of a run while a broker, registry or MLflow restarts. The run is retried.
_OUTAGES = (*OUTAGES, DeliveryError, PySparkException, UnknownModelError)
_TRY_FOR_SECONDS = 600.0
_T = TypeVar("_T")
_log = structlog.get_logger(__name__)


def follow(job: DayAheadJob) -> None:
    """Make the curves of each delivery day at its cutoff, until the clock's end, or without end where it has none.

    Curves that the quality gates refuse are left out. A run is retried during an outage; a dead JVM ends the process.
    """
    settings, clock = job.settings, job.settings.clock
    with jvm_watched(job.spark), Arrivals(settings, job.use_case) as arrivals:
        _retried(job.ingest)
        published = _retried(job.published.keys)
        # a replay starts with its first day, however long the preparation took
        first = first_day(job.use_case, clock.start or clock.now(), published)
        done = {(entity_id, issued_at) for entity_id, issued_at, _ in published}
        for moment, day, entities in cutoffs(job.use_case, first):
            if clock.until is not None and moment > clock.until:
                job.steps.note("the clock has reached its end")
                return
            if all((entity_id, moment) in done for entity_id in entities):
                continue
            arrivals.wait_for(moment)
            job.steps.note(f"cutoff {moment.isoformat()}, delivery day {day.isoformat()}")
            outcome = _retried(partial(job.curves, [day]))
            for curve in outcome.missing:
                if curve.entity_id in entities:
                    _log.error("no curve", entity=curve.entity_id, delivery_day=str(day), reason=curve.reason)


def cutoffs(use_case: UseCase, first: date) -> Iterator[tuple[datetime, date, list[str]]]:
    """The cutoffs of all delivery days from a day on, in order and without end, with their entities."""
    for days in count():
        day = first + timedelta(days=days)
        entities: dict[datetime, list[str]] = defaultdict(list)
        for entity in use_case.entities:
            entities[use_case.cutoff(entity, day)].append(entity.id)
        for moment in sorted(entities):
            yield moment, day, entities[moment]


def first_day(use_case: UseCase, now: datetime, published: Collection[CurveKey]) -> date:
    """The first delivery day of which an entity has no curve, at most a week back; else tomorrow."""
    zones = {entity.id: entity.time_zone for entity in use_case.entities}
    tomorrow = min(local_date(now, zone) for zone in zones.values()) + timedelta(days=1)
    newest: dict[str, date] = {}
    for entity_id, issued_at, _ in published:
        if entity_id in zones:
            issued = local_date(issued_at, zones[entity_id])
            newest[entity_id] = max(issued, newest.get(entity_id, issued))
    # a curve is issued the day before its delivery day
    missed = (issued + timedelta(days=2) for issued in newest.values())
    return min([tomorrow, *(day for day in missed if day >= tomorrow - _CATCH_UP)])


class Arrivals:
    """Watches arriving observations, to know when all that was published before a moment is on Kafka."""

    def __init__(self, settings: Settings, use_case: UseCase) -> None:
        self._clock = settings.clock
        self._target = use_case.target
        self._newest = {entity.id: datetime.min.replace(tzinfo=UTC) for entity in use_case.entities}
        self._consumer = GroupConsumer(
            settings, Topic.OBSERVATIONS, Decoder.columns, group=f"day-ahead-arrivals-{uuid4()}", from_beginning=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self._consumer.__exit__(*details)

    def wait_for(self, moment: datetime) -> None:
        """Wait until ``moment``, and until the target of every entity has arrived up to it.

        Observations arrive in order of publication, so one published at or after the moment implies all earlier ones.
        Without one, return GRACE_SECONDS after the moment, in a replay _REPLAY_GRACE_SECONDS after this call: the
        forecast then uses what has arrived.
        """
        while remaining := self._clock.wall_seconds_until(moment):
            self._poll(min(remaining, _POLL_SECONDS))
        late = (self._clock.now() - moment).total_seconds()
        deadline = monotonic() + (_REPLAY_GRACE_SECONDS if self._clock.is_replay else GRACE_SECONDS - late)
        while monotonic() < deadline and any(newest < moment for newest in self._newest.values()):
            self._poll(_POLL_SECONDS)

    def _poll(self, timeout: float) -> None:
        for _, observed in self._consumer.poll(timeout):
            published_at = observed.columns.published_at[observed.columns.variable == self._target]
            # one that claims to come from the future says nothing of what has arrived
            published_at = published_at[published_at <= micros(self._clock.now() + CLOCK_TOLERANCE)]
            if observed.entity_id in self._newest and len(published_at):
                newest = from_micros(int(published_at.max()))
                self._newest[observed.entity_id] = max(self._newest[observed.entity_id], newest)


def _retried(work: Callable[[], _T]) -> _T:
    """Retry after an outage, for some minutes; then raise its error."""
    for attempt in stamina.retry_context(on=_OUTAGES, attempts=None, timeout=_TRY_FOR_SECONDS, wait_max=10.0):
        with attempt:
            return work()
    raise AssertionError("unreachable")
