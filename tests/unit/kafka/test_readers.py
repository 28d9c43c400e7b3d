"""A reader loses no message when the registry fails while it decodes several."""

from __future__ import annotations

from typing import Any

import pytest

from dualcast.adapters.kafka import readers
from dualcast.adapters.kafka.connection import UnreachableError
from dualcast.adapters.kafka.readers import TopicReader
from dualcast.adapters.kafka.wire.decoder import Decoder
from dualcast.records import Topic
from dualcast.settings import Settings


class Message:
    def __init__(self, offset: int) -> None:
        self._offset = offset

    def error(self) -> None:
        return None

    def key(self) -> bytes:
        return b"DE"

    def value(self) -> bytes:
        return str(self._offset).encode()

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset


class Broker:
    """One partition of four messages, as a consumer."""

    def __init__(self) -> None:
        self.position = 0

    def assign(self, partitions: list[Any]) -> None:
        self.position = partitions[0].offset

    def consume(self, most: int, _timeout: float) -> list[Message]:
        found = [Message(offset) for offset in range(self.position, 4)][:most]
        self.position += len(found)
        return found

    def close(self) -> None: ...


def test_messages_of_a_failed_poll_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "_consumer", lambda *_: Broker())
    monkeypatch.setattr(readers, "_bounds", lambda *_: ({0: 0}, {0: 4}))
    failing = {b"2"}

    def decode(_: Decoder, value: bytes | None) -> bytes:
        if value in failing:
            failing.remove(value)
            raise UnreachableError("registry: 503")
        return value or b""

    reader = TopicReader(Settings(), Topic.OBSERVATIONS, decode)
    with reader, pytest.raises(UnreachableError):
        reader.poll(0.1)
    with reader:
        assert reader.poll(0.1) == [b"0", b"1", b"2", b"3"]
        assert reader.caught_up
