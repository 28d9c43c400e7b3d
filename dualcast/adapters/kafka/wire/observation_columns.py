"""Decodes a long Avro message of observations as arrays, thousands of observations at once.

The Avro bytes of observations of one variable differ only in two times, the value and the ``simulated`` flag, which
stand at the same offsets. So one observation of each variable is parsed, and all others with the same layout are found
by their fixed bytes. Where the observations found do not follow one another without a gap, or have many layouts, the
message is left to the Avro library.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from dualcast.adapters.kafka.wire.avro_arrays import (
    DOUBLE_BYTES,
    END,
    TIME_BYTES,
    OtherLayoutError,
    decoded_times,
    has_eight_bytes,
    length_at,
    text_at,
)
from dualcast.arrays import Bytes, Flags, Ints, Texts
from dualcast.observations.columns import Columns

_MOST_LAYOUTS = 64
# Where layouts have fewer observations than this on average, the Avro library is faster.
_FEWEST_ON_AVERAGE = 8


@dataclass(frozen=True)
class _Layout:
    """One observation in Avro: its texts, the offsets of its numbers, and its size in bytes."""

    variable: str
    resolution: str
    unit: str
    source: str
    valid_time: int
    value: int
    published_at: int
    size: int

    @classmethod
    def at(cls, data: bytes, begin: int) -> _Layout:
        """The layout of the observation that begins at an offset. Raises OtherLayoutError."""
        variable, valid_time = text_at(data, begin)
        resolution, value = text_at(data, valid_time + TIME_BYTES)
        unit, published_at = text_at(data, value + DOUBLE_BYTES)
        source, simulated = text_at(data, published_at + TIME_BYTES)
        if not (has_eight_bytes(data, valid_time) and has_eight_bytes(data, published_at)):
            raise OtherLayoutError("a time of another length")
        offsets = valid_time - begin, value - begin, published_at - begin
        return cls(variable, resolution, unit, source, *offsets, size=simulated + 1 - begin)

    @cached_property
    def fixed_bits(self) -> Bytes:
        """The bits that all observations of this layout share, (size,)."""
        fixed = np.full(self.size, 0xFF, dtype=np.uint8)
        fixed[self.value : self.value + DOUBLE_BYTES] = 0
        fixed[-1] = 0
        for at in (self.valid_time, self.published_at):
            # each byte of a time holds 7 bits; the eighth bit tells whether another byte follows
            fixed[at : at + TIME_BYTES] = 0x80
        return fixed


@dataclass(frozen=True)
class _Group:
    """Observations of one layout: their offsets in the message, rising, (n,), and their bytes, (n, size)."""

    layout: _Layout
    offsets: Ints
    rows: Bytes

    @classmethod
    def behind(cls, data: bytes, begin: int) -> _Group:
        """The observation that begins at an offset and all further ones with its layout.

        Raises OtherLayoutError, IndexError, UnicodeDecodeError where the first cannot be parsed.
        """
        layout = _Layout.at(data, begin)
        rest = np.frombuffer(data, np.uint8, offset=begin)
        windows = sliding_window_view(rest, layout.size)
        found = np.flatnonzero(rest[: len(windows)] == rest[0])
        for at in range(1, layout.valid_time):
            found = found[rest[found + at] == rest[at]]
        rows = windows[found]
        same = ~((rows ^ rows[0]) & layout.fixed_bits).any(axis=1)
        return cls(layout, begin + found[same], rows[same])

    def until(self, end: int) -> _Group:
        """The observations before an offset."""
        count = int(np.searchsorted(self.offsets, end))
        return _Group(self.layout, self.offsets[:count], self.rows[:count])


@dataclass(frozen=True)
class ObservationRows:
    """An ObservationBatch whose observations were sliced as arrays."""

    entity_id: str
    _groups: list[_Group]

    @classmethod
    def read(cls, data: bytes, begin: int) -> ObservationRows:
        """The message that begins at an offset and ends with the data.

        Raises OtherLayoutError where the layout is not the expected one, or where the Avro library is faster.
        """
        try:
            entity_id, at = text_at(data, begin)
            count, at = length_at(data, at)
            groups, at = _groups(data, at, count)
        except (IndexError, UnicodeDecodeError) as error:
            raise OtherLayoutError(str(error)) from error
        if data[at:] != END:
            raise OtherLayoutError("the message does not end with its observations")
        return cls(entity_id, groups)

    @property
    def columns(self) -> Columns:
        """The observations as columns."""
        return Columns(
            variable=self._texts("variable"),
            valid_time=decoded_times(self._numbers("valid_time")),
            resolution=self._texts("resolution"),
            value=self._numbers("value").view("<f8")[:, 0],
            unit=self._texts("unit"),
            published_at=decoded_times(self._numbers("published_at")),
        )

    @property
    def sources(self) -> Texts:
        """The source of each observation."""
        return self._texts("source")

    @property
    def simulated(self) -> Flags:
        """Whether each observation is simulated."""
        flags: list[Flags] = [group.rows[:, -1] != 0 for group in self._groups]
        ordered: Flags = np.concatenate([np.empty(0, dtype=bool), *flags])[self._order]
        return ordered

    def encoded(self, i: int) -> bytes:
        """The Avro bytes of one observation."""
        at = int(self._order[i])
        for group in self._groups:
            if at < len(group.rows):
                break
            at -= len(group.rows)
        row: Bytes = group.rows[at]
        return row.tobytes()

    @cached_property
    def _order(self) -> Ints:
        """The place of each observation among the rows of all groups, (n,)."""
        return np.argsort(np.concatenate([np.empty(0, np.int64), *(group.offsets for group in self._groups)]))

    def _texts(self, name: str) -> Texts:
        texts = np.array([getattr(group.layout, name) for group in self._groups], dtype=object)
        return np.repeat(texts, [len(group.rows) for group in self._groups])[self._order]

    def _numbers(self, name: str) -> Bytes:
        """The 8 bytes of a time or of the value of each observation, (n, 8)."""
        begins = [(group, getattr(group.layout, name)) for group in self._groups]
        parts = [group.rows[:, at : at + TIME_BYTES] for group, at in begins]
        joined = np.concatenate([np.empty((0, TIME_BYTES), np.uint8), *parts])
        numbers: Bytes = joined.view("<u8")[self._order].view(np.uint8)
        return numbers


def _groups(data: bytes, at: int, count: int) -> tuple[list[_Group], int]:
    """The ``count`` observations that begin at an offset, by layout, and the offset behind them."""
    groups: list[_Group] = []
    end, done = at, 0
    while done < count:
        if len(groups) == _MOST_LAYOUTS or count < _FEWEST_ON_AVERAGE * len(groups):
            raise OtherLayoutError("many layouts")
        groups.append(_Group.behind(data, end))
        offsets = np.concatenate([group.offsets for group in groups])
        sizes = np.repeat([group.layout.size for group in groups], [len(group.offsets) for group in groups])
        order = np.argsort(offsets)
        offsets, ends = offsets[order][:count], (offsets + sizes)[order][:count]
        gaps = np.flatnonzero(offsets[1:] != ends[:-1])
        done = int(gaps[0]) + 1 if len(gaps) else len(offsets)
        end = int(ends[done - 1])
    return [group.until(end) for group in groups], end
