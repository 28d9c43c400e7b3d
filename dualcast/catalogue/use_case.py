"""A use case: target, entities, variables, products and sources, checked against each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any, Literal, Self, overload

import pandas as pd
from pydantic import Field, model_validator

from dualcast.catalogue.base import Duration, NoSuchPathError, Strict
from dualcast.catalogue.entities import Entities, Entity
from dualcast.catalogue.paths import DayAhead, Intraday, Path_
from dualcast.catalogue.sources import ReplayMapping, SourceSeries
from dualcast.catalogue.variables import Variable
from dualcast.timegrid import DAY, cutoff_of, delivery_slots, iso_duration


class UseCase(Strict):
    """One thing that is forecast for many entities."""

    use_case: str = Field(pattern=r"^[a-z][a-z0-9_]{1,40}$")
    title: str
    target: str
    grid: Duration
    entities: Entities = Field(min_length=1)
    variables: dict[str, Variable]
    reference: str | None = Field(None, description="external forecast that ours is compared with")
    active: str | None = Field(
        None,
        description="variable that is known in advance and 0 where the target must be 0, as on closed days: forecasts"
        " are 0 there, and such intervals are excluded from training",
    )
    day_ahead: DayAhead
    intraday: Intraday | None = Field(None, description="none where there is no intraday forecast")
    replay: ReplayMapping = ReplayMapping()
    sources: dict[str, tuple[SourceSeries, ...]] = Field({}, description="by the name of the source")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.grid > DAY or DAY % self.grid:
            raise ValueError(f"a grid of {iso_duration(self.grid)} does not divide a day")
        if len(self._by_id) < len(self.entities):
            raise ValueError("an entity is listed twice")
        self._check_names([name for name in (self.target, self.reference, self.active) if name is not None])
        for path in self.paths:
            self._check_path(self.part(path))
        for source, series in self.sources.items():
            for one in series:
                self._check_series(source, one)
        if self.intraday is not None and self.intraday.resolution >= DAY:
            raise ValueError("days are forecast by the day-ahead path, with 'days' for how many")
        return self

    def _check_path(self, part: DayAhead | Intraday) -> None:
        if part.resolution % self.grid or (part.resolution != self.grid and part.resolution >= DAY):
            raise ValueError(f"resolution {iso_duration(part.resolution)} is no multiple of the grid within a day")
        if part.scale is not None and part.scale not in part.features:
            raise ValueError(f"scale {part.scale!r} is not one of the features")
        self._check_names(part.optional)
        for feature, spec in part.features.items():
            self._check_names(spec.variables(), f"feature {feature!r}: ")
        if self.active and not any(s.reads_at_target(self.active) for s in part.features.values()):
            raise ValueError(f"no feature gives the 'value' of {self.active!r} at the target")

    def _check_series(self, source: str, series: SourceSeries) -> None:
        where = f"source {source!r}: "
        self._check_names([series.variable], where)
        if series.entity is not None and series.entity not in self._by_id:
            raise ValueError(f"{where}{series.entity!r} is not one of the entities")
        step = series.resolution or self.grid
        if step <= timedelta(0) or (step % self.grid and self.grid % step):
            raise ValueError(f"{where}steps of {iso_duration(step)} do not fit the grid of {iso_duration(self.grid)}")
        if step > (longest := self.variables[series.variable].bounds.longest):
            raise ValueError(f"{where}steps of {iso_duration(step)} exceed 'longest', {iso_duration(longest)}")

    def _check_names(self, names: Iterable[str], where: str = "") -> None:
        for name in names:
            if name not in self.variables:
                raise ValueError(f"{where}{name!r} is not one of the variables: {', '.join(self.variables)}")

    @property
    def paths(self) -> tuple[Path_, ...]:
        """The paths that this use case is forecast on."""
        return ("day-ahead",) if self.intraday is None else ("day-ahead", "intraday")

    @overload
    def part(self, path: Literal["day-ahead"]) -> DayAhead: ...
    @overload
    def part(self, path: Literal["intraday"]) -> Intraday: ...
    @overload
    def part(self, path: Path_) -> DayAhead | Intraday: ...
    def part(self, path: Path_) -> DayAhead | Intraday:
        """The settings of one path. Raises NoSuchPathError where the use case is not forecast on it."""
        found = self.day_ahead if path == "day-ahead" else self.intraday
        if found is None:
            raise NoSuchPathError(f"{self.use_case} has no intraday forecast")
        return found

    @cached_property
    def unit(self) -> str:
        """The unit of the target."""
        return self.variables[self.target].unit

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's, without the cached values of the original."""
        copied = super().model_copy(update=update, deep=deep)
        for cached in ("unit", "_by_id"):
            copied.__dict__.pop(cached, None)
        return copied

    @cached_property
    def _by_id(self) -> dict[str, Entity]:
        return {entity.id: entity for entity in self.entities}

    def entity(self, entity_id: str) -> Entity:
        """The entity with this id. Raises KeyError where there is none."""
        if entity_id not in self._by_id:
            raise KeyError(f"{entity_id!r} is not an entity of {self.use_case}")
        return self._by_id[entity_id]

    def cutoff(self, entity: Entity, delivery_day: date) -> datetime:
        """The cutoff of an entity's day-ahead forecast, UTC; ``delivery_day`` is the first day of its curve."""
        return cutoff_of(delivery_day, self.day_ahead.cutoff, entity.time_zone)

    def newest_known(self, path: Path_, at: datetime) -> datetime:
        """The start of the newest interval whose target is published at a moment by the publication rule, UTC."""
        return at - self.part(path).resolution - (self.variables[self.target].published.delay or timedelta(0))

    def delivery_slots(self, entity: Entity, delivery_day: date) -> pd.DatetimeIndex:
        """The valid times of the curve of a delivery day, UTC: 23, 24 or 25 hours a day."""
        return delivery_slots(delivery_day, entity.time_zone, self.day_ahead.resolution, self.day_ahead.days)

    def delivery_times(self, entity: Entity, delivery_day: date) -> list[datetime]:
        """As ``delivery_slots``, as datetimes."""
        return list(self.delivery_slots(entity, delivery_day).to_pydatetime())
