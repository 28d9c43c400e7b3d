"""The access control of one service, and the dependencies of its routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from dualcast.adapters.store.engine import Engine, StoreUnavailableError
from dualcast.adapters.store.migrate import make_ready
from dualcast.settings import Settings
from dualcast.timegrid import Clock
from services.access.audit import AuditTrail
from services.access.call import current
from services.access.identity import Identity
from services.access.keys import KeyRing, unauthenticated
from services.access.limits import RateLimits
from services.access.settings import is_loopback, load_access_settings, refuse_weak_secrets
from services.access.tokens import Tokens
from services.background import Background
from services.circuits import Circuits

_BEARER = "bearer "


@dataclass
class Access:
    """Who may call a service. ``may_be_open``: all callers, while there are no keys and tokens are not configured."""

    service: str = ""
    clock: Clock = field(default_factory=Clock)
    limits: RateLimits | None = None
    keys: KeyRing | None = None
    tokens: Tokens | None = None
    trail: AuditTrail | None = None
    may_be_open: bool = False
    background: Sequence[Background] = field(default=())

    @classmethod
    def everybody(cls) -> Self:
        """Access for all callers, without an audit trail."""
        return cls(may_be_open=True)

    @classmethod
    def from_settings(cls, settings: Settings, engine: Engine, service: str, address: str, circuits: Circuits) -> Self:
        """Access to a service that listens at ``address``.

        If the store is unavailable at the start, tokens are accepted at once and keys later.
        Raises WeakSecretError or UnmigratedStoreError if the service must not start.
        """
        access = load_access_settings(settings)
        refuse_weak_secrets(settings, access)
        memory = settings.state_dir / "had-access-keys"
        keys = KeyRing(engine, settings.clock, circuits, lambda: make_ready(engine, settings), memory)
        with suppress(StoreUnavailableError):
            keys.read()
        trail = AuditTrail(engine)
        return cls(
            service=service,
            clock=settings.clock,
            limits=RateLimits(settings.redis, access.rate_limit, circuits, settings.names),
            keys=keys,
            tokens=Tokens(access) if access.jwt_issuer else None,
            trail=trail,
            may_be_open=settings.environment == "demo" and is_loopback(urlsplit(address).hostname or ""),
            background=[keys, trail],
        )

    @property
    def is_open(self) -> bool:
        """Whether all callers are accepted without authentication."""
        return self.may_be_open and self.tokens is None and (self.keys is None or self.keys.is_empty)

    async def identify(self, headers: Mapping[str, str]) -> Identity:
        """The caller. Raises ProblemError 401, or 403 for a token without role or grants."""
        key, authorization = headers.get("x-api-key"), headers.get("authorization", "")
        if key and not authorization and self.keys is not None:
            return self.keys.identity(key)
        if not key and authorization.lower().startswith(_BEARER) and self.tokens is not None:
            return await self.tokens.identity(authorization[len(_BEARER) :].strip())
        taken = " or ".join(
            text
            for text, source in (
                ("a key in X-API-Key", self.keys),
                ("a token in Authorization: Bearer", self.tokens),
            )
            if source is not None
        )
        raise unauthenticated(f"send {taken}, and one of them only")


async def check_access(connection: HTTPConnection) -> None:
    """Check whether the caller may see the entity in the path. Dependency of all API routes, before any validation.

    Raises ProblemError 403, and LookupError if the gate is not installed.
    """
    call = current()
    entity_id = connection.path_params.get("entity_id")
    if entity_id is not None:
        use_case = connection.query_params.get("use_case") or connection.app.state.deps.settings.use_case
        call.permit(use_case, entity_id)


async def check_again(connection: HTTPConnection, use_case: str, entity_id: str) -> None:
    """Check again whether the caller of an open connection may see an entity: keys are revoked, and tokens expire.

    Raises ProblemError 401 or 403.
    """
    access: Access = connection.app.state.deps.access
    call = current()
    if not access.is_open:
        call.identity = await access.identify(connection.headers)
    call.permit(use_case, entity_id)
