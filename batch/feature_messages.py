"""Feature rows out of Avro messages, thousands at once.

A row holds hundreds of numbers, and an Avro library takes each of them in hand. But rows of one feature set are laid
out alike, byte for byte, except for the numbers: the layout is read from the first message, and the others are cut
along it as one array. A message that is laid out otherwise, as the standard allows, is decoded the usual way.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import structlog
from numpy.typing import NDArray

from batch.engine.avro import Reader, UndecodableError

_PREFIX = 5  # the Confluent header
_DOUBLE = 8
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Heading:
    """What a feature row says before its features; times in microseconds.

    ``end`` is where its features begin; -1 where the message was written with another schema.
    """

    use_case: str
    entity_id: str
    valid_time: int
    as_of: int
    feature_set: str
    end: int


@dataclass(frozen=True)
class Rows:
    """Decoded feature rows: headings, and name -> (rows, 1 or horizons)."""

    headings: list[Heading]
    features: dict[str, NDArray[np.float64]]

    def column(self, name: str, kind: pa.DataType) -> pa.Array:
        """A feature or a field of the heading as an Arrow column."""
        if name not in self.features:
            return pa.array([getattr(heading, name) for heading in self.headings], kind)
        values = self.features[name]
        if kind == pa.float64():
            return pa.array(np.ascontiguousarray(values[:, 0]))
        offsets = pa.array(np.arange(len(values) + 1) * values.shape[1], pa.int32())
        return pa.ListArray.from_arrays(offsets, np.ascontiguousarray(values).ravel())


def heading(source: Reader, message: bytes) -> Heading:
    """The heading of a message. Raises UndecodableError."""
    if not source.writes_as_known(message):
        row = source.record(message)
        return Heading(row["use_case"], row["entity_id"], row["valid_time"], row["as_of"], row["feature_set"], -1)
    try:
        use_case, at = _text(message, _PREFIX)
        entity_id, at = _text(message, at)
        valid_time, at = _long(message, at)
        as_of, at = _long(message, at)
        feature_set, at = _text(message, at)
    except (IndexError, UnicodeDecodeError) as error:
        raise UndecodableError(f"{type(error).__name__}: {error}") from error
    return Heading(use_case, entity_id, valid_time, as_of, feature_set, at)


def feature_rows(source: Reader, messages: Sequence[bytes], widths: Mapping[str, int]) -> Rows:
    """The rows of messages of one feature set, in order; ``widths`` says how many numbers each feature has.

    Messages that cannot be decoded, or have other features, are left out and logged.
    """
    headings = [heading(source, message) for message in messages]
    layout = next(filter(None, (_Layout.of(m, h.end, widths) for m, h in zip(messages, headings, strict=True))), None)
    alike = layout.alike(messages, headings) if layout else np.zeros(len(messages), dtype=bool)
    cut = layout.cut([(messages[i], headings[i].end) for i in np.flatnonzero(alike)]) if layout else {}
    features = {name: np.empty((len(messages), width)) for name, width in widths.items()}
    for name, values in cut.items():
        features[name][alike] = values
    kept = alike.copy()
    for i in np.flatnonzero(~alike).tolist():
        kept[i] = _decode_singly(source, messages[i], i, features)
    return Rows([headings[i] for i in np.flatnonzero(kept)], {name: values[kept] for name, values in features.items()})


def _decode_singly(source: Reader, message: bytes, row: int, features: dict[str, NDArray[np.float64]]) -> bool:
    """Enter the numbers of one message into a row; whether that went well."""
    try:
        found = source.record(message)["features"]
        for name, values in features.items():
            values[row] = found[name]
    except (UndecodableError, KeyError, ValueError) as error:
        _log.warning("undecodable feature row", error=repr(error))
        return False
    return True


@dataclass(frozen=True)
class _Layout:
    """Where the numbers lie in the features of a message: name -> (first byte, how many numbers)."""

    template: bytes
    places: dict[str, tuple[int, int]]

    @classmethod
    def of(cls, message: bytes, begin: int, widths: Mapping[str, int]) -> _Layout | None:
        """The layout of a message's features, which begin at a byte; None where they are not those that are wanted."""
        places: dict[str, tuple[int, int]] = {}
        if begin < 0:
            return None
        try:
            at = _map_places(message, begin, places)
        except (IndexError, UnicodeDecodeError, struct.error):
            return None
        if at != len(message) or {name: count for name, (_, count) in places.items()} != widths:
            return None
        return cls(message[begin:], places)

    def alike(self, messages: Sequence[bytes], headings: Sequence[Heading]) -> NDArray[np.bool_]:
        """Which messages have these features in these places."""
        size = len(self.template)
        same = np.array([h.end >= 0 and len(m) - h.end == size for m, h in zip(messages, headings, strict=True)])
        rows = np.flatnonzero(same)
        bytes_ = self._matrix([(messages[i], headings[i].end) for i in rows])
        template = np.frombuffer(self.template, np.uint8)
        same[rows] = (bytes_[:, self._structure] == template[self._structure]).all(axis=1)
        return same

    def cut(self, parts: Sequence[tuple[bytes, int]]) -> dict[str, NDArray[np.float64]]:
        """The numbers of messages that are alike; a part is a message and where its features begin."""
        matrix = self._matrix(parts)
        return {
            name: np.ascontiguousarray(matrix[:, first : first + count * _DOUBLE])
            .view("<f8")
            .reshape(len(parts), count)
            for name, (first, count) in self.places.items()
        }

    def _matrix(self, parts: Sequence[tuple[bytes, int]]) -> NDArray[np.uint8]:
        joined = b"".join(message[begin:] for message, begin in parts)
        return np.frombuffer(joined, np.uint8).reshape(len(parts), len(self.template))

    @cached_property
    def _structure(self) -> NDArray[np.bool_]:
        """The bytes that are not numbers."""
        structure = np.ones(len(self.template), dtype=bool)
        for first, count in self.places.values():
            structure[first : first + count * _DOUBLE] = False
        return structure


def _map_places(message: bytes, begin: int, places: dict[str, tuple[int, int]]) -> int:
    """Note where the numbers of a map of arrays lie, counted from ``begin``; return where the map ends."""
    at = begin
    while (found := _block(message, at))[0]:
        entries, at = found
        for _ in range(entries):
            name, at = _text(message, at)
            count, at = _block(message, at)
            places[name] = at - begin, count
            at += count * _DOUBLE
            end, at = _block(message, at)
            if end:
                raise IndexError("an array in several blocks")
    return found[1]


def _block(message: bytes, at: int) -> tuple[int, int]:
    """The number of items of an Avro block, and where they begin; a negative number is followed by a size."""
    count, at = _long(message, at)
    return (-count, _long(message, at)[1]) if count < 0 else (count, at)


def _text(message: bytes, at: int) -> tuple[str, int]:
    size, at = _long(message, at)
    if size < 0 or at + size > len(message):
        raise IndexError("a text reaches beyond the message")
    return message[at : at + size].decode(), at + size


def _long(message: bytes, at: int) -> tuple[int, int]:
    """A zigzag number of variable length, and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
        shift += 7
