"""Publishing: all values once, in order, at the times of the clock, and resumed after a stop."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fastavro
import pandas as pd
import pytest

from dualcast.catalogue import UseCase
from dualcast.observations.frames import Extent, SourceError, published_between
from dualcast.records import ObservationBatch, Topic, schema_text
from dualcast.settings import Settings
from dualcast.timegrid import Clock
from streaming.ingest.messages import messages
from streaming.ingest.published import Published, PublishedFile
from streaming.ingest.replay import publish_history, publish_replay, resume_after
from streaming.ingest.signals import Stop
from streaming.ingest.simulator import open_simulator
from streaming.ingest.source import Source
from streaming.ingest.window import replay_window

START = datetime(2022, 6, 1, 8, tzinfo=UTC)
LAST = START + timedelta(hours=6)


class InMemorySource:
    """A source whose observations are in memory."""

    name = "recorded"
    notes = ()

    def __init__(self, observations: pd.DataFrame) -> None:
        self._observations = observations
        known = observations["published_at"]
        end = LAST.replace(hour=22, minute=0)
        self.extent = Extent(known.iloc[0].to_pydatetime(), known.iloc[-1].to_pydatetime(), end)

    def observations(self, start: datetime, end: datetime) -> pd.DataFrame:
        return published_between(self._observations, start, end)


class RecordingSink:
    """A sink that keeps the published frames with their times."""

    def __init__(self) -> None:
        self.frames: list[pd.DataFrame] = []
        self.moments: list[float] = []

    def publish(self, observations: pd.DataFrame, most: int) -> int:
        self.frames.append(observations)
        self.moments.append(time.monotonic())
        return len(list(messages(observations, most)))

    @property
    def rows(self) -> pd.DataFrame:
        return pd.concat(self.frames, ignore_index=True)


@pytest.fixture(scope="module")
def simulated(use_case: UseCase) -> pd.DataFrame:
    return open_simulator(use_case).observations(START - timedelta(days=1), LAST + timedelta(microseconds=1))


@pytest.fixture
def source(simulated: pd.DataFrame) -> Source:
    return InMemorySource(simulated)


@pytest.fixture
def memory(tmp_path: Path) -> PublishedFile:
    return PublishedFile(Settings(state_dir=tmp_path), "x")


def fast_clock(until: datetime, speed: float = 36000) -> Clock:
    return Clock(start=START, epoch=datetime.now(UTC), speed=speed, until=until)


def test_history_publishes_all_values_until_a_moment_inclusive(source: Source, simulated: pd.DataFrame) -> None:
    sink = RecordingSink()
    steps = list(publish_history(source, sink, START - timedelta(days=200), START))
    expected = simulated[simulated["published_at"] <= pd.Timestamp(START)]
    pd.testing.assert_frame_equal(sink.rows, expected.reset_index(drop=True))
    assert sum(step.observations for step in steps) == len(expected)
    assert steps[-1].until == START


def test_replay_publishes_the_rest_once_and_in_time(
    source: Source, simulated: pd.DataFrame, memory: PublishedFile
) -> None:
    sink, clock, before = RecordingSink(), fast_clock(LAST), time.monotonic()
    with Stop() as stop:
        assert publish_replay(source, sink, clock, memory, stop, START)
    expected = simulated[simulated["published_at"] > pd.Timestamp(START)]
    pd.testing.assert_frame_equal(sink.rows, expected.reset_index(drop=True))
    assert time.monotonic() - before >= (LAST - START).total_seconds() / clock.speed
    for frame, moment in zip(sink.frames, sink.moments, strict=True):
        shown = START + timedelta(seconds=(moment - before) * clock.speed)
        assert frame["published_at"].max() <= pd.Timestamp(shown), "nothing is published before it is known"
    assert len(sink.frames) > 5
    remembered = memory.read()
    assert remembered is not None
    assert remembered.until >= LAST


def test_a_killed_replay_resumes_at_its_position(
    source: Source, simulated: pd.DataFrame, memory: PublishedFile
) -> None:
    clock = fast_clock(LAST)
    half = RecordingSink()
    with Stop() as stop:
        assert publish_replay(source, half, fast_clock(START + timedelta(hours=3)), memory, stop, START)
    memory.write(Published.by(source.name, START + timedelta(hours=3), clock))
    rest = RecordingSink()
    with Stop() as stop:
        assert publish_replay(
            source, rest, clock, memory, stop, resume_after(source.name, clock, memory.read(), timedelta(0))
        )
    expected = simulated[simulated["published_at"] > pd.Timestamp(START)]
    pd.testing.assert_frame_equal(pd.concat([half.rows, rest.rows], ignore_index=True), expected.reset_index(drop=True))


def test_progress_counts_only_for_its_own_source_and_replay(memory: PublishedFile) -> None:
    clock, hour = fast_clock(LAST), timedelta(hours=1)
    there = Published.by("a", START + hour, clock)
    assert resume_after("a", clock, there, hour) == START + hour
    assert resume_after("b", clock, there, hour) == START
    assert resume_after("a", fast_clock(LAST), there, hour) == START, "a later replay of the same days"
    assert resume_after("a", clock, None, hour) == START
    wall = Clock()
    assert abs(resume_after("a", wall, there, hour) - (datetime.now(UTC) - hour)) < timedelta(seconds=5)
    assert resume_after("a", wall, Published.by("a", START, wall), hour) == START


def test_a_damaged_progress_file_is_ignored(tmp_path: Path, memory: PublishedFile) -> None:
    assert memory.read() is None
    memory.write(Published.by("a", START, Clock()))
    assert memory.read() == Published(source="a", until=START)
    (tmp_path / "replay-x.json").write_text('{"source": "a"', encoding="utf-8")
    assert memory.read() is None


def test_a_signal_ends_a_long_wait_at_once(source: Source, memory: PublishedFile) -> None:
    clock = Clock(start=START, epoch=datetime.now(UTC) + timedelta(hours=1), speed=1.0)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM))
    begun = time.monotonic()
    with Stop() as stop:
        timer.start()
        assert not publish_replay(source, RecordingSink(), clock, memory, stop, START)
    timer.join()
    assert 0.2 < time.monotonic() - begun < 2
    assert stop.signal == signal.SIGTERM


def test_messages_are_complete_within_the_size_limit_and_in_order(simulated: pd.DataFrame) -> None:
    twin = simulated.assign(entity_id="ZZ")
    mixed = pd.concat([simulated, twin]).sort_values("published_at", kind="stable")
    found = list(messages(mixed, 100))
    assert max(map(len, found)) == 100
    for entity_id in ("DE", "ZZ"):
        columns = [m.columns for m in found if m.entity_id == entity_id]
        assert [v for c in columns for v in c["value"]] == simulated["value"].tolist()
    assert found[0].newest == simulated["published_at"].iloc[:100].max().to_pydatetime()


def test_messages_match_the_schema(simulated: pd.DataFrame) -> None:
    schema = fastavro.parse_schema(json.loads(schema_text(Topic.OBSERVATIONS)))
    message = next(messages(simulated, 5))
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, schema, message.to_record())
    buffer.seek(0)
    batch = ObservationBatch.from_record(fastavro.schemaless_reader(buffer, schema, None))
    first, row = batch.observations[0], simulated.iloc[0]
    assert (first.variable, first.value, first.unit, first.simulated) == (
        row["variable"],
        row["value"],
        row["unit"],
        True,
    )
    assert first.valid_time == row["valid_time"].to_pydatetime()
    assert first.published_at == row["published_at"].to_pydatetime()


def test_the_default_window_is_the_last_complete_days(source: Source, use_case: UseCase) -> None:
    extended = InMemorySource(source.observations(datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)))
    extended.extent = Extent(datetime(2020, 1, 1, tzinfo=UTC), datetime(2022, 6, 2, 8, tzinfo=UTC), LAST)
    found = replay_window(extended, use_case, datetime.now(UTC), 2, None)
    assert found.start == datetime(2022, 5, 29, 8, tzinfo=UTC), "an hour before the cutoff at 11:00 for 30 May"
    assert found.until == datetime(2022, 5, 31, 22, tzinfo=UTC), "the local end of 31 May"
    assert found.history_start == datetime(2020, 1, 1, tzinfo=UTC)
    first = datetime(2022, 3, 27, tzinfo=UTC).date()
    asked = replay_window(extended, use_case, datetime.now(UTC), 1, first)
    assert (asked.start, asked.until) == (
        datetime(2022, 3, 26, 9, tzinfo=UTC),
        datetime(2022, 3, 27, 22, tzinfo=UTC),
    )
    with pytest.raises(SourceError, match="2023-01-01 to 2023-01-02"):
        replay_window(extended, use_case, datetime.now(UTC), 2, datetime(2023, 1, 1, tzinfo=UTC).date())


def test_the_window_of_the_simulator_ends_yesterday(use_case: UseCase) -> None:
    now = datetime(2022, 6, 15, 12, tzinfo=UTC)
    found = replay_window(open_simulator(use_case), use_case, now, 3, None)
    assert found.until == datetime(2022, 6, 14, 22, tzinfo=UTC)
    assert found.start == datetime(2022, 6, 11, 8, tzinfo=UTC)
    assert found.start - found.history_start == timedelta(days=min(use_case.day_ahead.training_days, 730))
