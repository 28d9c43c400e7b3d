"""JSON Web Tokens of one issuer. The kind of key that is configured sets the algorithms, never a token."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jwt
import structlog
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
# Tokens that name keys which nobody has must not make us ask the issuer each time.
_PAUSE_SECONDS = 30.0
_SOUND_SECONDS = 60.0
_MOST_SOUND = 10_000
# What a hostile token makes the parsers raise, besides what they mean to.
_MALFORMED = (PyJWTError, ValueError, TypeError, OverflowError, RecursionError)
_log = structlog.get_logger(__name__)


class KeySource(Protocol):
    """Where the keys are that tokens are checked with."""

    algorithms: Sequence[str]

    async def key(self, token: str) -> PyJWK | bytes:
        """The key that a token names. Raises PyJWTError where there is none, ProblemError 503 where none is known."""


class SharedKey:
    """The one key that the issuer shares with us."""

    algorithms: Sequence[str] = SYMMETRIC

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    async def key(self, _: str) -> PyJWK | bytes:
        """That key."""
        return self._secret


class PublishedKeys:
    """The public keys that the issuer publishes, read anew now and then, and where a token names an unknown one."""

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
            text = "the keys of the issuer of tokens cannot be read now"
            raise ProblemError(503, "issuer-away", text, {"Retry-After": f"{_PAUSE_SECONDS:.0f}"})
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
                _log.warning("keys of the issuer not read", error=str(error)[:300])
                return
            self._keys = {key.key_id: key for key in found if key.key_id and key.key_type in ("RSA", "EC")}
            self._read_at = time.monotonic()


class Tokens:
    """Knows callers by their tokens."""

    def __init__(self, settings: AccessSettings, source: KeySource | None = None) -> None:
        secret = settings.jwt_secret.get_secret_value()
        self._source = source or (SharedKey(secret) if secret else PublishedKeys(settings.jwt_jwks_url))
        self._issuer = settings.jwt_issuer
        self._audience = settings.jwt_audience
        self._sound: dict[str, tuple[Identity, float]] = {}

    async def identity(self, token: str) -> Identity:
        """Whose token this is. Raises ProblemError 401 where it is not sound, 403 where it permits nothing.

        One that was found sound is not looked at again for a minute, if it lives that long: signatures are costly.
        """
        known = self._sound.get(token)
        if known is not None and time.time() < known[1]:
            return known[0]
        identity, expires_at = await self._verify(token)
        if len(self._sound) >= _MOST_SOUND:
            self._sound.clear()
        self._sound[token] = identity, min(expires_at, time.time() + _SOUND_SECONDS)
        return identity

    async def _verify(self, token: str) -> tuple[Identity, float]:
        try:
            claims = await self._claims(token)
        except _MALFORMED as error:
            _log.info("token refused", why=type(error).__name__)
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
            raise jwt.DecodeError("longer than any token of ours")
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
            raise jwt.InvalidTokenError("lives longer than an hour")
        subject = claims["sub"]
        if not (isinstance(subject, str) and 0 < len(subject) <= 128 and subject.isprintable()):
            raise jwt.InvalidTokenError("names nobody")
        return claims


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError("not a list of texts")
    return value
