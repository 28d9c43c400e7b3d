"""Feature rows as messages: many rows of one entity in one message, written and read as arrays.

An Avro library handles each number by itself, and a backfill has a hundred million of them. An array of doubles in Avro
is its length followed by the doubles as NumPy stores them, so they are copied as a block.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

import numpy as np

from dualcast.adapters.kafka.wire.avro_arrays import (
    DOUBLE_BYTES,
    END,
    TIME_BYTES,
    OtherLayoutError,
    decoded_times,
    encoded_long,
    encoded_text,
    encoded_times,
    length_at,
    text_at,
)
from dualcast.adapters.kafka.wire.encoder import Encoder
from dualcast.arrays import Floats, Micros
from dualcast.features.intraday.state import Rows
from dualcast.features.rows import FeatureRows, packed, packed_size, unpacked
from dualcast.records import FeatureRow
from dualcast.timegrid import micros

_VALID_TIME = datetime(2020, 2, 29, 23, 59, 59, 123457, tzinfo=UTC)
_AS_OF = _VALID_TIME + timedelta(days=1, microseconds=7)
# The approximate upper limit of a message's size.
_LARGEST = 3 * 2**19


class FeatureMessages:
    """Writes the feature rows of one entity.

    The encoder writes a message without numbers, which shows how a message begins; the numbers follow it as arrays.
    ``widths``: the number of values that each feature has in a row.
    """

    def __init__(
        self, encoder: Encoder, use_case: str, entity_id: str, feature_set: str, widths: Mapping[str, int]
    ) -> None:
        bare = encoder.encode(FeatureRow(use_case, entity_id, _VALID_TIME, _AS_OF, feature_set, {}))
        head, feature_set_name, tail = bare.partition(encoded_text(feature_set))
        if tail != END + encoded_long(0) + END:
            raise ValueError("the schema of feature rows has fields that this class does not write")
        self._head = np.frombuffer(head, np.uint8)
        self._times = [_offset(head, encoded_times(np.array([micros(t)])).tobytes()) for t in (_VALID_TIME, _AS_OF)]
        self._features = feature_set_name + encoded_long(len(widths))
        self._names = {name: encoded_text(name) for name in widths}
        self._horizons = max(widths.values(), default=1)

    def of(self, rows: Rows, step: int) -> Iterator[bytes]:
        """The messages of some rows in order of time; ``step`` is the length of a slot in seconds."""
        size = DOUBLE_BYTES * (2 * len(rows) + sum(packed_size(rows.features[name]) for name in self._names))
        most = math.ceil(len(rows) / max(math.ceil(size / _LARGEST), 1))
        for begin in range(0, len(rows), max(most, 1)):
            yield self._message(rows[begin : begin + most], step)

    def _message(self, rows: Rows, step: int) -> bytes:
        times = encoded_times(np.stack([rows.origin * (step * 1_000_000), rows.as_of], axis=1))
        head = self._head.copy()
        for offset, first in zip(self._times, times[0], strict=True):
            head[offset : offset + TIME_BYTES] = first
        arrays = [part for name, text in self._names.items() for part in (text, *_encoded_doubles(rows.features[name]))]
        more = [encoded_long(len(rows) - 1), times[1:].tobytes()] if len(rows) > 1 else []
        horizons = encoded_long(self._horizons if len(rows) > 1 else 0)
        return b"".join([head.tobytes(), self._features, *arrays, END, horizons, *more, END])


def read_feature_rows(data: bytes, at: int) -> FeatureRows:
    """The rows of a message that begins at an offset and ends with the data.

    Raises OtherLayoutError where the layout is not the one that FeatureMessages writes.
    """
    try:
        use_case, at = text_at(data, at)
        entity_id, at = text_at(data, at)
        first, at = _times(data, at, 1)
        feature_set, at = text_at(data, at)
        packed_features, at = _features(data, at)
        horizons, at = length_at(data, at)
        more, at = _more(data, at)
        times = np.concatenate([first, more])
        features = {name: unpacked(flat, len(times), horizons) for name, flat in packed_features.items()}
    except (IndexError, ValueError) as error:
        raise OtherLayoutError(str(error)) from error
    if at != len(data):
        raise OtherLayoutError("bytes follow the message")
    return FeatureRows(use_case, entity_id, feature_set, times[:, 0], times[:, 1], features)


def _features(data: bytes, at: int) -> tuple[dict[str, Floats], int]:
    """The packed values of each feature, and the offset behind them."""
    features: dict[str, Floats] = {}
    while True:
        count, at = length_at(data, at)
        if count == 0:
            return features, at
        for _ in range(count):
            name, at = text_at(data, at)
            features[name], at = _doubles(data, at)


def _doubles(data: bytes, at: int) -> tuple[Floats, int]:
    """An array of doubles in one block, and the offset behind it."""
    count, at = length_at(data, at)
    if count == 0:
        return np.empty(0), at
    end = at + DOUBLE_BYTES * count
    if data[end : end + 1] != END:
        raise OtherLayoutError("an array of several blocks, or cut off")
    return np.frombuffer(data, "<f8", count, at).astype(np.float64), end + 1


def _more(data: bytes, at: int) -> tuple[Micros, int]:
    """valid_time and as_of of the rows after the first, (n, 2), and the offset behind them."""
    count, at = length_at(data, at)
    if count == 0:
        return np.empty((0, 2), dtype=np.int64), at
    times, at = _times(data, at, count)
    if data[at : at + 1] != END:
        raise OtherLayoutError("an array of several blocks, or cut off")
    return times, at + 1


def _times(data: bytes, at: int, count: int) -> tuple[Micros, int]:
    """``count`` pairs of times of 8 bytes each, (count, 2), and the offset behind them."""
    end = at + 2 * TIME_BYTES * count
    if end > len(data):
        raise OtherLayoutError("the times are cut off")
    encoded = np.frombuffer(data, np.uint8, end - at, at).reshape(-1, TIME_BYTES)
    if not ((encoded[:, :-1] >> 7).all() and not (encoded[:, -1] >> 7).any()):
        raise OtherLayoutError("a time of another length")
    return decoded_times(np.ascontiguousarray(encoded)).reshape(-1, 2), end


def _encoded_doubles(values: Floats) -> Iterable[bytes]:
    flat = packed(values)
    return encoded_long(len(flat)), flat.astype("<f8", copy=False).tobytes(), END


def _offset(message: bytes, part: bytes) -> int:
    """Where a part stands in a message. Raises ValueError unless it occurs exactly once."""
    if message.count(part) != 1:
        raise ValueError("the schema of feature rows encodes times in another form than this class")
    return message.find(part)
