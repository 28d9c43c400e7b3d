"""Converts MQTT messages to observations by the topics and fields in the catalogue's ``sources.mqtt``."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pandas as pd

from dualcast.catalogue import Strict, UseCase
from dualcast.observations.frames import COLUMNS, TIME_DTYPE, in_canonical_order
from dualcast.timegrid import iso_duration, parse_moment
from streaming.ingest.source import Series, query_of, series_of

NAME = "mqtt"
_ENTITY = "{entity_id}"


class PayloadError(ValueError):
    """A message cannot be converted; ``reason`` is a short code."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class _Query(Strict):
    """``topic`` may contain the level ``{entity_id}``; ``value`` and ``time`` name fields, ``a.b`` a nested field."""

    topic: str
    value: str
    time: str = "time"
    time_format: Literal["iso", "seconds", "milliseconds"] = "iso"
    time_is: Literal["start", "end"] = "start"


@dataclass(frozen=True)
class _Field:
    series: Series
    query: _Query
    resolution: timedelta


class Mapping:
    """The topics to subscribe to, and the observations in their messages."""

    def __init__(self, use_case: UseCase) -> None:
        """Raises SourceError if the catalogue's mapping is wrong."""
        self._use_case = use_case
        self._fields: dict[str, list[_Field]] = {}
        for series in series_of(use_case, NAME):
            query = query_of(NAME, series, _Query)
            topic = query.topic.replace(_ENTITY, series.entity.id)
            resolution = series.spec.resolution or use_case.grid
            self._fields.setdefault(topic, []).append(_Field(series, query, resolution))
        patterns = {query_of(NAME, s, _Query).topic for s in series_of(use_case, NAME)}
        self.filters = sorted(re.sub(re.escape(_ENTITY), "+", pattern) for pattern in patterns)

    def rows(self, topic: str, payload: bytes, now: datetime) -> list[dict[str, Any]]:
        """The observations of a message, published ``now``, as rows of COLUMNS. Raises PayloadError."""
        if topic not in self._fields:
            raise PayloadError("unknown_entity", f"no entity is configured for {topic!r}")
        try:
            sent = json.loads(payload)
        except (ValueError, RecursionError) as error:
            raise PayloadError("not_json", str(error)) from error
        return [self._row(field, sent, now) for field in self._fields[topic]]

    def frame(self, rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
        """Rows as a frame in canonical order."""
        frame = pd.DataFrame(rows, columns=list(COLUMNS))
        frame = frame.astype({"valid_time": TIME_DTYPE, "published_at": TIME_DTYPE, "value": "float64"})
        return in_canonical_order(frame, self._use_case.target)

    def _row(self, field: _Field, sent: Any, now: datetime) -> dict[str, Any]:
        series, query = field.series, field.query
        value = _found(sent, query.value)
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value, series.spec.factor):
            raise PayloadError("not_finite", f"{query.value} is {repr(value)[:100]}")
        moment = _moment(_found(sent, query.time), query.time_format)
        start = _start(moment, field.resolution) if query.time_is == "end" else moment
        return {
            "entity_id": series.entity.id,
            "variable": series.spec.variable,
            "valid_time": start,
            "resolution": iso_duration(field.resolution),
            "value": value * series.spec.factor,
            "unit": self._use_case.variables[series.spec.variable].unit,
            "published_at": now,
            "source": NAME,
            "simulated": False,
        }


def _is_finite(value: float, factor: float) -> bool:
    """Whether a number is finite in our unit, too."""
    try:
        return math.isfinite(value * factor)
    except OverflowError:  # an integer of hundreds of digits
        return False


def _found(sent: Any, path: str) -> Any:
    for step in path.split("."):
        if not isinstance(sent, dict) or step not in sent:
            raise PayloadError("missing_field", f"missing field {path!r}")
        sent = sent[step]
    return sent


def _moment(given: Any, form: str) -> datetime:
    try:
        if form == "iso":
            return parse_moment(given)
        return datetime.fromtimestamp(given / (1000 if form == "milliseconds" else 1), UTC)
    except (ValueError, TypeError, OverflowError, OSError) as error:
        raise PayloadError("bad_time", f"{repr(given)[:100]} is not a time: {error}") from error


def _start(end: datetime, resolution: timedelta) -> datetime:
    try:
        return end - resolution
    except OverflowError as error:
        raise PayloadError("bad_time", f"no interval of {resolution} ends at {end}") from error


class RepeatFilter:
    """Drops values that were just published: a broker delivers unacknowledged messages again."""

    def __init__(self) -> None:
        self._newest: dict[tuple[str, str], tuple[datetime, float]] = {}

    def without(self, rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The rows that differ from the newest published value of their series."""
        for row in rows:
            series, newest = (row["entity_id"], row["variable"]), (row["valid_time"], row["value"])
            if self._newest.get(series) != newest:
                self._newest[series] = newest
                yield row
