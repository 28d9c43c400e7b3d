"""Who may ask, and what a browser may do with the answer."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Annotated, Self

from fastapi import Request, Security, WebSocket, WebSocketException
from fastapi.security import APIKeyHeader
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dualcast.settings import Settings
from services.shared.problems import ProblemError

_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, description="needed where the service has keys")
# Scripts, styles and data come from here alone. plotly makes two style elements, an empty one, which it fills through
# the CSSOM, and that of its maps (of this very version): their digests let them in. It also sets style attributes.
_STYLES = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' 'sha256-gG0b4ixT/IQUp7JJLbyKcpYcYDjq2Wp8NGv3f+aasqo='"
_POLICY = (
    f"default-src 'none'; script-src 'self'; style-src 'self' {_STYLES}; style-src-attr 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


class OpenServiceError(RuntimeError):
    """A service outside the demo would have been open to everybody."""


class _KeySettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="DUALCAST_", extra="ignore", frozen=True)

    api_keys: SecretStr = Field(SecretStr(""), description="keys that may ask, comma-separated")


class ApiKeys:
    """The keys that may ask, as digests. None at all: everybody may, which only the demo allows."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._digests = [_digest(key) for key in keys]

    @classmethod
    def from_environment(cls, settings: Settings) -> Self:
        """Read ``DUALCAST_API_KEYS``. Raises OpenServiceError where there are none in production."""
        keys = [key.strip() for key in _KeySettings().api_keys.get_secret_value().split(",") if key.strip()]
        if settings.environment == "production" and not keys:
            raise OpenServiceError("DUALCAST_API_KEYS is empty: in production nobody may ask without a key")
        return cls(keys)

    @property
    def required(self) -> bool:
        """Whether a key is needed."""
        return bool(self._digests)

    def accepts(self, key: str | None) -> bool:
        """Whether this key may ask; takes as long for a wrong key as for a right one."""
        if not self._digests:
            return True
        offered = _digest(key or "")
        matches = [hmac.compare_digest(offered, digest) for digest in self._digests]
        return any(matches)


def admits(connection: HTTPConnection) -> bool:
    """Whether whoever is at the other end may ask: the one place that decides, for requests, sockets and memory."""
    keys: ApiKeys = connection.app.state.deps.keys
    return keys.accepts(connection.headers.get(_HEADER.model.name))


async def check_key(request: Request, key: Annotated[str | None, Security(_HEADER)] = None) -> None:
    """Dependency of every API route; async, since FastAPI sends others to a thread. Raises ProblemError 401."""
    del key  # declared for OpenAPI
    if not admits(request):
        raise ProblemError(
            401, "unknown-key", "send a valid key in the X-API-Key header", {"WWW-Authenticate": "X-API-Key"}
        )


async def check_socket(socket: WebSocket) -> None:
    """The same for a WebSocket, which is then refused before it is accepted. Raises WebSocketException."""
    if not admits(socket):
        raise WebSocketException(1008, "send a valid key in the X-API-Key header")


class SecurityHeaders:
    """Adds headers to every response that tell a browser to load nothing from elsewhere."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        await self._app(scope, receive, with_headers)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
