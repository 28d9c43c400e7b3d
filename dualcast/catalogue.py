"""The catalogue: what is forecast, for whom, when and from what. Typed models of ``use_cases/*.yaml``.

A use case is data. A new one is a new YAML file; a mistake in it is refused with its line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, overload
from zoneinfo import ZoneInfo

import pandas as pd
import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from dualcast.entity_table import read_entities
from dualcast.features.registry import FeatureSpec
from dualcast.timegrid import DAY, cutoff_of, delivery_slots, duration, interval_end, iso_duration, local_moment

Duration = Annotated[
    timedelta, BeforeValidator(lambda v: duration(v) if isinstance(v, str) else v), PlainSerializer(iso_duration)
]
Path_ = Literal["day-ahead", "intraday"]
PathIdentifier = Literal["day_ahead", "intraday"]
_IDENTIFIERS: dict[Path_, PathIdentifier] = {"day-ahead": "day_ahead", "intraday": "intraday"}
MEDIAN = 0.5
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def _expanded(features: Any) -> Any:
    """``lag_{by}: {by: [P1D, P2D]}`` as ``lag_1d`` and ``lag_2d``."""
    if not isinstance(features, dict):
        return features
    out: dict[str, Any] = {}
    for name, spec in features.items():
        argument = _PLACEHOLDER.search(str(name))
        values = spec.get(argument[1]) if argument and isinstance(spec, dict) else None
        if argument is None or not isinstance(values, list):
            out[name] = spec
            continue
        for value in values:
            text = str(value).removeprefix("PT").removeprefix("P").lower()
            out[name.replace(argument[0], text)] = {**spec, argument[1]: value}
    return out


def path_identifier(path: Path_) -> PathIdentifier:
    """The spelling of a path in records, tables, folders and attributes, where it must be an identifier."""
    return _IDENTIFIERS[path]


def path_of(identifier: str) -> Path_:
    """The path with this identifier. Raises ValueError for any other text."""
    for path, name in _IDENTIFIERS.items():
        if name == identifier:
            return path
    raise ValueError(f"{identifier!r} is not the identifier of a path: {', '.join(_IDENTIFIERS.values())}")


Features = Annotated[dict[str, FeatureSpec], BeforeValidator(_expanded)]


class CatalogueError(ValueError):
    """A use case file is wrong. The text names the file, the line and the key."""


class NoSuchPathError(LookupError):
    """A use case is not forecast on the path that was asked for."""


class Strict(BaseModel):
    """A frozen model that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Model = TypeVar("Model", bound=Strict)


class HolidayCalendar(Strict):
    """Whose holidays count, and how much."""

    country: str
    subdivisions: dict[str, float] = Field({}, description="share of the population by subdivision; empty: nationwide")
    special_days: dict[str, float] = Field(
        {}, description="extra days as MM-DD: how much of a holiday they are, 0 to 1"
    )
    kinds: tuple[str, ...] = Field(
        (),
        description="holidays (English names), days (MM-DD) and periods (MM-DD..MM-DD) that have a level of their own;"
        " the place in the list is the code that models know: append only",
    )


class Entity(Strict):
    """What a series belongs to: a bidding zone, a park, a warehouse."""

    id: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    title: str
    time_zone: str
    holidays: HolidayCalendar
    latitude: float = Field(ge=-90, le=90)
    longitude: float = Field(ge=-180, le=180)
    simulation: dict[str, float] = Field({}, description="parameters of the simulator, such as mean_load_mw")


class Publication(Strict):
    """When a value becomes known, for sources that do not say: after its interval, or on an earlier local day."""

    delay: Duration | None = None
    days_before: int | None = Field(None, ge=0, le=14)
    at: time | None = None

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        by_day = self.days_before is not None and self.at is not None
        if by_day == (self.delay is not None):
            raise ValueError("give either 'delay' or both 'days_before' and 'at'")
        return self

    def published_at(self, valid_time: datetime, resolution: timedelta, zone: str) -> datetime:
        """When the value for an interval that starts at ``valid_time`` becomes known, UTC."""
        if self.delay is not None:
            return interval_end(valid_time, resolution, zone) + self.delay
        assert self.days_before is not None
        assert self.at is not None
        day = valid_time.astimezone(ZoneInfo(zone)).date() - timedelta(days=self.days_before)
        return local_moment(day, self.at, zone)


class Bounds(Strict):
    """What a plausible value is. Values outside go to quarantine."""

    min: float | None = None
    max: float | None = None
    relative_to: str | None = Field(None, description="variable whose value a week before is the yardstick")
    ratio: tuple[float, float] | None = None


class Variable(Strict):
    """What is measured or forecast by others."""

    unit: str
    kind: Literal["observed", "forecast"]
    published: Publication
    bounds: Bounds = Bounds()
    aggregate: Literal["mean", "sum"] = "mean"


class ForecasterSpec(Strict):
    """A forecaster by its name in ``models/forecasters/``, with its own parameters."""

    name: str
    params: dict[str, Any] = {}


def _rising(ratio: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= ratio[0] < ratio[1]:
        raise ValueError("give the lower bound, then the upper")
    return ratio


Ratio = Annotated[tuple[float, float], AfterValidator(_rising)]


class CurveQuality(Strict):
    """What a plausible curve is, before it is published: each as a ratio to what was usual, where that is known."""

    level: Ratio | None = Field(None, description="mean of the day to that of what came true a week before")
    ramp: Ratio | None = Field(None, description="largest change between two intervals to that of a week before")
    width: Ratio | None = Field(None, description="mean width of the widest interval to the median of earlier curves")
    usual: Duration = Field(timedelta(days=28), description="how far back the earlier curves reach")


class QuantileLevels(Strict):
    """The quantiles of a path's curves, and which of them are shown and scored."""

    quantiles: tuple[float, ...]
    interval: tuple[float, float] = Field(
        (0.1, 0.9),
        description="the two levels between which the interval lies that is shown and whose coverage is scored",
    )

    @property
    def shown_levels(self) -> tuple[float, float, float]:
        """The lower bound of the interval, the median, and the upper bound."""
        return self.interval[0], MEDIAN, self.interval[1]

    @model_validator(mode="after")
    def _shown_levels_are_forecast(self) -> Self:
        if list(self.quantiles) != sorted(set(self.quantiles)) or not all(0 < q < 1 for q in self.quantiles):
            raise ValueError("quantiles must rise, between 0 and 1")
        low, _, high = self.shown_levels
        if not low < MEDIAN < high:
            raise ValueError(f"the interval {low:g} to {high:g} does not hold the median")
        missing = [f"{level:g}" for level in self.shown_levels if level not in self.quantiles]
        if missing:
            raise ValueError(f"quantiles must hold the median and the interval; missing: {', '.join(missing)}")
        return self


class DayAhead(QuantileLevels):
    """The batch path: once a day, every interval of tomorrow, or of several days from tomorrow on."""

    resolution: Duration
    days: int = Field(1, ge=1, le=31, description="how many local days a curve holds, from the delivery day on")
    cutoff: time
    measurement_delay: Duration = Field(timedelta(0), description="observed values younger than this are not used")
    lookback: Duration
    features: Features
    scale: str | None = Field(None, description="feature that levels are divided by before they reach a model")
    forecaster: ForecasterSpec
    quality: CurveQuality = CurveQuality()
    training_days: int = Field(1095, gt=0)
    optional: tuple[str, ...] = Field((), description="variables without which the forecast is made, but degraded")
    fallbacks: tuple[Literal["degraded_inputs", "last_stored"], ...] = ("degraded_inputs", "last_stored")


class Intraday(QuantileLevels):
    """The streaming path: every few minutes, the coming hours."""

    resolution: Duration
    horizons: int = Field(gt=0, le=400)
    lookback: Duration
    ahead: Duration = Field(timedelta(days=2), description="how far into the future forecasts of others are kept")
    features: Features
    scale: str | None = None
    forecaster: ForecasterSpec
    training_days: int = Field(730, gt=0)
    max_feature_age: Duration = Field(timedelta(hours=1), description="older features make a forecast degraded")
    optional: tuple[str, ...] = ()
    fallbacks: tuple[Literal["previous_version", "shifted_day_ahead", "last_stored"], ...] = (
        "previous_version",
        "shifted_day_ahead",
        "last_stored",
    )


class ReplayMapping(Strict):
    """How columns of a CSV or Parquet file become observations."""

    shape: Literal["wide", "long"] = "wide"
    time_column: str = Field("valid_time", description="column or index with the start of the interval")
    time_zone: str = Field("UTC", description="zone of times that carry none")
    entity_id: str | None = Field(None, description="the entity of every row, where the file has one entity")
    entity_column: str | None = None
    columns: dict[str, str] = Field({}, description="wide: column -> variable")
    optional: frozenset[str] = Field(frozenset(), description="wide: columns that a file may lack")
    variable_column: str = Field("variable", description="long: the column that names the variable")
    value_column: str = Field("value", description="long: the column with the value")
    published_column: str | None = Field(None, description="column with published_at; without it the rules apply")
    resolution: Duration | None = Field(None, description="without it, the commonest step of the file")
    source: str = "file"

    @model_validator(mode="after")
    def _optional_is_mapped(self) -> Self:
        unmapped = sorted(self.optional - set(self.columns))
        if unmapped:
            raise ValueError(f"'optional' names {', '.join(unmapped)}, which 'columns' does not")
        return self


class SourceSeries(Strict):
    """One series of a source outside: what it is here, in which steps and units it comes, how it is asked for."""

    variable: str
    entity: str | None = Field(None, description="none: of every entity")
    unit: str = Field(description="what the source calls its unit; checked where the source says it")
    factor: float = Field(1.0, description="what its values are multiplied by to be in the variable's unit")
    resolution: Duration | None = Field(None, description="length of its intervals; without it, the grid")
    query: dict[str, Any] = Field({}, description="what the source is asked for; its own file says which keys it takes")


def _listed(given: Any, info: ValidationInfo) -> Any:
    """Entities as a list, also where the YAML names a table of them."""
    if isinstance(given, dict):
        return read_entities(given, (info.context or {}).get("folder", Path()))
    return given


class UseCase(Strict):
    """One thing that is forecast for many entities."""

    use_case: str = Field(pattern=r"^[a-z][a-z0-9_]{1,40}$")
    title: str
    target: str
    grid: Duration
    entities: Annotated[tuple[Entity, ...], BeforeValidator(_listed)] = Field(min_length=1)
    variables: dict[str, Variable]
    reference: str | None = Field(None, description="forecast by others that ours is compared with")
    active: str | None = Field(
        None,
        description="variable that is known in advance and 0 where nothing can happen, as on closed days: forecasts are"
        " 0 there, and nothing is learned from such intervals",
    )
    day_ahead: DayAhead
    intraday: Intraday | None = Field(None, description="none where nothing is forecast within the day")
    replay: ReplayMapping = ReplayMapping()
    sources: dict[str, tuple[SourceSeries, ...]] = Field({}, description="by the name of the source")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.grid > DAY or DAY % self.grid:
            raise ValueError(f"a grid of {iso_duration(self.grid)} does not divide a day")
        if len(self._by_id) < len(self.entities):
            raise ValueError("an entity is there twice")
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
        """What the catalogue says of one path. Raises NoSuchPathError where the use case is not forecast on it."""
        found = self.day_ahead if path == "day-ahead" else self.intraday
        if found is None:
            raise NoSuchPathError(f"{self.use_case} has no intraday forecast")
        return found

    @cached_property
    def unit(self) -> str:
        """The unit of the target."""
        return self.variables[self.target].unit

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's, without what was worked out from the original."""
        copied = super().model_copy(update=update, deep=deep)
        for worked_out in ("unit", "_by_id"):
            copied.__dict__.pop(worked_out, None)
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
        """When the day-ahead forecast of an entity for a delivery day, the first of its curve, is made, UTC."""
        return cutoff_of(delivery_day, self.day_ahead.cutoff, entity.time_zone)

    def newest_known(self, path: Path_, at: datetime) -> datetime:
        """The start of the newest interval of a path whose target is published at a moment, by the rules, UTC."""
        return at - self.part(path).resolution - (self.variables[self.target].published.delay or timedelta(0))

    def delivery_slots(self, entity: Entity, delivery_day: date) -> pd.DatetimeIndex:
        """The valid times of the curve of a delivery day, UTC: each day has 23, 24 or 25 hours of them."""
        return delivery_slots(delivery_day, entity.time_zone, self.day_ahead.resolution, self.day_ahead.days)

    def delivery_times(self, entity: Entity, delivery_day: date) -> list[datetime]:
        """The same as datetimes."""
        return list(self.delivery_slots(entity, delivery_day).to_pydatetime())


def load_use_case(name: str, folder: Path = Path("use_cases")) -> UseCase:
    """Read ``<folder>/<name>.yaml``.

    Raises CatalogueError, which names file, line and key, where the file is missing or wrong.
    """
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml"))) or "none"
        raise CatalogueError(f"{path}: there is no such use case; known: {known}")
    return parse_use_case(path.read_text(encoding="utf-8"), str(path))


def load_catalogue(folder: Path = Path("use_cases")) -> dict[str, UseCase]:
    """Read every use case of a folder, by name."""
    return {p.stem: load_use_case(p.stem, folder) for p in sorted(folder.glob("*.yaml"))}


def parse_use_case(text: str, origin: str) -> UseCase:
    """Build a use case from YAML text; ``origin`` is named in errors."""
    return parse_yaml(UseCase, text, origin)


def parse_yaml(model: type[Model], text: str, origin: str) -> Model:
    """Build a model from YAML text. Raises CatalogueError, which names ``origin``, line and key."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        return model.model_validate(yaml.safe_load(text), context={"folder": Path(origin).parent})
    except yaml.YAMLError as error:
        raise CatalogueError(f"{origin}: not YAML: {error}") from error
    except ValidationError as error:
        raise CatalogueError("\n".join(_faults(error, root, origin))) from error


def _faults(error: ValidationError, root: yaml.Node | None, origin: str) -> Iterator[str]:
    """One line for each fault: file, line, key, what is wrong."""
    for fault in error.errors():
        location = fault["loc"]
        yield f"{origin}:{_line_of(root, location)}: {'.'.join(map(str, location)) or 'use case'}: {fault['msg']}"


def _line_of(node: yaml.Node | None, location: tuple[int | str, ...]) -> int:
    """The line of the deepest node on the way to a location that the file really has."""
    line = 1 if node is None else node.start_mark.line + 1
    for step in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if _names(k.value, str(step))), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _names(key: str, name: str) -> bool:
    """Whether a key of the file is a name, or what it was expanded from."""
    return re.fullmatch(".+".join(map(re.escape, _PLACEHOLDER.split(key)[::2])), name) is not None
