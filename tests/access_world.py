"""API keys, tokens and a token issuer for tests of authentication and authorisation."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt import PyJWK
from jwt.algorithms import RSAAlgorithm
from sqlalchemy import Engine

from dualcast.adapters.store import keys
from dualcast.adapters.store.engine import open_store
from dualcast.adapters.store.migrate import migrate
from services.access.audit import AuditTrail
from services.access.control import Access
from services.access.keys import KeyRing
from services.access.limits import RateLimits
from services.access.settings import AccessSettings
from services.access.tokens import PublishedKeys, Tokens
from services.circuits import Circuits
from tests import services_world as world

ISSUER, AUDIENCE = "https://issuer.example", "dualcast"
SECRET = "Zk3-shared-with-the-issuer-9fQ2wX7"
NO_REDIS = "redis://127.0.0.1:1/0"


@cache
def private_key(name: str = "first") -> RSAPrivateKey:
    """Return the issuer's private key with a name; generated once per name."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_pem(name: str = "first") -> bytes:
    """Return the public key as PEM."""
    return private_key(name).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def published(*names: str) -> list[PyJWK]:
    """Return the issuer's key set."""
    return [PyJWK(public_jwk(name)) for name in names]


def public_jwk(name: str) -> dict[str, Any]:
    """Return one public key in JWK format."""
    fields = RSAAlgorithm.to_jwk(private_key(name).public_key(), as_dict=True)
    return {**fields, "kid": name, "use": "sig", "alg": "RS256"}


def claims(**more: Any) -> dict[str, Any]:
    """Return the claims of a valid token with changes; None removes a claim."""
    now = int(time.time())
    required = {"iss": ISSUER, "aud": AUDIENCE, "sub": "desk", "iat": now, "exp": now + 600}
    all_claims = required | {"role": "reader", "access": ["de_load/DE"]} | more
    return {name: value for name, value in all_claims.items() if value is not None}


def token(name: str = "first", **more: Any) -> str:
    """Return a token signed with one of the issuer's keys."""
    return jwt.encode(claims(**more), private_key(name), algorithm="RS256", headers={"kid": name})


def token_settings(**more: Any) -> AccessSettings:
    """Return settings that verify tokens by the issuer's published keys, or by a shared secret."""
    where = more if "jwt_secret" in more else {"jwt_jwks_url": f"{ISSUER}/keys", **more}
    return AccessSettings(_env_file=None, jwt_issuer=ISSUER, jwt_audience=AUDIENCE, **where)


def tokens() -> Tokens:
    """Return a token verifier for an issuer that publishes one key."""
    return Tokens(token_settings(), PublishedKeys("", lambda: published("first")))


@contextmanager
def store(folder: Path) -> Iterator[Engine]:
    """Yield an SQLite store with all tables."""
    (folder / "store.db").write_bytes(_migrated())
    engine = open_store(world.settings(world.frozen(), state_dir=folder))
    yield engine
    engine.dispose()


@cache
def _migrated() -> bytes:
    """Return the file content of an SQLite store with empty tables; created once."""
    with TemporaryDirectory() as folder:
        engine = open_store(world.settings(world.frozen(), state_dir=Path(folder)))
        migrate(engine)
        engine.dispose()
        return (Path(folder) / "store.db").read_bytes()


def key(engine: Engine, role: str = "reader", *access: str, days: int | None = None) -> str:
    """Create an API key in the store and return it; by default it grants access to everything."""
    expires_at = world.NOW + timedelta(days=days) if days is not None else None
    return keys.create(engine, "desk", role, access or ["*/*"], world.NOW, expires_at)[0]


def key_ring(engine: Engine, circuits: Circuits | None = None) -> KeyRing:
    """Return the key ring of a store."""
    return KeyRing(engine, world.frozen(), circuits or Circuits(), lambda: None)


def access(engine: Engine, rate: str = "1000/minute", redis: str = NO_REDIS, **more: Any) -> Access:
    """Return the access control of a service with keys, tokens, rate limits and an audit trail."""
    ring, trail = key_ring(engine), AuditTrail(engine)
    ring.read()
    fields: dict[str, Any] = {"keys": ring, "tokens": tokens(), "trail": trail, "background": [ring, trail]}
    return Access(service="da-svc", clock=world.frozen(), limits=RateLimits(redis, rate, Circuits()), **(fields | more))
