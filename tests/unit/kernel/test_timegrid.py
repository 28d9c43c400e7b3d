"""Delivery days, cutoffs, the clock."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualcast.timegrid import (
    Clock,
    cutoff_of,
    delivery_slots,
    duration,
    floor,
    from_micros,
    iso_duration,
    local_date,
    micros,
)

HOUR = timedelta(hours=1)
ZONES = ["Europe/Berlin", "Europe/Madrid", "Europe/London", "UTC"]


@pytest.mark.parametrize(
    ("day", "hours"),
    [
        (date(2022, 3, 27), 23),
        (date(2022, 10, 30), 25),
        (date(2024, 2, 29), 24),
        (date(2023, 12, 31), 24),
        (date(2024, 1, 1), 24),
    ],
)
def test_a_delivery_day_has_as_many_hours_as_its_local_day(day: date, hours: int) -> None:
    slots = delivery_slots(day, "Europe/Berlin", HOUR)
    assert len(slots) == hours
    assert slots[0].tz_convert("Europe/Berlin").isoformat().startswith(f"{day}T00:00")
    assert len(set(slots)) == hours


@given(st.dates(date(2001, 1, 1), date(2099, 12, 31)), st.sampled_from(ZONES))
def test_delivery_days_follow_each_other_without_gap_or_overlap(day: date, zone: str) -> None:
    today = delivery_slots(day, zone, timedelta(minutes=15))
    tomorrow = delivery_slots(day + timedelta(days=1), zone, timedelta(minutes=15))
    assert today[-1] + timedelta(minutes=15) == tomorrow[0]
    assert {local_date(t, zone) for t in today.to_pydatetime()} == {day}


def test_the_cutoff_is_a_local_time_on_the_day_before_on_both_sides_of_a_switch() -> None:
    at = time(11)
    assert cutoff_of(date(2022, 3, 27), at, "Europe/Berlin") == datetime(2022, 3, 26, 10, tzinfo=UTC)
    assert cutoff_of(date(2022, 3, 28), at, "Europe/Berlin") == datetime(2022, 3, 27, 9, tzinfo=UTC)


@given(st.integers(1, 10**6))
def test_durations_round_trip(minutes: int) -> None:
    step = timedelta(minutes=minutes)
    assert duration(iso_duration(step)) == step


@pytest.mark.parametrize("text", ["00:15:00", "900", "15", "1 day, 0:15:00", "P", "PT", "p1d", "", "PT15", "P1DT"])
def test_durations_in_another_form_than_iso_8601_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        duration(text)


def test_floor_gives_the_newest_grid_point() -> None:
    assert floor(datetime(2022, 1, 1, 10, 29, 59, tzinfo=UTC), timedelta(minutes=15)) == datetime(
        2022, 1, 1, 10, 15, tzinfo=UTC
    )


@given(st.integers(-(10**15), 4 * 10**15))
def test_micros_round_trip(count: int) -> None:
    assert micros(from_micros(count)) == count


def test_micros_counts_microseconds() -> None:
    assert micros(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)) == 1_000_000
    assert micros(datetime(1970, 1, 1, 1, 0, 1, tzinfo=ZoneInfo("Europe/Berlin"))) == 1_000_000


class TestClock:
    epoch = datetime(2026, 1, 1, tzinfo=UTC)
    start = datetime(2022, 1, 1, tzinfo=UTC)

    def test_the_default_is_wall_time(self) -> None:
        assert Clock().at(self.epoch) == self.epoch
        assert not Clock().is_replay

    def test_a_replay_clock_runs_only_between_epoch_and_end(self) -> None:
        clock = Clock(start=self.start, epoch=self.epoch, speed=3600, until=self.start + timedelta(hours=2))
        assert clock.at(self.epoch - HOUR) == self.start
        assert clock.at(self.epoch + timedelta(seconds=1)) == self.start + HOUR
        assert clock.at(self.epoch + HOUR) == self.start + timedelta(hours=2)

    def test_two_processes_with_the_same_settings_agree(self) -> None:
        clock = Clock(start=self.start, epoch=self.epoch, speed=60)
        again = Clock.model_validate_json(clock.model_dump_json())
        assert again.at(self.epoch + HOUR) == clock.at(self.epoch + HOUR)

    def test_wall_seconds_until_a_replay_time(self) -> None:
        clock = Clock(start=self.start, epoch=datetime.now(UTC) + timedelta(seconds=100), speed=3600)
        assert clock.wall_seconds_until(self.start + HOUR) == pytest.approx(101, abs=0.5)
        assert clock.wall_seconds_until(self.start - HOUR) == 0
