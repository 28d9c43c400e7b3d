"""The names that dualcast uses on shared servers, each made in one place from the namespace of the settings.

Several installations, such as staging and production, share Kafka, the schema registry, Redis, MLflow, the lake and the
SQL store when each has a namespace of its own. Without a namespace every name is the plain one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

# Letters and digits only: whatever separates a namespace from a name then occurs in no namespace.
NAMESPACE_PATTERN = r"^([a-z][a-z0-9]{0,19})?$"


@dataclass(frozen=True)
class Namespace:
    """Makes names of a namespace; the empty namespace changes no name.

    >>> Namespace("staging").topic("observations.v1"), Namespace().topic("observations.v1")
    ('staging.observations.v1', 'observations.v1')
    """

    name: str = ""

    @property
    def prefix(self) -> str:
        """What stands before topics, subjects, consumer groups, transactional ids, models and experiments."""
        return f"{self.name}." if self.name else ""

    def topic(self, topic: str) -> str:
        """The name of a topic on the broker."""
        return self.prefix + topic

    def subject(self, topic: str) -> str:
        """The subject of a topic's values in the schema registry.

        >>> Namespace("staging").subject("observations.v1")
        'staging.observations.v1-value'
        """
        return f"{self.topic(topic)}-value"

    def plain_topic(self, name: str) -> str:
        """The topic of a name on the broker.

        >>> Namespace("staging").plain_topic("staging.observations.v1")
        'observations.v1'
        """
        return name.removeprefix(self.prefix)

    def group(self, group: str) -> str:
        """A consumer group, the prefix of transactional ids, or the client id of a kept MQTT session."""
        return self.prefix + group

    def model(self, model: str) -> str:
        """The name of a registered model."""
        return self.prefix + model

    def experiment(self, experiment: str) -> str:
        """The name of an MLflow experiment."""
        return self.prefix + experiment

    def redis_key(self, key: str) -> str:
        """A Redis key, or the prefix of keys. The feature store's keys contain its project instead."""
        return f"{self.name}:{key}" if self.name else key

    def feast_project(self, use_case: str) -> str:
        """The Feast project of a use case, which its keys in Redis contain. Feast allows letters, digits and _ only.

        >>> Namespace("staging").feast_project("de_load")
        'staging__de_load'
        """
        return f"{self.name}__{use_case}" if self.name else use_case

    def lake(self, root: str) -> str:
        """The root of the lake's tables below the configured root."""
        return f"{root.rstrip('/')}/namespaces/{self.name}" if self.name else root

    @property
    def sql_schema(self) -> str | None:
        """The PostgreSQL schema of the store's tables; None for the server's default."""
        return f"dualcast_{self.name}" if self.name else None

    def file(self, path: str) -> str:
        """A file whose name contains the namespace, such as that of an SQLite store.

        >>> Namespace("staging").file("/var/lib/dualcast/store.db")
        '/var/lib/dualcast/store-staging.db'
        """
        plain = PurePath(path)
        return str(plain.with_stem(f"{plain.stem}-{self.name}")) if self.name else path


NO_NAMESPACE = Namespace()
