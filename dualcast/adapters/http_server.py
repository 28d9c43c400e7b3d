"""Run an ASGI application on uvicorn with limits on what a client may send. All HTTP servers of the platform use it."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path
from ssl import SSLContext, TLSVersion
from threading import Lock
from typing import Any

import uvicorn
from cachetools import TTLCache
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from dualcast.adapters.http.accepting import Server
from dualcast.adapters.http.hosts import Hosts
from dualcast.adapters.http.problems import Refusal
from dualcast.adapters.http.protocol import Config, CountedSocket
from dualcast.adapters.http.settings import load_http_settings
from dualcast.adapters.http.traffic import Traffic
from dualcast.settings import load_settings

# Clients of our WebSockets have nothing to send.
_LARGEST_FRAME = 4096
# Nobody reads the body of these, and uvicorn keeps 64 kB of it at most.
_WITHOUT_BODY = ("GET", "HEAD")
_REPORTED_SECONDS, _MOST_KINDS = 60, 1000
_SHOWN_FRAMES = 5
# A browser that has used TLS once uses it for a year.
_HSTS = ("Strict-Transport-Security", "max-age=31536000")
_reported: TTLCache[tuple[str, ...], None] = TTLCache(_MOST_KINDS, _REPORTED_SECONDS)
_reporting = Lock()


def config(
    app: ASGIApp, host: str, port: int, *, largest_body: int, proxies: Sequence[str] = (), **more: Any
) -> Config:
    """The configuration of a server: bodies of ``largest_body`` bytes at most, limited headers and frames, known hosts.

    X-Forwarded-For and X-Forwarded-Proto are accepted from ``proxies``, addresses or networks, and from no one else.
    ``more``: further options of uvicorn. With a certificate the server has TLS of the version in the settings.
    """
    settings = load_http_settings(load_settings().state_dir)
    configuration = Config(
        BodyLimit(app, largest_body),
        host=host,
        port=port,
        ws=CountedSocket,
        ws_max_size=_LARGEST_FRAME,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        access_log=False,
        server_header=False,
        headers=[_HSTS] if more.get("ssl_certfile") else [],
        ssl_context_factory=partial(_tls, settings.lowest_tls) if more.get("ssl_certfile") else None,
        **more,
    )
    configuration.settings, configuration.traffic = settings, Traffic(settings, proxies)
    configuration.hosts = Hosts(host, port, settings.hosts, settings.origins)
    for name in ("uvicorn.error", "asyncio"):
        logging.getLogger(name).addFilter(_one_line)
    return configuration


def run(configuration: Config) -> None:
    """Serve until SIGTERM or SIGINT. Exits with status 3 if the server cannot start."""
    server = Server(configuration)
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


def _tls(lowest: str, _: uvicorn.Config, default: Callable[[], SSLContext]) -> SSLContext:
    context = default()
    context.minimum_version = TLSVersion.TLSv1_3 if lowest == "1.3" else TLSVersion.TLSv1_2
    return context


class BodyLimit(RequestBodyLimitMiddleware):
    """Middleware that answers 413 to large bodies: by their declared length before anything else, else as they arrive.

    In the second case the application receives an HTTPException with status 413.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and _declared_length(scope) > self.max_body_size:
            detail = f"the body has more than {self.max_body_size} bytes"
            await Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)(scope, receive, send)
        elif scope["type"] == "http" and scope["method"] in _WITHOUT_BODY:
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def _declared_length(scope: Scope) -> int:
    declared: bytes = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(declared)  # the parser has checked that it is a number
