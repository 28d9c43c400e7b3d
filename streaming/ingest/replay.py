"""Publishing in bulk what is history, and as the clock moves what becomes known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pandas as pd
import structlog

from dualcast.observations.frames import empty
from dualcast.timegrid import Clock
from streaming.ingest.memory import Memory, Published
from streaming.ingest.signals import Stop
from streaming.ingest.source import Source

MOST_IN_HISTORY = 6000
_MOST_LIVE = 500
_MICROSECOND = timedelta(microseconds=1)
_HISTORY_WINDOW = timedelta(days=60)
_LOOK_AHEAD = timedelta(days=1)
# A clock that runs fast gets several moments in one step rather than hundreds of steps a second.
_SHORTEST_STEP_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 60.0
_log = structlog.get_logger(__name__)


class Sink(Protocol):
    """Where frames go; returns when they are safe there."""

    def publish(self, observations: pd.DataFrame, most: int) -> int:
        """Take a frame in canonical order in messages of at most ``most`` observations; the number of messages."""


@dataclass(frozen=True)
class Step:
    """What was published: the moment up to which all is, and how much it was."""

    until: datetime
    observations: int
    messages: int


def publish_history(source: Source, sink: Sink, start: datetime, until: datetime) -> Iterator[Step]:
    """Publish what became known in [start, until], in big messages; a step for each window of time."""
    position = start
    while position <= until:
        following = min(position + _HISTORY_WINDOW, until + _MICROSECOND)
        frame = source.observations(position, following)
        sent = sink.publish(frame, MOST_IN_HISTORY) if len(frame) else 0
        position = following
        yield Step(following - _MICROSECOND, len(frame), sent)


def publish_replay(source: Source, sink: Sink, clock: Clock, memory: Memory, stop: Stop, after: datetime) -> bool:
    """Publish what becomes known after ``after`` as the clock moves; whether the end was reached before a signal.

    The end is the clock's, or that of the source. Sleeps between moments of publication.
    """
    upcoming = _Upcoming(source, after)
    while not stop.requested:
        now = clock.now()
        frame = upcoming.take(now)
        if len(frame):
            sent = sink.publish(frame, _MOST_LIVE)
            memory.write(Published.by(source.name, now, clock))
            _log.debug("published", until=now.isoformat(), observations=len(frame), messages=sent)
        moment = upcoming.next_moment()
        if moment is None or (clock.until is not None and moment > clock.until):
            return True
        stop.wait(min(max(clock.wall_seconds_until(moment), _SHORTEST_STEP_SECONDS), _LONGEST_WAIT_SECONDS))
    return False


def resume_after(source: str, clock: Clock, remembered: Published | None, overlap: timedelta) -> datetime:
    """Up to when all is published already: as remembered, else the replay's start or a little before now."""
    if remembered is not None and remembered.belongs_to(source, clock):
        return remembered.until.astimezone(UTC)
    return clock.start.astimezone(UTC) if clock.start is not None else clock.now() - overlap


class _Upcoming:
    """What is not published yet, read from the source a little ahead."""

    def __init__(self, source: Source, after: datetime) -> None:
        self._source = source
        self._read_until = after + _MICROSECOND
        self._rows = empty()

    def take(self, now: datetime) -> pd.DataFrame:
        """All that is known at ``now`` and was not taken before."""
        if self._read_until <= now:
            self._read(now + _LOOK_AHEAD)
        known = int(self._rows["published_at"].searchsorted(pd.Timestamp(now), side="right"))
        taken, self._rows = self._rows.iloc[:known], self._rows.iloc[known:]
        return taken

    def next_moment(self) -> datetime | None:
        """When something becomes known next; None where the source has ended."""
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
