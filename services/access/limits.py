"""The rate limit of a caller: counted in Redis for all replicas, and in this process while Redis is unavailable."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from cachetools import LRUCache
from limits import parse
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError

from dualcast.namespace import NO_NAMESPACE, Namespace
from services.circuits import Circuits

_TIMEOUT_SECONDS = 0.25
_LEASE_SECONDS = 1.0
_MAX_CALLERS = 10_000


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
class _Window:
    """The calls of one caller that this process has allowed, over a sliding window. Times are monotonic."""

    number: int = 0
    current: int = 0
    previous: int = 0

    def count(self, now: float, seconds: float) -> float:
        """The calls of the last ``seconds``; those of the window before are weighted by its remaining part."""
        number = int(now // seconds)
        if number != self.number:
            self.previous = self.current if number == self.number + 1 else 0
            self.number, self.current = number, 0
        return self.current + self.previous * (1 - now % seconds / seconds)


@dataclass(slots=True)
class _Caller:
    """A caller: its calls in this process, and those counted in advance in Redis: ``left`` of ``size``."""

    own: _Window = field(default_factory=_Window)
    size: int = 0
    left: int = 0
    until: float = 0.0
    remaining: int = 0
    reset_at: float = 0.0
    refused_until: float = 0.0
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


class RateLimits:
    """The same limit for every caller, over a sliding window. Belongs to one event loop.

    A call of Redis takes longer than most responses. Calls of a frequent caller are therefore counted several in
    advance, at most a fiftieth of the limit; calls of other callers are counted one by one. Each process also counts
    the calls that it has allowed, and refuses a caller by its own count alone. So a flood of one caller does not reach
    Redis, and an outage of Redis gives no caller a second allowance.
    """

    def __init__(self, redis: str, rate: str, circuits: Circuits, names: Namespace = NO_NAMESPACE) -> None:
        self._rate = parse(rate)
        self._seconds = self._rate.get_expiry()
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
        self._circuits = circuits
        self._callers: LRUCache[str, _Caller] = LRUCache(_MAX_CALLERS)

    async def close(self) -> None:
        """Close the connections to Redis."""
        bridge: Any = self._redis.bridge  # its type does not show the client
        await bridge.storage.aclose()

    async def hit(self, name: str) -> Verdict:
        """Count a call."""
        caller = self._callers.get(name)
        if caller is None:
            caller = self._callers[name] = _Caller()
        verdict = self._from_memory(caller)
        if verdict is None:
            async with caller.asking:  # concurrent calls of one caller share one call of Redis
                verdict = self._from_memory(caller) or await self._ask(name, caller)
        return verdict

    def _from_memory(self, caller: _Caller) -> Verdict | None:
        """The verdict that needs no call of Redis, if any."""
        now = time.monotonic()
        if caller.left > 0 and now < caller.until:
            caller.left -= 1
            return self._allow(caller)
        if now < caller.refused_until:
            return self._verdict(caller, allowed=False)
        if caller.own.count(now, self._seconds) + 1 > self._rate.amount:
            caller.remaining = caller.left = 0
            self._refuse(caller, now, time.time() + self._seconds - now % self._seconds)
            return self._verdict(caller, allowed=False)
        return None

    async def _ask(self, name: str, caller: _Caller) -> Verdict:
        """Count calls in Redis or, while it is unavailable, in this process."""
        now = time.monotonic()
        remaining = int(self._rate.amount - caller.own.count(now, self._seconds))
        wanted = min(2 * caller.size, self._largest) if now < caller.until else 1
        caller.left, size = 0, min(wanted, remaining)
        try:
            with self._circuits.calling("redis-limits"):
                size = await self._count(name, caller, size)
        except ConnectionError:
            caller.remaining, caller.reset_at = remaining - size, time.time() + self._seconds - now % self._seconds
        now = time.monotonic()
        if not size:
            self._refuse(caller, now, caller.reset_at)
            return self._verdict(caller, allowed=False)
        caller.size, caller.left, caller.until = size, size - 1, now + _LEASE_SECONDS
        return self._allow(caller)

    async def _count(self, name: str, caller: _Caller, size: int) -> int:
        """Count ``size`` calls in Redis, or one. The counted number; 0: over the limit. Raises ConnectionError."""
        try:
            allowed = await self._shared.hit(self._rate, name, cost=size)
            if not allowed and size > 1:
                size, allowed = 1, await self._shared.hit(self._rate, name)
            stats = await self._shared.get_window_stats(self._rate, name)
        except StorageError as error:
            raise ConnectionError(f"limits: {error.storage_error}") from error
        caller.remaining, caller.reset_at = max(stats.remaining, 0), stats.reset_time
        return size if allowed else 0

    def _refuse(self, caller: _Caller, now: float, reset_at: float) -> None:
        """Refuse further calls from memory until one more may be allowed."""
        caller.refused_until = now + min(self._seconds / self._rate.amount, _LEASE_SECONDS)
        caller.reset_at = reset_at

    def _allow(self, caller: _Caller) -> Verdict:
        caller.own.current += 1
        return self._verdict(caller, allowed=True)

    def _verdict(self, caller: _Caller, *, allowed: bool) -> Verdict:
        reset = max(ceil(caller.reset_at - time.time()), 0)
        return Verdict(allowed, self._rate.amount, caller.remaining + caller.left, reset)
