"""Features from a stream: the bounded memory of one entity, and the rows that each new value makes.

The state is a few NumPy buffers, so that an engine can keep it as bytes and work on a chunk at once. What comes out
does not depend on how the stream was cut into chunks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from dualcast.catalogue import Entity, UseCase
from dualcast.features.plan import FeaturePlan
from dualcast.features.registry import Floats
from dualcast.features.window import Slots
from dualcast.validation import IMPLAUSIBLE, YARDSTICK_AGE, implausible

UNKNOWN = np.iinfo(np.int64).min
# How many origins are worked on at once; more needs a longer buffer and gains nothing.
_CHUNK = 512


@dataclass(frozen=True)
class Update:
    """Sound observations of one entity in order of arrival, as columns of equal length.

    variable: index into ``plan.variables``; slot: first grid slot; span: how many slots the interval covers;
    published: microseconds since 1970.
    """

    variable: Slots
    slot: Slots
    span: Slots
    value: Floats
    published: Slots


@dataclass(frozen=True)
class Rows:
    """Feature rows of n origins: slots (n,), as_of in microseconds (n,), name -> (n, 1) or (n, horizons)."""

    origin: Slots
    as_of: Slots
    features: dict[str, Floats]

    def __len__(self) -> int:
        return len(self.origin)


class IntradayPlan:
    """All that the states of one entity share; made once."""

    def __init__(self, use_case: UseCase, entity: Entity) -> None:
        self.features = FeaturePlan.of(use_case, "intraday")
        self.calendar = self.features.calendar(entity)
        self.horizons = use_case.part("intraday").horizons
        self.ahead = use_case.part("intraday").ahead // use_case.part("intraday").resolution
        self.week = YARDSTICK_AGE // use_case.part("intraday").resolution
        self.chunk = min(_CHUNK, self.week)
        self.capacity = max(self.features.lookback, self.week) + self.ahead + self.chunk
        self.bounds = [use_case.variables[v].bounds for v in self.features.variables]
        self.target = self.features.variables.index(self.features.target)
        self.fingerprint = feature_set(use_case)


def feature_set(use_case: UseCase) -> str:
    """A fingerprint of the intraday feature definitions: rows of different sets must not be mixed."""
    part = use_case.part("intraday")
    definition = {n: s.model_dump(mode="json") for n, s in part.features.items()}
    text = json.dumps([definition, str(part.resolution), str(part.lookback), part.horizons], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class IntradayState:
    """What is remembered of one entity: values and when each was published, for the lookback and the time ahead."""

    def __init__(self, plan: IntradayPlan) -> None:
        self._plan = plan
        shape = len(plan.features.variables), plan.capacity
        self._values: NDArray[np.float64] = np.full(shape, np.nan)
        self._published: NDArray[np.int64] = np.full(shape, UNKNOWN)
        self._start = UNKNOWN
        self._newest = UNKNOWN
        self._as_of = UNKNOWN

    def apply(self, update: Update) -> tuple[list[Rows], list[tuple[int, str]]]:
        """Take values in; return the feature rows they make, and (index, reason) of each value refused.

        A value of the target makes a row for its origin; a late or revised one makes the newest row anew. A value that
        is not newer than the vintage already held does nothing.
        """
        rows: list[Rows] = []
        refused: list[tuple[int, str]] = []
        for indices, advancing in self._segments(update):
            taken, bad = self._store(update, indices)
            refused.extend((int(i), IMPLAUSIBLE) for i in bad)
            targets = taken[update.variable[taken] == self._plan.target]
            if advancing and len(targets):
                rows.append(self._advance(update, targets))
                continue
            self._saw(update, taken)
            if len(targets):
                self._newest = max(self._newest, int((update.slot + update.span - 1)[targets].max()))
                rows.append(self._rows(np.array([self._newest + 1]), np.array([self._as_of])))
        return rows, refused

    def _segments(self, update: Update) -> Iterator[tuple[Slots, bool]]:
        """Cut an update into runs that can be worked on at once: target values that advance, and all else."""
        newest, begin, kind, first = self._newest, 0, None, 0
        is_target = (update.variable == self._plan.target).tolist()
        last = (update.slot + update.span - 1).tolist()
        for i, (target, slot) in enumerate(zip(is_target, last, strict=True)):
            advances = target and slot > newest
            fits = not advances or kind is not True or slot - first < self._plan.chunk
            if advances is not kind or not fits:
                if i > begin:
                    yield np.arange(begin, i), bool(kind)
                begin, kind, first = i, advances, slot
            newest = slot if advances else newest
        if len(last) > begin:
            yield np.arange(begin, len(last)), bool(kind)

    def _advance(self, update: Update, targets: Slots) -> Rows:
        last = update.slot[targets] + update.span[targets] - 1
        as_of = np.maximum.accumulate(np.maximum(update.published[targets], self._as_of))
        self._newest, self._as_of = int(last[-1]), int(as_of[-1])
        return self._rows(last + 1, as_of)

    def _saw(self, update: Update, taken: Slots) -> None:
        if len(taken):
            self._as_of = max(self._as_of, int(update.published[taken].max()))

    def _store(self, update: Update, indices: Slots) -> tuple[Slots, Slots]:
        """Write values that are newer vintages; return the indices taken and those refused as implausible."""
        self._make_room(update, indices)
        slot = update.slot[indices] - self._start
        inside = (slot >= 0) & (slot + update.span[indices] <= self._plan.capacity)
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

    def _make_room(self, update: Update, indices: Slots) -> None:
        """Move the buffers on so that the newest target value and the time ahead of it fit."""
        targets = indices[update.variable[indices] == self._plan.target]
        slots = update.slot[targets] + update.span[targets] if len(targets) else update.slot[indices][:1]
        if self._start == UNKNOWN:
            self._start = int(slots.min()) - self._plan.week
        shift = int(slots.max()) + self._plan.ahead - (self._start + self._plan.capacity)
        if len(targets) and shift > 0:
            for buffer, empty in ((self._values, np.nan), (self._published, UNKNOWN)):
                kept = max(self._plan.capacity - shift, 0)
                buffer[:, :kept] = buffer[:, self._plan.capacity - kept :].copy()
                buffer[:, kept:] = empty
            self._start += shift

    def _rows(self, origin: Slots, as_of: Slots) -> Rows:
        column = origin[:, np.newaxis]
        window = self._plan.features.window(
            dict(zip(self._plan.features.variables, self._values, strict=True)),
            self._start,
            column,
            column + np.arange(self._plan.horizons),
            self._plan.calendar,
        )
        return Rows(origin, as_of, self._plan.features.compute(window))

    def to_bytes(self) -> bytes:
        """The state as bytes; ``from_bytes`` of the same plan reads them."""
        head = np.array([self._start, self._newest, self._as_of], dtype=np.int64).tobytes()
        return head + self._values.tobytes() + self._published.tobytes()

    @classmethod
    def from_bytes(cls, plan: IntradayPlan, data: bytes) -> Self:
        """The state that ``to_bytes`` wrote. Raises ValueError where it belongs to another plan."""
        state = cls(plan)
        size = state._values.size
        if len(data) != 24 + 16 * size:
            raise ValueError("the stored state belongs to other features; start from a fresh state or the old features")
        state._start, state._newest, state._as_of = map(int, np.frombuffer(data, np.int64, 3))
        state._values = np.frombuffer(data, np.float64, size, 24).reshape(state._values.shape).copy()
        state._published = np.frombuffer(data, np.int64, size, 24 + 8 * size).reshape(state._published.shape).copy()
        return state


def update_of(
    plan: IntradayPlan,
    step: int,
    variables: Sequence[str],
    times: Slots,
    spans: Slots,
    values: Floats,
    published: Slots,
) -> tuple[Update, Slots]:
    """Columns with names and microseconds as an Update, and the indices of those that the plan reads."""
    code = {name: i for i, name in enumerate(plan.features.variables)}
    codes = np.array([code.get(name, -1) for name in variables], dtype=np.int64)
    used = np.flatnonzero(codes >= 0)
    micro = step * 1_000_000
    return Update(codes[used], times[used] // micro, spans[used] // micro, values[used], published[used]), used
