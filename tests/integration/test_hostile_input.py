"""A replay with hostile messages on the real stack: each is refused with its reason, and other results are unchanged.

``--hostile`` is the number of messages, 2,000 by default; 100,000 take a quarter of an hour.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from confluent_kafka import KafkaError, Message, Producer

from batch.engine.session import spark_session
from batch.lake import bronze, silver
from dualcast.adapters.lake import lake_paths
from dualcast.catalogue import Entity, UseCase
from dualcast.features.as_of import intraday_features
from dualcast.records import FeatureRow, Topic
from dualcast.settings import Settings
from tests.batch_runs import delta_rows
from tests.feature_job import (
    TIMEOUT_SECONDS,
    as_observations,
    dead_letters,
    feature_job,
    published_rows,
    wait_caught_up,
)
from tests.histories import history
from tests.hostile import HostileMessages, Sent

pytestmark = [pytest.mark.stack("kafka", "registry", "redis"), pytest.mark.timeout(3600)]

START, DAYS, UNTIL = "2024-03-20", 20, "2024-04-08T23:00:00Z"
_CHUNK = 20
_FEWEST_A_SECOND = 50
_VINTAGE = ["variable", "valid_time", "published_at"]

Where = tuple[int, int]


@dataclass(frozen=True)
class World:
    """The sent messages with their positions on the topic, and the results of the job and the lake."""

    past: pd.DataFrame
    sent: dict[Where, Sent]
    rows: list[FeatureRow]
    letters: list[dict[str, object]]


@pytest.fixture(scope="module")
def world(
    stack: Settings,
    use_case: UseCase,
    entity: Entity,
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
) -> World:
    past = history(use_case, entity, START, DAYS)
    begun = time.monotonic()
    sent = _send(stack, entity.id, use_case.target, past, int(pytestconfig.getoption("--hostile")))
    log = tmp_path_factory.mktemp("job") / "job.log"
    with feature_job(use_case.use_case, log):
        wait_caught_up(use_case.use_case, UNTIL, log, max(TIMEOUT_SECONDS, len(sent) / _FEWEST_A_SECOND))
        rows = published_rows(stack)[entity.id]
        print(f"{len(sent)} messages through the stream: {time.monotonic() - begun:.0f} s")  # noqa: T201 -- for -s
    spark = spark_session(stack)
    begun = time.monotonic()
    bronze.ingest(spark, stack)
    silver.refine(spark, stack, use_case)
    print(f"and into the lake: {time.monotonic() - begun:.0f} s")  # noqa: T201
    spark.stop()
    return World(past, sent, rows, list(dead_letters(stack)))


def _send(settings: Settings, entity_id: str, target: str, past: pd.DataFrame, hostile: int) -> dict[Where, Sent]:
    """Send a replay with hostile messages between its own; return the position of each."""
    sent: dict[Where, Sent] = {}
    good = as_observations(past)
    chunks = [good[i : i + _CHUNK] for i in range(0, len(good), _CHUNK)]
    topic = settings.names.topic(Topic.OBSERVATIONS)
    producer = Producer({"bootstrap.servers": settings.kafka, "enable.idempotence": True, "linger.ms": 20})
    with closing(HostileMessages(settings, entity_id, target)) as hostile_messages:
        for number, chunk in enumerate(chunks):
            between = hostile * (number + 1) // len(chunks) - hostile * number // len(chunks)
            for message in (hostile_messages.good(chunk), *hostile_messages.messages(between)):

                def delivered(error: KafkaError | None, at: Message, message: Sent = message) -> None:
                    assert error is None
                    sent[at.partition() or 0, at.offset() or 0] = message

                producer.produce(topic, message.value, message.key, on_delivery=delivered)
            producer.poll(0)
    assert producer.flush(60) == 0
    return sent


def _by_message(letters: list[dict[str, object]], component: str) -> dict[Where, Counter[str]]:
    found: dict[Where, Counter[str]] = {}
    for letter in letters:
        if letter["component"] == component:
            where = int(str(letter["partition"])), int(str(letter["offset"]))
            found.setdefault(where, Counter())[str(letter["reason"])] += 1
    return found


def test_features_equal_those_of_a_run_without_hostile_messages(
    world: World, use_case: UseCase, entity: Entity
) -> None:
    expected = intraday_features(use_case, entity, world.past)
    assert [r.valid_time for r in world.rows] == [t.to_pydatetime() for t in expected["valid_time"]]
    assert [r.as_of for r in world.rows] == [t.to_pydatetime() for t in expected["as_of"]]
    for name in world.rows[0].features:
        plain = np.stack([np.atleast_1d(cell) for cell in expected[name]])
        np.testing.assert_array_equal(np.array([r.features[name] for r in world.rows]), plain, err_msg=name)


def test_the_stream_job_refuses_each_bad_message_with_its_reason_and_no_other(world: World) -> None:
    expected = {where: Counter(message.stream) for where, message in world.sent.items() if message.stream}
    assert _by_message(world.letters, "stream-features") == expected
    assert len({reason for counts in expected.values() for reason in counts}) == 16


def test_undecodable_messages_become_dead_letters_of_the_lake(world: World) -> None:
    expected = {where: Counter(message.bronze) for where, message in world.sent.items() if message.bronze}
    assert _by_message(world.letters, "batch.lake.bronze") == expected


def test_invalid_observations_are_quarantined_with_their_reasons(
    world: World, stack: Settings, use_case: UseCase
) -> None:
    folder = Path(lake_paths(stack).quarantine) / f"use_case={use_case.use_case}" / "stage=silver"
    refused = pd.concat(map(pd.read_parquet, folder.rglob("*.parquet")))
    found: dict[Where, Counter[str]] = {}
    for row in refused.itertuples():
        found.setdefault((row.partition, row.offset), Counter())[row.reason] += 1
    assert found == {where: Counter(message.silver) for where, message in world.sent.items() if message.silver}


def test_the_lake_contains_each_valid_observation_once(world: World, stack: Settings) -> None:
    stored = delta_rows(lake_paths(stack).silver)[[*_VINTAGE, "value"]]
    for frame in (stored, past := world.past[[*_VINTAGE, "value"]].copy()):
        for column in ("valid_time", "published_at"):
            frame[column] = frame[column].dt.as_unit("us")
    expected = past.sort_values(_VINTAGE, ignore_index=True)
    pd.testing.assert_frame_equal(stored.sort_values(_VINTAGE, ignore_index=True), expected, check_dtype=False)
