"""The age of the inputs of an intraday curve, by variable."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from dualcast.catalogue import Entity, UseCase
from dualcast.features.plan import FeaturePlan
from dualcast.records import FeatureRow
from services.book.series import SeriesCache

STALE_INPUT = "stale_input:"

# Variable -> end of its newest known interval; None if no value has been received.
Inputs = Mapping[str, datetime | None]


class InputAges:
    """The newest known interval of each input, and the inputs that are overdue."""

    def __init__(self, catalogue: Mapping[str, UseCase], series: SeriesCache) -> None:
        self._series = series
        self._variables = {name: FeaturePlan.of(u, "intraday").variables for name, u in catalogue.items()}

    def of(self, use_case: UseCase, row: FeatureRow) -> Inputs:
        """The target as of the row; other variables as received by the service."""
        known = {v: self._series.known_until(use_case, row.entity_id, v) for v in self._variables[use_case.use_case]}
        return known | {use_case.target: row.valid_time}

    def overdue(self, use_case: UseCase, entity: Entity, inputs: Inputs, now: datetime) -> list[str]:
        """A reason for each input whose next value is overdue by more than ``max_feature_age`` of the catalogue."""
        late = use_case.part("intraday").max_feature_age
        return [
            f"{STALE_INPUT}{variable}"
            for variable, until in inputs.items()
            if until is not None
            and now - late > use_case.variables[variable].published.published_at(until, use_case.grid, entity.time_zone)
        ]
