"""The parts that both services are built from, and the dependency that passes them to a route."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import HTTPConnection

from dualcast.catalogue import UseCase
from dualcast.settings import Settings
from dualcast.timegrid import Clock
from services.access.control import Access
from services.api.encoding import EncodedCurves
from services.background import Background
from services.book.archive import Archive, Level
from services.book.curves import CurveCache
from services.book.feeds import Feed
from services.book.series import SeriesCache
from services.circuits import Circuits


@dataclass
class ServiceDeps(ABC):
    """The parts of every service. ``feeds`` and ``background``, or a test, fill the caches."""

    settings: Settings
    catalogue: Mapping[str, UseCase]
    curves: CurveCache
    series: SeriesCache
    access: Access = field(default_factory=Access.everybody, kw_only=True)
    circuits: Circuits = field(default_factory=Circuits, kw_only=True)
    archive_levels: Sequence[Level] = field(default=(), kw_only=True)
    feeds: Sequence[Feed[Any]] = field(default=(), kw_only=True)
    background: Sequence[Background] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        self.archive = Archive(self.catalogue, self.circuits, self.archive_levels)
        self.encoded = EncodedCurves()

    @property
    def clock(self) -> Clock:
        """The clock of the settings."""
        return self.settings.clock

    def readiness(self) -> tuple[bool, list[str]]:
        """Whether the service can return a forecast, and each missing part as a sentence."""
        ready, missing = self.can_forecast()
        feeds = [f"{feed.topic} is {feed.state}" for feed in self.feeds if feed.state != "following"]
        return ready, missing + feeds + self.circuits.missing()

    @abstractmethod
    def can_forecast(self) -> tuple[bool, list[str]]:
        """Whether the service can return a forecast, and which of its own parts are missing."""


async def service_deps(connection: HTTPConnection) -> ServiceDeps:
    """The parts of the service that runs the route."""
    deps: ServiceDeps = connection.app.state.deps
    return deps


Deps = Annotated[ServiceDeps, Depends(service_deps)]
