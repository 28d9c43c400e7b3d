"""Features from a stream: the bounded memory of one entity, and the rows that each new value makes.

The state is a few NumPy buffers, so that an engine can keep it as bytes and work on a chunk at once. What comes out
does not depend on how the stream was cut into chunks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from dualcast.arrays import Floats, Slots
from dualcast.features.intraday.plan import IntradayPlan
from dualcast.features.intraday.update import Update
from dualcast.observations.validation import IMPLAUSIBLE, implausible

UNKNOWN = np.iinfo(np.int64).min
_Number = TypeVar("_Number", np.float64, np.int64)
# The numbers of a state besides its buffers, in the order in which they are stored.
_HEAD = ("_start", "_newest", "_known", "_made", "_overdue", "_shown")


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


class _Run(Enum):
    """What some values do to the rows: make new ones, make the newest anew, or nothing that shows yet."""

    ADVANCES = auto()
    REVISES = auto()
    QUIET = auto()


class IntradayState:
    """What is remembered of one entity: values and when each was published, for the lookback and the time ahead.

    A row's as_of is the newest publication that the entity had seen, and a microsecond later than that of the row
    before where nothing newer had come: of two rows, the later made has the later as_of.
    """

    def __init__(self, plan: IntradayPlan) -> None:
        self._plan = plan
        shape = len(plan.features.variables), plan.capacity
        self._values: NDArray[np.float64] = np.full(shape, np.nan)
        self._published: NDArray[np.int64] = np.full(shape, UNKNOWN)
        self._start = UNKNOWN
        self._newest = UNKNOWN  # the newest slot whose target is known
        self._known = UNKNOWN  # the newest publication
        self._made = UNKNOWN  # as_of of the newest row that a value made
        self._overdue = UNKNOWN  # origin of the newest row that the clock made
        self._shown = UNKNOWN  # as_of of the newest row that the clock made, or that replaces it

    def apply(self, update: Update) -> tuple[list[Rows], list[tuple[int, str]]]:
        """Take values in; return the feature rows they make, and (index, reason) of each value refused.

        A value of the target that is newer than all before makes the row of its origin. A late or revised value, of any
        variable, makes the newest row anew where it changes it. A value that is no newer vintage than the one held does
        nothing. These rows are the same whether or not the clock made rows in between; a row that the clock made is
        itself made anew behind them.
        """
        rows: list[Rows] = []
        refused: list[tuple[int, str]] = []
        clocked = self._row(self._overdue) if self._is_overdue else None
        for indices, kind in self._runs(update):
            shown = self._row(self._newest + 1) if kind is _Run.REVISES and self._newest != UNKNOWN else None
            taken, bad = self._store(update, indices)
            refused.extend((int(i), IMPLAUSIBLE) for i in bad)
            if len(taken):
                rows.extend(self._made_of(update, taken, kind, shown))
            self._hold(self._start + self._values.shape[1])
        rows.extend(self._shown_again(rows, clocked))
        return rows, refused

    def overdue(self, origin: int, step_micros: int) -> Rows | None:
        """The row of an origin that the clock has reached before the values did; None where they have reached it too.

        Its as_of is the moment before the origin: just before the missing value can have been published. None, too,
        where nothing is left to be seen of what was known.
        """
        seen = max(self._newest + 1, self._overdue)
        if self._newest == UNKNOWN or origin <= seen or origin - self._newest > self._plan.features.lookback:
            return None
        self._overdue = origin
        self._hold(origin + self._plan.ahead)
        self._shown = max(origin * step_micros - 1, self._known, self._made + 1, self._shown + 1)
        return Rows(np.array([origin]), np.array([self._shown]), self._row(origin))

    @property
    def newest_publication(self) -> int | None:
        """When the newest value was published, in microseconds; None where nothing is known."""
        return self._known if self._known != UNKNOWN else None

    @property
    def _is_overdue(self) -> bool:
        return self._overdue > self._newest + 1

    def _runs(self, update: Update) -> Iterator[tuple[Slots, _Run]]:
        """Cut an update into runs that can be worked on at once.

        What no row made so far can see goes with either kind, since it changes none of them.
        """
        plan, end = self._plan, update.slot + update.span
        last = np.where(update.variable == plan.target, end - 1, UNKNOWN)
        newest = np.maximum.accumulate(np.concatenate(([self._newest], last)))[:-1]
        advances = last > newest
        shows = np.flatnonzero(advances | (update.slot <= newest + np.array(plan.reach)[update.variable]))
        begins: dict[int, _Run] = {}
        for alike in np.split(shows, np.flatnonzero(np.diff(advances[shows])) + 1) if len(shows) else ():
            kind = _Run.ADVANCES if advances[alike[0]] else _Run.REVISES
            parts = _parts(end[alike], plan.together) if kind is _Run.ADVANCES else [0]
            begins.update((int(alike[i]), kind) for i in parts)
        # what shows nowhere before the first of them goes with it
        cuts = [0, *list(begins)[1:], len(last)] if len(last) else []
        for first, following, kind in zip(cuts, cuts[1:], begins.values() or [_Run.QUIET], strict=False):
            yield np.arange(first, following), kind

    def _made_of(self, update: Update, taken: Slots, kind: _Run, shown: dict[str, Floats] | None) -> Iterator[Rows]:
        """The rows that the values of a run make, which are stored already."""
        known = np.maximum.accumulate(np.maximum(update.published[taken], self._known))
        is_target = update.variable[taken] == self._plan.target
        last = (update.slot + update.span - 1)[taken[is_target]]
        before, self._known = self._newest, int(known[-1])
        self._newest = max(self._newest, int(last.max(initial=self._newest)))
        if kind is _Run.ADVANCES and len(last):
            yield self._rows(last + 1, known[is_target])
        elif kind is _Run.REVISES and self._newest != UNKNOWN:
            row = self._row(self._newest + 1)
            if self._newest > before or not _equal(row, shown):
                self._made = max(self._known, self._made + 1)
                yield Rows(np.array([self._newest + 1]), np.array([self._made]), row)

    def _rows(self, origin: Slots, known: Slots) -> Rows:
        count = np.arange(len(origin))
        as_of = np.maximum(np.maximum.accumulate(known - count), self._made + 1) + count
        self._made = int(as_of[-1])
        return Rows(origin, as_of, self._features(origin))

    def _shown_again(self, rows: list[Rows], clocked: dict[str, Floats] | None) -> Iterator[Rows]:
        """The newest row once more, where the clock was ahead of the values: nothing older may stand in its place."""
        if clocked is not None and not rows and _equal(clocked, self._row(self._overdue)):
            return
        if clocked is None and (not rows or int(rows[-1].as_of[-1]) > self._shown):
            return
        origin = max(self._overdue, self._newest + 1)
        if not rows or origin > rows[-1].origin[-1] or rows[-1].as_of[-1] <= self._shown:
            self._shown = max(self._known, self._made, self._shown) + 1
            yield Rows(np.array([origin]), np.array([self._shown]), self._row(origin))

    def _store(self, update: Update, indices: Slots) -> tuple[Slots, Slots]:
        """Write values that are newer vintages; return the indices taken and those refused as implausible.

        The buffers hold what all rows of these values look at until ``_hold`` is asked for less.
        """
        end = (update.slot + update.span)[indices]
        is_target = update.variable[indices] == self._plan.target
        newest = np.maximum.accumulate(np.where(is_target, end, max(self._newest + 1, self._overdue)))
        if self._start == UNKNOWN:
            self._start = int((update.slot[indices][is_target] if is_target.any() else update.slot[indices]).min())
            self._start -= self._plan.week
        at = np.maximum(newest, self._start)
        self._hold(int(newest[-1]) + self._plan.ahead, more=min(int(at[-1] - at[0]), self._plan.together))
        limit = np.where(newest > UNKNOWN + 1, newest + self._plan.ahead, self._start + self._values.shape[1])
        parts = np.split(np.arange(len(indices)), np.flatnonzero(np.diff((at - at[0]) // self._plan.chunk)) + 1)
        stored = [self._store_part(update, indices[part], limit[part]) for part in parts]
        return np.concatenate([taken for taken, _ in stored]), np.concatenate([bad for _, bad in stored])

    def _store_part(self, update: Update, indices: Slots, limit: Slots) -> tuple[Slots, Slots]:
        """As ``_store``, where each value must end by its limit."""
        slot, end = update.slot[indices] - self._start, (update.slot + update.span)[indices]
        inside = (slot >= 0) & (end <= np.minimum(limit, self._start + self._values.shape[1]))
        slot, indices = slot[inside], indices[inside]
        variable = update.variable[indices]
        newer = update.published[indices] > self._published[variable, slot]
        bad = newer & self._implausible(update, indices, variable, slot)
        keep = newer & ~bad
        for offset in range(int(update.span[indices].max(initial=1))):
            wide = np.flatnonzero(keep & (update.span[indices] > offset))
            wide = wide[np.argsort(update.published[indices[wide]], kind="stable")]
            where = variable[wide], slot[wide] + offset
            self._values[where] = update.value[indices[wide]]
            self._published[where] = update.published[indices[wide]]
        return indices[keep], indices[bad]

    def _implausible(self, update: Update, indices: Slots, variable: Slots, slot: Slots) -> NDArray[np.bool_]:
        bad = np.zeros(len(indices), dtype=bool)
        names = self._plan.features.variables
        for code in np.unique(variable):
            bounds = self._plan.bounds[code]
            if bounds.relative_to in names:
                mine = variable == code
                before = slot[mine] - self._plan.week
                week_ago = self._values[names.index(bounds.relative_to), np.maximum(before, 0)]
                yardstick = np.where(before >= 0, week_ago, np.nan)
                bad[mine] = implausible(bounds, update.value[indices][mine], yardstick)
        return bad

    def _hold(self, end: int, more: int = 0) -> None:
        """Move the buffers on so that they reach to a slot, and hold at most their capacity and so many slots more."""
        first = max(self._start, end - self._plan.capacity - more)
        width = max(end, self._start + self._plan.capacity) - first
        if (first, width) != (self._start, self._values.shape[1]):
            self._values = _moved(self._values, first - self._start, width, np.nan)
            self._published = _moved(self._published, first - self._start, width, UNKNOWN)
            self._start = first

    def _row(self, origin: int) -> dict[str, Floats]:
        return self._features(np.array([origin]))

    def _features(self, origin: Slots) -> dict[str, Floats]:
        column = origin[:, np.newaxis]
        window = self._plan.features.window(
            dict(zip(self._plan.features.variables, self._values, strict=True)),
            self._start,
            column,
            column + np.arange(self._plan.horizons),
            self._plan.calendar,
        )
        return self._plan.features.compute(window)

    def to_bytes(self) -> bytes:
        """The state as bytes; ``from_bytes`` of the same plan reads them."""
        head = np.array([getattr(self, name) for name in _HEAD], dtype=np.int64)
        return head.tobytes() + self._values.tobytes() + self._published.tobytes()

    @classmethod
    def from_bytes(cls, plan: IntradayPlan, data: bytes) -> Self:
        """The state that ``to_bytes`` wrote. Raises ValueError where it belongs to another plan."""
        state = cls(plan)
        size, begin = state._values.size, 8 * len(_HEAD)
        if len(data) != begin + 16 * size:
            raise ValueError("the stored state belongs to other features; start from a fresh state or the old features")
        for name, number in zip(_HEAD, np.frombuffer(data, np.int64, len(_HEAD)).tolist(), strict=True):
            setattr(state, name, number)
        state._values = np.frombuffer(data, np.float64, size, begin).reshape(state._values.shape).copy()
        state._published = np.frombuffer(data, np.int64, size, begin + 8 * size).reshape(state._values.shape).copy()
        return state


def _parts(end: Slots, most: int) -> Iterator[int]:
    """Where each part of rising slots begins, if none is longer than so many slots."""
    at = 0
    while at < len(end):
        yield at
        at = int(np.searchsorted(end, end[at] + most))


def _moved(buffer: NDArray[_Number], shift: int, width: int, empty: float) -> NDArray[_Number]:
    """As many columns of a buffer from one on, and empty ones where it ends."""
    out = np.full((len(buffer), width), empty, dtype=buffer.dtype)
    kept = buffer[:, shift : shift + width]
    out[:, : kept.shape[1]] = kept
    return out


def _equal(a: dict[str, Floats], b: dict[str, Floats] | None) -> bool:
    return b is not None and all(np.array_equal(a[name], b[name], equal_nan=True) for name in a)
