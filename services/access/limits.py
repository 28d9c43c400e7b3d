"""The rate limit of a caller: counted in Redis for all replicas, and in this process while Redis is unavailable."""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import ceil
from typing import Any

from cachetools import LRUCache
from limits import parse
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import RateLimiter, SlidingWindowCounterRateLimiter
from limits.errors import StorageError

from dualcast.namespace import NO_NAMESPACE, Namespace
from services.circuits import Circuits

_TIMEOUT_SECONDS = 0.25
_LEASE_SECONDS = 1.0
_MAX_LEASES = 10_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a call is within the limit, and how many calls remain."""

    allowed: bool
    limit: int
    remaining: int
    reset_seconds: int

    @property
    def headers(self) -> dict[str, str]:
        """RateLimit-* of the IETF's draft, and Retry-After if the limit is exceeded."""
        headers = {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset_seconds),
        }
        return headers if self.allowed else headers | {"Retry-After": str(max(self.reset_seconds, 1))}


@dataclass(slots=True)
class _Lease:
    """Calls of one caller that were counted in advance: ``left`` of ``size``, valid until ``until``."""

    size: int = 0
    left: int = 0
    until: float = 0.0
    remaining: int = 0
    reset_at: float = 0.0


class RateLimits:
    """The same limit for every caller, over a sliding window.

    A call of Redis takes longer than most responses. Calls of a frequent caller are therefore counted several in
    advance, at most a fiftieth of the limit; calls of other callers are counted one by one.
    """

    def __init__(self, redis: str, rate: str, circuits: Circuits, names: Namespace = NO_NAMESPACE) -> None:
        self._rate = parse(rate)
        self._largest = max(self._rate.amount // 50, 1)
        self._redis = RedisStorage(
            f"async+{redis}",
            wrap_exceptions=True,
            key_prefix=names.redis_key(RedisStorage.PREFIX),
            implementation="redispy",
            socket_timeout=_TIMEOUT_SECONDS,
            socket_connect_timeout=_TIMEOUT_SECONDS,
        )
        self._shared = SlidingWindowCounterRateLimiter(self._redis)
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._circuits = circuits
        self._leases: LRUCache[str, _Lease] = LRUCache(_MAX_LEASES)

    async def close(self) -> None:
        """Close the connections to Redis."""
        bridge: Any = self._redis.bridge  # its type does not show the client
        await bridge.storage.aclose()

    async def hit(self, caller: str) -> Verdict:
        """Count a call."""
        lease, now = self._lease(caller), time.monotonic()
        if lease.left > 0 and now < lease.until:
            lease.left -= 1
            return self._verdict(lease, allowed=True)
        size = min(2 * lease.size, self._largest) if now < lease.until else 1
        try:
            return await self._hit_redis(caller, lease, size)
        except ConnectionError:
            return await self._hit(self._own, caller, lease, size)

    async def _hit_redis(self, caller: str, lease: _Lease, size: int) -> Verdict:
        """Raises ConnectionError."""
        with self._circuits.calling("redis"):
            try:
                return await self._hit(self._shared, caller, lease, size)
            except StorageError as error:
                raise ConnectionError(f"limits: {error.storage_error}") from error

    async def _hit(self, limiter: RateLimiter, caller: str, lease: _Lease, size: int) -> Verdict:
        allowed = await limiter.hit(self._rate, caller, cost=size)
        if not allowed and size > 1:
            size, allowed = 1, await limiter.hit(self._rate, caller)
        stats = await limiter.get_window_stats(self._rate, caller)
        lease.remaining, lease.reset_at = max(stats.remaining, 0), stats.reset_time
        if allowed:
            now = time.monotonic()
            # add what is left of a lease that a concurrent call of the same caller has obtained meanwhile
            lease.left = size - 1 + (lease.left if now < lease.until else 0)
            lease.size, lease.until = size, now + _LEASE_SECONDS
        return self._verdict(lease, allowed=allowed)

    def _lease(self, caller: str) -> _Lease:
        found = self._leases.get(caller)
        if found is None:
            found = self._leases[caller] = _Lease()
        return found

    def _verdict(self, lease: _Lease, *, allowed: bool) -> Verdict:
        reset = max(ceil(lease.reset_at - time.time()), 0)
        return Verdict(allowed, self._rate.amount, lease.remaining + lease.left, reset)
