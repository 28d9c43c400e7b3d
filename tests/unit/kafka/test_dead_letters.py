"""Dead letters fit into a message, also if the refused message was very large."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from dualcast.adapters.kafka.dead_letters import LARGEST_BYTES, Refused, dead_letter
from dualcast.adapters.kafka.topics import MAX_MESSAGE_BYTES
from dualcast.adapters.kafka.wire.encoder import Encoder
from dualcast.records import Topic
from dualcast.settings import Settings

NOW = datetime(2022, 3, 1, tzinfo=UTC)


def test_a_dead_letter_keeps_the_message_and_its_position() -> None:
    made = dead_letter(Refused(b"DE", b"junk", "observations.v1", 3, 42), "not_avro", "why", "test", NOW)
    assert (made.key, made.value, made.topic, made.partition, made.offset) == (b"DE", b"junk", "observations.v1", 3, 42)
    assert (made.reason, made.detail, made.component, made.occurred_at) == ("not_avro", "why", "test", NOW)


@pytest.mark.usefixtures("registry")
def test_a_part_that_is_too_large_is_replaced_by_its_size() -> None:
    large = bytes(MAX_MESSAGE_BYTES)
    made = dead_letter(Refused(large, large, "observations.v1", 0, 1), "not_avro", "x" * 10_000, "test", NOW)
    assert (made.key, made.value) == (None, None)
    assert made.detail.count(str(MAX_MESSAGE_BYTES)) == 2
    assert len(Encoder(Settings(), Topic.DEAD_LETTERS).encode(made)) < LARGEST_BYTES
