"""Run an ASGI application on uvicorn with limits on what a client may send. All HTTP servers of the platform use it."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from pathlib import Path
from threading import Lock
from typing import Any

import uvicorn
from cachetools import TTLCache
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from websockets.http11 import MAX_LINE_LENGTH, MAX_NUM_HEADERS

LARGEST_HEAD = 32 * 1024
# Clients of our WebSockets have nothing to send.
_LARGEST_FRAME = 4096
# A refused client is read for this time: an earlier close would reset the connection before it has read the answer.
_LINGER_SECONDS = 1.0
# Nobody reads the body of these, and uvicorn keeps 64 kB of it at most.
_WITHOUT_BODY = ("GET", "HEAD")
_REPORTED_SECONDS, _MOST_KINDS = 60, 1000
_SHOWN_FRAMES = 5
_reported: TTLCache[tuple[str, ...], None] = TTLCache(_MOST_KINDS, _REPORTED_SECONDS)
_reporting = Lock()
_TOO_LARGE_HEAD = f"the request line and the headers have more than {LARGEST_HEAD} bytes"


def config(
    app: ASGIApp, host: str, port: int, *, largest_body: int, proxies: Sequence[str] = (), **more: Any
) -> uvicorn.Config:
    """The configuration of a server: bodies of ``largest_body`` bytes at most, limited headers and frames.

    X-Forwarded-For and X-Forwarded-Proto are accepted from ``proxies``, addresses or networks, and from no one else.
    ``more``: further options of uvicorn.
    """
    configuration = uvicorn.Config(
        BodyLimit(app, largest_body),
        host=host,
        port=port,
        http=LimitedProtocol,
        ws_max_size=_LARGEST_FRAME,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        access_log=False,
        server_header=False,
        **more,
    )
    for name in ("uvicorn.error", "asyncio"):
        logging.getLogger(name).addFilter(_one_line)
    return configuration


def run(configuration: uvicorn.Config) -> None:
    """Serve until SIGTERM or SIGINT. Exits with status 3 if the server cannot start."""
    server = uvicorn.Server(configuration)
    server.run()
    if not server.started:
        sys.exit(3)


def report_of(error: BaseException) -> str | None:
    """An unexpected error in one line; None if one of its type and origin was reported in the last minute.

    A client can cause the same error many times a second, and each traceback has a hundred lines.
    """
    frames = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
    kind = type(error).__name__, *frames[-1:]
    with _reporting:
        if kind in _reported:
            return None
        _reported[kind] = None
    return " < ".join([" ".join(repr(error).split())[:300], *frames[: -_SHOWN_FRAMES - 1 : -1]])


def _one_line(record: logging.LogRecord) -> bool:
    """A filter of log records that replaces a traceback by ``report_of``."""
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        report = report_of(error)
        record.msg, record.args, record.exc_info = f"{record.getMessage().strip()}: {report}", (), None
        return report is not None
    return True


class BodyLimit(RequestBodyLimitMiddleware):
    """Middleware that answers 413 to large bodies: by their declared length before anything else, else as they arrive.

    In the second case the application receives an HTTPException with status 413.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and _declared_length(scope) > self.max_body_size:
            detail = f"the body has more than {self.max_body_size} bytes"
            await _send_problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, scope, send)
        elif scope["type"] == "http" and scope["method"] in _WITHOUT_BODY:
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


class LimitedProtocol(HttpToolsProtocol):
    """HTTP/1.1 with a limit on the headers, which uvicorn has for its slower parser only.

    ``_pending`` counts the bytes since the parser last completed headers or a part of a body: unfinished headers and
    trailers, which it keeps in memory.
    """

    _pending = 0
    _is_refused = False

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived."""
        if self._is_refused:
            return
        self._pending += len(data)
        super().data_received(data)
        if self._pending > LARGEST_HEAD and not self.transport.is_closing():
            self._refuse()

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._pending = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._pending = 0
        super().on_body(body)

    def handle_websocket_upgrade(self) -> None:
        """Refuse headers that the WebSocket library would not answer."""
        too_many = len(self.headers) > MAX_NUM_HEADERS
        longest = max(len(name) + len(value) for name, value in [(b"GET  HTTP/1.1", self.url), *self.headers])
        if too_many or longest > MAX_LINE_LENGTH - 4 or _head_size(self.url, self.headers) > LARGEST_HEAD:
            self._refuse()
        else:
            super().handle_websocket_upgrade()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        url = cycle.scope["raw_path"] + cycle.scope["query_string"]
        refusing: Any = _answer_431
        too_large = _head_size(url, cycle.scope["headers"]) > LARGEST_HEAD
        super()._start_asgi_task(cycle, refusing if too_large else app)

    def _refuse(self) -> None:
        """Answer 431 before the application is called, or close the connection if it is answering already."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()
            return
        self._is_refused = True
        body = _problem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, _TOO_LARGE_HEAD, "")
        lines = [b"HTTP/1.1 431 Request Header Fields Too Large", *(b": ".join(pair) for pair in _headers(body))]
        self.transport.write(b"\r\n".join([*lines, b"", body]))
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)


def _head_size(url: bytes, headers: Iterable[tuple[bytes, bytes]]) -> int:
    return len(url) + sum(len(name) + len(value) + 4 for name, value in headers)


def _declared_length(scope: Scope) -> int:
    declared: bytes = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(declared)  # the parser has checked that it is a number


async def _answer_431(scope: Scope, _: Receive, send: Send) -> None:
    await _send_problem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, _TOO_LARGE_HEAD, scope, send)


async def _send_problem(status: HTTPStatus, detail: str, scope: Scope, send: Send) -> None:
    body = _problem(status, detail, scope["path"])
    await send({"type": "http.response.start", "status": status, "headers": _headers(body)})
    await send({"type": "http.response.body", "body": body})


def _problem(status: HTTPStatus, detail: str, path: str) -> bytes:
    """The body of an error response (RFC 9457)."""
    fields = {"type": "about:blank", "title": status.phrase, "status": status, "detail": detail, "instance": path}
    return json.dumps(fields).encode()


def _headers(body: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
