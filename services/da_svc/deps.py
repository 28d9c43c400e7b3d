"""The parts that da-svc is built from, and the dependency that passes them to a route."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends

from services.api.deps import ServiceDeps, service_deps
from services.book.scores import Scores
from services.da_svc.answer_cache import AnswerCache


@dataclass
class DayAheadDeps(ServiceDeps):
    """The parts of da-svc."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.scores = Scores(self.curves, self.series)
        self.answers = AnswerCache(self.curves, self.clock)

    def can_forecast(self) -> tuple[bool, list[str]]:
        """Whether any day-ahead curve is in memory."""
        ready = self.curves.has_day_ahead()
        return ready, [] if ready else ["no day-ahead curve yet"]


Deps = Annotated[DayAheadDeps, Depends(service_deps)]
