"""The curves that are on a topic already, so that each is published once."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime

from dualcast.adapters.kafka.readers import TopicReader, published_forecasts
from dualcast.adapters.kafka.wire.decoder import Decoder
from dualcast.curves.forecast import Forecast
from dualcast.records import Topic
from dualcast.settings import Settings

# The key of a curve within a use case: entity, issued_at, model version.
CurveKey = tuple[str, datetime, str]
_POLL_SECONDS = 0.5


class PublishedCurves:
    """The keys of a use case's curves on a topic. Each call reads only the messages since the last one."""

    def __init__(self, settings: Settings, topic: Topic, use_case: str) -> None:
        self._settings = settings
        self._topic = topic
        self._use_case = use_case
        self._reader = TopicReader(settings, topic, Decoder.record)
        self._keys: set[CurveKey] = set()

    def keys(self) -> set[CurveKey]:
        """The keys of all curves that are on the topic now. Raises UnreachableError."""
        with self._reader as reader:
            while not reader.caught_up:
                for record in reader.poll(_POLL_SECONDS):
                    if record["use_case"] == self._use_case:
                        self._keys.add((record["entity_id"], record["issued_at"], record["model_version"]))
        return self._keys

    def curves(self, wanted: Collection[CurveKey]) -> Iterator[Forecast]:
        """Read the requested curves as published, each once. Reads the whole topic. Raises UnreachableError."""
        left = set(wanted)
        for forecast in published_forecasts(self._settings, self._topic) if left else ():
            key = forecast.entity_id, forecast.issued_at, forecast.model_version
            if forecast.use_case == self._use_case and key in left:
                left.discard(key)
                yield forecast
