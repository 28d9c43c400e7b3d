"""``POST /api/v1/observations``: accepts a whole batch once Kafka has acknowledged it; errors are RFC 9457."""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from dualcast.adapters.http_server import report_of
from dualcast.adapters.kafka.connection import OUTAGES, DeliveryError
from dualcast.adapters.kafka.producer import RecordProducer
from dualcast.records import ObservationBatch, Topic
from streaming.ingest.push.checks import Fault, FaultyError, Rules, SentBatch, parse

LARGEST_BODY = 4 * 2**20  # the server refuses larger ones
_PATH = "/api/v1/observations"
_ACK_SECONDS = 10.0
_OUTAGES = (DeliveryError, *OUTAGES)
_log = structlog.get_logger(__name__)

Deliver = Callable[[Sequence[ObservationBatch]], None]


class NotDeliveredError(RuntimeError):
    """Kafka did not acknowledge in time; the batch may or may not arrive, and may be sent again."""


class Accepted(BaseModel):
    """The counts of an accepted batch."""

    observations: int
    messages: int


class Problem(BaseModel):
    """An error, with the observations that caused it."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str = _PATH
    faults: list[Fault] = []


class KafkaDelivery:
    """Sends batches and waits for the broker; one request at a time, so that each gets its own result."""

    def __init__(self, producer: RecordProducer) -> None:
        self._producer = producer
        self._lock = threading.Lock()

    def __call__(self, batches: Sequence[ObservationBatch]) -> None:
        """Raises NotDeliveredError."""
        with self._lock:
            try:
                for batch in batches:
                    newest = max(o.published_at for o in batch.observations)
                    self._producer.send(Topic.OBSERVATIONS, batch.entity_id, batch, newest)
                self._producer.flush(_ACK_SECONDS)
            except _OUTAGES as error:
                raise NotDeliveredError(str(error)) from error


def create_app(rules: Rules, deliver: Deliver, key: str, now: Callable[[], datetime]) -> FastAPI:
    """Build the application. Every sender must pass ``key`` as ``X-API-Key``."""
    app = FastAPI(
        title="dualcast: observations", version="1", docs_url=None, redoc_url=None
    )  # their scripts come from another host
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(Exception, _unexpected)

    @app.post(
        _PATH,
        status_code=202,
        responses=_documented_problems(),
        openapi_extra=_documented_body(),
        summary="Send observations",
    )
    async def push(request: Request) -> Accepted:
        _authorise(request, key)
        body = await _body(request)
        try:
            sent = await run_in_threadpool(parse, body)
            batches = await run_in_threadpool(rules.batches, sent, now())
        except FaultyError as error:
            raise _problem(422, "observations are invalid; the whole batch was refused", error.faults) from error
        except ValueError as error:
            raise _problem(400, f"not JSON: {error}") from error
        try:
            await run_in_threadpool(deliver, batches)
        except NotDeliveredError as error:
            _log.error("not delivered", error=str(error))
            detail = "Kafka has not acknowledged the batch; send it again, duplicates are ignored"
            raise _problem(503, detail, headers={"Retry-After": "5"}) from error
        return Accepted(observations=len(sent.observations), messages=len(batches))

    @app.get("/health", summary="Whether the server runs", include_in_schema=False)
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    return app


def _authorise(request: Request, key: str) -> None:
    shown = request.headers.get("x-api-key", "")
    if not hmac.compare_digest(shown.encode(errors="replace"), key.encode()):
        raise _problem(401, "X-API-Key is missing or wrong", headers={"WWW-Authenticate": "ApiKey"})


async def _body(request: Request) -> bytes:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise _problem(415, "send application/json")
    return await request.body()


class _ProblemError(HTTPException):
    def __init__(self, status: int, detail: str, faults: Sequence[Fault], headers: dict[str, str] | None) -> None:
        super().__init__(status, detail, headers)
        self.faults = list(faults)


def _problem(
    status: int, detail: str, faults: Sequence[Fault] = (), headers: dict[str, str] | None = None
) -> _ProblemError:
    return _ProblemError(status, detail, faults, headers)


async def _http_problem(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    faults = error.faults if isinstance(error, _ProblemError) else []
    return _answer(request, error.status_code, str(error.detail), faults, error.headers)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    if report := report_of(error):
        _log.error("request failed", error=report)
    return _answer(request, 500, "internal error; the log of the server has the details")


def _answer(
    request: Request, status: int, detail: str, faults: Sequence[Fault] = (), headers: Any = None
) -> JSONResponse:
    problem = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=request.url.path,
        faults=list(faults),
    )
    return JSONResponse(problem.model_dump(), status, headers, "application/problem+json")


def _inlined(model: type[BaseModel], listed: str) -> dict[str, Any]:
    """The schema of a model, with the item schema of one of its lists inlined."""
    schema = model.model_json_schema()
    (item,) = schema.pop("$defs").values()
    schema["properties"][listed]["items"] = item
    return schema


def _documented_body() -> dict[str, Any]:
    content = {"application/json": {"schema": _inlined(SentBatch, "observations")}}
    key = {"name": "X-API-Key", "in": "header", "required": True, "schema": {"type": "string"}}
    return {"requestBody": {"required": True, "content": content}, "parameters": [key]}


def _documented_problems() -> dict[int | str, dict[str, Any]]:
    content = {"application/problem+json": {"schema": _inlined(Problem, "faults")}}
    return {s: {"description": HTTPStatus(s).phrase, "content": content} for s in (400, 401, 413, 415, 422, 503)}
