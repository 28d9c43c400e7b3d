"""The job's progress by its committed offsets: which observations it has read, which features it has published."""

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
    """The job did not catch up in time; the text tells its progress and what to check."""


@dataclass(frozen=True)
class Lag:
    """An entity whose newest features are older than required; ``origin`` is None if it has none."""

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
    """Wait until the job has processed all messages of ``observations.v1`` and published their features.

    Redis then holds the newest features that these observations allow. Returns the entities whose features are more
    than ``tolerance`` older than ``until``, because newer values are missing. ``report`` receives how many
    messages were read and their total. Raises NotCaughtUpError after ``timeout`` seconds.
    """
    admin = AdminClient(connection(settings))
    deadline = monotonic() + timeout
    observations = settings.names.topic(Topic.OBSERVATIONS)
    ends = ends_of(admin, observations)
    total = sum(ends.values())
    # reads the group's offsets without joining it; the admin client crashed for a group that did not exist yet
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
    """Check a condition until it is true, also while the broker is starting or restarting."""
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
