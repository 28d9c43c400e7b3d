"""Settings of access control, TLS and limits, from ``DUALCAST_*``, and the check of secrets in production."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Self
from urllib.parse import urlsplit

from limits import parse
from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from dualcast.adapters.store.engine import make_url
from dualcast.settings import Settings

_SHORTEST_SECRET = 32
_SHORTEST_PASSWORD = 12
_WELL_KNOWN = ("change", "default", "dualcast", "example", "password", "placeholder", "postgres", "secret", "redis")


class WeakSecretError(RuntimeError):
    """A service in production was configured with a secret that can be guessed."""


class AccessSettings(BaseSettings):
    """Field ``x`` is read from ``DUALCAST_X``."""

    # an error shows no input: it may be a secret
    model_config = SettingsConfigDict(env_prefix="DUALCAST_", extra="ignore", frozen=True, hide_input_in_errors=True)

    jwt_issuer: str = Field("", description="issuer of the tokens: their 'iss'; empty: tokens are not accepted")
    jwt_audience: str = Field("", description="audience of the tokens: their 'aud'")
    jwt_jwks_url: str = Field("", description="URL of the issuer's public keys, for RS256 or ES256")
    jwt_secret: SecretStr = Field(SecretStr(""), description="alternatively, the key shared with the issuer, for HS256")
    rate_limit: str = Field("600/minute", description="calls of one caller")
    largest_body: int = Field(2**20, ge=1024, description="bytes of a request body; larger ones are refused with 413")
    trusted_proxies: str = Field(
        "", description="addresses or networks, comma-separated, whose X-Forwarded-For is accepted; empty: none"
    )
    tls_certificate: str = Field("", description="file of the certificate and its chain; empty: plain HTTP")
    tls_key: str = Field("", description="file of its key")

    @model_validator(mode="after")
    def _make_sense(self) -> Self:
        parse(self.rate_limit)
        for proxy in self.proxies:
            ip_network(proxy)
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("DUALCAST_TLS_CERTIFICATE and DUALCAST_TLS_KEY must be set together")
        if self.jwt_issuer:
            self._check_tokens()
        elif self.jwt_jwks_url or self.jwt_secret.get_secret_value():
            raise ValueError("DUALCAST_JWT_ISSUER must name the issuer of the tokens")
        return self

    @property
    def proxies(self) -> list[str]:
        """``trusted_proxies`` as a list."""
        return [proxy for text in self.trusted_proxies.split(",") if (proxy := text.strip())]

    def _check_tokens(self) -> None:
        secret = self.jwt_secret.get_secret_value()
        if not self.jwt_audience:
            raise ValueError("DUALCAST_JWT_AUDIENCE must name the audience of the tokens")
        if bool(self.jwt_jwks_url) == bool(secret):
            raise ValueError("tokens need either DUALCAST_JWT_JWKS_URL or DUALCAST_JWT_SECRET, and not both")
        if secret and len(secret.encode()) < _SHORTEST_SECRET:
            raise ValueError(f"DUALCAST_JWT_SECRET must have {_SHORTEST_SECRET} bytes at least")
        parts = urlsplit(self.jwt_jwks_url)
        if secret or parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")):
            return
        raise ValueError("DUALCAST_JWT_JWKS_URL must be https://: over plain HTTP the keys can be replaced")


def load_access_settings(settings: Settings) -> AccessSettings:
    """Read the settings from the environment or else from the embedded stack's ``stack.env``. Raises ValueError."""
    return AccessSettings(_env_file=settings.state_dir / "stack.env")


def refuse_weak_secrets(settings: Settings, access: AccessSettings) -> None:
    """Raise WeakSecretError in production, naming each secret that is missing, short or well known."""
    if settings.environment != "production":
        return
    weak = [name for name, secret, shortest in _secrets(settings, access) if _is_weak(secret, shortest)]
    if weak:
        raise WeakSecretError(
            f"in production no secret may be missing, shorter than {_SHORTEST_PASSWORD} characters or well known: "
            f"see {', '.join(weak)}"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host.

    >>> [is_loopback(host) for host in ("localhost", "127.0.0.2", "::1", "0.0.0.0", "127.example.org")]
    [True, True, True, False, False]
    """
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _secrets(settings: Settings, access: AccessSettings) -> list[tuple[str, str, int]]:
    found = []
    store, redis = make_url(settings.store_url), urlsplit(settings.redis)
    if store.host and not is_loopback(store.host):
        found.append(("DUALCAST_STORE", str(store.password or ""), _SHORTEST_PASSWORD))
    if redis.hostname and not is_loopback(redis.hostname):
        found.append(("DUALCAST_REDIS", redis.password or "", _SHORTEST_PASSWORD))
    if secret := access.jwt_secret.get_secret_value():
        found.append(("DUALCAST_JWT_SECRET", secret, _SHORTEST_SECRET))
    return found


def _is_weak(secret: str, shortest: int) -> bool:
    """Whether a secret is short, little more than a well-known word, or made of few different characters."""
    rest = secret.lower()
    for word in _WELL_KNOWN:
        rest = rest.replace(word, "")
    return len(secret) < shortest or len(rest) < shortest * 3 // 4 or len(set(secret)) < 6
