"""Circuit breakers: after a failed call, a server is not called again for some seconds, so that requests do not wait.

A process has one breaker for each server, and one for the rate limits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import structlog
from opentelemetry import metrics
from pybreaker import CircuitBreaker, CircuitBreakerError, CircuitBreakerListener, CircuitBreakerState

# The counting of calls has a breaker of its own: it waits in the event loop, which a flood of calls delays, and must
# not stop the reading of features and curves.
Server = Literal["redis", "store", "registry"]
Breaker = Server | Literal["redis-limits"]
# How long a server is not called after a failure. A caller waits for its timeout at most once in that time.
_PAUSE_SECONDS: dict[Breaker, float] = {"redis": 2.0, "redis-limits": 2.0, "store": 5.0, "registry": 5.0}
_log = structlog.get_logger(__name__)


class OpenCircuitError(ConnectionError):
    """The server failed a moment ago and was not called."""


@dataclass(frozen=True, slots=True)
class Circuit:
    """A server, and whether the last call of it failed."""

    server: Server
    failed: bool


class Circuits:
    """The circuit breakers of one process. Safe to share between threads and tasks."""

    def __init__(self) -> None:
        self._listener = _Listener()
        self._breakers = {
            server: CircuitBreaker(
                fail_max=1,
                reset_timeout=seconds,
                exclude=[_is_no_failure],
                listeners=[self._listener],
                name=server,
                throw_new_error_on_trip=False,
            )
            for server, seconds in _PAUSE_SECONDS.items()
        }

    @contextmanager
    def calling(self, server: Breaker) -> Iterator[None]:
        """Wrap a call of a server, which has its own timeout and raises ConnectionError or TimeoutError.

        Raises OpenCircuitError during the pause after a failure.
        """
        try:
            with self._breakers[server].calling():
                yield
        except CircuitBreakerError as error:
            raise OpenCircuitError(f"{server} failed a moment ago") from error

    def status(self) -> list[Circuit]:
        """The outcome of the last call of each server. A failure to count calls is reported during its pause."""
        failed = {name for name, breaker in self._breakers.items() if breaker.current_state != "closed"}
        paused = time.monotonic() - self._listener.opened_at.get("redis-limits", -math.inf)
        if "redis-limits" in failed and paused < _PAUSE_SECONDS["redis-limits"]:
            failed.add("redis")
        return [Circuit(server, server in failed) for server in get_args(Server)]

    def missing(self) -> list[str]:
        """A sentence for each server whose last call failed."""
        return [f"{circuit.server} does not answer" for circuit in self.status() if circuit.failed]


class _Listener(CircuitBreakerListener):
    """Counts and logs changes of state."""

    def __init__(self) -> None:
        self.opened_at: dict[str, float] = {}
        self._changes = metrics.get_meter(__name__).create_counter(
            "dualcast.circuits", description="changes of circuit breakers, by server and new state"
        )

    def failure(self, cb: CircuitBreaker, exc: BaseException) -> None:
        """Called after each failed call."""
        if cb.current_state == "closed":
            _log.warning("server unavailable", server=cb.name, error=repr(exc)[:200])

    def state_change(
        self,
        cb: CircuitBreaker,
        old_state: CircuitBreakerState | None,  # noqa: ARG002 - the library's
        new_state: CircuitBreakerState,
    ) -> None:
        """Called when the breaker opens, half-opens or closes."""
        if new_state.name == "open":
            self.opened_at[str(cb.name)] = time.monotonic()
        self._changes.add(1, {"server": str(cb.name), "state": new_state.name})
        if new_state.name == "closed":
            _log.info("server available again", server=cb.name)


def _is_no_failure(error: Any) -> bool:
    """Whether an error is no sign that the server is unavailable: it responded, or the call was cancelled."""
    return not isinstance(error, ConnectionError | TimeoutError)
