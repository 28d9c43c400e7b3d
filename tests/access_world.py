"""Keys, tokens and their issuer, for tests of who may ask."""

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
    """A key of the issuer; each name has its own."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_pem(name: str = "first") -> bytes:
    """Its public half, which everybody may read."""
    return private_key(name).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def published(*names: str) -> list[PyJWK]:
    """The issuer's set of keys."""
    return [PyJWK(public_jwk(name)) for name in names]


def public_jwk(name: str) -> dict[str, Any]:
    """One of them as it is published."""
    fields = RSAAlgorithm.to_jwk(private_key(name).public_key(), as_dict=True)
    return {**fields, "kid": name, "use": "sig", "alg": "RS256"}


def claims(**more: Any) -> dict[str, Any]:
    """What a sound token says; None leaves a claim out."""
    now = int(time.time())
    sound = {"iss": ISSUER, "aud": AUDIENCE, "sub": "desk", "iat": now, "exp": now + 600}
    told = sound | {"role": "reader", "access": ["de_load/DE"]} | more
    return {name: value for name, value in told.items() if value is not None}


def token(name: str = "first", **more: Any) -> str:
    """A token of the issuer, signed with one of its keys."""
    return jwt.encode(claims(**more), private_key(name), algorithm="RS256", headers={"kid": name})


def token_settings(**more: Any) -> AccessSettings:
    """The issuer is known by its published keys, or by a shared one."""
    where = more if "jwt_secret" in more else {"jwt_jwks_url": f"{ISSUER}/keys", **more}
    return AccessSettings(_env_file=None, jwt_issuer=ISSUER, jwt_audience=AUDIENCE, **where)


def tokens() -> Tokens:
    """Tokens of an issuer that publishes one key."""
    return Tokens(token_settings(), PublishedKeys("", lambda: published("first")))


@contextmanager
def store(folder: Path) -> Iterator[Engine]:
    """An SQLite store with its tables."""
    (folder / "store.db").write_bytes(_migrated())
    engine = open_store(world.settings(world.frozen(), state_dir=folder))
    yield engine
    engine.dispose()


@cache
def _migrated() -> bytes:
    """A store with tables and nothing in them, made once."""
    with TemporaryDirectory() as folder:
        engine = open_store(world.settings(world.frozen(), state_dir=Path(folder)))
        migrate(engine)
        engine.dispose()
        return (Path(folder) / "store.db").read_bytes()


def key(engine: Engine, role: str = "reader", *access: str, days: int | None = None) -> str:
    """A new key of the store, for everything unless told."""
    expires_at = world.NOW + timedelta(days=days) if days is not None else None
    return keys.create(engine, "desk", role, access or ["*/*"], world.NOW, expires_at)[0]


def key_ring(engine: Engine, circuits: Circuits | None = None) -> KeyRing:
    """The keys of a store that has its tables."""
    return KeyRing(engine, world.frozen(), circuits or Circuits(), lambda: None)


def access(engine: Engine, rate: str = "1000/minute", redis: str = NO_REDIS, **more: Any) -> Access:
    """A service's access with keys, tokens, limits and an audit trail."""
    ring, trail = key_ring(engine), AuditTrail(engine)
    ring.read()
    fields: dict[str, Any] = {"keys": ring, "tokens": tokens(), "trail": trail, "background": [ring, trail]}
    return Access(service="da-svc", clock=world.frozen(), limits=RateLimits(redis, rate, Circuits()), **(fields | more))
