"""A cache in Redis of the curves in the store, one entry for each issue day, shared by all replicas.

The process that writes a curve to the store invalidates the curve's day. An invalidated day cannot be filled for some
seconds, so that a replica cannot put back curves that it read before the write. Entries expire: that bounds their age
where an invalidation did not reach Redis.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from math import nan
from typing import Any, cast

import orjson
from redis import Redis
from redis.exceptions import RedisError

from dualcast.adapters.store.forecasts import IssueDay
from dualcast.curves.forecast import TIME_FIELDS, Forecast
from dualcast.namespace import NO_NAMESPACE, Namespace

_TIMEOUT_SECONDS = 0.25
_KEPT_SECONDS = 600
# The curves of a day without curves may not be stored yet.
_KEPT_EMPTY_SECONDS = 30
# Longer than the timeout of a read from the store: a read that began before the invalidation cannot fill the day.
_INVALID_SECONDS = 15
_INVALID = b""


class RedisCurves:
    """The cache. Every method raises ConnectionError where Redis does not respond in time. Safe to share by threads."""

    def __init__(self, url: str, names: Namespace = NO_NAMESPACE) -> None:
        self._names = names
        self._redis = Redis.from_url(url, socket_timeout=_TIMEOUT_SECONDS, socket_connect_timeout=_TIMEOUT_SECONDS)

    def read(self, days: Collection[IssueDay]) -> dict[IssueDay, list[Forecast]]:
        """The cached days and their curves. A cached day may have no curves."""
        with _redis_errors_translated():
            held = cast("list[bytes | None]", self._redis.mget([self._key(day) for day in days]))
        found = {}
        for day, text in zip(days, held, strict=True):
            if text:
                with suppress(KeyError, TypeError, ValueError):  # written by another version: a cache miss
                    found[day] = [_curve(record) for record in orjson.loads(text)]
        return found

    def fill(self, found: Mapping[IssueDay, Sequence[Forecast]]) -> None:
        """Cache days that were read from the store, except those that are cached or were invalidated just now."""
        with _redis_errors_translated(), self._redis.pipeline(transaction=False) as pipeline:
            for day, curves in found.items():
                seconds = _KEPT_SECONDS if curves else _KEPT_EMPTY_SECONDS
                pipeline.set(self._key(day), orjson.dumps(curves), ex=seconds, nx=True)
            pipeline.execute()

    def invalidate(self, days: Collection[IssueDay]) -> None:
        """Drop days whose curves have changed in the store."""
        with _redis_errors_translated(), self._redis.pipeline(transaction=False) as pipeline:
            for day in days:
                pipeline.set(self._key(day), _INVALID, ex=_INVALID_SECONDS)
            pipeline.execute()

    def _key(self, day: IssueDay) -> str:
        return self._names.redis_key(f"dualcast:curves:{day.use_case}:{day.path}:{day.day}:{day.entity_id}")


@contextmanager
def _redis_errors_translated() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        raise ConnectionError(f"Redis: {error}") from error


def _curve(record: dict[str, Any]) -> Forecast:
    """The curve of a JSON record, in which times are texts and NaN is null."""
    times = {name: datetime.fromisoformat(record[name]) for name in TIME_FIELDS}
    points = [
        {
            "valid_time": datetime.fromisoformat(point["valid_time"]),
            "values": [nan if value is None else value for value in point["values"]],
        }
        for point in record["points"]
    ]
    return Forecast.from_record(record | times | {"points": points})
