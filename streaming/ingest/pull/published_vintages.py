"""The values of a source that are already on the topic, which shows what a pull must not publish again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from dualcast.adapters.kafka.readers import TopicReader
from dualcast.adapters.kafka.wire.decoder import Decoder
from dualcast.records import Topic
from dualcast.settings import Settings
from dualcast.timegrid import micros

# No source publishes a value longer before its valid time than this.
_LONGEST_LEAD = timedelta(days=17)
_POLL_SECONDS = 0.5

Vintage = tuple[int, float]  # published_at in microseconds since 1970, value


class PublishedVintages(Protocol):
    """The published values of each series."""

    def of(self, entity_id: str, variable: str) -> Mapping[int, Vintage]:
        """The newest vintage by valid_time in microseconds since 1970; empty if nothing was published."""


@dataclass(frozen=True)
class VintagesInMemory:
    """``PublishedVintages`` in memory."""

    series: dict[tuple[str, str], dict[int, Vintage]]

    def of(self, entity_id: str, variable: str) -> Mapping[int, Vintage]:
        """See ``PublishedVintages``."""
        return self.series.get((entity_id, variable), {})

    def add(self, source: str, records: Iterable[Mapping[str, Any]]) -> None:
        """Add the observations of one source from decoded messages of ``observations.v1``."""
        for record in records:
            for found in record["observations"]:
                if found["source"] == source:
                    held = self.series.setdefault((record["entity_id"], found["variable"]), {})
                    valid_time, vintage = micros(found["valid_time"]), (micros(found["published_at"]), found["value"])
                    held[valid_time] = max(held.get(valid_time, vintage), vintage)


class TopicVintages:
    """The values of a source on ``observations.v1`` whose valid time is ``since`` or later."""

    def __init__(self, settings: Settings, source: str, entities: Collection[str], since: datetime) -> None:
        keys = frozenset(entity.encode() for entity in entities)
        self._reader = TopicReader(settings, Topic.OBSERVATIONS, Decoder.record, since=since - _LONGEST_LEAD, keys=keys)
        self._source = source
        self._vintages = VintagesInMemory({})

    def of(self, entity_id: str, variable: str) -> Mapping[int, Vintage]:
        """See ``PublishedVintages``."""
        return self._vintages.of(entity_id, variable)

    def read_on(self, stopped: Callable[[], bool]) -> None:
        """Read from the last position to the end of the topic, unless stopped. Raises UnreachableError."""
        with self._reader as reader:
            while not reader.caught_up and not stopped():
                self._vintages.add(self._source, reader.poll(_POLL_SECONDS))
