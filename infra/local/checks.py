"""Health checks: each sends one cheap request to a server, with a timeout, and raises NotReadyError on failure."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from http.client import HTTPException

Check = Callable[[str], None]

_TIMEOUT_SECONDS = 3.0


class NotReadyError(RuntimeError):
    """A server does not pass its health check. The message gives the reason."""


def kafka(address: str) -> None:
    """Check that a Kafka broker responds to a metadata request."""
    from dualcast.adapters.kafka.health import request_metadata  # noqa: PLC0415 - slow import, used only by the supervisor

    try:
        request_metadata(address, _TIMEOUT_SECONDS)
    except ConnectionError as error:
        raise NotReadyError(str(error)) from error


def redis(address: str) -> None:
    """Check that Redis responds to PING. Redis is not ready while it loads its data file."""
    from redis import Redis  # noqa: PLC0415 - as above
    from redis.exceptions import RedisError  # noqa: PLC0415

    client = Redis.from_url(address, socket_timeout=_TIMEOUT_SECONDS, socket_connect_timeout=_TIMEOUT_SECONDS)
    try:
        client.ping()
    except RedisError as error:
        raise NotReadyError(str(error)) from error
    finally:
        client.close()


def http(path: str) -> Check:
    """Return a check that requests ``path`` below an address and fails on any HTTP error status."""

    def check(address: str) -> None:
        url = address.rstrip("/") + path
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310 - an http:// address
                response.read()
        except (OSError, ValueError, HTTPException) as error:  # urllib raises an OSError for a status of 400 or more
            raise NotReadyError(f"{url}: {error}") from error

    return check
