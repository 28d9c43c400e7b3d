"""One message through the job's step: valid and invalid messages, and messages of other use cases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dualcast.adapters.kafka.wire.decoder import Decoder
from dualcast.adapters.kafka.wire.encoder import Encoder
from dualcast.catalogue import Entity, UseCase
from dualcast.features.as_of import intraday_features
from dualcast.features.intraday.state import IntradayState
from dualcast.records import FeatureRow, Observation, ObservationBatch, Topic
from dualcast.settings import Settings
from streaming.job.step import FeatureStep, Incoming, Outcome
from tests.feature_job import as_observations
from tests.histories import history
from tests.registry import memory_registry

NOW = datetime(2024, 5, 1, tzinfo=UTC)
START = datetime(2024, 3, 25, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


class World:
    """A step with its codecs over a registry in memory, and the state of one entity."""

    def __init__(self, use_case: UseCase, entity: Entity) -> None:
        settings = Settings()
        others = frozenset(use_case.variables) | {"orders"}
        self.entity = entity
        self.step = FeatureStep(settings, use_case, {entity.id: others, "W01": frozenset({"orders"})}, lambda: NOW)
        self.encoder = Encoder(settings, Topic.OBSERVATIONS)
        self.decoders = {topic: Decoder(settings, topic) for topic in Topic}
        plan = self.step.plan(entity.id)
        assert plan is not None
        self.state = IntradayState(plan)

    def encode(self, observations: list[Observation], entity_id: str | None = None) -> bytes:
        return self.encoder.encode(ObservationBatch(entity_id or self.entity.id, observations))

    def apply(self, value: bytes | None, key: bytes | None = None) -> Outcome:
        return self.step.apply(Incoming(key or self.entity.id.encode(), value, 3, 42), self.state)

    def dead_letters(self, outcome: Outcome) -> list[dict[str, Any]]:
        return [self.decoders[Topic.DEAD_LETTERS].record(letter) for _, letter in outcome.dead]

    def rows(self, outcome: Outcome) -> list[FeatureRow]:
        decoder = self.decoders[Topic.FEATURES_INTRADAY]
        decoded = [decoder.feature_rows(message) for message in outcome.messages]
        return [row for rows in decoded for row in rows.one_by_one()]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, use_case: UseCase, entity: Entity) -> Iterator[World]:
    with memory_registry(monkeypatch):
        made = World(use_case, entity)
        yield made
        made.step.close()


def load(offset: int = 0, value: float = 50000.0, **changes: Any) -> Observation:
    valid_time = START + offset * QUARTER
    return replace(Observation("load", valid_time, "PT15M", value, "MW", valid_time + QUARTER, "test", True), **changes)


@pytest.fixture(scope="module")
def observed(use_case: UseCase, entity: Entity) -> pd.DataFrame:
    return history(use_case, entity, "2024-03-25", 9)


@pytest.fixture(scope="module")
def expected(use_case: UseCase, entity: Entity, observed: pd.DataFrame) -> pd.DataFrame:
    """The rows of the plain function."""
    return intraday_features(use_case, entity, observed)


@pytest.mark.parametrize("chunk", [7, 500])
def test_rows_equal_those_of_the_plain_function(
    world: World, observed: pd.DataFrame, expected: pd.DataFrame, chunk: int
) -> None:
    sent = as_observations(observed)
    # the history that the features need comes in larger messages
    starts = [*range(0, len(sent) // 2, 500), *range(len(sent) // 2, len(sent), chunk), len(sent)]
    outcomes = [world.apply(world.encode(sent[begin:end])) for begin, end in pairwise(starts)]
    rows = [row for outcome in outcomes for row in world.rows(outcome)]
    assert not any(outcome.dead for outcome in outcomes)
    assert [r.valid_time for r in rows] == [t.to_pydatetime() for t in expected["valid_time"]]
    assert [r.as_of for r in rows] == [t.to_pydatetime() for t in expected["as_of"]]
    for name in rows[0].features:
        plain = np.stack([np.atleast_1d(cell) for cell in expected[name]])
        np.testing.assert_array_equal(np.array([r.features[name] for r in rows]), plain, err_msg=name)
    newest = [outcome.newest for outcome in outcomes if outcome.newest is not None][-1]
    np.testing.assert_equal(newest.to_record(), rows[-1].to_record())


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (load(1, float("nan")), "not_finite"),
        (load(1, -50000.0), "out_of_bounds"),
        (load(1, unit="kW"), "wrong_unit"),
        (load(1, variable="laod"), "unknown_variable"),
        (load(1, resolution="soon"), "bad_resolution"),
        (load(1, published_at=NOW + timedelta(days=1)), "future_dated"),
        (load(1, valid_time=datetime(1970, 1, 1, tzinfo=UTC)), "bad_time"),
    ],
)
def test_only_the_invalid_observation_of_a_message_becomes_a_dead_letter(
    world: World, bad: Observation, reason: str
) -> None:
    outcome = world.apply(world.encode([load(0), bad, load(2)]))
    (letter,) = world.dead_letters(outcome)
    assert letter["reason"] == reason
    assert (letter["topic"], letter["partition"], letter["offset"]) == ("observations.v1", 3, 42)
    (kept,) = world.decoders[Topic.OBSERVATIONS].record(letter["value"])["observations"]
    np.testing.assert_equal(kept, ObservationBatch("", [bad]).to_record()["observations"][0])
    assert [row.valid_time for row in world.rows(outcome)] == [START + QUARTER, START + 3 * QUARTER]


def test_a_value_ten_times_that_of_last_week_is_implausible(world: World) -> None:
    world.apply(world.encode([load(i) for i in range(7 * 96)]))
    outcome = world.apply(world.encode([load(7 * 96, 140000.0), load(7 * 96 + 1)]))
    assert [reason for reason, _ in outcome.dead] == ["implausible"]
    assert outcome.made == 1


def test_duplicates_make_no_rows_and_corrections_recompute_the_newest_row(world: World) -> None:
    message = world.encode([load(i) for i in range(4)])
    assert world.apply(message).made == 4
    again = world.apply(message)
    assert (again.messages, again.newest, again.dead) == ([], None, [])
    later = START + timedelta(hours=2)
    (row,) = world.rows(world.apply(world.encode([load(1, 60000.0, published_at=later)])))
    assert (row.valid_time, row.as_of) == (START + timedelta(hours=1), later)
    assert row.features["load_back_3"] == [60000.0]


def test_observations_of_another_use_case_are_ignored(world: World) -> None:
    orders = load(0, variable="orders", unit="1")
    assert world.apply(world.encode([orders])) == Outcome()
    foreign = Incoming(b"W01", world.encode([orders], "W01"), 0, 0)
    assert world.step.apply(foreign, None) == Outcome()


@pytest.mark.parametrize(
    ("spoil", "key", "reason"),
    [
        (lambda _: None, b"DE", "not_avro"),
        (lambda _: b"", b"DE", "not_avro"),
        (lambda _: b"{}", b"DE", "not_avro"),
        (lambda v: v[:1] + b"\xff\xff\xff\xff" + v[5:], b"DE", "not_avro"),
        (lambda v: v[:-3], b"DE", "not_avro"),
        (lambda v: v + b"\x00", b"DE", "not_avro"),
        (lambda v: v, b"FR", "wrong_key"),
        (lambda v: v, b"\xff\xfe", "wrong_key"),
    ],
)
def test_an_undecodable_message_becomes_a_dead_letter_unchanged(
    world: World, spoil: Any, key: bytes, reason: str
) -> None:
    value = spoil(world.encode([load(0)]))
    outcome = world.apply(value, key)
    (letter,) = world.dead_letters(outcome)
    assert (letter["reason"], letter["key"], letter["value"]) == (reason, key, value)
    assert not outcome.messages


def test_an_unknown_entity_is_refused(world: World) -> None:
    outcome = world.step.apply(Incoming(b"XX", world.encode([load(0)], "XX"), 0, 0), None)
    assert [reason for reason, _ in outcome.dead] == ["unknown_entity"]


def test_a_record_of_another_schema_is_refused(world: World) -> None:
    row = world.apply(world.encode([load(0)])).messages[0]
    assert [reason for reason, _ in world.apply(row).dead] == ["wrong_schema"]


def test_the_dead_letter_of_a_huge_message_is_small(world: World) -> None:
    (letter,) = world.dead_letters(world.apply(bytes(3 * 2**20)))
    assert letter["value"] is None
    assert "3145728 bytes" in letter["detail"]


@hypothesis_settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_arbitrary_bytes_do_not_stop_the_step(world: World, data: st.DataObject) -> None:
    value = bytearray(world.encode([load(0), load(1)]))
    for _ in range(data.draw(st.integers(1, 6))):
        value[data.draw(st.integers(5, len(value) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(value)))
    world.apply(bytes(value[:end]))
    outcome = world.apply(world.encode([load(4 * 96, published_at=START + timedelta(days=30))]))
    assert not outcome.dead
    assert outcome.newest is None or outcome.newest.valid_time >= START
