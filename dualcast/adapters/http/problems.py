"""Error responses (RFC 9457) of the server itself, as a call of an application and as bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from starlette.types import Receive, Scope, Send


@dataclass(frozen=True)
class Refusal:
    """An answer that is given in place of the application's, after which the connection is closed."""

    status: HTTPStatus
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        """Answer one request, as an ASGI application."""
        body, lines = self._body(scope["path"]), self._lines(scope["path"])
        headers = [(name.encode(), value.encode()) for name, value in lines.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def response(self, path: str, *, close: bool = True) -> bytes:
        """The whole response, for a request that reaches no application."""
        lines = self._lines(path)
        if not close:
            del lines["connection"]
        head = [f"HTTP/1.1 {self.status} {self.status.phrase}", *(f"{name}: {value}" for name, value in lines.items())]
        return "\r\n".join([*head, "", ""]).encode() + self._body(path)

    def _lines(self, path: str) -> dict[str, str]:
        length = str(len(self._body(path)))
        return {
            "content-type": "application/problem+json",
            "content-length": length,
            "connection": "close",
            **self.headers,
        }

    def _body(self, path: str) -> bytes:
        fields = {"type": "about:blank", "title": self.status.phrase, "status": self.status}
        return json.dumps({**fields, "detail": self.detail, "instance": path}).encode()
