"""Observations out of a long Avro message, thousands at once.

Observations of one variable follow one another in a backfill, and in Avro they have the same bytes but for two times
and the value, at the same places. So the first of a run is read, and the others are cut along it as one array. What is
laid out otherwise is left to an Avro library.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dualcast.arrays import Bytes
from dualcast.observations.columns import Columns

# A time of 8 bytes: any from 1979 to 3111.
_TIME = _DOUBLE = 8
# Windows in which the end of a run is looked for; they grow. Where runs are short, a library is faster.
_FIRST_WINDOW, _GROWTH = 128, 4
_SHORTEST_ON_AVERAGE = 8

# A byte of a number holds 7 of its bits. Two, four, then eight bytes are closed up at once: how wide the gap between
# their halves is by then, and the bits of the lower halves.
_GROUPS = [
    (np.uint64(gap), np.uint64(low))
    for gap, low in ((1, 0x007F007F007F007F), (2, 0x00003FFF00003FFF), (4, 0x000000000FFFFFFF))
]


class OtherLayoutError(ValueError):
    """A message is not laid out as this module expects, which says nothing about whether it is sound."""


@dataclass(frozen=True)
class _Layout:
    """One observation in Avro: its texts, where its numbers begin, and how long it is."""

    variable: str
    resolution: str
    unit: str
    valid_time: int
    value: int
    published_at: int
    size: int

    @classmethod
    def at(cls, data: bytes, begin: int) -> _Layout:
        """The layout of the observation that begins at a byte. Raises OtherLayoutError."""
        variable, valid_time = _text(data, begin)
        resolution, value = _text(data, valid_time + _TIME)
        unit, published_at = _text(data, value + _DOUBLE)
        _, simulated = _text(data, published_at + _TIME)
        for time in (valid_time, published_at):
            if [byte >> 7 for byte in data[time : time + _TIME]] != [1] * (_TIME - 1) + [0]:
                raise OtherLayoutError("a time of another length")
        places = valid_time - begin, value - begin, published_at - begin
        return cls(variable, resolution, unit, *places, size=simulated + 1 - begin)

    @cached_property
    def fixed_bits(self) -> Bytes:
        """The bits that observations of this layout have in common, (size,)."""
        fixed = np.full(self.size, 0xFF, dtype=np.uint8)
        fixed[self.value : self.value + _DOUBLE] = 0
        fixed[-1] = 0
        for at in (self.valid_time, self.published_at):
            # seven bits of a time are in each byte, the eighth says whether another byte follows
            fixed[at : at + _TIME] = 0x80
        return fixed


@dataclass(frozen=True)
class _Run:
    """Observations of one layout, one after the other: (n, size)."""

    layout: _Layout
    rows: Bytes

    def goes_on(self, row: Bytes) -> bool:
        """Whether an observation elsewhere, (size,), is laid out as these are."""
        return len(row) == self.layout.size and not ((row ^ self.rows[0]) & self.layout.fixed_bits).any()


def read_columns(data: bytes, begin: int) -> tuple[str, Columns, Callable[[int], bytes]]:
    """The entity, the columns and the bytes of each observation of an ObservationBatch.

    It begins at a byte and ends with the data.

    Raises OtherLayoutError where it is not laid out as expected, or its runs are too short to gain anything.
    """
    try:
        entity_id, at = _text(data, begin)
        count, at = _count(data, at)
        runs, at = _runs(data, at, count)
    except (IndexError, UnicodeDecodeError) as error:
        raise OtherLayoutError(str(error)) from error
    if data[at:] != b"\0":
        raise OtherLayoutError("the message does not end with its observations")
    ends = np.cumsum([len(run.rows) for run in runs])

    def observation(i: int) -> bytes:
        which = int(np.searchsorted(ends, i, side="right"))
        row: Bytes = runs[which].rows[i - int(ends[which])]
        return row.tobytes()

    return entity_id, _columns(runs), observation


def _runs(data: bytes, at: int, count: int) -> tuple[list[_Run], int]:
    """The runs of ``count`` observations that begin at a byte, and where they end."""
    every = np.frombuffer(data, np.uint8)
    runs: list[_Run] = []
    last_of: dict[bytes, _Run] = {}
    done = 0
    while done < count:
        name = data[at : at + 1 + data[at] // 2]
        last = last_of.get(name)
        if last is not None and last.goes_on(every[at : at + last.layout.size]):
            layout = last.layout
        else:
            layout = _Layout.at(data, at)
        length = _run_length(layout, every[at:], count - done)
        run = _Run(layout, every[at : at + length * layout.size].reshape(length, layout.size))
        runs.append(run)
        last_of[name] = run
        done, at = done + length, at + length * layout.size
        if done < _SHORTEST_ON_AVERAGE * (len(runs) - 1):
            raise OtherLayoutError("short runs")
    return runs, at


def _run_length(layout: _Layout, data: Bytes, most: int) -> int:
    """How many observations of one layout follow each other, at least one and at most ``most``."""
    most = min(most, len(data) // layout.size)
    if most == 0:
        raise OtherLayoutError("an observation is cut off")
    heads: NDArray[np.uint64] = np.ndarray(most, "<u8", data, strides=(layout.size,))
    fixed, looked, window = layout.fixed_bits[:8].view("<u8"), 1, _FIRST_WINDOW
    while looked < most:
        other = ((heads[looked : looked + window] ^ heads[0]) & fixed) != 0
        if other.any():
            most = looked + int(other.argmax())
        looked, window = looked + window, window * _GROWTH
    rows = data[: most * layout.size].reshape(most, layout.size)
    differs = (rows ^ rows[0]) & layout.fixed_bits
    return int(differs.any(axis=1).argmax()) if differs.any() else most


def _columns(runs: list[_Run]) -> Columns:
    lengths = [len(run.rows) for run in runs]

    def texts(values: list[str]) -> NDArray[np.object_]:
        return np.repeat(np.array(values, dtype=object), lengths)

    def numbers(begins: list[int]) -> Bytes:
        parts = [run.rows[:, at : at + _TIME] for at, run in zip(begins, runs, strict=True)]
        return np.concatenate([np.empty((0, _TIME), np.uint8), *parts])

    layouts = [run.layout for run in runs]
    return Columns(
        variable=texts([layout.variable for layout in layouts]),
        valid_time=_times(numbers([layout.valid_time for layout in layouts])),
        resolution=texts([layout.resolution for layout in layouts]),
        value=numbers([layout.value for layout in layouts]).view("<f8")[:, 0],
        unit=texts([layout.unit for layout in layouts]),
        published_at=_times(numbers([layout.published_at for layout in layouts])),
    )


def _times(encoded: Bytes) -> NDArray[np.int64]:
    """Avro's zig-zag integers of variable length, all of 8 bytes, (n, 8)."""
    whole = encoded.view("<u8")[:, 0]
    for gap, low in _GROUPS:
        whole = (whole & low) | ((whole >> gap) & (low << (np.uint64(7) * gap)))
    signed = whole.astype(np.int64)
    times: NDArray[np.int64] = (signed >> 1) ^ -(signed & 1)
    return times


def _text(data: bytes, at: int) -> tuple[str, int]:
    """A text of fewer than 64 bytes, and where it ends."""
    twice, begin = data[at], at + 1
    end = begin + twice // 2
    if twice & 0x81 or end >= len(data):
        raise OtherLayoutError("a text that is long or cut off")
    return data[begin:end].decode(), end


def _count(data: bytes, at: int) -> tuple[int, int]:
    """How many items the block of an array has, and where they begin."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            break
    if value & 1:
        raise OtherLayoutError("a block that tells its size")
    return value >> 1, at
