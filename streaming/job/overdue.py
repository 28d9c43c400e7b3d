"""Detects overdue values, so that a timer makes the feature row that a missing value did not trigger.

A value is overdue some seconds of wall time after the publication time that its variable's rule gives. No value is
overdue while the job reads past messages, since the next message may contain it.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from time import monotonic

from dualcast.catalogue import UseCase
from dualcast.timegrid import MICRO, Clock, floor, from_micros, micros

# A value may be this late (wall time) before it counts as overdue.
_PATIENCE = timedelta(seconds=10)
# A replay in which a slot takes less wall time than this sets no timers.
_SHORTEST_SLOT = 3 * _PATIENCE
# The job counts as reading the past for this long after its start and after the last message of the past.
_READING_PAST_SECONDS = 30.0
# Values that were published more slots ago than this belong to the past.
_FRESH_SLOTS = 4
_SOONEST = timedelta(seconds=1)


class Overdue:
    """The overdue slots, and the time of the next check; one object for each worker."""

    def __init__(self, use_case: UseCase) -> None:
        self._step = use_case.part("intraday").resolution
        self._delay = use_case.variables[use_case.target].published.delay
        self._past_at = monotonic()

    def note_publication(self, clock: Clock, published: int) -> None:
        """Note the newest publication (microseconds since 1970) of the entity of a message."""
        if from_micros(published) < clock.now() - _FRESH_SLOTS * self._step:
            self._past_at = monotonic()

    def origin(self, clock: Clock) -> int | None:
        """The newest slot before which all values are overdue; None while the past is being read."""
        if monotonic() - self._past_at < _READING_PAST_SECONDS:
            return None
        begin = self._begin(clock)
        return None if begin is None else micros(begin) // (self._step // MICRO)

    def next_check(self, clock: Clock) -> int | None:
        """When the value before the next slot becomes overdue, in milliseconds of wall time; None for never.

        Rounded up to whole seconds, so that all messages of a slot set the same timer.
        """
        begin = self._begin(clock)
        if begin is None:
            return None
        seconds = clock.wall_seconds_until(begin + self._step + self._late(clock))
        at = datetime.now(UTC) + max(timedelta(seconds=seconds), _SOONEST)
        return math.ceil(at.timestamp()) * 1000

    def _begin(self, clock: Clock) -> datetime | None:
        """The start of the newest slot before which all values are overdue."""
        if self._delay is None or self._step / _speed(clock) < _SHORTEST_SLOT:
            return None
        return floor(clock.now() - self._late(clock), self._step)

    def _late(self, clock: Clock) -> timedelta:
        return (self._delay or timedelta(0)) + _PATIENCE * _speed(clock)


def _speed(clock: Clock) -> float:
    return clock.speed if clock.is_replay else 1.0
