"""How often one caller may ask: counted in Redis for all replicas, and in this process while Redis is away."""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import ceil

import structlog
from limits import parse
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import RateLimiter, SlidingWindowCounterRateLimiter
from limits.errors import StorageError

_TIMEOUT_SECONDS = 0.25
# After a failure Redis is left alone for a moment, so that requests do not queue for its timeout.
_PAUSE_SECONDS = 2.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a call may go on, and what is left."""

    allowed: bool
    limit: int
    remaining: int
    reset_seconds: int

    @property
    def headers(self) -> dict[str, str]:
        """RateLimit-* of the IETF's draft, and Retry-After where the caller has to wait."""
        headers = {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset_seconds),
        }
        return headers if self.allowed else headers | {"Retry-After": str(max(self.reset_seconds, 1))}


class RateLimits:
    """One limit for every caller, over a sliding window."""

    def __init__(self, redis: str, rate: str) -> None:
        self._rate = parse(rate)
        shared = RedisStorage(
            f"async+{redis}",
            wrap_exceptions=True,
            implementation="redispy",
            socket_timeout=_TIMEOUT_SECONDS,
            socket_connect_timeout=_TIMEOUT_SECONDS,
        )
        self._shared = SlidingWindowCounterRateLimiter(shared)
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._retry_at = 0.0

    async def hit(self, caller: str) -> Verdict:
        """Count a call."""
        if time.monotonic() >= self._retry_at:
            try:
                return await self._ask(self._shared, caller)
            except StorageError as error:
                self._retry_at = time.monotonic() + _PAUSE_SECONDS
                _log.warning("limits are counted in this process alone", error=repr(error.storage_error)[:200])
        return await self._ask(self._own, caller)

    async def _ask(self, limiter: RateLimiter, caller: str) -> Verdict:
        allowed = await limiter.hit(self._rate, caller)
        stats = await limiter.get_window_stats(self._rate, caller)
        reset = max(ceil(stats.reset_time - time.time()), 0)
        return Verdict(allowed, self._rate.amount, max(stats.remaining, 0), reset)
