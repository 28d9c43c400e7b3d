"""Makes dead letters: messages that could not be used, with the reason, small enough to fit into a message."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from dualcast.records import DeadLetter

# A dead letter must fit into a message itself, together with its detail.
LARGEST_BYTES = 2**20
_LONGEST_DETAIL = 2000


class Refused(NamedTuple):
    """A message as it came, and its position."""

    key: bytes | None
    value: bytes | None
    topic: str
    partition: int
    offset: int


def dead_letter(message: Refused, reason: str, detail: str, component: str, at: datetime) -> DeadLetter:
    """The dead letter of a message. A key or value over LARGEST_BYTES is left out, its size is in the detail."""
    parts = {"key": message.key, "value": message.value}
    large = {name: len(part) for name, part in parts.items() if part is not None and len(part) > LARGEST_BYTES}
    notes = "".join(f" (the {name} of {size} bytes is too large to be kept)" for name, size in large.items())
    kept = [None if name in large else part for name, part in parts.items()]
    where = message.topic, message.partition, message.offset
    return DeadLetter(reason, detail[: _LONGEST_DETAIL - len(notes)] + notes, component, *where, at, *kept)
