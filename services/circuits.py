"""Circuit breakers: a server that has just failed is left alone for some seconds, so that requests do not wait for it.

One for each server, shared by all that a process asks of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import structlog
from opentelemetry import metrics
from pybreaker import CircuitBreaker, CircuitBreakerError, CircuitBreakerListener, CircuitBreakerState

from services.api.schemas import CircuitStatus

Server = Literal["redis", "store", "registry"]
# How long a server that has failed is left alone. A caller waits for it at most once in that time.
_PAUSE_SECONDS: dict[Server, float] = {"redis": 2.0, "store": 5.0, "registry": 5.0}
_log = structlog.get_logger(__name__)


class LeftAloneError(ConnectionError):
    """The server failed a moment ago, and was not asked."""


class Circuits:
    """The breakers of one process. Safe to share between threads and tasks."""

    def __init__(self) -> None:
        told = [_Told()]
        self._breakers = {
            server: CircuitBreaker(
                fail_max=1,
                reset_timeout=seconds,
                exclude=[_says_nothing],
                listeners=told,
                name=server,
                throw_new_error_on_trip=False,
            )
            for server, seconds in _PAUSE_SECONDS.items()
        }

    @contextmanager
    def asking(self, server: Server) -> Iterator[None]:
        """Around each call of a server, which has a timeout of its own and raises ConnectionError or TimeoutError.

        Raises LeftAloneError where it is not to be asked now.
        """
        try:
            with self._breakers[server].calling():
                yield
        except CircuitBreakerError as error:
            raise LeftAloneError(f"{server} failed a moment ago") from error

    def status(self) -> list[CircuitStatus]:
        """How the last call of each server went."""
        return [
            CircuitStatus(server=server, failed=breaker.current_state != "closed")
            for server, breaker in self._breakers.items()
        ]

    def missing(self) -> list[str]:
        """The servers that did not answer when they were asked last, in words."""
        return [f"{circuit.server} does not answer" for circuit in self.status() if circuit.failed]


class _Told(CircuitBreakerListener):
    """Counts and logs what changes."""

    def __init__(self) -> None:
        self._changes = metrics.get_meter(__name__).create_counter(
            "dualcast.circuits", description="changes of circuit breakers, by server and what they became"
        )

    def failure(self, cb: CircuitBreaker, exc: BaseException) -> None:
        """A call has failed."""
        if cb.current_state == "closed":
            _log.warning("server away", server=cb.name, error=repr(exc)[:200])

    def state_change(
        self,
        cb: CircuitBreaker,
        old_state: CircuitBreakerState | None,  # noqa: ARG002 - the library's
        new_state: CircuitBreakerState,
    ) -> None:
        """It opened, or tries again, or closed."""
        self._changes.add(1, {"server": str(cb.name), "state": new_state.name})
        if new_state.name == "closed":
            _log.info("server back", server=cb.name)


def _says_nothing(error: Any) -> bool:
    """Whether an error says nothing of the server: it answered, or nobody waited for it."""
    return not isinstance(error, ConnectionError | TimeoutError)
