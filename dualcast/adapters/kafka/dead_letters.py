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
    """The dead letter of a message. A key or value of more than LARGEST_BYTES is left out, and the detail says so."""
    for name, part in (("key", message.key), ("value", message.value)):
        if part is not None and len(part) > LARGEST_BYTES:
            detail = f"{detail[: _LONGEST_DETAIL // 2]} (the {name} of {len(part)} bytes is too large to be kept)"
    kept = [part if part is None or len(part) <= LARGEST_BYTES else None for part in (message.key, message.value)]
    where = message.topic, message.partition, message.offset
    return DeadLetter(reason, detail[:_LONGEST_DETAIL], component, *where, at, *kept)
