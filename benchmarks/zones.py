"""Simulated bidding zones for the benchmarks: any number, under the rules of ``use_cases/de_load.yaml``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from confluent_kafka import Producer

from benchmarks.embedded import USE_CASES
from dualcast.adapters.kafka.connection import connection
from dualcast.adapters.kafka.wire.encoder import Encoder
from dualcast.catalogue import UseCase, load_use_case, read_document
from dualcast.records import Topic
from dualcast.settings import Settings
from dualcast.timegrid import floor
from streaming.ingest.messages import messages
from streaming.ingest.replay import MOST_IN_HISTORY
from streaming.ingest.sources import open_source

_NAME = "de_load"
_FLUSH_SECONDS = 120.0


@contextmanager
def use_case_folder(count: int) -> Iterator[Path]:
    """A folder with the one use case, of ``count`` zones whose ids have equal lengths."""
    with TemporaryDirectory(prefix="dualcast-bench-") as folder:
        definition = read_document(USE_CASES / f"{_NAME}.yaml")
        definition["entities"] = [definition["entities"][0] | {"id": f"Z{number:04d}"} for number in range(count)]
        for name in ("replay", "sources"):  # they name the zone of the original
            definition.pop(name, None)
        (Path(folder) / f"{_NAME}.yaml").write_text(yaml.safe_dump(definition), encoding="utf-8")
        yield Path(folder)


def load_zones(folder: Path) -> UseCase:
    """The use case of such a folder."""
    return load_use_case(_NAME, folder)


def send_history(settings: Settings, use_case: UseCase, span: timedelta) -> int:
    """Publish the simulated observations of all zones up to now in large messages, as a backfill does; their number.

    All zones have the values of the first: its messages are encoded once and sent again under the other ids.
    """
    now, first = floor(datetime.now(UTC), use_case.grid), use_case.entities[0]
    one = use_case.model_copy(update={"entities": (first,)})
    observations = open_source(one, None, None).observations(now - span, now)
    codec = Encoder(settings, Topic.OBSERVATIONS)
    encoded = [codec.encode(part) for part in messages(observations, MOST_IN_HISTORY)]
    codec.close()
    producer = Producer(connection(settings) | {"compression.type": "lz4", "message.max.bytes": 2**23})
    for entity in use_case.entities:
        for value in encoded:
            mine = value.replace(first.id.encode(), entity.id.encode(), 1)
            producer.produce(Topic.OBSERVATIONS.value, mine, entity.id)
            producer.poll(0)
    if producer.flush(_FLUSH_SECONDS):
        raise RuntimeError("the broker did not accept the history in time")
    return len(observations) * len(use_case.entities)
