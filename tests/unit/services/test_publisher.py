"""Publishing on arrival: in order, each curve once after repetitions and failures, and none for old rows."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Self

import pytest

from dualcast.catalogue import Entity, UseCase
from dualcast.curves.forecast import Forecast
from dualcast.records import FeatureRow
from dualcast.timegrid import Clock
from services.id_svc.ports import Arrival
from services.id_svc.publisher import Publisher, oldest_worth
from services.id_svc.scoring.forecaster import ForecastResult, NoForecastError
from tests import services_world as world

STEP = timedelta(minutes=15)


@dataclass
class FakeTopic:
    """Rows with a committed offset, and a forecast topic: the state that Kafka keeps over a crash."""

    rows: list[FeatureRow]
    committed: int = 0
    place: int = 0
    stored: list[Forecast] = field(default_factory=list)
    queued: list[Forecast] = field(default_factory=list)
    fail_flush: int = 0
    fail_commit: int = 0
    batch: int = 3

    def __enter__(self) -> Self:
        self.place = self.committed
        return self

    def __exit__(self, *_: object) -> None:
        return

    def poll(self, timeout: float, since: datetime) -> list[Arrival]:
        came = self.rows[self.place : self.place + self.batch]
        self.place += len(came)
        return [Arrival(row) for row in came]

    def commit(self) -> None:
        if self.fail_commit:
            self.fail_commit -= 1
            raise ConnectionError("commit lost")
        self.committed = self.place

    def newest(self) -> dict[tuple[str, str], datetime]:
        return {(f.use_case, f.entity_id): f.issued_at for f in self.stored}

    def send(self, forecast: Forecast) -> None:
        self.queued.append(forecast)

    def flush(self) -> None:
        queued, self.queued = self.queued, []
        if self.fail_flush:
            self.fail_flush -= 1
            self.stored += queued[:1]  # one curve arrived before the broker became unavailable
            raise ConnectionError("broker away")
        self.stored += queued

    def close(self) -> None:
        return


class FakeForecaster:
    def on_arrival(self, use_case: UseCase, entity: Entity, row: FeatureRow) -> ForecastResult:
        if row.feature_set == "useless":
            raise NoForecastError("nothing")
        return ForecastResult(world.intraday(row.as_of, data_version=str(row.valid_time)), None)


class ReadyModelCache:
    polled = threading.Event()


ReadyModelCache.polled.set()


def row_of(
    as_of: datetime, origin: datetime | None = None, entity_id: str = "DE", feature_set: str = "abc"
) -> FeatureRow:
    return FeatureRow("de_load", entity_id, origin or as_of, as_of, feature_set, {})


def publisher_of(topic: FakeTopic, clock: Clock | None = None) -> Publisher:
    return Publisher(topic, topic, FakeForecaster(), ReadyModelCache(), world.catalogue(), clock or world.frozen())  # type: ignore[arg-type]


def run(topic: FakeTopic, clock: Clock | None = None) -> Counter[str]:
    """Run until every row is committed."""
    publisher, stop = publisher_of(topic, clock), threading.Event()
    thread = threading.Thread(target=publisher.run, args=(stop,))
    thread.start()
    deadline = threading.Event()
    for _ in range(400):
        if topic.committed == len(topic.rows):
            break
        deadline.wait(0.02)
    stop.set()
    thread.join(5)
    assert topic.committed == len(topic.rows)
    return publisher.counters


def recent(count: int) -> list[FeatureRow]:
    return [row_of(world.NOW - i * timedelta(minutes=1)) for i in reversed(range(count))]


def issued(topic: FakeTopic) -> list[datetime]:
    return [f.issued_at for f in topic.stored]


def test_each_row_is_published_as_one_curve_in_order() -> None:
    topic = FakeTopic(recent(8))
    counters = run(topic)
    assert issued(topic) == [row.as_of for row in topic.rows]
    assert counters["published"] == 8


@pytest.mark.parametrize(("flushes", "commits"), [(2, 0), (0, 2)])
def test_each_curve_is_published_once_after_a_failure(flushes: int, commits: int) -> None:
    topic = FakeTopic(recent(8), fail_flush=flushes, fail_commit=commits)
    run(topic)
    assert issued(topic) == [row.as_of for row in topic.rows]


def test_repeated_rows_are_not_published_again() -> None:
    rows = recent(4)
    topic = FakeTopic([*rows, *rows])
    assert run(topic)["repeated"] == 4
    assert issued(topic) == [row.as_of for row in rows]


def test_of_rows_with_equal_as_of_the_newest_origin_is_published() -> None:
    rows = [row_of(world.NOW, world.NOW - i * STEP) for i in (2, 1, 0)]
    topic = FakeTopic(rows)
    run(topic)
    assert [f.data_version for f in topic.stored] == [str(world.NOW)]


def test_old_unknown_and_failed_rows_are_counted_and_skipped() -> None:
    rows = [
        row_of(world.NOW - timedelta(hours=5)),
        row_of(world.NOW, entity_id="XX"),
        row_of(world.NOW - STEP, feature_set="useless"),
        row_of(world.NOW),
    ]
    topic = FakeTopic(rows)
    assert dict(run(topic)) == {"too_old": 1, "unknown": 1, "no_forecast": 1, "published": 1}
    assert issued(topic) == [world.NOW]


def test_in_a_fast_replay_rows_with_a_short_wall_time_delay_are_published() -> None:
    wall = datetime.now(UTC)
    start = world.NOW
    clock = Clock(start=start, epoch=wall - timedelta(minutes=5), speed=2000, until=start + timedelta(days=7))
    assert oldest_worth(clock, timedelta(hours=1)) == start - timedelta(hours=1)
    live = oldest_worth(Clock(), timedelta(hours=1))
    assert abs(live - (wall - timedelta(hours=1))) < timedelta(minutes=1)
