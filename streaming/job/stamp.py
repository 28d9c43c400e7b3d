"""Feature rows as Avro, many at a time.

All rows of an entity have the same bytes but for two times and the numbers, and those lie at the same places. So the
kernel's codec writes one row, and its copies get their own times and numbers by NumPy.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from dualcast.adapters.kafka import Codec
from dualcast.features.registry import Floats
from dualcast.features.state import Rows
from dualcast.records import FeatureRow
from dualcast.timegrid import micros

# Avro writes a time as 7 bits a byte: from 1979 to 3111, beyond what validation lets in, that takes 8 bytes, so that
# every row has the same length.
_TIME_BYTES = 8
# Numbers that no text of a row contains; they mark their places.
_MARK = 0x7E5AC3D200000000
_VALID_TIME = datetime(2020, 2, 29, 23, 59, 59, 123457, tzinfo=UTC)
_AS_OF = _VALID_TIME + timedelta(days=1, microseconds=7)

Bytes = NDArray[np.uint8]


class RowStamp:
    """Writes the rows of one entity.

    ``widths``: how many numbers each feature has, in the order in which they are written.
    """

    def __init__(
        self, codec: Codec, use_case: str, entity_id: str, feature_set: str, widths: Mapping[str, int]
    ) -> None:
        ends = np.cumsum(list(widths.values()))
        marks = (np.arange(ends[-1], dtype=np.uint64) + np.uint64(_MARK)).view(np.float64)
        features = {
            name: marks[end - width : end].tolist() for (name, width), end in zip(widths.items(), ends, strict=True)
        }
        row = codec.encode(FeatureRow(use_case, entity_id, _VALID_TIME, _AS_OF, feature_set, features))
        self._row: Bytes = np.frombuffer(row, np.uint8)
        self._widths = dict(widths)
        self._times = [_place(row, _varints(np.array([micros(t)])).tobytes()) for t in (_VALID_TIME, _AS_OF)]
        self._places = {n: _place(row, np.array(v, dtype="<f8").tobytes()) for n, v in features.items()}

    def rows(self, rows: Rows, step: int) -> list[bytes]:
        """The bytes of each row; ``step`` is the length of a slot in seconds."""
        count = len(rows)
        out = np.tile(self._row, (count, 1))
        for place, times in zip(self._times, (rows.origin * (step * 1_000_000), rows.as_of), strict=True):
            out[:, place : place + _TIME_BYTES] = _varints(times)
        for name, place in self._places.items():
            width = self._widths[name]
            out[:, place : place + 8 * width] = _doubles(rows.features[name], count, width)
        return [row.tobytes() for row in out]


def _doubles(values: Floats, count: int, width: int) -> Bytes:
    whole = np.ascontiguousarray(np.broadcast_to(values, (count, width)), dtype="<f8")
    return whole.view(np.uint8).reshape(count, 8 * width)


def _varints(times: NDArray[np.int64]) -> Bytes:
    """Positive microseconds as Avro's zig-zag variable-length integers of 8 bytes: (n, 8)."""
    groups = (times[:, np.newaxis] << 1) >> (7 * np.arange(_TIME_BYTES)) & 0x7F
    groups[:, :-1] |= 0x80
    return groups.astype(np.uint8)


def _place(row: bytes, part: bytes) -> int:
    """Where a part lies in a row. Raises ValueError unless it lies there once."""
    if row.count(part) != 1:
        raise ValueError("a feature row's schema holds numbers or times in another form than this knows")
    return row.find(part)
