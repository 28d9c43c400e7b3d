"""When a value is overdue, so that the clock makes the row which no value made.

A value is overdue some seconds of wall time after its variable's publication rule says that it is known. While the past
is being read nothing is: what is missing may come with the next message.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from time import monotonic

from dualcast.catalogue import UseCase
from dualcast.timegrid import Clock, floor, from_micros, micros

# A value may come so late on the wall's clock without anyone being told.
_PATIENCE = timedelta(seconds=10)
# A replay that is so fast that a slot takes less than this has no time for alarms.
_SHORTEST_SLOT = 3 * _PATIENCE
# For so long after the start, and after the newest message of the past, the past may go on.
_PAST_GOES_ON_SECONDS = 30.0
# What was published longer ago than so many slots is the past.
_FRESH_SLOTS = 4
_SOONEST = timedelta(seconds=1)


class Overdue:
    """Which slots are overdue, and when to ask again; one for each worker."""

    def __init__(self, use_case: UseCase) -> None:
        self._step = use_case.part("intraday").resolution
        self._delay = use_case.variables[use_case.target].published.delay
        self._past_at = monotonic()

    def saw(self, clock: Clock, published: int) -> None:
        """Take notice of the newest publication (microseconds since 1970) of an entity that a message came for."""
        if from_micros(published) < clock.now() - _FRESH_SLOTS * self._step:
            self._past_at = monotonic()

    def origin(self, clock: Clock) -> int | None:
        """The newest slot before which all values are overdue; None where the past is being read."""
        if monotonic() - self._past_at < _PAST_GOES_ON_SECONDS:
            return None
        begin = self._begin(clock)
        return None if begin is None else micros(begin) // (self._step // timedelta(microseconds=1))

    def alarm(self, clock: Clock) -> int | None:
        """When the value before the next slot is overdue, in milliseconds of the wall's clock; None for never.

        Whole seconds, so that the messages of a slot ask for one alarm.
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
