"""What id-svc is built from, and how routes ask for it."""

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
from services.book.series import SeriesBook
from services.circuits import Circuits
from services.id_svc.batching import Batcher
from services.id_svc.forecaster import IntradayForecaster
from services.id_svc.model_cache import ModelCache
from services.id_svc.publisher import Publisher
from services.id_svc.shifted_day_ahead import can_shift


@dataclass
class IntradayDeps:
    """Everything that id-svc holds."""

    settings: Settings
    catalogue: Mapping[str, UseCase]
    forecaster: IntradayForecaster
    model_cache: ModelCache
    curves: CurveBook
    series: SeriesBook
    publisher: Publisher | None = None
    access: Access = field(default_factory=Access.everybody)
    circuits: Circuits = field(default_factory=Circuits)
    archive_levels: Sequence[Level] = ()
    feeds: Sequence[Feed] = ()
    background: Sequence[Background] = ()

    def __post_init__(self) -> None:
        self.encoded = EncodedCurves()
        self.archive = Archive(self.catalogue, self.circuits, self.archive_levels)
        self.scoring = Batcher(self.forecaster.on_request)

    @property
    def clock(self) -> Clock:
        """The one clock."""
        return self.settings.clock

    def missing(self) -> tuple[bool, list[str]]:
        """Ready with a model, or with a day-ahead curve to shift; what is away is named all the same."""
        models = self.model_cache.loaded()
        able = bool(models) or self._can_shift()
        return able, ([] if models else ["no model is loaded"]) + away(self)

    def _can_shift(self) -> bool:
        now = self.clock.now()
        mine = [use_case for use_case in self.catalogue.values() if use_case.intraday is not None]
        return any(can_shift(self.curves, use_case, entity, now) for use_case in mine for entity in use_case.entities)


async def _deps(request: Request) -> IntradayDeps:
    deps = request.app.state.deps
    assert isinstance(deps, IntradayDeps)
    return deps


Deps = Annotated[IntradayDeps, Depends(_deps)]
