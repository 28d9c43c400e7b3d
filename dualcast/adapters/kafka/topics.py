"""The platform's topics: created where they are missing, with their schemas registered."""

from __future__ import annotations

from contextlib import closing

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import Schema

from dualcast.adapters.kafka.connection import TIMEOUT_SECONDS, connection, registry_client
from dualcast.records import Topic, schema_text
from dualcast.settings import Settings, SettingsError

MAX_MESSAGE_BYTES = 8 * 2**20
_PARTITIONS = 4
# Models are trained on the whole history of observations and forecasts, so the topics keep every message.
_TOPIC_CONFIG = {"retention.ms": "-1", "max.message.bytes": str(MAX_MESSAGE_BYTES)}
_log = structlog.get_logger(__name__)


def create_topics(settings: Settings, timeout: float = TIMEOUT_SECONDS) -> None:
    """Create the topics that are missing, and register their schemas as BACKWARD compatible.

    Every process that publishes calls this before it writes anything. Raises SettingsError if the broker belongs to
    another cluster than the settings name.
    """
    admin = AdminClient(connection(settings))
    found = admin.list_topics(timeout=timeout)
    if settings.kafka_cluster not in ("", found.cluster_id):
        raise SettingsError(
            f"the broker at {settings.kafka} belongs to Kafka cluster {found.cluster_id}, and {settings.state_dir} to "
            f"{settings.kafka_cluster}: nothing was written. Run `dualcast up`, or set DUALCAST_KAFKA."
        )
    known = found.topics
    wanted = [settings.names.topic(topic) for topic in Topic]
    missing = [NewTopic(name, num_partitions=_PARTITIONS, config=_TOPIC_CONFIG) for name in wanted if name not in known]
    for name, outcome in admin.create_topics(missing).items() if missing else ():
        try:
            outcome.result(timeout=timeout)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
            _log.debug("topic exists", topic=name)
    _register_schemas(settings)


def _register_schemas(settings: Settings) -> None:
    with closing(registry_client(settings.registry)) as registry:
        for topic in Topic:
            subject = settings.names.subject(topic)
            registry.register_schema(subject, Schema(schema_text(topic), "AVRO"))
            registry.set_compatibility(subject, "BACKWARD")
