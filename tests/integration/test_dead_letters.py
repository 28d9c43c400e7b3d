"""Dead letters on a real topic: listed, shown, and each replayed once, whichever component refused them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from confluent_kafka import Message
from typer.testing import CliRunner, Result

from dualcast.adapters.kafka.producer import RecordProducer
from dualcast.adapters.kafka.readers import TopicReader
from dualcast.adapters.kafka.wire.decoder import Decoder
from dualcast.adapters.kafka.wire.encoder import Encoder
from dualcast.records import DeadLetter, Observation, ObservationBatch, Topic
from dualcast.settings import Settings
from streaming.dead_letters.commands import app
from streaming.dead_letters.messages import REPLAY_OF

pytestmark = pytest.mark.stack("kafka", "registry")

NOON = datetime(2022, 3, 27, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _log_to_stderr() -> Iterator[None]:
    """Log to stderr as the command does: tests disable log configuration, and structlog's default is stdout."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.__stderr__))
    yield
    structlog.reset_defaults()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def listed(*arguments: str) -> list[dict[str, object]]:
    result = run("list", "--json", *arguments)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(scope="module")
def value(stack: Settings) -> Iterator[bytes]:
    """An observation of an unknown entity."""
    codec = Encoder(stack, Topic.OBSERVATIONS)
    observation = Observation("load", NOON, "PT15M", 1.5, "MW", NOON + timedelta(minutes=15), "test")
    yield codec.encode(ObservationBatch("XX", [observation]))
    codec.close()


@pytest.fixture(scope="module", autouse=True)
def _sent_dead_letters(stack: Settings, value: bytes) -> None:
    """Five dead letters: two of one message from two components, one of another, one too large, one not from Kafka.

    The topic also has a message that is not a dead letter.
    """
    letters = [
        DeadLetter("unknown_entity", "no XX", "stream-features", "observations.v1", 1, 7, NOON, b"XX", value),
        DeadLetter("unknown_entity", "no XX", "batch.lake.bronze", "observations.v1", 1, 7, NOON, b"XX", value),
        DeadLetter("not_avro", "[junk]", "batch.lake.bronze", "observations.v1", 0, 3, NOON, b"\xff", b"junk"),
        DeadLetter("not_avro", "big", "batch.lake.bronze", "observations.v1", 0, 4, NOON + timedelta(hours=1), b"XX"),
        DeadLetter("not_json", "?", "ingest-mqtt", "mqtt:scada/XX", -1, 5, NOON, None, b"{"),
    ]
    with RecordProducer(stack, "test") as producer:
        for letter in letters:
            producer.send(Topic.DEAD_LETTERS, "XX", letter, NOON)
        producer.send_raw(Topic.DEAD_LETTERS, b"XX", b"no dead letter", NOON)


def replays(settings: Settings) -> list[Message]:
    """The messages that were replayed."""
    with TopicReader(settings, Topic.OBSERVATIONS, Decoder.record) as reader:
        found = []
        while not reader.caught_up:
            found += [m for m in reader.messages(0.5) if REPLAY_OF in dict(m.headers() or [])]
    return found


def test_list_filters_and_counts(stack: Settings) -> None:
    assert len(listed()) == 5
    assert {letter["value_bytes"] for letter in listed("--reason", "not_avro")} == {4, None}
    (late,) = listed("--since", "2022-03-27T12:30Z")
    assert (late["detail"], late["value_bytes"], late["replayed"]) == ("big", None, False)
    table = run("list").stdout
    assert "5 dead letters" in table
    assert "unknown_entity" in table
    assert "[junk]" in table


def test_show_decodes_what_can_be_decoded(stack: Settings) -> None:
    known, junk = listed("--reason", "unknown_entity")[0], listed("--reason", "not_avro")[0]
    shown = json.loads(run("show", str(known["id"])).stdout)
    assert shown["content"]["observations"][0]["value"] == 1.5
    assert json.loads(run("show", str(junk["id"])).stdout)["content"] is None
    assert run("show", "9-9").exit_code == 2


def test_a_dead_letter_is_replayed_once_unchanged(stack: Settings, value: bytes) -> None:
    assert run("replay").exit_code == 2
    assert run("replay", "9-9").exit_code == 2
    assert replays(stack) == []
    first, second = listed("--reason", "unknown_entity")
    assert run("replay", str(first["id"])).exit_code == 0
    assert [(m.key(), m.value()) for m in replays(stack)] == [(b"XX", value)]
    again = run("replay", "--reason", "unknown_entity")
    assert "0 replayed, 2 had been replayed before" in again.output
    rest = run("replay", "--all")
    assert rest.exit_code == 1
    assert "1 replayed, 2 had been replayed before, 2 cannot be" in rest.output
    assert [m.value() for m in replays(stack)].count(b"junk") == 1
    assert len(replays(stack)) == 2
    assert [letter["replayed"] for letter in listed()].count(True) == 3
    assert second["id"] != first["id"]
