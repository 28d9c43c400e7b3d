"""Days of published curves in Redis, where all replicas find what one of them has read from the store.

What is here was in the store when it was read. Who writes a curve to the store has its day forgotten afterwards; for
some seconds nobody can then put back what was read before. Where that did not reach Redis, an entry ends by itself.
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
from dualcast.curves.forecast import TIME_FIELDS, Forecast, Point
from dualcast.namespace import NO_NAMESPACE, Namespace

_TIMEOUT_SECONDS = 0.25
_KEPT_SECONDS = 600
# A day without curves may be one whose curves are on their way.
_KEPT_EMPTY_SECONDS = 30
# Longer than anybody waits for the store: what was read from it before a curve was written does not come back.
_FORGOTTEN_SECONDS = 15
_FORGOTTEN = b""


class RedisCurves:
    """Raises ConnectionError wherever Redis does not answer in time. Safe to share between threads."""

    def __init__(self, url: str, names: Namespace = NO_NAMESPACE) -> None:
        self._names = names
        self._redis = Redis.from_url(url, socket_timeout=_TIMEOUT_SECONDS, socket_connect_timeout=_TIMEOUT_SECONDS)

    def read(self, days: Collection[IssueDay]) -> dict[IssueDay, list[Forecast]]:
        """The curves of those days that are here, which may be none."""
        with _reaching():
            held = cast("list[bytes | None]", self._redis.mget([self._key(day) for day in days]))
        found = {}
        for day, text in zip(days, held, strict=True):
            if text:
                with suppress(KeyError, TypeError, ValueError):  # another version wrote it: the store is asked
                    found[day] = [_curve(record) for record in orjson.loads(text)]
        return found

    def fill(self, found: Mapping[IssueDay, Sequence[Forecast]]) -> None:
        """Keep what the store had; a day that is here, or was forgotten a moment ago, stays as it is."""
        with _reaching(), self._redis.pipeline(transaction=False) as pipeline:
            for day, curves in found.items():
                seconds = _KEPT_SECONDS if curves else _KEPT_EMPTY_SECONDS
                pipeline.set(self._key(day), orjson.dumps(curves), ex=seconds, nx=True)
            pipeline.execute()

    def invalidate(self, days: Collection[IssueDay]) -> None:
        """Have these days read from the store again, which has other curves of them now."""
        with _reaching(), self._redis.pipeline(transaction=False) as pipeline:
            for day in days:
                pipeline.set(self._key(day), _FORGOTTEN, ex=_FORGOTTEN_SECONDS)
            pipeline.execute()

    def _key(self, day: IssueDay) -> str:
        return self._names.redis_key(f"dualcast:curves:{day.use_case}:{day.path}:{day.day}:{day.entity_id}")


@contextmanager
def _reaching() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        raise ConnectionError(f"Redis: {error}") from error


def _curve(record: dict[str, Any]) -> Forecast:
    """As it was; JSON has neither times nor numbers that are none."""
    times = {name: datetime.fromisoformat(record[name]) for name in TIME_FIELDS}
    points = [
        Point(datetime.fromisoformat(p["valid_time"]), [nan if v is None else v for v in p["values"]])
        for p in record["points"]
    ]
    return Forecast(**{**record, **times, "points": points})
