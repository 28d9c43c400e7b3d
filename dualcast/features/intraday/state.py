"""Feature rows from a stream: the bounded state of one entity, and the rows that each new value makes.

The state is a few NumPy buffers, so that an engine can keep it as bytes and process many values at once. The rows do
not depend on how the stream was cut into updates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Self

import numpy as np

from dualcast.arrays import Floats, Slots
from dualcast.features.intraday.plan import IntradayPlan
from dualcast.features.intraday.update import Update
from dualcast.features.intraday.values import UNKNOWN, ValueBuffer
from dualcast.observations.validation import IMPLAUSIBLE

# The numbers of a state besides its buffer, in the order in which they are stored behind the buffer's start.
_HEAD = ("_newest", "_published", "_as_of", "_clock_origin", "_clock_as_of")


@dataclass(frozen=True)
class Rows:
    """Feature rows of n origins: slots (n,), as_of in microseconds (n,), name -> (n, 1) or (n, horizons)."""

    origin: Slots
    as_of: Slots
    features: dict[str, Floats]

    def __len__(self) -> int:
        return len(self.origin)

    def __getitem__(self, some: slice) -> Rows:
        """Some of the rows."""
        return Rows(self.origin[some], self.as_of[some], {name: v[some] for name, v in self.features.items()})


class _Effect(Enum):
    """What a run of values does to the rows."""

    ADDS = auto()  # makes rows of new origins
    REVISES = auto()  # may change the newest row
    NONE = auto()  # no row reads these values yet


class IntradayState:
    """The values of one entity over the lookback and the time ahead, and the newest rows made from them.

    A row's as_of is the newest publication that was stored, and at least a microsecond later than the as_of of the row
    made before it: of two rows, the one made later has the later as_of.
    """

    def __init__(self, plan: IntradayPlan) -> None:
        self._plan = plan
        self._buffer = ValueBuffer(plan)
        self._newest = UNKNOWN  # the newest slot whose target is known
        self._published = UNKNOWN  # the newest publication
        self._as_of = UNKNOWN  # of the newest row made by a value
        self._clock_origin = UNKNOWN  # of the newest row made by the clock
        self._clock_as_of = UNKNOWN  # of the newest row made by the clock, or of its newest replacement

    def apply(self, update: Update) -> tuple[list[Rows], list[tuple[int, str]]]:
        """Store values; return the feature rows they make, and (index, reason) of each value refused.

        A value of the target newer than all before makes the row of its origin. A late or revised value, of any
        variable, makes the newest row again if it changes that row. A value that is no newer vintage than the stored
        one has no effect. These rows do not depend on rows made by the clock. A row made by the clock is made again
        after them.
        """
        rows: list[Rows] = []
        refused: list[tuple[int, str]] = []
        by_clock = self._row(self._clock_origin) if self._is_overdue else None
        for indices, effect in self._runs(update):
            before = self._row(self._newest + 1) if effect is _Effect.REVISES and self._newest != UNKNOWN else None
            stored, bad = self._buffer.store(update, indices, max(self._newest + 1, self._clock_origin))
            refused.extend((int(i), IMPLAUSIBLE) for i in bad)
            if len(stored):
                rows.extend(self._rows_of(update, stored, effect, before))
            self._buffer.keep(self._buffer.end)
        rows.extend(self._replacement(rows, by_clock))
        return rows, refused

    def overdue(self, origin: int, step_micros: int) -> Rows | None:
        """The row of an origin that the clock has reached before the target's values.

        Its as_of is a microsecond before the origin: the missing value cannot have been published by then. None where
        the target is known up to the origin, where the row exists, or where no value is left within the lookback.
        """
        reached = max(self._newest + 1, self._clock_origin)
        if self._newest == UNKNOWN or origin <= reached or origin - self._newest > self._plan.features.lookback:
            return None
        self._clock_origin = origin
        self._buffer.keep(origin + self._plan.ahead)
        self._clock_as_of = max(origin * step_micros - 1, self._published, self._as_of + 1, self._clock_as_of + 1)
        return Rows(np.array([origin]), np.array([self._clock_as_of]), self._row(origin))

    @property
    def newest_publication(self) -> int | None:
        """When the newest value was published, in microseconds; None before the first value."""
        return self._published if self._published != UNKNOWN else None

    @property
    def _is_overdue(self) -> bool:
        """Whether the clock made the newest row."""
        return self._clock_origin > self._newest + 1

    def _runs(self, update: Update) -> Iterator[tuple[Slots, _Effect]]:
        """Cut an update into runs of one effect that can be processed at once.

        Values that no row reads yet are added to the run before or after them, since they change none of its rows.
        """
        plan, end = self._plan, update.slot + update.span
        last = np.where(update.variable == plan.target, end - 1, UNKNOWN)
        newest = np.maximum.accumulate(np.concatenate(([self._newest], last)))[:-1]
        adds = last > newest
        read = np.flatnonzero(adds | (update.slot <= newest + np.array(plan.reach)[update.variable]))
        begins: dict[int, _Effect] = {}
        for alike in np.split(read, np.flatnonzero(np.diff(adds[read])) + 1) if len(read) else ():
            effect = _Effect.ADDS if adds[alike[0]] else _Effect.REVISES
            parts = _part_begins(end[alike], plan.together) if effect is _Effect.ADDS else [0]
            begins.update((int(alike[i]), effect) for i in parts)
        # values before the first run belong to it
        cuts = [0, *list(begins)[1:], len(last)] if len(last) else []
        for first, following, effect in zip(cuts, cuts[1:], begins.values() or [_Effect.NONE], strict=False):
            yield np.arange(first, following), effect

    def _rows_of(
        self, update: Update, stored: Slots, effect: _Effect, before: dict[str, Floats] | None
    ) -> Iterator[Rows]:
        """The rows made by the stored values of a run; ``before`` are the features of the newest row without them."""
        published = np.maximum.accumulate(np.maximum(update.published[stored], self._published))
        is_target = update.variable[stored] == self._plan.target
        last = (update.slot + update.span - 1)[stored[is_target]]
        newest_before, self._published = self._newest, int(published[-1])
        self._newest = max(self._newest, int(last.max(initial=self._newest)))
        if effect is _Effect.ADDS and len(last):
            yield self._new_rows(last + 1, published[is_target])
        elif effect is _Effect.REVISES and self._newest != UNKNOWN:
            row = self._row(self._newest + 1)
            if self._newest > newest_before or not _equal(row, before):
                self._as_of = max(self._published, self._as_of + 1)
                yield Rows(np.array([self._newest + 1]), np.array([self._as_of]), row)

    def _new_rows(self, origin: Slots, published: Slots) -> Rows:
        count = np.arange(len(origin))
        as_of = np.maximum(np.maximum.accumulate(published - count), self._as_of + 1) + count
        self._as_of = int(as_of[-1])
        return Rows(origin, as_of, self._features(origin))

    def _replacement(self, rows: list[Rows], by_clock: dict[str, Floats] | None) -> Iterator[Rows]:
        """The newest row again, where the clock made it before this update.

        Without it an older origin, made by a late value, would be the newest row by as_of. ``rows`` are those that the
        update made, ``by_clock`` are the features of the row made by the clock.
        """
        if by_clock is not None and not rows and _equal(by_clock, self._row(self._clock_origin)):
            return
        if by_clock is None and (not rows or int(rows[-1].as_of[-1]) > self._clock_as_of):
            return
        origin = max(self._clock_origin, self._newest + 1)
        if not rows or origin > rows[-1].origin[-1] or rows[-1].as_of[-1] <= self._clock_as_of:
            self._clock_as_of = max(self._published, self._as_of, self._clock_as_of) + 1
            yield Rows(np.array([origin]), np.array([self._clock_as_of]), self._row(origin))

    def _row(self, origin: int) -> dict[str, Floats]:
        return self._features(np.array([origin]))

    def _features(self, origin: Slots) -> dict[str, Floats]:
        column, features = origin[:, np.newaxis], self._plan.features
        values = dict(zip(features.variables, self._buffer.values, strict=True))
        targets = column + np.arange(self._plan.horizons)
        return features.compute(features.window(values, self._buffer.start, column, targets, self._plan.calendar))

    def to_bytes(self) -> bytes:
        """The state as bytes; ``from_bytes`` of the same plan reads them."""
        head = np.array([self._buffer.start, *(getattr(self, name) for name in _HEAD)], dtype=np.int64)
        return head.tobytes() + self._buffer.to_bytes()

    @classmethod
    def from_bytes(cls, plan: IntradayPlan, data: bytes) -> Self:
        """The state that ``to_bytes`` wrote. Raises ValueError where it belongs to another plan."""
        state, size = cls(plan), 1 + len(_HEAD)
        state._buffer.restore(int.from_bytes(data[:8], "little", signed=True), data[8 * size :])
        for name, number in zip(_HEAD, np.frombuffer(data, np.int64, size)[1:].tolist(), strict=True):
            setattr(state, name, number)
        return state


def _part_begins(end: Slots, most: int) -> Iterator[int]:
    """Where each part of rising slots begins, if none is longer than ``most`` slots."""
    at = 0
    while at < len(end):
        yield at
        at = int(np.searchsorted(end, end[at] + most))


def _equal(a: dict[str, Floats], b: dict[str, Floats] | None) -> bool:
    return b is not None and all(np.array_equal(a[name], b[name], equal_nan=True) for name in a)
