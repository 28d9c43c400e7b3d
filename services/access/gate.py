"""The gate before the API: identifies the caller, applies the rate limit and records the call, before any routing."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from opentelemetry import propagate, trace
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dualcast.adapters.store.tables import AuditRow
from services.access.call import Call, begin
from services.access.identity import EVERYBODY, Identity, Role
from services.access.limits import Verdict
from services.http.problems import SOCKET_CODE, ProblemError, problem_response

if TYPE_CHECKING:
    from services.access.control import Access

_GUARDED = "/api/"
_OPERATIONS = "/api/v1/operations"
_READING = ("GET", "HEAD", "OPTIONS")
# Texts that look like a key or a token are not recorded, in case a client sends one in place of a name.
_SECRETS = re.compile(r"dck_[0-9a-f]*_?[\w-]*|eyJ[\w.-]+")
# The status with which a server refuses a WebSocket that is closed before it is opened.
_FORBIDDEN = 403
_UNKNOWN = "unknown"  # an address that a proxy reported and that is none
_NOBODY = Identity("nobody", Role.READER, ())


def role_for(scope: Scope) -> Role:
    """The role that a call requires: reader to read, operator for operations, predictor for the rest."""
    if scope["path"].startswith(_OPERATIONS):
        return Role.OPERATOR
    if scope["type"] == "websocket" or scope["method"] in _READING:
        return Role.READER
    return Role.PREDICTOR


class Gate:
    """Middleware that admits calls of the API or answers 401, 403 or 429. It does not check the page and health."""

    def __init__(self, app: ASGIApp, access: Callable[[], Access]) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if scope["type"] not in ("http", "websocket") or not scope["path"].startswith(_GUARDED):
            await self._app(scope, receive, send)
            return
        await _Passage(self._access(), scope, send).serve(self._app, receive)


def _redacted(text: str) -> str:
    """Without secrets and without control characters."""
    shown = _SECRETS.sub("***", text)
    return shown if shown.isprintable() else "".join(c if c.isprintable() else "?" for c in shown)


def _decision(
    status: int, use_case: str | None, entities: Sequence[str], model_versions: Sequence[str]
) -> dict[str, Any]:
    """The fields of an audit entry that differ between the decisions of one call."""
    return {
        "use_case": use_case and _redacted(use_case),
        "entities": [_redacted(entity) for entity in entities],
        "status": status,
        "model_versions": list(model_versions),
    }


def document_gate(openapi: dict[str, Any]) -> None:
    """Add the security schemes of the gate to an OpenAPI document."""
    openapi.setdefault("components", {})["securitySchemes"] = {
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    }
    for path, operations in openapi.get("paths", {}).items():
        if path.startswith(_GUARDED):
            for operation in operations.values():
                operation["security"] = [{"key": []}, {"token": []}]


class _Passage:
    """One call that passes the gate."""

    def __init__(self, access: Access, scope: Scope, send: Send) -> None:
        self._access = access
        self._scope = scope
        self._send = send
        self._status = 500
        self._verdict: Verdict | None = None
        self._call = Call(access.clock.now(), _NOBODY)

    async def serve(self, app: ASGIApp, receive: Receive) -> None:
        started = time.perf_counter()
        try:
            await self._admit()
        except ProblemError as error:
            path = self._scope["path"]
            refusal = problem_response(path, error.status, error.detail, error.kind, error.headers)
            await refusal(self._scope, receive, self._answer)
        else:
            begin(self._call)
            await app(self._scope, receive, self._answer)
        finally:
            self._record(1e3 * (time.perf_counter() - started))

    async def _admit(self) -> None:
        """Raises ProblemError 401, 429 or 403."""
        if self._access.is_open:
            self._call.identity = EVERYBODY
            return
        try:
            self._call.identity = await self._access.identify(Headers(scope=self._scope))
        except ProblemError:
            await self._count(f"address:{self._address}")
            raise
        await self._count(self._call.identity.name)
        needed = role_for(self._scope)
        if not self._call.identity.role.includes(needed):
            raise ProblemError(403, "not-permitted", f"this requires the role {needed}")

    async def _count(self, caller: str) -> None:
        if self._access.limits is None:
            return
        self._verdict = verdict = await self._access.limits.hit(caller)
        if not verdict.allowed:
            text = f"more than {verdict.limit} calls; retry in {max(verdict.reset_seconds, 1)} s"
            raise ProblemError(429, "too-many-requests", text, verdict.headers)

    async def _answer(self, message: Message) -> None:
        if message["type"].endswith("http.response.start"):
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            if not self._access.is_open:
                headers.add_vary_header("Authorization, X-API-Key")
            if self._verdict is not None:
                headers.update(self._verdict.headers)
        elif message["type"] == "websocket.accept":
            self._status = 101
        elif message["type"] == "websocket.close":
            self._note_close(message.get("code", 0))
        await self._send(message)

    def _note_close(self, code: int) -> None:
        """A WebSocket that is closed because of a problem has the status of the problem."""
        if code > SOCKET_CODE:
            self._status = code - SOCKET_CODE
        elif self._status != 101:
            self._status = _FORBIDDEN

    def _record(self, latency_ms: float) -> None:
        call, trail = self._call, self._access.trail
        if trail is None:
            return
        who = {"at": call.at, "identity": call.identity.name, "trace_id": self._trace_id()}
        entry = {
            "service": self._access.service,
            "address": self._address,
            "method": self._scope.get("method", "WEBSOCKET")[:16],
            "path": _redacted(self._scope["path"])[:256],
            "latency_ms": round(latency_ms, 3),
        }
        for decision in self._decisions():
            trail.add((AuditRow, who | entry | decision))
        for forecast, fallback in call.computed:
            trail.add_computed(forecast, fallback, who)

    def _decisions(self) -> list[dict[str, Any]]:
        """What was answered, and each refusal among the parts of a call whose other parts were answered."""
        call, refused = self._call, self._call.refused
        if self._status >= 400:
            entities = [*call.entities, *(entity for refusal in refused for entity in refusal.entities)]
            return [_decision(self._status, call.use_case, entities, call.model_versions)]
        answered = _decision(self._status, call.use_case, call.entities, call.model_versions)
        return [answered, *(_decision(_FORBIDDEN, r.use_case, r.entities, []) for r in refused)]

    @property
    def _address(self) -> str:
        """The caller's address in its shortest form, without the zone of IPv6."""
        client = self._scope.get("client")
        try:
            return str(ip_address(client[0].partition("%")[0])) if client else _UNKNOWN
        except ValueError:
            return _UNKNOWN

    def _trace_id(self) -> str:
        context = trace.get_current_span().get_span_context()
        headers = Headers(scope=self._scope)
        if not context.is_valid and "traceparent" in headers:
            context = trace.get_current_span(propagate.extract(headers)).get_span_context()
        return f"{context.trace_id:032x}" if context.is_valid else ""
