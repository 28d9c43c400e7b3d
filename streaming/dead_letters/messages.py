"""Reads dead letters from their topic, finds those that were replayed, and replays others."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from dualcast.adapters.kafka.consumer import Message
from dualcast.adapters.kafka.headers import headers_of
from dualcast.adapters.kafka.producer import RecordProducer
from dualcast.adapters.kafka.readers import TopicReader
from dualcast.adapters.kafka.wire.decoder import Decoder, DecodingError
from dualcast.records import DeadLetter, Topic
from dualcast.settings import Settings

# The header of a replayed message; its value is the identity of the dead letter.
REPLAY_OF = "dualcast_replay_of"
_POLL_SECONDS = 0.5
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class StoredLetter:
    """A dead letter with its partition and offset on the dead-letter topic and the time when it was written."""

    partition: int
    offset: int
    written_at: datetime
    letter: DeadLetter

    @property
    def id(self) -> str:
        """The id that commands show and take."""
        return f"{self.partition}-{self.offset}"

    @property
    def original_topic(self) -> Topic | None:
        """The topic that it can be replayed to; None if it did not come from Kafka or was too large to be kept."""
        known = self.letter.topic in set(Topic)
        return Topic(self.letter.topic) if known and self.letter.value is not None else None

    @property
    def identity(self) -> str:
        """Equal for all dead letters of one message, or of one observation in it, whichever component refused it."""
        letter = self.letter
        digest = hashlib.sha256(letter.value or b"").hexdigest()[:16]
        return f"{letter.topic}/{letter.partition}/{letter.offset}/{digest}"


@dataclass(frozen=True)
class ReplayResult:
    """The outcome of a replay."""

    sent: tuple[StoredLetter, ...]
    already_replayed: tuple[StoredLetter, ...]
    not_replayable: tuple[StoredLetter, ...]


def read(
    settings: Settings,
    *,
    reason: str | None = None,
    since: datetime | None = None,
    ids: Collection[str] = (),
) -> Iterator[StoredLetter]:
    """The dead letters by partition and offset, filtered by reason, time and id.

    A message that is no dead letter is logged and skipped. Raises UnreachableError.
    """
    decoder = Decoder(settings, Topic.DEAD_LETTERS)
    for message in _messages(settings, Topic.DEAD_LETTERS, None):
        try:
            kept = _kept(message, decoder.record(message.value()))
        except DecodingError as fault:
            _log.warning("not a dead letter", partition=message.partition(), offset=message.offset(), error=str(fault))
            continue
        late_enough = since is None or kept.letter.occurred_at >= since
        if (reason in {None, kept.letter.reason}) and late_enough and (not ids or kept.id in ids):
            yield kept


def replayed(settings: Settings, letters: Iterable[StoredLetter]) -> set[str]:
    """The identities of the dead letters that were replayed, read from their topics. Raises UnreachableError."""
    earliest: dict[Topic, datetime] = {}
    for kept in letters:
        if (topic := kept.original_topic) is not None:
            earliest[topic] = min(kept.written_at, earliest.get(topic, kept.written_at))
    return {
        identity
        for topic, since in earliest.items()
        for message in _messages(settings, topic, since)
        if (identity := headers_of(message).get(REPLAY_OF)) is not None
    }


def replay(settings: Settings, letters: Iterable[StoredLetter]) -> ReplayResult:
    """Send the original messages of dead letters to their topics again, each once.

    Raises UnreachableError, and DeliveryError where some were not acknowledged: the next call sends those.
    """
    chosen = list(letters)
    done = replayed(settings, chosen)
    sent, already, not_replayable = list[StoredLetter](), list[StoredLetter](), list[StoredLetter]()
    with RecordProducer(settings, "dualcast/dead-letters") as producer:
        for kept in chosen:
            topic, value = kept.original_topic, kept.letter.value
            if topic is None or value is None:
                not_replayable.append(kept)
            elif kept.identity in done:
                already.append(kept)
            else:
                producer.send_raw(topic, kept.letter.key, value, settings.clock.now(), {REPLAY_OF: kept.identity})
                done.add(kept.identity)
                sent.append(kept)
    return ReplayResult(tuple(sent), tuple(already), tuple(not_replayable))


def content(settings: Settings, kept: StoredLetter) -> dict[str, Any] | None:
    """The decoded message of a dead letter; None if it cannot be decoded. Raises UnreachableError."""
    if kept.original_topic is None:
        return None
    try:
        return Decoder(settings, kept.original_topic).record(kept.letter.value)
    except DecodingError:
        return None


def _messages(settings: Settings, topic: Topic, since: datetime | None) -> Iterator[Message]:
    with TopicReader(settings, topic, Decoder.record, since=since) as reader:
        while not reader.caught_up:
            yield from reader.messages(_POLL_SECONDS)


def _kept(message: Message, record: dict[str, Any]) -> StoredLetter:
    written_at = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
    return StoredLetter(message.partition() or 0, message.offset() or 0, written_at, DeadLetter(**record))
