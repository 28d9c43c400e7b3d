"""Run an application on uvicorn: address, TLS, tracing, and shutdown within five seconds."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

from dualcast.adapters import http_server

_GRACE_SECONDS = 3
# How often threads release the interpreter lock. With the default of 5 ms, requests wait for threads that score.
_SWITCH_SECONDS = 0.0002


@dataclass(frozen=True)
class Tls:
    """The files of the certificate with its chain and of its key; both empty: plain HTTP."""

    certificate: str = ""
    key: str = ""


def serve(
    app: FastAPI, address: str, tls: Tls, *, largest_body: int, traced: bool, proxies: Sequence[str] = ()
) -> None:
    """Serve until SIGTERM or SIGINT. ``largest_body``, in bytes, and ``proxies``: see ``http_server.config``.

    Raises ValueError if the address has no port or the wrong scheme.
    """
    parts = urlsplit(address)
    if parts.hostname is None or parts.port is None:
        raise ValueError(f"{address!r} is no http://host:port")
    if parts.scheme != ("https" if tls.certificate else "http"):
        raise ValueError(f"{address!r}: https:// requires DUALCAST_TLS_CERTIFICATE, and the reverse")
    if traced:  # tracing takes a quarter of a request's time
        FastAPIInstrumentor.instrument_app(app, excluded_urls="health", exclude_spans=["receive", "send"])
    sys.setswitchinterval(_SWITCH_SECONDS)
    http_server.run(
        http_server.config(
            app,
            parts.hostname,
            parts.port,
            largest_body=largest_body,
            proxies=proxies,
            ssl_certfile=tls.certificate or None,
            ssl_keyfile=tls.key or None,
            log_level="warning",
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )
