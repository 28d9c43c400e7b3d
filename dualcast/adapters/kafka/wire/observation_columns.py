"""Decodes a long Avro message of observations as arrays, thousands of observations at once.

In a backfill, observations of one variable follow one another. Their Avro bytes differ only in two times, the value and
the ``simulated`` flag, which stand at the same offsets. So the first observation of such a run is parsed, and the rest
are sliced by its layout as one array. Messages with another layout are left to the Avro library.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

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
from dualcast.arrays import Bytes, Flags, Texts
from dualcast.observations.columns import Columns

# The end of a run is searched in windows that grow by this factor.
_FIRST_WINDOW, _GROWTH = 128, 4
# Where runs are shorter than this on average, the Avro library is faster.
_SHORTEST_ON_AVERAGE = 8


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
class _Run:
    """Consecutive observations of one layout: (n, size)."""

    layout: _Layout
    rows: Bytes

    def continues_with(self, row: Bytes) -> bool:
        """Whether an observation elsewhere in the message, (size,), has the same layout."""
        return len(row) == self.layout.size and not ((row ^ self.rows[0]) & self.layout.fixed_bits).any()


@dataclass(frozen=True)
class ObservationRuns:
    """An ObservationBatch whose observations were sliced as arrays."""

    entity_id: str
    _runs: list[_Run]

    @classmethod
    def read(cls, data: bytes, begin: int) -> ObservationRuns:
        """The message that begins at an offset and ends with the data.

        Raises OtherLayoutError where the layout is not the expected one, or where runs are too short for a gain.
        """
        try:
            entity_id, at = text_at(data, begin)
            count, at = length_at(data, at)
            runs, at = _runs(data, at, count)
        except (IndexError, UnicodeDecodeError) as error:
            raise OtherLayoutError(str(error)) from error
        if data[at:] != END:
            raise OtherLayoutError("the message does not end with its observations")
        return cls(entity_id, runs)

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
        flags: list[Flags] = [run.rows[:, -1] != 0 for run in self._runs]
        return np.concatenate([np.empty(0, dtype=bool), *flags])

    def encoded(self, i: int) -> bytes:
        """The Avro bytes of one observation."""
        which = int(np.searchsorted(self._ends, i, side="right"))
        row: Bytes = self._runs[which].rows[i - int(self._ends[which])]
        return row.tobytes()

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return np.cumsum([len(run.rows) for run in self._runs])

    def _texts(self, name: str) -> Texts:
        texts = np.array([getattr(run.layout, name) for run in self._runs], dtype=object)
        return np.repeat(texts, [len(run.rows) for run in self._runs])

    def _numbers(self, name: str) -> Bytes:
        """The 8 bytes of a time or of the value of each observation, (n, 8)."""
        begins = [(run, getattr(run.layout, name)) for run in self._runs]
        parts = [run.rows[:, at : at + TIME_BYTES] for run, at in begins]
        return np.concatenate([np.empty((0, TIME_BYTES), np.uint8), *parts])


def _runs(data: bytes, at: int, count: int) -> tuple[list[_Run], int]:
    """The runs of ``count`` observations that begin at an offset, and the offset behind them."""
    every = np.frombuffer(data, np.uint8)
    runs: list[_Run] = []
    last_of: dict[bytes, _Run] = {}
    done = 0
    while done < count:
        name = data[at : at + 1 + data[at] // 2]
        last = last_of.get(name)
        if last is not None and last.continues_with(every[at : at + last.layout.size]):
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
    """The number of consecutive observations of one layout, at least one and at most ``most``."""
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
