"""The dead letters on their topic, which of them were sent again, and sending them again."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dualcast.adapters.kafka.consumer import Message
from dualcast.adapters.kafka.producer import RecordProducer
from dualcast.adapters.kafka.readers import TopicReader
from dualcast.adapters.kafka.wire.decoder import Decoder, DecodingError
from dualcast.records import DeadLetter, Topic
from dualcast.settings import Settings

# The header of a message that was a dead letter once; its value names what it was.
REPLAY_OF = "dualcast_replay_of"
_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Kept:
    """A dead letter where it lies: partition and offset of its own topic, and when it was written."""

    partition: int
    offset: int
    written_at: datetime
    letter: DeadLetter

    @property
    def id(self) -> str:
        """What it is called."""
        return f"{self.partition}-{self.offset}"

    @property
    def way_back(self) -> Topic | None:
        """The topic that it can be sent back to; None where it came from elsewhere, or was too large to be kept."""
        known = self.letter.topic in set(Topic)
        return Topic(self.letter.topic) if known and self.letter.value is not None else None

    @property
    def identity(self) -> str:
        """What it is about: equal for all letters about one message, or one observation of it, whoever refused it."""
        letter = self.letter
        digest = hashlib.sha256(letter.value or b"").hexdigest()[:16]
        return f"{letter.topic}/{letter.partition}/{letter.offset}/{digest}"


@dataclass(frozen=True)
class Replayed:
    """What became of letters that were to be sent again."""

    sent: tuple[Kept, ...]
    before: tuple[Kept, ...]
    stuck: tuple[Kept, ...]


def read(
    settings: Settings,
    *,
    reason: str | None = None,
    since: datetime | None = None,
    ids: Collection[str] = (),
) -> Iterator[Kept]:
    """The dead letters, by partition in their order; all, or of a reason, since a time, with an id.

    Raises UnreachableError.
    """
    decoder = Decoder(settings, Topic.DEAD_LETTERS)
    for message in _messages(settings, Topic.DEAD_LETTERS, None):
        kept = _kept(message, decoder.record(message.value()))
        late_enough = since is None or kept.letter.occurred_at >= since
        if (reason in {None, kept.letter.reason}) and late_enough and (not ids or kept.id in ids):
            yield kept


def replayed(settings: Settings, letters: Iterable[Kept]) -> set[str]:
    """The identities of those that were sent again already, as their topics say. Raises UnreachableError."""
    earliest: dict[Topic, datetime] = {}
    for kept in letters:
        if (topic := kept.way_back) is not None:
            earliest[topic] = min(kept.written_at, earliest.get(topic, kept.written_at))
    return {
        value.decode()
        for topic, since in earliest.items()
        for message in _messages(settings, topic, since)
        for name, value in message.headers() or []
        if name == REPLAY_OF and isinstance(value, bytes)
    }


def replay(settings: Settings, letters: Iterable[Kept]) -> Replayed:
    """Send letters back onto their topics as they came, each once.

    Raises UnreachableError, DeliveryError where some did not arrive: those are sent by the next call.
    """
    chosen = list(letters)
    done = replayed(settings, chosen)
    sent, before, stuck = list[Kept](), list[Kept](), list[Kept]()
    with RecordProducer(settings, "dualcast/dead-letters") as producer:
        for kept in chosen:
            topic, value = kept.way_back, kept.letter.value
            if topic is None or value is None:
                stuck.append(kept)
            elif kept.identity in done:
                before.append(kept)
            else:
                producer.send_raw(topic, kept.letter.key, value, settings.clock.now(), {REPLAY_OF: kept.identity})
                done.add(kept.identity)
                sent.append(kept)
    return Replayed(tuple(sent), tuple(before), tuple(stuck))


def content(settings: Settings, kept: Kept) -> dict[str, Any] | None:
    """The record that a letter holds; None where it holds none. Raises UnreachableError."""
    if kept.way_back is None:
        return None
    try:
        return Decoder(settings, kept.way_back).record(kept.letter.value)
    except DecodingError:
        return None


def _messages(settings: Settings, topic: Topic, since: datetime | None) -> Iterator[Message]:
    with TopicReader(settings, topic, Decoder.record, since=since) as reader:
        while not reader.caught_up:
            yield from reader.messages(_POLL_SECONDS)


def _kept(message: Message, record: dict[str, Any]) -> Kept:
    written_at = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
    return Kept(message.partition() or 0, message.offset() or 0, written_at, DeadLetter(**record))
