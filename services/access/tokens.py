"""JSON Web Tokens of one issuer. The configured kind of key determines the algorithms, never a token."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jwt
import structlog
from cachetools import TLRUCache
from jwt import PyJWK, PyJWKClient
from jwt.exceptions import PyJWTError

from services.access.identity import Identity
from services.access.keys import unauthenticated
from services.access.settings import AccessSettings
from services.http.problems import ProblemError

ASYMMETRIC, SYMMETRIC = ("RS256", "ES256"), ("HS256",)
_LONGEST_LIFE_SECONDS = 3600
_LEEWAY_SECONDS = 30
_LONGEST_TOKEN = 8192
_FETCH_SECONDS = 5
_FRESH_SECONDS = 300.0
# Tokens with unknown key ids must not cause a request to the issuer each time.
_PAUSE_SECONDS = 30.0
_VERIFIED_SECONDS = 60.0
# The verified tokens that are remembered, in bytes. A grant takes about this much in the identity of its token.
_MOST_BYTES = 64 * 2**20
_GRANT_BYTES = 250
# Includes what parsers raise for hostile tokens.
_MALFORMED = (PyJWTError, ValueError, TypeError, OverflowError, RecursionError)
_log = structlog.get_logger(__name__)


class KeySource(Protocol):
    """A source of the keys that verify tokens."""

    algorithms: Sequence[str]

    async def key(self, token: str) -> PyJWK | bytes:
        """The key that a token names. Raises PyJWTError if it does not exist, ProblemError 503 if no keys are known."""


class SharedKey:
    """The key that the issuer shares with the service."""

    algorithms: Sequence[str] = SYMMETRIC

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    async def key(self, _: str) -> PyJWK | bytes:
        """The shared key."""
        return self._secret


class PublishedKeys:
    """The public keys of the issuer. They are read every five minutes, and when a token names an unknown key."""

    algorithms: Sequence[str] = ASYMMETRIC

    def __init__(self, url: str, fetch: Callable[[], list[PyJWK]] | None = None) -> None:
        self._fetch = fetch or (
            lambda: PyJWKClient(url, cache_jwk_set=False, timeout=_FETCH_SECONDS).get_jwk_set().keys
        )
        self._keys: dict[str, PyJWK] = {}
        self._read_at = self._tried_at = float("-inf")
        self._lock = asyncio.Lock()

    async def key(self, token: str) -> PyJWK | bytes:
        """See KeySource."""
        kid = jwt.get_unverified_header(token).get("kid")
        now = time.monotonic()
        stale = now - self._read_at > _FRESH_SECONDS and not self._lock.locked()
        if stale or kid not in self._keys:
            await self._refresh(now)
        if not self._keys:
            text = "the keys of the token issuer cannot be read at present"
            raise ProblemError(503, "issuer-unavailable", text, {"Retry-After": f"{_PAUSE_SECONDS:.0f}"})
        if kid not in self._keys:
            raise jwt.InvalidKeyError("the token names a key that its issuer has not published")
        return self._keys[kid]

    async def _refresh(self, now: float) -> None:
        async with self._lock:
            if now - self._tried_at < _PAUSE_SECONDS or now < self._read_at:
                return
            self._tried_at = time.monotonic()
            try:
                found = await asyncio.to_thread(self._fetch)
            except (PyJWTError, OSError, ValueError) as error:
                _log.warning("issuer keys not read", error=str(error)[:300])
                return
            self._keys = {key.key_id: key for key in found if key.key_id and key.key_type in ("RSA", "EC")}
            self._read_at = time.monotonic()


class Tokens:
    """Identifies callers by their tokens."""

    def __init__(self, settings: AccessSettings, source: KeySource | None = None) -> None:
        secret = settings.jwt_secret.get_secret_value()
        self._source = source or (SharedKey(secret) if secret else PublishedKeys(settings.jwt_jwks_url))
        self._issuer = settings.jwt_issuer
        self._audience = settings.jwt_audience
        self._verified: TLRUCache[str, tuple[Identity, float]] = TLRUCache(
            _MOST_BYTES,
            ttu=lambda _token, found, now: min(found[1], now + _VERIFIED_SECONDS),
            timer=lambda: time.time(),  # noqa: PLW0108 - looked up at each call, so that a test can replace it
            getsizeof=lambda found: _LONGEST_TOKEN + _GRANT_BYTES * len(found[0].grants),
        )

    async def identity(self, token: str) -> Identity:
        """The caller of a token. Raises ProblemError 401 if it is invalid, 403 if it has no role or grants.

        A valid token is verified again after a minute at the earliest, because verifying a signature is slow.
        """
        known = self._verified.get(token)
        if known is None:
            known = self._verified[token] = await self._verify(token)
        return known[0]

    async def _verify(self, token: str) -> tuple[Identity, float]:
        try:
            claims = await self._claims(token)
        except _MALFORMED as error:
            _log.info("token refused", reason=type(error).__name__)
            text = "the token has expired" if isinstance(error, jwt.ExpiredSignatureError) else "the token is not valid"
            raise unauthenticated(text) from error
        try:
            identity = Identity.of(f"jwt:{claims['sub']}", claims["role"], _texts(claims["access"]))
        except (KeyError, ValueError) as error:
            text = "the token needs a 'role' and a list of grants, use_case/entity, as 'access'"
            raise ProblemError(403, "not-permitted", text) from error
        return identity, float(claims["exp"])

    async def _claims(self, token: str) -> dict[str, Any]:
        if len(token) > _LONGEST_TOKEN:
            raise jwt.DecodeError("too long")
        claims: dict[str, Any] = jwt.decode(
            token,
            await self._source.key(token),
            algorithms=list(self._source.algorithms),
            issuer=self._issuer,
            audience=self._audience,
            leeway=_LEEWAY_SECONDS,
            options={"require": ["exp", "iat", "iss", "aud", "sub"]},
        )
        if not 0 < float(claims["exp"]) - float(claims["iat"]) <= _LONGEST_LIFE_SECONDS:
            raise jwt.InvalidTokenError("valid for more than an hour")
        subject = claims["sub"]
        if not (isinstance(subject, str) and 0 < len(subject) <= 128 and subject.isprintable()):
            raise jwt.InvalidTokenError("has no usable subject")
        return claims


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError("not a list of texts")
    return value
