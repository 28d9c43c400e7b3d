"""What da-svc is built from, and how routes ask for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from dualcast.catalogue import UseCase
from dualcast.settings import Settings
from dualcast.timegrid import Clock
from services.access.control import Access
from services.api.application import away
from services.api.encoding import EncodedCurves
from services.background import Background
from services.book.archive import Archive, Level
from services.book.curves import CurveBook
from services.book.feeds import Feed
from services.book.scores import Scores
from services.book.series import SeriesBook
from services.circuits import Circuits


@dataclass
class DayAheadDeps:
    """Everything that da-svc holds. Books are filled by the background work, or by a test."""

    settings: Settings
    catalogue: Mapping[str, UseCase]
    curves: CurveBook
    series: SeriesBook
    access: Access = field(default_factory=Access.everybody)
    circuits: Circuits = field(default_factory=Circuits)
    archive_levels: Sequence[Level] = ()
    feeds: Sequence[Feed] = ()
    background: Sequence[Background] = ()

    def __post_init__(self) -> None:
        self.encoded = EncodedCurves()
        self.archive = Archive(self.catalogue, self.circuits, self.archive_levels)
        self.scores = Scores(self.curves, self.series)

    @property
    def clock(self) -> Clock:
        """The one clock."""
        return self.settings.clock

    def missing(self) -> tuple[bool, list[str]]:
        """Ready as soon as there is a curve to serve; what is away is named all the same."""
        able = self.curves.has_day_ahead()
        return able, ([] if able else ["no day-ahead curve yet"]) + away(self)


async def _deps(request: Request) -> DayAheadDeps:
    deps = request.app.state.deps
    assert isinstance(deps, DayAheadDeps)
    return deps


Deps = Annotated[DayAheadDeps, Depends(_deps)]
