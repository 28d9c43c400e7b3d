"""Schemas by their id: each is fetched from the schema registry once per process, also where it does not exist."""

from __future__ import annotations

from contextlib import closing
from functools import cache
from threading import Lock

import httpx2
import stamina
from cachetools import TTLCache
from confluent_kafka.schema_registry.error import SchemaRegistryError

from dualcast.adapters.kafka.connection import UnreachableError, registry_client

_PATIENCE_SECONDS = 120.0
# Random bytes contain random ids. An id that is unknown now may be registered later, so the answer expires.
_UNKNOWN_IDS_KEPT, _UNKNOWN_SECONDS = 4096, 600.0
_NO_SUCH_SCHEMA = (400, 404, 422)


class UnknownSchemaError(LookupError):
    """The registry has no schema of this id."""


class SchemaCache:
    """The texts of schemas by id. Thread-safe: threads that need the same id share one request."""

    def __init__(self, registry: str) -> None:
        self._registry = registry
        self._lock = Lock()
        self._known: dict[int, str] = {}  # holds no more than the registry does
        self._unknown: TTLCache[int, None] = TTLCache(_UNKNOWN_IDS_KEPT, _UNKNOWN_SECONDS)

    def text(self, schema_id: int) -> str:
        """The schema as JSON. Retries for two minutes while the registry is unavailable.

        Raises UnknownSchemaError, and UnreachableError where the registry stays unavailable.
        """
        if schema_id not in self._known:
            with self._lock:
                if schema_id in self._unknown:
                    raise UnknownSchemaError(f"the registry has no schema {schema_id}")
                if schema_id not in self._known:
                    self._known[schema_id] = self._fetched(schema_id)
        return self._known[schema_id]

    def _fetched(self, schema_id: int) -> str:
        retried = (httpx2.TransportError, SchemaRegistryError)
        try:
            for attempt in stamina.retry_context(on=retried, attempts=None, timeout=_PATIENCE_SECONDS):
                with attempt:
                    return self._requested(schema_id)
        except retried as error:
            raise UnreachableError(f"registry: {error}") from error
        raise AssertionError("stamina returns or raises")

    def _requested(self, schema_id: int) -> str:
        """One request. Raises UnknownSchemaError, TransportError, SchemaRegistryError."""
        try:
            with closing(registry_client(self._registry)) as client:
                return client.get_schema(schema_id).schema_str or ""
        except SchemaRegistryError as error:
            if error.http_status_code not in _NO_SUCH_SCHEMA:
                raise
            self._unknown[schema_id] = None
            raise UnknownSchemaError(f"the registry has no schema {schema_id}") from error


@cache
def schema_cache(registry: str) -> SchemaCache:
    """The process's cache of a registry, by its URL."""
    return SchemaCache(registry)
