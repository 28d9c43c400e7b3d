"""API keys in the store: create, list and revoke. The store has only the digest of a key."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, insert, select, update

from dualcast.adapters.store.engine import transaction
from dualcast.adapters.store.tables import ApiKeyRow

PREFIX = "dck"
_ID_BYTES = 6
_SECRET_BYTES = 32


@dataclass(frozen=True)
class StoredKey:
    """A stored key. ``access`` are its grants, ``digest`` is SHA-256 in hexadecimal."""

    id: str
    name: str
    digest: str
    role: str
    access: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    def is_live(self, now: datetime) -> bool:
        """Whether the key is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class UnknownKeyError(LookupError):
    """There is no key with this id that is not revoked."""


def create(
    engine: Engine, name: str, role: str, access: Sequence[str], now: datetime, expires_at: datetime | None = None
) -> tuple[str, StoredKey]:
    """Create a key and return its text, which is not stored, and its stored form. Raises StoreUnavailableError."""
    key_id = secrets.token_hex(_ID_BYTES)
    key = f"{PREFIX}_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    stored = StoredKey(key_id, name, digest(key), role, tuple(access), now, expires_at, None)
    with transaction(engine) as connection:
        values = {field: getattr(stored, field) for field in stored.__dataclass_fields__}
        connection.execute(insert(ApiKeyRow).values(values | {"access": list(stored.access)}))
    return key, stored


def list_keys(engine: Engine) -> list[StoredKey]:
    """All keys, oldest first, including revoked ones. Raises StoreUnavailableError."""
    table = ApiKeyRow.__table__
    with transaction(engine) as connection:
        rows = connection.execute(select(table).order_by(table.c.created_at, table.c.id)).mappings().all()
    return [StoredKey(**{**row, "access": tuple(row["access"])}) for row in rows]


def revoke(engine: Engine, key_id: str, now: datetime) -> None:
    """Revoke a key. Raises UnknownKeyError where there is no such key or it is revoked, StoreUnavailableError."""
    table = ApiKeyRow.__table__
    ended = update(ApiKeyRow).where(table.c.id == key_id, table.c.revoked_at.is_(None)).values(revoked_at=now)
    with transaction(engine) as connection:
        if connection.execute(ended).rowcount == 0:
            raise UnknownKeyError(f"there is no key {key_id[:64]!r} that could be revoked")


def digest(key: str) -> str:
    """SHA-256 of a key, hexadecimal."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def id_of(key: str) -> str | None:
    """The id within a key; None where it has not the form of one.

    >>> id_of("dck_0123456789ab_x"), id_of("0123456789ab"), id_of("")
    ('0123456789ab', None, None)
    """
    prefix, _, rest = key.partition("_")
    key_id, _, secret = rest.partition("_")
    return key_id if prefix == PREFIX and key_id and secret else None
