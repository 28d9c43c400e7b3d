"""Avro's binary encoding of numbers, texts and times: single values by offset, and times as NumPy arrays."""

from __future__ import annotations

import numpy as np

from dualcast.arrays import Bytes, Micros

# A time in microseconds takes 8 bytes of 7 bits each for any moment from 1979 to 3111.
TIME_BYTES = 8
DOUBLE_BYTES = 8
# An array or a map ends with an empty block.
END = b"\0"

# Decoding joins the 7-bit groups of two, four, then eight bytes at once: the width of the gap between two halves at
# that step, and the bits of the lower halves.
_GROUPS = [
    (np.uint64(gap), np.uint64(low))
    for gap, low in ((1, 0x007F007F007F007F), (2, 0x00003FFF00003FFF), (4, 0x000000000FFFFFFF))
]
_LARGEST_SHIFT = 63


class OtherLayoutError(ValueError):
    """The bytes do not have the layout that the array decoder expects. They may still be valid Avro."""


def decoded_times(encoded: Bytes) -> Micros:
    """Microseconds from zig-zag integers of 8 bytes each, (n, 8)."""
    whole = encoded.view("<u8")[:, 0]
    for gap, low in _GROUPS:
        whole = (whole & low) | ((whole >> gap) & (low << (np.uint64(7) * gap)))
    signed = whole.astype(np.int64)
    times: Micros = (signed >> 1) ^ -(signed & 1)
    return times


def encoded_times(times: Micros) -> Bytes:
    """Positive microseconds as zig-zag integers of 8 bytes each: (..., 8)."""
    groups = (times[..., np.newaxis] << 1) >> (7 * np.arange(TIME_BYTES)) & 0x7F
    groups[..., :-1] |= 0x80
    return groups.astype(np.uint8)


def has_eight_bytes(data: bytes, at: int) -> bool:
    """Whether the integer that begins at an offset takes exactly 8 bytes."""
    return [byte >> 7 for byte in data[at : at + TIME_BYTES]] == [1] * (TIME_BYTES - 1) + [0]


def encoded_long(value: int) -> bytes:
    """A non-negative integer in Avro."""
    rest, groups = value << 1, bytearray()
    while rest > 0x7F:
        groups.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*groups, rest])


def encoded_text(value: str) -> bytes:
    """A text in Avro: its length in bytes, then UTF-8."""
    encoded = value.encode()
    return encoded_long(len(encoded)) + encoded


def length_at(data: bytes, at: int) -> tuple[int, int]:
    """A length or count that is not negative, and the offset behind it. Raises OtherLayoutError, IndexError."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            break
        if shift > _LARGEST_SHIFT:
            raise OtherLayoutError("an integer of more than 64 bits")
    if value & 1:
        raise OtherLayoutError("a negative count: a block that starts with its size in bytes")
    return value >> 1, at


def text_at(data: bytes, at: int) -> tuple[str, int]:
    """A text of fewer than 64 bytes, and the offset behind it. Raises OtherLayoutError, UnicodeDecodeError."""
    twice, begin = data[at], at + 1
    end = begin + twice // 2
    if twice & 0x81 or end >= len(data):
        raise OtherLayoutError("a text that is long or cut off")
    return data[begin:end].decode(), end
