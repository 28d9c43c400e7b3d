"""The Flink job on real servers: exactly once over a crash, not stopped by invalid messages, and stopped fast."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from confluent_kafka import Producer

from dualcast.adapters.feature_store import OnlineFeatures
from dualcast.catalogue import Entity, UseCase
from dualcast.features.as_of import intraday_features
from dualcast.records import Topic
from dualcast.settings import Settings
from tests.feature_job import dead_letters, feature_job, publish, published_rows, wait_caught_up, written
from tests.histories import history
from tests.waiting import until

pytestmark = pytest.mark.stack("kafka", "registry", "redis")

DAYS, UNTIL = 30, "2024-06-30T00:00:00Z"


@pytest.fixture(scope="module")
def past(use_case: UseCase, entity: Entity) -> pd.DataFrame:
    return history(use_case, entity, "2024-06-01", DAYS)


def test_a_killed_or_stopped_job_resumes_with_other_parallelism_and_publishes_each_row_once(
    stack: Settings, use_case: UseCase, entity: Entity, past: pd.DataFrame, tmp_path: Path
) -> None:
    log = tmp_path / "job.log"
    first, second, third, fourth = (past.iloc[part] for part in np.array_split(np.arange(len(past)), 4))
    publish(stack, entity.id, first, 100)
    with feature_job(use_case.use_case, log) as job:
        wait_caught_up(use_case.use_case, UNTIL, log)
        committed = written(stack, Topic.FEATURES_INTRADAY)
        publish(stack, entity.id, second, 5)
        until(lambda: written(stack, Topic.FEATURES_INTRADAY) > committed, 120, every=0.2)
        job.kill()
    publish(stack, entity.id, third, 100)
    with feature_job(use_case.use_case, log) as job:
        wait_caught_up(use_case.use_case, UNTIL, log)
        assert job.stop() < 15
    assert "resuming from a checkpoint" in log.read_text()
    saved = re.findall(r"stopped +savepoint=\S+/(savepoint-[\w-]+)", log.read_text())
    assert len(saved) == 1, log.read_text()
    made = sum(map(len, published_rows(stack).values()))
    publish(stack, entity.id, fourth, 100)
    with feature_job(use_case.use_case, log, parallelism=2):
        wait_caught_up(use_case.use_case, UNTIL, log)
    assert re.search(rf"resuming from a checkpoint +checkpoint=\S+/{saved[0]}\n", log.read_text())
    assert len(published_rows(stack)[entity.id]) > made
    rows = published_rows(stack)[entity.id]
    expected = intraday_features(use_case, entity, past)
    assert [r.valid_time for r in rows] == [t.to_pydatetime() for t in expected["valid_time"]]
    np.testing.assert_array_equal(
        np.array([r.features["load_mean_7d"][0] for r in rows]), expected["load_mean_7d"].to_numpy()
    )


def test_invalid_messages_become_dead_letters_and_do_not_stop_the_job(
    stack: Settings, use_case: UseCase, entity: Entity, past: pd.DataFrame, tmp_path: Path
) -> None:
    log, key = tmp_path / "job.log", entity.id.encode()
    raw = Producer({"bootstrap.servers": stack.kafka})
    poison = [(key, b"junk"), (key, None), (key, b"\x00\xff\xff\xff\xffjunk"), (None, b"junk"), (b"\xff\x00", b"")]
    for poison_key, value in poison:
        raw.produce(stack.names.topic(Topic.OBSERVATIONS), value, poison_key)
    assert raw.flush(30) == 0
    shift = pd.Timedelta(days=DAYS)
    later = past.assign(valid_time=past["valid_time"] + shift, published_at=past["published_at"] + shift).iloc[:2000]
    publish(stack, entity.id, later, 500)
    publish(stack, "XX", later, 500)
    with feature_job(use_case.use_case, log):
        wait_caught_up(use_case.use_case, UNTIL, log)
    letters = [(letter["reason"], letter["key"], letter["value"]) for letter in dead_letters(stack)]
    for poison_key, value in poison:
        assert ("not_avro", poison_key, value) in letters
    assert [reason for reason, letter_key, _ in letters if letter_key == b"XX"] == ["unknown_entity"] * 4
    stored = OnlineFeatures(stack, use_case.use_case).read([entity.id])[entity.id]
    newest = later.loc[later["variable"] == use_case.target, "valid_time"].max()
    assert stored is not None
    assert stored.valid_time == (newest + use_case.grid).to_pydatetime()
