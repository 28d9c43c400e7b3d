"""Errors as RFC 9457 problem details: all error responses are ``application/problem+json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.websockets import WebSocket

from dualcast.adapters.http_server import report_of

MEDIA_TYPE = "application/problem+json"
# A WebSocket is closed because of a problem with this code plus the status of the problem.
SOCKET_CODE = 4000
_MOST_FAULTS = 10
_log = structlog.get_logger(__name__)


class Problem(BaseModel):
    """The body of an error response (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:dualcast:problem:unknown-entity",
                "title": "Unknown entity",
                "status": 404,
                "detail": "'XX' is not an entity of the use case",
                "instance": "/api/v1/forecasts/day-ahead/XX",
            }
        }
    )

    type: str = Field("about:blank", description="kind of problem; 'about:blank' if there is only the status code")
    title: str
    status: int
    detail: str
    instance: str = Field(description="the requested path")


class ProblemError(Exception):
    """An error that is returned as a problem. ``kind`` is the last part of the problem's type."""

    def __init__(self, status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.headers = headers


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI descriptions of the problems with the given status codes."""
    schema = Problem.model_json_schema()
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Install handlers that return every error of an application as a problem."""
    app.add_exception_handler(ProblemError, _known)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(WebSocketRequestValidationError, _invalid_socket)
    app.add_exception_handler(Exception, _unexpected)


def problem_response(
    path: str,
    status: int,
    detail: str,
    kind: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Build the response that contains a problem."""
    return Response(to_json(problem_of(path, status, detail, kind)), status, dict(headers or {}), MEDIA_TYPE)


def problem_of(path: str, status: int, detail: str, kind: str | None = None) -> Problem:
    """Build a problem. ``kind`` is the last part of its type; the title is made from it or from the status code."""
    return Problem(
        type=f"urn:dualcast:problem:{kind}" if kind else "about:blank",
        title=kind.replace("-", " ").capitalize() if kind else HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=path,
    )


def _known(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return problem_response(request.url.path, error.status, error.detail, error.kind, error.headers)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = str(error.detail)
    if error.status_code == 404:
        detail = "no such path; /docs lists all paths"
    return problem_response(request.url.path, error.status_code, detail, headers=error.headers)


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return problem_response(request.url.path, 422, _described(error.errors()), "invalid-request")


async def _invalid_socket(socket: WebSocket, error: Exception) -> None:
    """Refuse to open a WebSocket with a response, instead of opening and closing it."""
    assert isinstance(error, WebSocketRequestValidationError)
    problem = problem_response(socket.url.path, 422, _described(error.errors()), "invalid-request")
    await socket.send_denial_response(problem)


def _described(faults: Sequence[Any]) -> str:
    """The first faults of a request, in a text of limited length."""
    shown = [f"{'.'.join(map(str, fault['loc'][1:]))[:100]}: {fault['msg'][:200]}" for fault in faults[:_MOST_FAULTS]]
    return "; ".join([*shown, *(["..."] if len(faults) > _MOST_FAULTS else [])])


def _unexpected(request: Request, error: Exception) -> Response:
    if report := report_of(error):
        _log.error("request failed", path=request.url.path, error=report)
    return problem_response(request.url.path, 500, "internal error; the log of the service has the details")
