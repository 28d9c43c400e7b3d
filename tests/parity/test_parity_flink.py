"""The same history through the plain function, the streaming state and the real Flink job: equal numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from dualcast.adapters.feature_store import OnlineFeatures
from dualcast.catalogue import Entity, UseCase, load_use_case, read_document
from dualcast.features.as_of import intraday_features
from dualcast.features.intraday.plan import IntradayPlan
from dualcast.features.intraday.state import IntradayState
from dualcast.features.plan import FeaturePlan
from dualcast.records import FeatureRow
from dualcast.settings import Settings, load_settings
from tests.feature_job import feature_job, publish, published_rows, wait_caught_up
from tests.histories import as_update, history

pytestmark = pytest.mark.stack("kafka", "registry", "redis")

# includes a clock change, and is longer than the lookback of the state
START, DAYS, UNTIL = "2024-03-20", 20, "2024-04-08T23:00:00Z"


@pytest.fixture(scope="module")
def two_entities(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> UseCase:
    """A use case with a second entity in another time zone, added only in the YAML."""
    folder = tmp_path_factory.mktemp("use_cases")
    definition: dict[str, Any] = read_document(stack.use_cases / "de_load.yaml")
    definition["entities"].append(definition["entities"][0] | {"id": "ZZ", "time_zone": "America/New_York"})
    (folder / "de_load.yaml").write_text(yaml.safe_dump(definition))
    return load_use_case("de_load", folder)


@pytest.fixture(scope="module")
def histories(two_entities: UseCase) -> dict[str, pd.DataFrame]:
    return {e.id: history(two_entities, e, START, DAYS, seed) for seed, e in enumerate(two_entities.entities)}


@pytest.fixture(scope="module")
def streamed(
    stack: Settings,
    two_entities: UseCase,
    histories: dict[str, pd.DataFrame],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, list[FeatureRow]]:
    """The rows that the job makes from the histories."""
    folder = tmp_path_factory.mktemp("use_cases_of_the_job")
    (folder / "de_load.yaml").write_text(yaml.safe_dump(two_entities.model_dump(mode="json")))
    log = folder / "job.log"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DUALCAST_USE_CASES", str(folder))
        for chunk, (entity_id, frame) in zip((500, 37), histories.items(), strict=True):
            publish(stack, entity_id, frame, chunk)
        with feature_job(two_entities.use_case, log):
            wait_caught_up(two_entities.use_case, UNTIL, log)
            return published_rows(load_settings())


def test_rows_of_the_job_equal_the_plain_function(
    two_entities: UseCase, histories: dict[str, pd.DataFrame], streamed: dict[str, list[FeatureRow]]
) -> None:
    assert set(streamed) == {e.id for e in two_entities.entities}
    for entity in two_entities.entities:
        expected = intraday_features(two_entities, entity, histories[entity.id])
        rows = streamed[entity.id]
        assert [r.valid_time for r in rows] == [t.to_pydatetime() for t in expected["valid_time"]]
        assert [r.as_of for r in rows] == [t.to_pydatetime() for t in expected["as_of"]]
        for name in FeaturePlan.of(two_entities, "intraday").names:
            plain = np.stack([np.atleast_1d(cell) for cell in expected[name]])
            np.testing.assert_array_equal(np.array([r.features[name] for r in rows]), plain, err_msg=name)


def test_rows_of_the_job_equal_the_intraday_state(
    two_entities: UseCase, histories: dict[str, pd.DataFrame], streamed: dict[str, list[FeatureRow]]
) -> None:
    for entity in two_entities.entities:
        plan = IntradayPlan(two_entities, entity)
        made, refused = IntradayState(plan).apply(as_update(two_entities, plan, histories[entity.id]))
        assert not refused
        for name in plan.features.names:
            shape = (-1, 1 if name in plan.features.per_origin else plan.horizons)
            state = np.concatenate([np.broadcast_to(m.features[name], (len(m), shape[1] or 1)) for m in made])
            job = np.array([r.features[name] for r in streamed[entity.id]])
            np.testing.assert_array_equal(job, state.reshape(shape), err_msg=name)


def test_the_online_store_contains_the_newest_row(
    stack: Settings, two_entities: UseCase, streamed: dict[str, list[FeatureRow]]
) -> None:
    entities: list[Entity] = list(two_entities.entities)
    stored = OnlineFeatures(stack, two_entities.use_case).read([e.id for e in entities])
    for entity in entities:
        row = stored[entity.id]
        assert row is not None
        np.testing.assert_equal(row.to_record(), streamed[entity.id][-1].to_record())
