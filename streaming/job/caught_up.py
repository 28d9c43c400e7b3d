"""The job's progress by its committed offsets: which observations it has read, which features it has published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic, sleep

from dualcast.adapters.feature_store import OnlineFeatures
from dualcast.adapters.kafka.connection import OUTAGES
from dualcast.adapters.kafka.offsets import Offsets
from dualcast.catalogue import UseCase
from dualcast.records import Topic
from dualcast.settings import Settings
from dualcast.timegrid import floor
from streaming.job.checkpoints import job_name

_POLL_SECONDS = 0.5


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
    deadline = monotonic() + timeout
    observations = settings.names.topic(Topic.OBSERVATIONS)
    with Offsets.of_group(settings, job_name(settings, use_case)) as offsets:
        ends = offsets.ends(observations)
        total = sum(ends.values())

        def all_read() -> bool:
            report(read := offsets.read_before(observations, ends), total)
            return read >= total

        _until(all_read, deadline, f"not all of {total} messages are read; does `dualcast stream features` run?")
        features = settings.names.topic(Topic.FEATURES_INTRADAY)
        written = offsets.ends(features)
        _until(
            lambda: all(end >= written[p] for p, end in offsets.ends(features, committed=True).items()),
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
        except OUTAGES as error:
            trouble = f" ({error})"
        sleep(_POLL_SECONDS)
    raise NotCaughtUpError(f"timed out: {otherwise}{trouble}")


def _lags(settings: Settings, use_case: UseCase, needed: datetime) -> list[Lag]:
    entities = [e.id for e in use_case.entities]
    rows = OnlineFeatures(settings, use_case.use_case).read(entities)
    origins = {e: row.valid_time if row is not None else None for e, row in rows.items()}
    return [Lag(e, origin) for e, origin in origins.items() if origin is None or origin < needed]
