"""The time fields of records, and which times a message may hold: moments from 1970 to 2200 in UTC."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from dualcast.adapters.kafka.wire.faults import DecodingError
from dualcast.arrays import Micros
from dualcast.observations.validation import BAD_TIME, LATEST
from dualcast.timegrid import from_micros

_TIME = "timestamp-micros"
_FIRST, _END = from_micros(0), from_micros(LATEST)


class TimeFields:
    """Finds the times in records of a schema."""

    def __init__(self, schema: Any) -> None:
        self._paths = list(_paths(schema, ()))

    def check(self, record: Any) -> None:
        """Raise DecodingError unless all times are datetimes in UTC and in range."""
        for path in self._paths:
            for time in _found(record, path):
                if not (isinstance(time, datetime) and time.tzinfo is UTC and _FIRST <= time < _END):
                    raise DecodingError(BAD_TIME, f"{'.'.join(path)} is {time!s:.40}, not from 1970 to 2200 in UTC")


def check_micros(**columns: Micros) -> None:
    """Raise DecodingError unless all times, in microseconds since 1970, are in range."""
    for name, times in columns.items():
        bad = times[(times < 0) | (times >= LATEST)]
        if len(bad):
            raise DecodingError(BAD_TIME, f"{name} is {bad[0]} microseconds, not from 1970 to 2200")


def _paths(schema: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The names of the fields that lead to each time."""
    if isinstance(schema, dict) and schema.get("logicalType") == _TIME:
        yield path
    elif isinstance(schema, dict) and schema["type"] == "record":
        for field in schema["fields"]:
            yield from _paths(field["type"], (*path, field["name"]))
    elif isinstance(schema, dict) and schema["type"] == "array":
        yield from _paths(schema["items"], path)


def _found(part: Any, path: tuple[str, ...]) -> Iterator[Any]:
    """All values at a path, which leads through records and lists of records."""
    if isinstance(part, list):
        for item in part:
            yield from _found(item, path)
    elif path:
        yield from _found(part[path[0]], path[1:])
    else:
        yield part
