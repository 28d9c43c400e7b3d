"""How old the inputs of an intraday curve are: of each variable that the features read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from dualcast.catalogue import Entity, UseCase
from dualcast.features.plan import FeaturePlan
from dualcast.records import FeatureRow
from services.book.series import SeriesBook

STALE_INPUT = "stale_input:"

# Variable -> the end of its newest interval that is known; None where nothing was heard of it.
Inputs = Mapping[str, datetime | None]


class InputAges:
    """Up to when the inputs of each use case are known, and which of them should have come by now."""

    def __init__(self, catalogue: Mapping[str, UseCase], series: SeriesBook) -> None:
        self._series = series
        self._variables = {name: FeaturePlan.of(u, "intraday").variables for name, u in catalogue.items()}

    def of(self, use_case: UseCase, row: FeatureRow) -> Inputs:
        """The target as the row knew it; other variables as they were heard of."""
        known = {v: self._series.known_until(use_case, row.entity_id, v) for v in self._variables[use_case.use_case]}
        return known | {use_case.target: row.valid_time}

    def overdue(self, use_case: UseCase, entity: Entity, inputs: Inputs, now: datetime) -> list[str]:
        """Why a curve is degraded: inputs whose next value should have been published some time ago.

        How long ago is the catalogue's ``max_feature_age``.
        """
        late = use_case.part("intraday").max_feature_age
        return [
            f"{STALE_INPUT}{variable}"
            for variable, until in inputs.items()
            if until is not None
            and now - late > use_case.variables[variable].published.published_at(until, use_case.grid, entity.time_zone)
        ]
