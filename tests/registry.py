"""An in-memory schema registry for tests of encoders and decoders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka.schema_registry._sync.mock_schema_registry_client import MockSchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from dualcast.adapters.kafka.wire.schemas import schema_cache


class MemoryRegistry(MockSchemaRegistryClient):  # type: ignore[misc]
    """Counts requests for schemas by id. The first ``failures`` of them fail as if the registry were unavailable."""

    def __init__(self, failures: int = 0) -> None:
        super().__init__({"url": "mock://registry"})
        self.failures = failures
        self.requested: list[int] = []

    def get_schema(self, schema_id: int, *args: Any, **kwargs: Any) -> Any:
        """Behave like the real client; an unknown id raises a 404 error."""
        self.requested.append(schema_id)
        if len(self.requested) <= self.failures:
            raise SchemaRegistryError(503, 50301, "starting")
        return super().get_schema(schema_id, *args, **kwargs)

    def get_subjects_by_schema_id(self, schema_id: int, *_args: Any, **_kwargs: Any) -> list[str]:
        """Behave like the real client, but each schema belongs to one subject."""
        return [self._store.schema_id_index[schema_id].subject]


@contextmanager
def memory_registry(monkeypatch: pytest.MonkeyPatch, failures: int = 0) -> Iterator[MemoryRegistry]:
    """Replace the schema registry of this process by an in-memory one."""
    registry = MemoryRegistry(failures)
    monkeypatch.setattr("dualcast.adapters.kafka.connection.SchemaRegistryClient", lambda _: registry)
    schema_cache.cache_clear()
    yield registry
    schema_cache.cache_clear()
