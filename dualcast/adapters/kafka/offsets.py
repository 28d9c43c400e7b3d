"""Offsets of topics and of consumer groups, read and deleted without joining a group."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import stamina
from confluent_kafka import Consumer, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from dualcast.adapters.kafka.connection import TIMEOUT_SECONDS, connection
from dualcast.settings import Settings

_REQUEST_SECONDS = 15.0

Ends = dict[int, int]


class Offsets:
    """The offsets of one broker's topics and of a consumer group. Methods raise KafkaException."""

    def __init__(self, settings: Settings, group: Consumer | None = None) -> None:
        self._admin = AdminClient(connection(settings))
        self._group = group

    @classmethod
    @contextmanager
    def of_group(cls, settings: Settings, name: str) -> Iterator[Offsets]:
        """The offsets with those of a group, which may not exist yet."""
        # a consumer that never subscribes: the admin client crashes for a group that does not exist
        with closing(Consumer(connection(settings) | {"group.id": name})) as group:
            yield cls(settings, group)

    def ends(self, topic: str, *, committed: bool = False) -> Ends:
        """The end of each partition: of all records, or of those before the first transaction that is still open."""
        partitions = self._admin.list_topics(topic, timeout=_REQUEST_SECONDS).topics[topic].partitions
        isolation = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        wanted = {TopicPartition(topic, p): OffsetSpec.latest() for p in partitions}
        found = self._admin.list_offsets(wanted, isolation_level=isolation, request_timeout=_REQUEST_SECONDS)
        return {where.partition: future.result(_REQUEST_SECONDS).offset for where, future in found.items()}

    def read_before(self, topic: str, ends: Ends) -> int:
        """How many messages of a topic before ``ends`` the group has committed as read."""
        assert self._group is not None
        found = self._group.committed([TopicPartition(topic, p) for p in ends], timeout=_REQUEST_SECONDS)
        return sum(min(max(p.offset, 0), ends[p.partition]) for p in found)


@stamina.retry(on=KafkaException, attempts=None, timeout=TIMEOUT_SECONDS)
def delete_group(settings: Settings, group: str) -> None:
    """Delete the committed offsets of a group, if there are any. Raises KafkaException.

    Tries for a while: a broker that has just started is still loading its groups and refuses to list them.
    """
    admin = AdminClient(connection(settings))
    if group in groups_of(admin):
        admin.delete_consumer_groups([group], request_timeout=TIMEOUT_SECONDS)[group].result(TIMEOUT_SECONDS)


def groups_of(admin: AdminClient) -> set[str]:
    """The consumer groups of a broker. Raises KafkaException."""
    admin.list_topics(timeout=TIMEOUT_SECONDS)  # a client without metadata gets an empty list and an error
    found = admin.list_consumer_groups(request_timeout=TIMEOUT_SECONDS).result(TIMEOUT_SECONDS)
    if found.errors:
        raise KafkaException(found.errors[0])
    return {group.group_id for group in found.valid}
