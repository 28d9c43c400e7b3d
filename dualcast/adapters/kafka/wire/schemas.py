"""Schemas by their id: each is fetched from the schema registry once per process, also where it does not exist.

A topic's messages are read with the schemas of the topic's own subject only. Any other schema that the registry knows
may have been made by anybody.
"""

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
# Random bytes contain random ids. A schema that is refused now may be registered later, so the answer expires.
_REFUSED_IDS_KEPT, _REFUSED_SECONDS = 4096, 600.0
_NO_SUCH_SCHEMA = (400, 404, 422)


class UnknownSchemaError(LookupError):
    """The registry has no schema of this id."""

    def __init__(self, schema_id: int, _subject: str) -> None:
        super().__init__(f"the registry has no schema {schema_id}")


class OtherSubjectError(LookupError):
    """The registry has the schema, but not under the topic's subject."""

    def __init__(self, schema_id: int, subject: str) -> None:
        super().__init__(f"schema {schema_id} is not registered for {subject}")


_Refusal = type[UnknownSchemaError] | type[OtherSubjectError]


class SchemaCache:
    """The texts of schemas by id and subject. Thread-safe: threads that need the same schema share one request."""

    def __init__(self, registry: str) -> None:
        self._registry = registry
        self._lock = Lock()
        self._known: dict[tuple[int, str], str] = {}  # holds no more than the registry does
        self._refused: TTLCache[tuple[int, str], _Refusal] = TTLCache(_REFUSED_IDS_KEPT, _REFUSED_SECONDS)

    def text(self, schema_id: int, subject: str) -> str:
        """The schema as JSON. Retries for two minutes while the registry is unavailable.

        Raises UnknownSchemaError, OtherSubjectError, and UnreachableError where the registry stays unavailable.
        """
        wanted = schema_id, subject
        if wanted not in self._known:
            with self._lock:
                if wanted in self._refused:
                    raise self._refused[wanted](*wanted)
                if wanted not in self._known:
                    self._known[wanted] = self._fetched(*wanted)
        return self._known[wanted]

    def _fetched(self, schema_id: int, subject: str) -> str:
        retried = (httpx2.TransportError, SchemaRegistryError)
        try:
            for attempt in stamina.retry_context(on=retried, attempts=None, timeout=_PATIENCE_SECONDS):
                with attempt:
                    return self._requested(schema_id, subject)
        except retried as error:
            raise UnreachableError(f"registry: {error}") from error
        raise AssertionError("stamina returns or raises")

    def _requested(self, schema_id: int, subject: str) -> str:
        """One attempt. Raises UnknownSchemaError, OtherSubjectError, TransportError, SchemaRegistryError."""
        try:
            with closing(registry_client(self._registry)) as client:
                text = client.get_schema(schema_id).schema_str or ""
                subjects = client.get_subjects_by_schema_id(schema_id)
        except SchemaRegistryError as error:
            if error.http_status_code not in _NO_SUCH_SCHEMA:
                raise
            self._refused[schema_id, subject] = UnknownSchemaError
            raise UnknownSchemaError(schema_id, subject) from error
        if subject not in subjects:
            self._refused[schema_id, subject] = OtherSubjectError
            raise OtherSubjectError(schema_id, subject)
        return text


@cache
def schema_cache(registry: str) -> SchemaCache:
    """The process's cache of a registry, by its URL."""
    return SchemaCache(registry)
