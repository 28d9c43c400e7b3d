"""How far the job is, by what it has committed: which observations it has read, which features it has published."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic, sleep

from confluent_kafka import Consumer, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from dualcast.adapters.feature_store import OnlineFeatures
from dualcast.adapters.kafka.connection import connection
from dualcast.catalogue import UseCase
from dualcast.records import Topic
from dualcast.settings import Settings
from dualcast.timegrid import floor
from streaming.job.checkpoints import job_name

_POLL_SECONDS = 0.5
_REQUEST_SECONDS = 15.0

Offsets = dict[int, int]


class NotCaughtUpError(RuntimeError):
    """The job did not get there; the text says how far it is and what to look at."""


@dataclass(frozen=True)
class Lag:
    """An entity whose newest features are older than was asked for; ``origin`` None: it has none."""

    entity_id: str
    origin: datetime | None


def wait(
    settings: Settings,
    use_case: UseCase,
    until: datetime,
    *,
    timeout: float,
    tolerance: timedelta,
    report: Callable[[int, int], None],
) -> list[Lag]:
    """Wait until the job has dealt with all that is on ``observations.v1`` now, and its features are published.

    Then Redis holds the newest features that these observations can give. Returned are the entities whose features are
    older than ``until`` on the grid, less ``tolerance``, for want of newer values. ``report`` is told how many of how
    many messages are read. Raises NotCaughtUpError after ``timeout`` seconds.
    """
    admin = AdminClient(connection(settings))
    deadline = monotonic() + timeout
    observations = settings.names.topic(Topic.OBSERVATIONS)
    ends = ends_of(admin, observations)
    total = sum(ends.values())
    # asks for its group's offsets and joins it not; the admin client crashed where the group was not known yet
    with closing(Consumer(connection(settings) | {"group.id": job_name(settings, use_case)})) as group:

        def all_read() -> bool:
            report(read := _read(group, observations, ends), total)
            return read >= total

        _until(all_read, deadline, f"not all of {total} messages are read; does `dualcast stream features` run?")
    features = settings.names.topic(Topic.FEATURES_INTRADAY)
    written = ends_of(admin, features)
    _until(
        lambda: all(end >= written[p] for p, end in ends_of(admin, features, committed=True).items()),
        deadline,
        "the observations are read, but their feature rows are not committed",
    )
    return _lags(settings, use_case, floor(until, use_case.part("intraday").resolution) - tolerance)


def _until(condition: Callable[[], bool], deadline: float, otherwise: str) -> None:
    """Ask until the answer is yes. A broker that is just starting, or starting again, is asked again too."""
    trouble = ""
    while monotonic() < deadline:
        try:
            if condition():
                return
        except KafkaException as error:
            trouble = f" ({error.args[0]})"
        sleep(_POLL_SECONDS)
    raise NotCaughtUpError(f"timed out: {otherwise}{trouble}")


def ends_of(admin: AdminClient, topic: str, *, committed: bool = False) -> Offsets:
    """The end of each partition: of all records, or of those before the first transaction that is still open."""
    partitions = admin.list_topics(topic, timeout=_REQUEST_SECONDS).topics[topic].partitions
    isolation = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
    asked = {TopicPartition(topic, p): OffsetSpec.latest() for p in partitions}
    found = admin.list_offsets(asked, isolation_level=isolation, request_timeout=_REQUEST_SECONDS)
    return {where.partition: future.result(_REQUEST_SECONDS).offset for where, future in found.items()}


def _read(group: Consumer, topic: str, ends: Offsets) -> int:
    """How many messages of a topic before ``ends`` a consumer's group has committed as read."""
    where = [TopicPartition(topic, p) for p in ends]
    found = group.committed(where, timeout=_REQUEST_SECONDS)
    return sum(min(max(p.offset, 0), ends[p.partition]) for p in found)


def _lags(settings: Settings, use_case: UseCase, needed: datetime) -> list[Lag]:
    entities = [e.id for e in use_case.entities]
    rows = OnlineFeatures(settings, use_case.use_case).read(entities)
    origins = {e: row.valid_time if row is not None else None for e, row in rows.items()}
    return [Lag(e, origin) for e, origin in origins.items() if origin is None or origin < needed]
