"""The application that both services are built on: lifetime, access, error handlers and health."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.telemetry import TelemetryConfig
from starlette.responses import Response

from dualcast import __version__
from dualcast.settings import Settings
from services.access.control import check_access
from services.access.gate import Gate
from services.access.settings import load_access_settings
from services.api.answers import archive_problem
from services.api.deps import ServiceDeps
from services.api.schemas.status import Health
from services.book.archive import ArchiveUnavailableError, NoCurveError
from services.http.problems import MEDIA_TYPE, documented, install, problem_response
from services.http.security_headers import SecurityHeaders
from services.http.server import Tls, serve

# Creating spans takes longer than most responses, so ``serve`` enables tracing only if a collector is configured.
_NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False}


def application(deps: ServiceDeps, title: str, summary: str) -> FastAPI:
    """An application without routes of its own: it checks access, returns errors as problems and reports health.

    Background work starts and stops with it.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        workers = [*deps.access.background, *deps.background]
        for worker in workers:
            worker.start()
        yield
        await asyncio.gather(*(asyncio.to_thread(worker.stop) for worker in workers))
        if deps.access.limits is not None:
            await deps.access.limits.close()

    app = FastAPI(
        title=title,
        summary=summary,
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
    )
    app.state.deps = deps
    app.add_middleware(Gate, access=lambda: deps.access)
    app.add_middleware(SecurityHeaders)
    install(app)
    app.add_exception_handler(NoCurveError, _archive_failed)
    app.add_exception_handler(ArchiveUnavailableError, _archive_failed)
    app.include_router(_health(deps))
    return app


def run(app: FastAPI, settings: Settings, address: str) -> None:
    """Serve an application until it is stopped. Raises ValueError for an address that does not fit the settings."""
    access = load_access_settings(settings)
    serve(
        app,
        address,
        Tls(access.tls_certificate, access.tls_key),
        largest_body=access.largest_body,
        proxies=access.proxies,
        traced=bool(settings.otlp_endpoint),
    )


def api_router() -> APIRouter:
    """A router below /api/v1 whose routes check access to the entity in their path first."""
    documents = documented(401, 403, 404, 422, 429)
    return APIRouter(prefix="/api/v1", dependencies=[Depends(check_access)], responses=documents)


def _archive_failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, NoCurveError | ArchiveUnavailableError)
    problem = archive_problem(error)
    return problem_response(request.url.path, problem.status, problem.detail, problem.kind, problem.headers)


def _health(deps: ServiceDeps) -> APIRouter:
    router = APIRouter(prefix="/health", tags=["health"])

    @router.get("/live")
    async def live() -> dict[str, str]:
        """Whether the process responds."""
        return {"status": "alive"}

    @router.get("/ready", response_model=Health, responses={503: {"content": {MEDIA_TYPE: {}}}})
    async def ready(request: Request) -> Response | Health:
        """Whether the service can return forecasts, and which parts are missing."""
        able, missing = deps.readiness()
        if able:
            return Health(ready=True, missing=missing)
        return problem_response(request.url.path, 503, "; ".join(missing), "not-ready", {"Retry-After": "2"})

    return router
