"""HTTP/1.1 on uvicorn with the checks of every request that need no application: sizes, host, origin."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from websockets.http11 import MAX_LINE_LENGTH, MAX_NUM_HEADERS

from dualcast.adapters.http.hosts import Hosts, changes_state
from dualcast.adapters.http.problems import Refusal

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
_OTHER_ORIGIN = Refusal(HTTPStatus.FORBIDDEN, "pages of this Origin may not do this; see DUALCAST_ALLOWED_ORIGINS")


class Config(uvicorn.Config):
    """The configuration of a server and the names that it has."""

    hosts: Hosts


class LimitedProtocol(HttpToolsProtocol):
    """HTTP/1.1 with a limit on the headers, which uvicorn has for its slower parser only, and known hosts only.

    ``_pending`` counts the bytes since the parser last completed headers or a part of a body: unfinished headers and
    trailers, which it keeps in memory.
    """

    config: Config
    _pending = 0
    _is_refused = False

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived."""
        if self._is_refused:
            return
        self._pending += len(data)
        super().data_received(data)
        if self._pending > LARGEST_HEAD and not self.transport.is_closing():
            self._refuse(_TOO_LARGE)

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._pending = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._pending = 0
        super().on_body(body)

    def handle_websocket_upgrade(self) -> None:
        """Refuse headers that the WebSocket library would not answer, and other hosts and origins."""
        too_many = len(self.headers) > MAX_NUM_HEADERS
        longest = max(len(name) + len(value) for name, value in [(b"GET  HTTP/1.1", self.url), *self.headers])
        refusal = self._refusal(len(self.url), self.headers, changing=True)
        if too_many or longest > MAX_LINE_LENGTH - 4:
            refusal = _TOO_LARGE
        if refusal is not None:
            self._refuse(refusal)
        else:
            super().handle_websocket_upgrade()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        scope = cycle.scope
        size, changing = len(scope["raw_path"]) + len(scope["query_string"]), changes_state(scope["method"])
        refusing: Any = self._refusal(size, scope["headers"], changing=changing)
        super()._start_asgi_task(cycle, refusing or app)

    def _refusal(self, size: int, headers: Iterable[tuple[bytes, bytes]], *, changing: bool) -> Refusal | None:
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
        if not self.config.hosts.has(host, self.server[0] if self.server else ""):
            return _OTHER_HOST
        if changing and origin and not self.config.hosts.admits(origin, host):
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
