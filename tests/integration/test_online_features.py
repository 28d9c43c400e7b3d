"""The newest intraday row of each entity in a real Redis: read as written, never replaced by an older one."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dualcast.adapters.feature_store import OnlineFeatures, apply_definitions, open_store
from dualcast.catalogue import Entity, UseCase
from dualcast.features.intraday.plan import feature_set
from dualcast.features.plan import FeaturePlan
from dualcast.records import FeatureRow
from dualcast.settings import Settings

pytestmark = pytest.mark.stack("redis")

AS_OF = datetime(2022, 3, 1, 12, 0, 0, 123457, tzinfo=UTC)


def row(use_case: UseCase, entity_id: str, as_of: datetime, number: float) -> FeatureRow:
    plan = FeaturePlan.of(use_case, "intraday")
    horizons = use_case.part("intraday").horizons
    features = {n: [number] for n in plan.per_origin}
    features |= {n: [number, math.nan, *([0.5] * (horizons - 2))] for n in plan.per_target}
    origin = as_of.replace(microsecond=0)
    return FeatureRow(use_case.use_case, entity_id, origin, as_of, feature_set(use_case), features)


def test_a_row_is_read_unchanged_and_replaced_only_by_a_newer_row(
    stack: Settings, use_case: UseCase, entity: Entity
) -> None:
    store = OnlineFeatures(stack, use_case.use_case)
    assert store.read([entity.id]) == {entity.id: None}
    first = row(use_case, entity.id, AS_OF, 1.0)
    store.write([first])
    found = store.read([entity.id, "nobody"])
    assert found["nobody"] is None
    # NaN is not equal to itself, but its text is
    assert repr(found[entity.id]) == repr(first)
    store.write([row(use_case, entity.id, AS_OF, 2.0)])
    store.write([row(use_case, entity.id, AS_OF - timedelta(hours=1), 3.0)])
    assert repr(store.read([entity.id])[entity.id]) == repr(first)
    newer = row(use_case, entity.id, AS_OF + timedelta(microseconds=1), 4.0)
    store.write([newer, replace(first, as_of=AS_OF - timedelta(days=1))])
    assert repr(store.read([entity.id])[entity.id]) == repr(newer)


def test_feast_reads_the_same_row(stack: Settings, use_case: UseCase, entity: Entity) -> None:
    apply_definitions(stack, use_case.use_case)
    written = row(use_case, entity.id, AS_OF + timedelta(days=1), 7.0)
    OnlineFeatures(stack, use_case.use_case).write([written])
    names = ["as_of", "feature_set", *use_case.part("intraday").features]
    found = open_store(stack, use_case.use_case).get_online_features(
        [f"intraday_latest:{name}" for name in names], [{"entity_id": entity.id}]
    )
    answer = {name: values[0] for name, values in found.to_dict().items()}
    assert answer["feature_set"] == written.feature_set
    for name in FeaturePlan.of(use_case, "intraday").per_target:
        assert repr(answer[name]) == repr(written.features[name])
