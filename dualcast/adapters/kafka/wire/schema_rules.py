"""Rules for the schemas of messages. They bound the work and the memory that decoding takes by the size of the message.

Without them a few bytes may hold millions of values that take no bytes, or nest until the stack overflows.
"""

from __future__ import annotations

import json
from typing import Any

import fastavro

_MOST_CHARACTERS = 100_000
_MOST_LEVELS = 16
_RECURSIVE = -1


class UnsafeSchemaError(ValueError):
    """Decoding with the schema could take more time or memory than the size of a message justifies."""


def checked_schema(text: str) -> Any:
    """A schema from its JSON text.

    Raises UnsafeSchemaError where it is recursive, nested deeply or long, or has values that take no bytes; ValueError,
    RecursionError or SchemaParseException where it is not valid.
    """
    if len(text) > _MOST_CHARACTERS:
        raise UnsafeSchemaError(f"the schema is longer than {_MOST_CHARACTERS} characters")
    schema = json.loads(text)
    if _levels(fastavro.parse_schema(schema), {}) > _MOST_LEVELS:
        raise UnsafeSchemaError(f"the schema has more than {_MOST_LEVELS} levels")
    return schema


def _levels(schema: Any, named: dict[str, int]) -> int:
    """How deep values of a parsed schema nest; ``named`` holds that of the named types before. Raises as above."""
    if isinstance(schema, list):
        return 1 + max((_levels(branch, named) for branch in schema if branch != "null"), default=0)
    if isinstance(schema, str):
        return _levels_of_name(schema, named)
    kind = schema["type"]
    if kind in ("record", "error"):
        return _levels_of_record(schema, named)
    if kind in ("array", "map"):
        return 1 + _levels(schema["items" if kind == "array" else "values"], named)
    if kind == "fixed" and schema["size"] < 1:
        raise UnsafeSchemaError("a value takes no bytes")
    if kind in ("fixed", "enum"):
        named[schema["name"]] = 1
        return 1
    return _levels(kind, named)


def _levels_of_name(name: str, named: dict[str, int]) -> int:
    if name == "null":
        raise UnsafeSchemaError("a value takes no bytes")
    levels = named.get(name, 1)
    if levels == _RECURSIVE:
        raise UnsafeSchemaError(f"{name} contains itself")
    return levels


def _levels_of_record(schema: Any, named: dict[str, int]) -> int:
    if not schema["fields"]:
        raise UnsafeSchemaError("a value takes no bytes")
    named[schema["name"]] = _RECURSIVE
    levels = 1 + max(_levels(field["type"], named) for field in schema["fields"])
    named[schema["name"]] = levels
    return levels
