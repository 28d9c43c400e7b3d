"""Start and stop of a service: telemetry, the port of the settings, and an end within five seconds."""

from __future__ import annotations

import sys
from urllib.parse import urlsplit

import structlog
import uvicorn
from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

from dualcast.settings import Settings

_GRACE_SECONDS = 3
# Threads that score or read topics hand the interpreter over this often; at the usual 5 ms requests wait for them.
_SWITCH_SECONDS = 0.0002
_log = structlog.get_logger(__name__)


def serve(app: FastAPI, settings: Settings, address: str) -> None:
    """Serve until SIGTERM or SIGINT. Raises ValueError where the address has no port."""
    parts = urlsplit(address)
    if parts.hostname is None or parts.port is None:
        raise ValueError(f"{address!r} is no http://host:port")
    if settings.environment == "demo" and not _is_loopback(parts.hostname):
        _log.warning("the demo is open to everybody who reaches this address", address=address)
    if settings.otlp_endpoint:  # without a collector it would cost a quarter of a request's time for nothing
        FastAPIInstrumentor.instrument_app(app, excluded_urls="health", exclude_spans=["receive", "send"])
    sys.setswitchinterval(_SWITCH_SECONDS)
    uvicorn.run(
        app,
        host=parts.hostname,
        port=parts.port,
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host.startswith("127.") or host == "::1"
