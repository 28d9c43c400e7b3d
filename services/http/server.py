"""Start and stop of a service: telemetry, the port of the settings, TLS, and an end within five seconds."""

from __future__ import annotations

import sys
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

from dualcast.settings import Settings
from services.access.settings import load_access_settings

_GRACE_SECONDS = 3
# Threads that score or read topics hand the interpreter over this often; at the usual 5 ms requests wait for them.
_SWITCH_SECONDS = 0.0002


def serve(app: FastAPI, settings: Settings, address: str) -> None:
    """Serve until SIGTERM or SIGINT. Raises ValueError where the address has no port, or not the scheme it takes."""
    parts, access = urlsplit(address), load_access_settings(settings)
    if parts.hostname is None or parts.port is None:
        raise ValueError(f"{address!r} is no http://host:port")
    if parts.scheme != ("https" if access.tls_certificate else "http"):
        raise ValueError(f"{address!r}: https:// and DUALCAST_TLS_CERTIFICATE go together")
    if settings.otlp_endpoint:  # without a collector it would cost a quarter of a request's time for nothing
        FastAPIInstrumentor.instrument_app(app, excluded_urls="health", exclude_spans=["receive", "send"])
    sys.setswitchinterval(_SWITCH_SECONDS)
    uvicorn.run(
        app,
        host=parts.hostname,
        port=parts.port,
        ssl_certfile=access.tls_certificate or None,
        ssl_keyfile=access.tls_key or None,
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
