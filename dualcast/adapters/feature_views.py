"""The Feast objects of a use case, generated from the catalogue: its YAML defines all fields.

``valid_time`` is a join key of the offline views, since Feast joins on the keys before it compares times and would
otherwise pair every row with every other of its entity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.data_format import ParquetFormat
from feast.types import Array, Float64, Int64, String, UnixTimestamp

from dualcast.adapters.lake import LakePaths
from dualcast.catalogue import Path_, UseCase, path_identifier
from dualcast.features.plan import FeaturePlan

DAY_AHEAD = path_identifier("day-ahead")
INTRADAY_HISTORY = "intraday_history"
INTRADAY_LATEST = "intraday_latest"
# Fields of the online row besides features; no feature may have one of these names.
ROW_FIELDS = {"valid_time": Int64, "as_of": Int64, "feature_set": String}

_ENTITY_FIELD = Field(name="entity_id", dtype=String)
_TIME_FIELD = Field(name="valid_time", dtype=UnixTimestamp)


@dataclass(frozen=True)
class FeastObjects:
    """The objects of a use case's Feast project; views by name."""

    entities: tuple[Entity, Entity]
    views: Mapping[str, FeatureView]

    def offline(self, path: Path_) -> FeatureView:
        """The view of the history, for training."""
        return self.views[DAY_AHEAD if path == "day-ahead" else INTRADAY_HISTORY]

    def online(self) -> FeatureView:
        """The view of the newest row of each entity."""
        return self.views[INTRADAY_LATEST]

    def all(self) -> list[Entity | FeatureView]:
        """All objects, as ``feast apply`` takes them."""
        return [*self.entities, *self.views.values()]


def feast_objects(use_case: UseCase, lake: LakePaths) -> FeastObjects:
    """The entities and feature views of a use case over a lake."""
    entity = Entity(name="entity", join_keys=["entity_id"], value_type=ValueType.STRING)
    valid_time = Entity(name="interval", join_keys=["valid_time"], value_type=ValueType.UNIX_TIMESTAMP)
    views = [_day_ahead(use_case, lake, [entity, valid_time])]
    if "intraday" in use_case.paths:
        views += _intraday(use_case, lake, [entity, valid_time])
    return FeastObjects((entity, valid_time), {view.name: view for view in views})


def _day_ahead(use_case: UseCase, lake: LakePaths, keys: list[Entity]) -> FeatureView:
    fields = [Field(name=n, dtype=Float64) for n in FeaturePlan.of(use_case, "day-ahead").names]
    return FeatureView(
        name=DAY_AHEAD,
        entities=keys,
        schema=[_ENTITY_FIELD, _TIME_FIELD, *fields],
        source=_gold(lake.gold_of("day-ahead", use_case.use_case) + "/*/*.parquet", "gold_day_ahead"),
        ttl=timedelta(0),
        online=False,
        description="One row for each delivery interval, as of the cutoff.",
    )


def _intraday(use_case: UseCase, lake: LakePaths, keys: list[Entity]) -> list[FeatureView]:
    fields = _intraday_fields(use_case)
    row_fields = [Field(name=name, dtype=kind) for name, kind in ROW_FIELDS.items()]
    return [
        FeatureView(
            name=INTRADAY_HISTORY,
            entities=keys,
            schema=[_ENTITY_FIELD, _TIME_FIELD, *fields],
            source=_gold(lake.gold_of("intraday", use_case.use_case) + "/*/*.parquet", "gold_intraday"),
            ttl=timedelta(0),
            online=False,
            description="One row for each origin, as of the arrival of its newest value.",
        ),
        FeatureView(
            name=INTRADAY_LATEST,
            entities=keys[:1],
            schema=[_ENTITY_FIELD, *fields, *row_fields],
            source=None,
            ttl=timedelta(0),
            online=True,
            description="The newest row of each entity, written by the stream.",
        ),
    ]


def _intraday_fields(use_case: UseCase) -> list[Field]:
    plan = FeaturePlan.of(use_case, "intraday")
    taken = sorted(set(plan.names) & set(ROW_FIELDS))
    if taken:
        raise ValueError(f"{use_case.use_case}: intraday features must not be named {', '.join(taken)}")
    per_origin = set(plan.per_origin)
    return [Field(name=n, dtype=Float64 if n in per_origin else Array(Float64)) for n in plan.names]


def _gold(path: str, name: str) -> FileSource:
    return FileSource(name=name, path=path, file_format=ParquetFormat(), timestamp_field="event_timestamp")
