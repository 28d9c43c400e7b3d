"""Requests to one service over HTTP: a key or token, retries, and problems as exceptions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Self

import httpx2
import stamina

# Temporary: over the rate limit, a service that is starting, a proxy whose service is unavailable.
_TEMPORARY = {429, 502, 503, 504}
_LONGEST_WAIT_SECONDS = 30.0
# Services send a comment every 15 seconds on an open stream, also without a new curve.
_SILENCE_SECONDS = 45.0
_PAUSE_SECONDS = 1.0


class AnswerError(Exception):
    """A service answered with a problem (RFC 9457).

    ``status`` is the HTTP status, ``kind`` the last part of the problem's type, such as ``unknown-entity``.
    """

    def __init__(self, problem: Mapping[str, Any], retry_after_seconds: float | None = None) -> None:
        self.status = int(problem["status"])
        self.kind = str(problem.get("type", "about:blank")).rsplit(":", 1)[-1]
        self.title = str(problem.get("title", ""))
        self.detail = str(problem.get("detail", ""))
        self.instance = str(problem.get("instance", ""))
        self.retry_after_seconds = retry_after_seconds
        super().__init__(problem, retry_after_seconds)

    def __str__(self) -> str:
        return f"{self.status} {self.title}: {self.detail}"


class UnavailableError(ConnectionError):
    """A service does not answer. The message gives its address, the cause, and what to do."""

    def __init__(self, address: str, cause: Exception) -> None:
        super().__init__(
            f"no answer from {address}: {cause}. Does the service run? `dualcast up da-svc id-svc` starts both on this "
            "machine; DUALCAST_DA_SVC and DUALCAST_ID_SVC, or the arguments of the client, name others."
        )


class Service:
    """One service by its address. A request that fails temporarily is repeated for ``patience``; 0: never.

    All requests only read, so each may be repeated. A service that has never answered is tried for ``timeout`` only.
    """

    def __init__(self, address: str, headers: Mapping[str, str], patience: timedelta, timeout: timedelta) -> None:
        seconds = timeout.total_seconds()
        self._address = address
        self._first_seconds = seconds
        self._has_answered = False
        self._http = httpx2.Client(base_url=address, headers=dict(headers), timeout=seconds)
        self._listening = httpx2.Timeout(seconds, read=max(seconds, _SILENCE_SECONDS))
        self._retrying = stamina.RetryingCaller(timeout=patience or None, attempts=None if patience else 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, address: str, **parameters: Any) -> Any:
        """The JSON at an address; parameters that are None are left out. Raises AnswerError, UnavailableError."""
        return self._retried(self._ask, "GET", address, params=_given(parameters))

    def post(self, address: str, body: Mapping[str, Any]) -> Any:
        """The JSON that answers a body. Raises AnswerError, UnavailableError."""
        return self._retried(self._ask, "POST", address, json=_given(body))

    def events(self, address: str, **parameters: Any) -> Iterator[Any]:
        """The JSON of each server-sent event, over broken connections.

        Raises AnswerError, or UnavailableError if the service is unavailable for longer than the patience.
        """
        while True:
            yield from self._retried(self._listen, address, _given(parameters))
            time.sleep(_PAUSE_SECONDS)

    def _retried(self, work: Callable[..., Any], *parameters: Any, **more: Any) -> Any:
        begin = time.monotonic()

        def wait(error: Exception) -> bool | float:
            if isinstance(error, httpx2.TransportError) and not self._has_answered:
                return time.monotonic() - begin < self._first_seconds
            return _wait(error)

        try:
            found = self._retrying(wait, work, *parameters, **more)
        except httpx2.TransportError as error:
            raise UnavailableError(self._address, error) from error
        self._has_answered = True
        return found

    def _ask(self, method: str, address: str, **more: Any) -> Any:
        answer = self._http.request(method, address, **more)
        _check(answer)
        return answer.json()

    def _listen(self, address: str, parameters: Mapping[str, Any]) -> Iterator[Any]:
        """Open the stream. Only this is retried; events are read from the answer later."""
        request = self._http.build_request("GET", address, params=dict(parameters), timeout=self._listening)
        answer = self._http.send(request, stream=True)
        if answer.is_error:
            answer.read()
            answer.close()
        _check(answer)
        return _events(answer)


def _events(answer: httpx2.Response) -> Iterator[Any]:
    """The events of one connection, until it breaks."""
    try:
        for event in httpx2.EventSource(answer):
            yield event.json()
    except httpx2.TransportError:
        return
    finally:
        answer.close()


def _given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}


def _check(answer: httpx2.Response) -> None:
    if not answer.is_error:
        return
    try:
        problem = answer.json()
    except ValueError:  # the answer of a proxy or of another server
        problem = {"detail": answer.text[:200]}
    if not isinstance(problem, dict):
        problem = {}
    usual = {"status": answer.status_code, "title": HTTPStatus(answer.status_code).phrase}
    after = answer.headers.get("Retry-After", "")
    raise AnswerError(usual | problem, float(after) if after.isdecimal() else None)


def _wait(error: Exception) -> bool | float:
    """The seconds to wait before the next attempt; False if the error is permanent."""
    if isinstance(error, AnswerError) and error.status in _TEMPORARY:
        after = error.retry_after_seconds
        return True if after is None else min(after, _LONGEST_WAIT_SECONDS)
    return isinstance(error, httpx2.TransportError)
