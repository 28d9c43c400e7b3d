"""Asking an API: no faster than it allows, again after a passing fault, and never longer than it makes sense."""

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
from streaming.ingest.signals import Stop, Stopped

Query = Mapping[str, str | int | float]
Answer = TypeVar("Answer")

_TIMEOUT = httpx2.Timeout(60.0, connect=10.0)
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_log = structlog.get_logger(__name__)


class UnavailableError(ConnectionError):
    """The source does not answer, or not with what it should; asking again later may help."""


class RefusedError(RuntimeError):
    """The source says that the question is wrong: asking again does not help."""


@dataclass(frozen=True)
class Patience:
    """How often and how long one question is repeated; times in seconds."""

    attempts: int = 10
    wait_first: float = 0.5
    wait_most: float = 30.0
    most: float = 180.0


class _PassingError(Exception):
    def __init__(self, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class Api:
    """One API: its address, what every question carries, and how many questions a minute it takes.

    Secrets stand in ``headers`` and ``params`` only, which no error and no log shows and no redirection gets.
    """

    def __init__(
        self,
        url: str,
        stop: Stop,
        *,
        per_minute: int,
        headers: Mapping[str, str] | None = None,
        params: Query | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._client = httpx2.Client(
            base_url=url,
            headers={"user-agent": f"dualcast/{__version__}"} | dict(headers or {}),
            params=dict(params or {}),
            timeout=_TIMEOUT,
        )
        self._stop = stop
        self._patience = patience or Patience()
        self._limit = RateLimitItemPerMinute(per_minute)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def get(
        self,
        path: str,
        read: Callable[[httpx2.Response], Answer],
        params: Query | None = None,
        *,
        also: frozenset[int] = frozenset(),
    ) -> Answer:
        """Ask, and read the answer; ``also`` are the error codes whose answers ``read`` understands.

        An answer that ``read`` refuses with ValueError, such as one cut short, is asked for again. Raises
        UnavailableError where it stays so, RefusedError where the source calls the question wrong, Stopped.
        """
        patience = self._patience

        def pause(error: Exception) -> bool | float:
            """Wait before the next attempt, until stopped at most; stamina has nothing left to wait for then."""
            if not isinstance(error, _PassingError) or attempt.num == patience.attempts:
                return isinstance(error, _PassingError)
            jitter = uniform(0, patience.wait_first)  # noqa: S311 -- not a secret
            seconds = max(min(attempt.next_wait + jitter, patience.wait_most), error.retry_after or 0.0)
            _log.warning("asking again", path=path, error=str(error), attempt=attempt.num, seconds=round(seconds, 1))
            self._stop.wait(seconds)
            return 0.0

        try:
            for attempt in stamina.retry_context(
                on=pause,
                attempts=patience.attempts,
                timeout=patience.most,
                wait_initial=patience.wait_first,
                wait_max=patience.wait_most,
            ):
                with attempt:
                    return self._ask(path, read, params, also)
        except _PassingError as error:
            raise UnavailableError(f"{self._client.base_url.host}: {path}: {error}") from None
        raise AssertionError("unreachable")

    def _ask(
        self, path: str, read: Callable[[httpx2.Response], Answer], params: Query | None, also: frozenset[int]
    ) -> Answer:
        self._wait_for_our_turn()
        try:
            answer = self._client.get(path, params=dict(params) if params else None)
        except httpx2.HTTPError as error:
            raise _PassingError(f"no answer: {type(error).__name__}") from None
        if answer.status_code in _PASSING:
            raise self._told_to_wait(answer)
        if not answer.is_success and answer.status_code not in also:
            raise RefusedError(f"{self._client.base_url.host}: {path}: {answer.status_code} {answer.text[:300]!r}")
        try:
            return read(answer)
        except ValueError as error:
            raise _PassingError(f"unreadable answer: {str(error)[:300]}") from None

    def _told_to_wait(self, answer: httpx2.Response) -> _PassingError | UnavailableError:
        """The fault; one that outlasts our patience is not waited for here."""
        seconds = _retry_after(answer)
        text = f"status {answer.status_code}"
        if seconds is not None and seconds > self._patience.most:
            return UnavailableError(f"{self._client.base_url.host}: {text}, to be asked again in {seconds:.0f} s")
        return _PassingError(text, seconds)

    def _wait_for_our_turn(self) -> None:
        while not self._stop.requested:
            if self._limiter.hit(self._limit):
                return
            self._stop.wait(max(self._limiter.get_window_stats(self._limit).reset_time - time(), 0.01))
        raise Stopped


def _retry_after(answer: httpx2.Response) -> float | None:
    """How many seconds the source wants us to wait; its date is read by its own clock."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isdigit():
        return float(text)
    try:
        moment, now = parsedate_to_datetime(text), parsedate_to_datetime(answer.headers["date"])
    except (ValueError, KeyError, TypeError):
        return None
    return max((moment - now).total_seconds(), 0.0)
