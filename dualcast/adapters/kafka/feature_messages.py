"""Feature rows as messages, many rows in one.

An Avro library takes each number in hand, and a backfill has a hundred million of them. But an array of doubles in Avro
is its length and then the doubles as NumPy has them. So the kernel's codec writes a message that has no numbers, which
says how one begins, and the numbers are put behind that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from dualcast.adapters.kafka.clients import Codec
from dualcast.arrays import Bytes, Floats
from dualcast.features.rows import packed, packed_size
from dualcast.features.state import Rows
from dualcast.records import FeatureRow
from dualcast.timegrid import micros

# Avro writes a time as 7 bits a byte: from 1979 to 3111, beyond what validation lets in, that takes 8 bytes.
_TIME_BYTES = 8
_VALID_TIME = datetime(2020, 2, 29, 23, 59, 59, 123457, tzinfo=UTC)
_AS_OF = _VALID_TIME + timedelta(days=1, microseconds=7)
# A map and an array end with an empty block.
_END = b"\0"
# A message takes about so many bytes at most.
_LARGEST = 3 * 2**19


class RowMessages:
    """Writes the rows of one entity.

    ``widths``: how many numbers each feature has in a row.
    """

    def __init__(
        self, codec: Codec, use_case: str, entity_id: str, feature_set: str, widths: Mapping[str, int]
    ) -> None:
        bare = codec.encode(FeatureRow(use_case, entity_id, _VALID_TIME, _AS_OF, feature_set, {}))
        head, feature_set_name, tail = bare.partition(_text(feature_set))
        if tail != _END + _long(0) + _END:
            raise ValueError("the schema of feature rows has other fields than this knows")
        self._head = np.frombuffer(head, np.uint8)
        self._times = [_place(head, _varints(np.array([micros(t)])).tobytes()) for t in (_VALID_TIME, _AS_OF)]
        self._features = feature_set_name + _long(len(widths))
        self._names = {name: _text(name) for name in widths}
        self._horizons = max(widths.values(), default=1)

    def of(self, rows: Rows, step: int) -> Iterator[bytes]:
        """The messages of some rows, which lie in order; ``step`` is the length of a slot in seconds."""
        size = 8 * (2 * len(rows) + sum(packed_size(rows.features[name]) for name in self._names))
        most = math.ceil(len(rows) / max(math.ceil(size / _LARGEST), 1))
        for begin in range(0, len(rows), max(most, 1)):
            yield self._message(rows[begin : begin + most], step)

    def _message(self, rows: Rows, step: int) -> bytes:
        times = _varints(np.stack([rows.origin * (step * 1_000_000), rows.as_of], axis=1))
        head = self._head.copy()
        for place, first in zip(self._times, times[0], strict=True):
            head[place : place + _TIME_BYTES] = first
        arrays = [part for name, text in self._names.items() for part in (text, *_doubles(rows.features[name]))]
        more = [_long(len(rows) - 1), times[1:].tobytes()] if len(rows) > 1 else []
        horizons = _long(self._horizons if len(rows) > 1 else 0)
        return b"".join([head.tobytes(), self._features, *arrays, _END, horizons, *more, _END])


def _doubles(values: Floats) -> Iterable[bytes]:
    flat = packed(values)
    return _long(len(flat)), flat.astype("<f8", copy=False).tobytes(), _END


def _varints(times: NDArray[np.int64]) -> Bytes:
    """Positive microseconds as Avro's zig-zag variable-length integers of 8 bytes: (..., 8)."""
    groups = (times[..., np.newaxis] << 1) >> (7 * np.arange(_TIME_BYTES)) & 0x7F
    groups[..., :-1] |= 0x80
    return groups.astype(np.uint8)


def _long(value: int) -> bytes:
    """A number that is not negative, in Avro."""
    rest, groups = value << 1, bytearray()
    while rest > 0x7F:
        groups.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*groups, rest])


def _text(value: str) -> bytes:
    encoded = value.encode()
    return _long(len(encoded)) + encoded


def _place(row: bytes, part: bytes) -> int:
    """Where a part lies in a row. Raises ValueError unless it lies there once."""
    if row.count(part) != 1:
        raise ValueError("the schema of feature rows holds times in another form than this knows")
    return row.find(part)
