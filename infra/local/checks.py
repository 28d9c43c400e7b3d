"""Health checks: each asks one server one cheap question, within a few seconds, and raises where the answer is bad."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from http.client import HTTPException

Check = Callable[[str], None]

_TIMEOUT_SECONDS = 3.0


class NotReadyError(RuntimeError):
    """A server does not answer as it should; the message says how."""


def kafka(address: str) -> None:
    """A broker answers a metadata request."""
    from dualcast.adapters.kafka.health import request_metadata  # noqa: PLC0415 - slow, and used by the supervisor alone

    try:
        request_metadata(address, _TIMEOUT_SECONDS)
    except ConnectionError as error:
        raise NotReadyError(str(error)) from error


def redis(address: str) -> None:
    """Redis answers PING; while it loads its file it does not count as ready."""
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
    """A check that GETs ``path`` below an address and wants a 200."""

    def check(address: str) -> None:
        url = address.rstrip("/") + path
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310 - http://, ours
                response.read()
        except (OSError, ValueError, HTTPException) as error:  # a status of 400 and more is an OSError here
            raise NotReadyError(f"{url}: {error}") from error

    return check
