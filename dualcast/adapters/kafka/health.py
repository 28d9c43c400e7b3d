"""Whether a broker replies. Imports little, since the supervisor of the embedded stack needs nothing else of Kafka."""

from __future__ import annotations

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient


def request_metadata(address: str, timeout: float) -> None:
    """Request the metadata of a broker, without logs. Raises ConnectionError where it is unavailable."""
    client = AdminClient({"bootstrap.servers": address, "log_level": 0, "socket.timeout.ms": int(1000 * timeout)})
    try:
        client.list_topics(timeout=timeout)
    except KafkaException as error:
        raise ConnectionError(str(error.args[0])) from error
