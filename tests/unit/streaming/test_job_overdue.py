"""A value is overdue some seconds after its publication time, and never while past messages are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dualcast.catalogue import UseCase
from dualcast.timegrid import Clock, micros
from streaming.job import overdue
from streaming.job.overdue import Overdue

NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)
SLOT = 900_000_000


def standing(moment: datetime, speed: float = 1.0) -> Clock:
    return Clock(start=moment, until=moment, speed=speed)


@pytest.fixture
def late(use_case: UseCase, monkeypatch: pytest.MonkeyPatch) -> tuple[Overdue, list[float]]:
    wall = [1000.0]
    monkeypatch.setattr(overdue, "monotonic", lambda: wall[0])
    made = Overdue(use_case)
    wall[0] += 31
    return made, wall


def test_a_value_is_overdue_ten_seconds_after_its_slot(late: tuple[Overdue, list[float]]) -> None:
    """By the catalogue it is published at once."""
    made, _ = late
    assert made.origin(standing(NOON + timedelta(seconds=9))) == micros(NOON) // SLOT - 1
    assert made.origin(standing(NOON + timedelta(seconds=10))) == micros(NOON) // SLOT


def test_nothing_is_overdue_while_the_past_is_read(late: tuple[Overdue, list[float]]) -> None:
    made, wall = late
    clock = standing(NOON)
    made.note_publication(clock, micros(NOON - timedelta(minutes=30)))
    assert made.origin(clock) is not None
    made.note_publication(clock, micros(NOON - timedelta(days=3)))
    assert made.origin(clock) is None
    wall[0] += 31
    assert made.origin(clock) is not None


def test_the_next_check_is_when_the_next_value_is_overdue(late: tuple[Overdue, list[float]]) -> None:
    made, _ = late
    before = datetime.now(UTC).timestamp() * 1000
    clock = Clock(start=NOON + timedelta(minutes=14), epoch=datetime.now(UTC), speed=2.0)
    at = made.next_check(clock)
    assert at is not None
    assert at % 1000 == 0
    assert 30_000 + 10_000 <= at - before <= 30_000 + 13_000


def test_a_fast_replay_has_no_checks(late: tuple[Overdue, list[float]]) -> None:
    made, _ = late
    clock = standing(NOON, speed=60.0)
    assert made.next_check(clock) is None
    assert made.origin(clock) is None
