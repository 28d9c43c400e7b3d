"""HTTP/1.1 on uvicorn with the checks that need no application: sizes, host, origin, times, and the load."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import MAX_LINE_LENGTH, MAX_NUM_HEADERS

from dualcast.adapters.http.hosts import Hosts, changes_state
from dualcast.adapters.http.problems import Refusal
from dualcast.adapters.http.settings import HttpSettings
from dualcast.adapters.http.traffic import Traffic

LARGEST_HEAD = 32 * 1024
# A refused client is read for this time: an earlier close would reset the connection before it has read the answer.
_LINGER_SECONDS = 1.0
_TOO_LARGE = Refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"the request line and the headers have more than {LARGEST_HEAD} bytes",
)
_NO_HOST = Refusal(HTTPStatus.BAD_REQUEST, "a request needs one Host header")
_OTHER_HOST = Refusal(
    HTTPStatus.MISDIRECTED_REQUEST, "this server does not have the name in Host; see DUALCAST_ALLOWED_HOSTS"
)
_LATE = Refusal(HTTPStatus.REQUEST_TIMEOUT, "the request has not arrived in time")
_BUSY = Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests are being processed", {"Retry-After": "1"})
CROWDED = Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections are open", {"Retry-After": "5"})
# Answered at once also under overload.
_HEALTH = "/health"
_OTHER_ORIGIN = Refusal(HTTPStatus.FORBIDDEN, "pages of this Origin may not do this; see DUALCAST_ALLOWED_ORIGINS")


class Config(uvicorn.Config):
    """The configuration of a server, its names and its traffic."""

    settings: HttpSettings
    hosts: Hosts
    traffic: Traffic


class CountedSocket(WebSocketsSansIOProtocol):
    """A WebSocket that counts as a connection."""

    config: Config
    address = ""

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        super().connection_lost(exc)
        self.config.traffic.closed(self.address)


class LimitedProtocol(HttpToolsProtocol):
    """HTTP/1.1 with a limit on the headers, which uvicorn has for its slower parser only, and the other checks.

    ``_pending`` counts the bytes since the parser last completed headers or a part of a body: unfinished headers and
    trailers, which it keeps in memory. ``_since`` is when the client began to send what is unfinished; 0: nothing is.
    """

    config: Config
    address = ""
    _pending = 0
    _is_refused = False
    _since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by the event loop."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._traffic = self.config.traffic
        self._traffic.watch(self, self.loop)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        super().connection_lost(exc)
        self._traffic.unwatch(self)
        self._traffic.closed(self.address)

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived."""
        if self._is_refused:
            return
        self._pending += len(data)
        super().data_received(data)
        if self._pending or self._has_open_body:
            self._since = self._since or self.loop.time()
            if self._pending > LARGEST_HEAD and not self.transport.is_closing():
                self._refuse(_TOO_LARGE)
        else:
            self._since = 0.0

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._pending, self._since = 0, 0.0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._pending = 0
        super().on_body(body)

    def handle_websocket_upgrade(self) -> None:
        """Refuse headers that the WebSocket library would not answer, other hosts, and under overload all."""
        too_many = len(self.headers) > MAX_NUM_HEADERS
        longest = max(len(name) + len(value) for name, value in [(b"GET  HTTP/1.1", self.url), *self.headers])
        refusal = self._refusal(len(self.url), self.headers, "WEBSOCKET")
        if too_many or longest > MAX_LINE_LENGTH - 4:
            refusal = _TOO_LARGE
        if refusal is None and self._traffic.is_full():
            refusal = _BUSY
        if refusal is not None:
            self._refuse(refusal)
        else:
            self._traffic.unwatch(self)
            super().handle_websocket_upgrade()
            upgraded = self.transport.get_protocol()
            assert isinstance(upgraded, CountedSocket)
            upgraded.address = self.address

    def begin(self, cycle: RequestResponseCycle, app: Any) -> None:
        """See Connection."""
        task = self.loop.create_task(cycle.run_asgi(app))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        self._traffic.begun(task, cycle)

    def shed(self, cycle: RequestResponseCycle) -> None:
        """See Connection."""
        keep = cycle.keep_alive and not cycle.more_body
        response = _BUSY.response(cycle.scope["path"], close=not keep)
        head, end, _ = response.partition(b"\r\n\r\n")
        self.transport.write(head + end if cycle.scope["method"] == "HEAD" else response)
        cycle.response_started = cycle.response_complete = True
        if keep:
            self.on_response_complete()
        else:
            self.transport.close()

    def close_if_late(self, now: float) -> None:
        """See Connection."""
        settings, has_body = self.config.settings, self._has_open_body
        if self._is_refused or not self._since:
            return
        if now - self._since <= (settings.body_seconds if has_body else settings.head_seconds):
            return
        if not has_body and not self._pending:
            self.transport.close()  # nothing was asked
            return
        if has_body:
            # the application reads that the client has gone, and its answer is dropped
            self.cycle.disconnected = True
            self.cycle.response_complete = not self.cycle.response_started
            self.cycle.message_event.set()
        self._refuse(_LATE)

    @property
    def _has_open_body(self) -> bool:
        return self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        scope, traffic = cycle.scope, self._traffic
        size = len(scope["raw_path"]) + len(scope["query_string"])
        refusing: Any = self._refusal(size, scope["headers"], scope["method"])
        if refusing is not None or scope["path"].startswith(_HEALTH):
            super()._start_asgi_task(cycle, refusing or app)
        elif traffic.is_free or not traffic.is_full():
            self.begin(cycle, app)
        else:
            traffic.wait(self, cycle, app)

    def _refusal(self, size: int, headers: Iterable[tuple[bytes, bytes]], method: str) -> Refusal | None:
        """Why a request with these headers is refused; ``size`` is that of its path."""
        hosts, origin, host = 0, b"", b""
        for name, value in headers:
            size += len(name) + len(value) + 4
            if name == b"host":
                hosts, host = hosts + 1, value
            elif name == b"origin":
                origin = value
        if size > LARGEST_HEAD:
            return _TOO_LARGE
        if hosts != 1:
            return _NO_HOST
        known = self.config.hosts
        if host not in known.usual and not known.has(host, self.server[0] if self.server else ""):
            return _OTHER_HOST
        if origin and changes_state(method) and not known.admits(origin, host):
            return _OTHER_ORIGIN
        return None

    def _refuse(self, refusal: Refusal) -> None:
        """Answer before the application is called, or close the connection if it is answering already."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()
            return
        self._is_refused = True
        self.transport.write(refusal.response(""))
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)
