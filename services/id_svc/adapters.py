"""The interfaces of id-svc, implemented with Kafka, Redis and MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Self

import structlog
from redis.exceptions import RedisError

from dualcast.adapters import model_registry
from dualcast.adapters.feature_store import OnlineFeatures
from dualcast.adapters.kafka.connection import reaching
from dualcast.adapters.kafka.consumer import GroupConsumer, Message
from dualcast.adapters.kafka.headers import headers_of
from dualcast.adapters.kafka.producer import RecordProducer
from dualcast.adapters.kafka.readers import published_forecasts, start_group_near_end
from dualcast.adapters.kafka.wire.decoder import Decoder, DecodingError
from dualcast.curves.forecast import Forecast
from dualcast.features.rows import FeatureRows
from dualcast.lifecycle.registered_model import Alias, RegisteredModel
from dualcast.records import FeatureRow, Topic
from dualcast.settings import Settings
from services.circuits import Circuits
from services.id_svc.ports import Arrival

_GROUP = "id-svc"
# The most messages of one poll. A message of a backfill holds a thousand rows.
_MOST_MESSAGES = 20
# A new consumer group starts this many messages before the end. Older rows were made when the feature job caught up.
_MESSAGES_BACK = 1_000
# More than the rows of one poll, so that all curves of rows that may arrive twice are found on the topic.
_CURVES_BACK = 2_000
_REDIS_SECONDS = 0.25
_log = structlog.get_logger(__name__)


class MlflowModels:
    """Registered models, by alias."""

    def __init__(self, settings: Settings, circuits: Circuits) -> None:
        self._settings = settings
        self._circuits = circuits

    def version(self, name: str, alias: Alias) -> str | None:
        """The version of an alias. Raises RegistryUnavailableError, OpenCircuitError: ConnectionErrors."""
        with self._circuits.calling("registry"):
            return model_registry.current_version(self._settings, name, alias)

    def load(self, name: str, alias: Alias) -> RegisteredModel:
        """The version of an alias, ready to predict.

        Raises UnknownModelError, RegistryUnavailableError, OpenCircuitError.
        """
        with self._circuits.calling("registry"):
            return model_registry.load(self._settings, name, alias)

    def last(self, name: str, alias: Alias) -> RegisteredModel:
        """The version that was loaded last on this machine. Raises UnknownModelError, OSError."""
        return model_registry.load_last(self._settings, name, alias)


class RedisFeatures:
    """Rows from the online store, read during a request."""

    def __init__(self, settings: Settings, use_case: str, circuits: Circuits) -> None:
        self._store = OnlineFeatures(settings, use_case, _REDIS_SECONDS)
        self._circuits = circuits

    def read(self, entity_ids: Sequence[str]) -> Mapping[str, FeatureRow | None]:
        """The newest row of each entity. Raises ConnectionError."""
        with self._circuits.calling("redis"):
            try:
                return self._store.read(entity_ids)
            except RedisError as error:
                raise ConnectionError(f"Redis: {error}") from error


class KafkaArrivals:
    """Rows of ``features.intraday.v1``, read by a consumer group that the replicas of id-svc share.

    Rows are read before the feature job commits its transaction, which happens seconds later. If the job fails, it
    makes the same rows again, and the publisher skips rows that it has published.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer: GroupConsumer[FeatureRows] | None = None
        self.undecodable = 0

    def __enter__(self) -> Self:
        """Join the group. Raises UnreachableError."""
        start_group_near_end(self._settings, Topic.FEATURES_INTRADAY, _GROUP, _MESSAGES_BACK)
        self._consumer = GroupConsumer(
            self._settings,
            Topic.FEATURES_INTRADAY,
            Decoder.feature_rows,
            group=_GROUP,
            from_beginning=True,
            on_fault=self._refuse,
            uncommitted=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def poll(self, timeout: float, since: datetime) -> list[Arrival]:
        """Rows as of ``since`` or later that arrived within ``timeout`` seconds. Raises UnreachableError."""
        assert self._consumer is not None
        with reaching("features"):
            polled = self._consumer.poll(timeout, _MOST_MESSAGES)
        return [arrival for message, rows in polled for arrival in _arrivals(message, rows, since)]

    def commit(self) -> None:
        """Commit the offsets of the rows polled so far. Raises UnreachableError."""
        assert self._consumer is not None
        with reaching("features"):
            self._consumer.commit()

    def _refuse(self, _: Message, __: DecodingError) -> None:
        self.undecodable += 1


def _arrivals(message: Message, rows: FeatureRows, since: datetime) -> list[Arrival]:
    headers = headers_of(message)
    return [Arrival(row, headers) for row in rows.one_by_one(since)]


class KafkaOutbox:
    """``forecasts.intraday.v1``."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer: RecordProducer | None = None

    def newest(self) -> dict[tuple[str, str], datetime]:
        """The time of issue of the newest curve of each entity. Raises UnreachableError."""
        found: dict[tuple[str, str], datetime] = {}
        for forecast in published_forecasts(self._settings, Topic.FORECASTS_INTRADAY, tail=_CURVES_BACK):
            key = forecast.use_case, forecast.entity_id
            found[key] = max(found.get(key, forecast.issued_at), forecast.issued_at)
        return found

    def send(self, forecast: Forecast) -> None:
        """Queue a curve. Raises UnreachableError."""
        with reaching("outbox"):
            if self._producer is None:
                self._producer = RecordProducer(self._settings, "id-svc")
            self._producer.send(Topic.FORECASTS_INTRADAY, forecast.entity_id, forecast, forecast.issued_at)

    def flush(self) -> None:
        """Wait for acknowledgement. Raises UnreachableError; the queued curves are then dropped, to be sent again."""
        if self._producer is None:
            return
        producer, self._producer = self._producer, None
        with reaching("outbox"):
            producer.flush(10.0)
        self._producer = producer

    def close(self) -> None:
        """Close the producer. Raises UnreachableError."""
        if self._producer is not None:
            with reaching("outbox"):
                self._producer.close()
            self._producer = None
