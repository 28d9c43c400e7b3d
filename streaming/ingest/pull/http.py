"""Requests to an API with its rate limit and with retries after transient faults, limited in number and time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from random import uniform
from time import time
from typing import TypeVar

import httpx2
import stamina
import structlog
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from dualcast import __version__
from dualcast.heartbeat import beat
from streaming.ingest.signals import Stop, Stopped

Query = Mapping[str, str | int | float]
Parsed = TypeVar("Parsed")

_TIMEOUT = httpx2.Timeout(60.0, connect=10.0)
# A week of seconds in JSON has some 20 MB. A gigabyte of zeros has one megabyte when it is compressed.
LARGEST_ANSWER = 64 * 2**20
_OF_TRANSFER = {"content-encoding", "content-length", "transfer-encoding"}
_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_log = structlog.get_logger(__name__)


class UnavailableError(ConnectionError):
    """The source does not respond, or responds with invalid data. A later attempt may succeed."""


class RefusedError(RuntimeError):
    """The source refuses the request as wrong. Repeating it does not help."""


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how long a request is repeated; times in seconds."""

    attempts: int = 10
    wait_first: float = 0.5
    wait_most: float = 30.0
    most: float = 180.0


class _TransientError(Exception):
    def __init__(self, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class Api:
    """One API: its address, the headers and parameters of all requests, and its limit of requests per minute.

    Secrets belong in ``headers`` and ``params`` only: these appear in no error and no log, and follow no redirect.
    """

    def __init__(
        self,
        url: str,
        stop: Stop,
        *,
        per_minute: int,
        headers: Mapping[str, str] | None = None,
        params: Query | None = None,
        policy: RetryPolicy | None = None,
    ) -> None:
        self._client = httpx2.Client(
            base_url=url,
            headers={"user-agent": f"dualcast/{__version__}"} | dict(headers or {}),
            params=dict(params or {}),
            timeout=_TIMEOUT,
        )
        self._stop = stop
        self._policy = policy or RetryPolicy()
        self._limit = RateLimitItemPerMinute(per_minute)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(
        self,
        path: str,
        read: Callable[[httpx2.Response], Parsed],
        params: Query | None = None,
        *,
        also: frozenset[int] = frozenset(),
    ) -> Parsed:
        """Send a request and read the response; ``also`` are error codes whose responses ``read`` can parse.

        A response that ``read`` refuses with ValueError, such as a truncated one, is requested again. Raises
        UnavailableError if that does not help, RefusedError if the source refuses the request, Stopped.
        """
        policy = self._policy

        def pause(error: Exception) -> bool | float:
            """Wait before the next attempt, unless stopped. Returns 0 so that stamina does not wait again."""
            if not isinstance(error, _TransientError) or attempt.num == policy.attempts:
                return isinstance(error, _TransientError)
            jitter = uniform(0, policy.wait_first)  # noqa: S311 -- not a secret
            seconds = max(min(attempt.next_wait + jitter, policy.wait_most), error.retry_after or 0.0)
            _log.warning("retrying", path=path, error=str(error), attempt=attempt.num, seconds=round(seconds, 1))
            self._stop.wait(seconds)
            return 0.0

        try:
            for attempt in stamina.retry_context(
                on=pause,
                attempts=policy.attempts,
                timeout=policy.most,
                wait_initial=policy.wait_first,
                wait_max=policy.wait_most,
            ):
                with attempt:
                    return self._request(path, read, params, also)
        except _TransientError as error:
            raise UnavailableError(f"{self._client.base_url.host}: {path}: {error}") from None
        raise AssertionError("unreachable")

    def _request(
        self, path: str, read: Callable[[httpx2.Response], Parsed], params: Query | None, also: frozenset[int]
    ) -> Parsed:
        self._wait_for_rate_limit()
        try:
            response = self._read(path, dict(params) if params else None)
        except httpx2.HTTPError as error:
            raise _TransientError(f"no response: {type(error).__name__}") from None
        if response.status_code in _TRANSIENT_STATUS:
            raise self._status_error(response)
        if not response.is_success and response.status_code not in also:
            raise RefusedError(f"{self._client.base_url.host}: {path}: {response.status_code} {response.text[:300]!r}")
        try:
            return read(response)
        except ValueError as error:
            raise _TransientError(f"invalid response: {str(error)[:300]}") from None

    def _read(self, path: str, params: dict[str, str | int | float] | None) -> httpx2.Response:
        """The response with its content, which is bounded as it is decompressed. Raises RefusedError, HTTPError."""
        with self._client.stream("GET", path, params=params) as response:
            content = bytearray()
            for chunk in response.iter_bytes():
                beat()
                content += chunk
                if len(content) > LARGEST_ANSWER:
                    raise RefusedError(f"{self._client.base_url.host}: {path}: more than {LARGEST_ANSWER} bytes")
            headers = [(name, value) for name, value in response.headers.items() if name not in _OF_TRANSFER]
            return httpx2.Response(response.status_code, headers=headers, content=bytes(content))

    def _status_error(self, response: httpx2.Response) -> _TransientError | UnavailableError:
        """The error of a status code: unavailable if the source wants a longer wait than the policy allows."""
        seconds = _retry_after(response)
        text = f"status {response.status_code}"
        if seconds is not None and seconds > self._policy.most:
            return UnavailableError(f"{self._client.base_url.host}: {text}, to be retried in {seconds:.0f} s")
        return _TransientError(text, seconds)

    def _wait_for_rate_limit(self) -> None:
        while not self._stop.requested:
            if self._limiter.hit(self._limit):
                return
            self._stop.wait(max(self._limiter.get_window_stats(self._limit).reset_time - time(), 0.01))
        raise Stopped


def _retry_after(response: httpx2.Response) -> float | None:
    """The seconds of Retry-After; a date is compared with the Date header, the clock of the source."""
    text = response.headers.get("retry-after", "").strip()
    if text.isdigit():
        return float(text)
    try:
        moment, now = parsedate_to_datetime(text), parsedate_to_datetime(response.headers["date"])
    except (ValueError, KeyError, TypeError):
        return None
    return max((moment - now).total_seconds(), 0.0)
