"""The connections and requests of one server: how many there may be, and which wait or are refused.

Requests beyond ``most_in_flight`` wait in the order of their arrival, and are refused after ``queue_seconds``. So a
burst is answered without loss, and under a lasting overload the answers that are given stay fast. Refusing at once
would be worse: clients that retry at once would take the time of the answers.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from dualcast.adapters.http.settings import HttpSettings

_SWEEP_SECONDS = 1.0
_IPV6_PREFIX = 64  # the addresses that one customer of a provider has


class Connection(Protocol):
    """A connection, as its protocol."""

    def begin(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Pass a request to an application."""

    def shed(self, cycle: RequestResponseCycle) -> None:
        """Refuse a request because of overload."""

    def close_if_late(self, now: float) -> None:
        """Refuse a request that has not arrived in time."""


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A request that waits until ``until``, by the clock of the event loop."""

    connection: Connection
    cycle: RequestResponseCycle
    app: Any
    until: float


class Traffic:
    """Belongs to one event loop."""

    def __init__(self, settings: HttpSettings, proxies: Sequence[str]) -> None:
        self._settings = settings
        self._proxies = [ip_network(proxy) for proxy in proxies]
        self._connections: set[Connection] = set()
        self._opened = 0
        self._of_address: Counter[str] = Counter()
        self._active: dict[asyncio.Task[None], RequestResponseCycle] = {}
        self.is_free = True  # quick to read; false may be out of date, see is_full
        self._waiting: deque[Waiting] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._sweeping = False

    def opened(self, address: str) -> bool:
        """Count a connection, unless it is beyond the limits."""
        key = _key(address)
        most, most_of_address = self._settings.connections, self._settings.connections_of_address
        if self._opened >= most or (self._of_address[key] >= most_of_address and not self._is_proxy(address)):
            return False
        self._opened += 1
        self._of_address[key] += 1
        return True

    def closed(self, address: str) -> None:
        """Count the end of a connection that was counted."""
        key = _key(address)
        self._opened -= 1
        self._of_address[key] -= 1
        if not self._of_address[key]:
            del self._of_address[key]

    def watch(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        """Check regularly whether the requests of a connection arrive in time."""
        self._connections.add(connection)
        if not self._sweeping:
            self._sweeping = True
            loop.call_later(_SWEEP_SECONDS, self._sweep, loop)

    def unwatch(self, connection: Connection) -> None:
        """Stop to check a connection."""
        self._connections.discard(connection)

    def is_full(self) -> bool:
        """Whether a request has to wait. Answers that are being sent, such as streams of events, do not count."""
        if len(self._active) >= self._settings.most_in_flight:
            for task in [task for task, cycle in self._active.items() if cycle.response_started]:
                del self._active[task]
        self.is_free = not self._waiting and len(self._active) < self._settings.most_in_flight
        return not self.is_free

    def wait(self, connection: Connection, cycle: RequestResponseCycle, app: Any) -> None:
        """Let a request wait until it can be answered."""
        loop = asyncio.get_running_loop()
        self._waiting.append(Waiting(connection, cycle, app, loop.time() + self._settings.queue_seconds))
        if self._timer is None:
            self._timer = loop.call_later(self._settings.queue_seconds, self._shed, loop)

    def begun(self, task: asyncio.Task[None], cycle: RequestResponseCycle) -> None:
        """Count a request in flight."""
        self._active[task] = cycle
        self.is_free = len(self._active) < self._settings.most_in_flight and not self._waiting
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._active.pop(task, None)
        if self._waiting:
            self._next()

    def _next(self) -> None:
        """Pass requests that wait to their applications."""
        while self._waiting and len(self._active) < self._settings.most_in_flight:
            one = self._waiting.popleft()
            if not one.cycle.disconnected:
                one.connection.begin(one.cycle, one.app)

    def _shed(self, loop: asyncio.AbstractEventLoop) -> None:
        now, self._timer = loop.time(), None
        while self._waiting and self._waiting[0].until <= now:
            one = self._waiting.popleft()
            if not one.cycle.disconnected:
                one.connection.shed(one.cycle)
        if self._waiting:
            self._timer = loop.call_at(self._waiting[0].until, self._shed, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in list(self._connections):
            connection.close_if_late(now)
        self._sweeping = bool(self._connections)
        if self._sweeping:
            loop.call_later(_SWEEP_SECONDS, self._sweep, loop)

    def _is_proxy(self, address: str) -> bool:
        return bool(self._proxies) and any(ip_address(address) in proxy for proxy in self._proxies)


def _key(address: str) -> str:
    """An address of IPv4, or the network of one of IPv6.

    >>> _key("10.0.0.1"), _key("2001:db8:1:2:3::4")
    ('10.0.0.1', '2001:db8:1:2::/64')
    """
    if ":" not in address:
        return address
    return str(ip_network((address.partition("%")[0], _IPV6_PREFIX), strict=False))
