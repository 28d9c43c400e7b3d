"""What the applications of both services share: lifetime, health, parameters, and the look-up of what is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Protocol

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.telemetry import TelemetryConfig
from starlette.responses import Response

from dualcast import __version__
from dualcast.catalogue import Entity, UseCase, path_identifier
from dualcast.settings import Settings
from dualcast.timegrid import Clock
from services.access.call import current
from services.access.control import Access, check_access
from services.access.gate import Gate
from services.api.encoding import EncodedCurves
from services.api.schemas import CircuitStatus, ClockStatus, FeedStatus, Health, UseCaseStatus
from services.background import Background
from services.book.archive import Archive, ArchiveUnavailableError, NoCurveError
from services.book.curves import CurveBook
from services.book.feeds import Feed
from services.book.series import SeriesBook
from services.circuits import Circuits
from services.http.problems import MEDIA_TYPE, ProblemError, documented, install, problem_response
from services.http.security_headers import SecurityHeaders

# Spans that nobody collects cost more than most answers do: ``serve`` adds them where a collector is named.
_NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False}


class SharedDeps(Protocol):
    """What every service is built from."""

    settings: Settings
    catalogue: Mapping[str, UseCase]
    access: Access
    curves: CurveBook
    series: SeriesBook
    archive: Archive
    encoded: EncodedCurves
    circuits: Circuits
    feeds: Sequence[Feed]
    background: Sequence[Background]

    @property
    def clock(self) -> Clock:
        """The one clock."""

    def missing(self) -> tuple[bool, list[str]]:
        """Whether the service can answer, and what is not there."""


def application(deps: SharedDeps, title: str, summary: str) -> FastAPI:
    """An application that answers errors as problems, tells its health, and runs its background work."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        workers = [*deps.access.background, *deps.background]
        for worker in workers:
            worker.start()
        yield
        await asyncio.gather(*(asyncio.to_thread(worker.stop) for worker in workers))

    app = FastAPI(
        title=title,
        summary=summary,
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
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


def api_router() -> APIRouter:
    """A router of the API: what the gate leaves to routes comes before their own work."""
    documents = documented(401, 403, 404, 422, 429)
    return APIRouter(prefix="/api/v1", dependencies=[Depends(check_access)], responses=documents)


def find(deps: SharedDeps, use_case: str | None, entity_id: str) -> tuple[UseCase, Entity]:
    """The use case and the entity that a request names. Raises ProblemError 403 or 404."""
    found = find_use_case(deps, use_case)
    return found, entity_of(found, entity_id)


def entity_of(use_case: UseCase, entity_id: str) -> Entity:
    """An entity of a use case: what all that is said of one goes through. Raises ProblemError 403 or 404."""
    current().permit(use_case.use_case, entity_id)
    try:
        return use_case.entity(entity_id)
    except KeyError:
        known = ", ".join(entity.id for entity in visible_entities(use_case)[:10])
        text = f"{entity_id[:64]!r} is not an entity of {use_case.use_case}; it has {known}"
        raise ProblemError(404, "unknown-entity", text) from None


def find_use_case(deps: SharedDeps, use_case: str | None) -> UseCase:
    """The use case that a request names, or the service's own. Raises ProblemError 403 or 404."""
    name = use_case or deps.settings.use_case
    current().permit_use_case(name)
    if name not in deps.catalogue:
        text = f"{name[:64]!r} is not a use case; there are {', '.join(visible_use_cases(deps))}"
        raise ProblemError(404, "unknown-use-case", text)
    return deps.catalogue[name]


def visible_entities(use_case: UseCase) -> list[Entity]:
    """The entities of a use case that the caller may see: what every list is made of."""
    identity = current().identity
    return [entity for entity in use_case.entities if identity.sees(use_case.use_case, entity.id)]


def visible_use_cases(deps: SharedDeps) -> list[str]:
    """The use cases of which the caller may see something."""
    return list(filter(current().identity.sees_use_case, deps.catalogue))


def find_intraday_case(deps: SharedDeps, use_case: str | None) -> UseCase:
    """As ``find_use_case``, one that has an intraday path. Raises ProblemError 404."""
    found = find_use_case(deps, use_case)
    if "intraday" not in found.paths:
        raise ProblemError(404, "no-such-path", f"{found.use_case} is not forecast intraday")
    return found


async def _shared_deps(request: Request) -> SharedDeps:
    deps: SharedDeps = request.app.state.deps
    return deps


Shared = Annotated[SharedDeps, Depends(_shared_deps)]


def clock_status(clock: Clock) -> ClockStatus:
    """What the clock shows."""
    now = clock.now()
    running = not clock.is_replay or now not in (clock.start, clock.until)
    return ClockStatus(
        now=now, replay=clock.is_replay, start=clock.start, until=clock.until, speed=clock.speed, running=running
    )


def use_case_status(use_case: UseCase) -> UseCaseStatus:
    """What a use case is about."""
    return UseCaseStatus(
        use_case=use_case.use_case,
        title=use_case.title,
        target=use_case.target,
        reference=use_case.reference,
        unit=use_case.unit,
        interval={path_identifier(path): use_case.part(path).interval for path in use_case.paths},
    )


def away(deps: SharedDeps) -> list[str]:
    """The feeds and servers that are not there, in words."""
    feeds = [f"{feed.topic} is {feed.state}" for feed in deps.feeds if feed.state != "following"]
    return feeds + deps.circuits.missing()


def circuit_status(circuits: Circuits) -> list[CircuitStatus]:
    """The state of the circuit breakers."""
    return [CircuitStatus(server=circuit.server, failed=circuit.failed) for circuit in circuits.status()]


def feed_status(feeds: Sequence[Feed]) -> list[FeedStatus]:
    """How far the feeds are."""
    return [
        FeedStatus(topic=f.topic, state=f.state, records=f.records, undecodable=f.undecodable, refused=f.refused)
        for f in feeds
    ]


def archive_problem(error: NoCurveError | ArchiveUnavailableError) -> ProblemError:
    """The problem that reports an error of the archive: 404 or 503."""
    if isinstance(error, NoCurveError):
        return ProblemError(404, "no-forecast", str(error))
    return ProblemError(503, "archive-away", str(error), {"Retry-After": "5"})


def _archive_failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, NoCurveError | ArchiveUnavailableError)
    problem = archive_problem(error)
    return problem_response(request.url.path, problem.status, problem.detail, problem.kind, problem.headers)


def _health(deps: SharedDeps) -> APIRouter:
    router = APIRouter(prefix="/health", tags=["health"])

    @router.get("/live")
    async def live() -> dict[str, str]:
        """Whether the process answers."""
        return {"status": "alive"}

    @router.get("/ready", response_model=Health, responses={503: {"content": {MEDIA_TYPE: {}}}})
    async def ready(request: Request) -> Response | Health:
        """Whether forecasts can be served, and what is missing."""
        able, missing = deps.missing()
        if able:
            return Health(ready=True, missing=missing)
        return problem_response(request.url.path, 503, "; ".join(missing), "not-ready", {"Retry-After": "2"})

    return router
