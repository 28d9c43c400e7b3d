"""Publishes the past of a source in bulk, and later values as the clock reaches their publication times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pandas as pd
import structlog

from dualcast.observations.frames import empty
from dualcast.timegrid import MICRO, Clock
from streaming.ingest.published import Published, PublishedFile
from streaming.ingest.signals import Stop
from streaming.ingest.source import Source

MOST_IN_HISTORY = 6000
_MOST_LIVE = 500
_HISTORY_WINDOW = timedelta(days=60)
_LOOK_AHEAD = timedelta(days=1)
# With a fast clock a step publishes several publication times together, instead of hundreds of steps a second.
_SHORTEST_STEP_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 60.0
_log = structlog.get_logger(__name__)


class Sink(Protocol):
    """A destination of frames; ``publish`` returns when they are stored there."""

    def publish(self, observations: pd.DataFrame, most: int) -> int:
        """Publish a frame in canonical order in messages of at most ``most`` observations; return their number."""


@dataclass(frozen=True)
class Step:
    """The progress of a step: the time up to which all values are published, and their counts."""

    until: datetime
    observations: int
    messages: int


def publish_history(source: Source, sink: Sink, start: datetime, until: datetime) -> Iterator[Step]:
    """Publish the values published in [start, until] in large messages; yield a step for each time window."""
    position = start
    while position <= until:
        following = min(position + _HISTORY_WINDOW, until + MICRO)
        frame = source.observations(position, following)
        sent = sink.publish(frame, MOST_IN_HISTORY) if len(frame) else 0
        position = following
        yield Step(following - MICRO, len(frame), sent)


def publish_replay(source: Source, sink: Sink, clock: Clock, file: PublishedFile, stop: Stop, after: datetime) -> bool:
    """Publish values after ``after`` when the clock reaches their publication times.

    Returns whether the end of the clock or of the source was reached before a signal. Sleeps between publication times.
    """
    upcoming = _Upcoming(source, after)
    while not stop.requested:
        now = clock.now()
        frame = upcoming.take(now)
        if len(frame):
            sent = sink.publish(frame, _MOST_LIVE)
            file.write(Published.by(source.name, now, clock))
            _log.debug("published", until=now.isoformat(), observations=len(frame), messages=sent)
        moment = upcoming.next_moment()
        if moment is None or (clock.until is not None and moment > clock.until):
            return True
        stop.wait(min(max(clock.wall_seconds_until(moment), _SHORTEST_STEP_SECONDS), _LONGEST_WAIT_SECONDS))
    return False


def resume_after(source: str, clock: Clock, earlier: Published | None, overlap: timedelta) -> datetime:
    """The time up to which values are published: that of the earlier run, the replay's start, or ``overlap`` ago."""
    if earlier is not None and earlier.belongs_to(source, clock):
        return earlier.until.astimezone(UTC)
    return clock.start.astimezone(UTC) if clock.start is not None else clock.now() - overlap


class _Upcoming:
    """Values that were read from the source before their publication times."""

    def __init__(self, source: Source, after: datetime) -> None:
        self._source = source
        self._read_until = after + MICRO
        self._rows = empty()

    def take(self, now: datetime) -> pd.DataFrame:
        """The values published until ``now`` that were not taken before."""
        if self._read_until <= now:
            self._read(now + _LOOK_AHEAD)
        known = int(self._rows["published_at"].searchsorted(pd.Timestamp(now), side="right"))
        taken, self._rows = self._rows.iloc[:known], self._rows.iloc[known:]
        return taken

    def next_moment(self) -> datetime | None:
        """The next publication time; None at the end of the source."""
        last = self._source.extent.last
        while self._rows.empty:
            if last is not None and self._read_until > last:
                return None
            self._read(self._read_until + _LOOK_AHEAD)
        moment: datetime = self._rows["published_at"].iloc[0].to_pydatetime()
        return moment

    def _read(self, until: datetime) -> None:
        more = self._source.observations(self._read_until, until)
        self._rows = more if self._rows.empty else pd.concat([self._rows, more], ignore_index=True)
        self._read_until = until
