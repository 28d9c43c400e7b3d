"""Feeds: outages of Kafka, invalid records, and failed background work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import pytest

from dualcast.adapters.kafka.connection import UnreachableError
from services.background import Worker
from services.book.feeds import Feed, one_by_one, together
from tests import services_world as world
from tests.waiting import until


@dataclass
class FakeReader:
    """A topic in memory whose broker is unavailable for the first calls."""

    records: list[dict[str, Any]]
    failures: int = 0
    breaks_after: int | None = None
    undecodable: int = 0
    place: int = 0
    opened: int = 0
    done: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self.opened += 1
        if self.failures:
            self.failures -= 1
            raise UnreachableError("no broker")
        return self

    def __exit__(self, *_: object) -> None:
        return

    @property
    def caught_up(self) -> bool:
        return self.place == len(self.records)

    def poll(self, timeout: float, most: int = 500) -> list[dict[str, Any]]:
        if self.breaks_after == self.place:
            self.breaks_after = None
            raise UnreachableError("lost")
        if self.caught_up:
            self.done.set()
            return []
        self.place += 1
        return [self.records[self.place - 1]]


def follow(
    reader: FakeReader, take: Callable[[dict[str, Any]], None], monkeypatch: pytest.MonkeyPatch
) -> Feed[dict[str, Any]]:
    """Run a feed until the end of the topic."""
    monkeypatch.setattr("services.book.feeds._RETRY_SECONDS", 0.01)
    feed = Feed("forecasts", reader, one_by_one(take))
    feed.start()
    assert reader.done.wait(5)
    feed.stop()
    return feed


def test_a_feed_reconnects_after_outages_and_loses_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    reader = FakeReader([{"n": i} for i in range(5)], failures=2, breaks_after=3)
    feed = follow(reader, lambda record: seen.append(record["n"]), monkeypatch)
    assert seen == [0, 1, 2, 3, 4]
    assert (feed.state, feed.records, reader.opened) == ("following", 5, 4)


def test_an_invalid_record_is_counted_and_the_next_ones_are_handled(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = world.da_deps().curves
    good, stranger = world.intraday(world.NOW).to_record(), world.intraday(world.NOW).to_record()
    stranger["entity_id"] = "XX"
    feed = follow(FakeReader([{}, stranger, good | {"points": []}, good]), curves.add_record, monkeypatch)
    assert (feed.records, feed.refused) == (1, 3)
    assert curves.intraday("de_load", "DE") is not None


def test_an_unusable_message_does_not_cost_the_others_of_its_poll() -> None:
    taken: list[int] = []

    def take(records: Sequence[int]) -> None:
        taken.extend(10 // record for record in records)

    assert together(take)([1, 0, 5]) == 1
    assert taken[-2:] == [10, 2]


def test_a_feed_that_is_stuck_in_a_message_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.book.feeds._STUCK_SECONDS", 0.1)
    entered, leave = threading.Event(), threading.Event()

    def take(_: dict[str, Any]) -> None:
        entered.set()
        leave.wait(10)

    reader = FakeReader([{"n": 1}])
    feed = Feed("forecasts", reader, one_by_one(take))
    feed.start()
    assert entered.wait(5)
    until(lambda: feed.state == "stuck", 5)
    leave.set()
    until(lambda: feed.state == "following", 5, every=0.001)
    feed.stop()


def test_failed_background_work_is_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.background._RETRY_SECONDS", 0.01)
    tries, done = [], threading.Event()

    def work(stop: threading.Event) -> None:
        tries.append(1)
        if len(tries) < 3:
            raise RuntimeError("a mistake of ours")
        done.set()

    worker = Worker("work", work)
    monkeypatch.setattr("services.background._log.exception", lambda *_, **__: None, raising=False)
    worker.start()
    assert done.wait(5)
    worker.stop()
