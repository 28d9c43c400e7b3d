"""Observations on the grid: local days of any zone, over both clock changes, and back to what was measured."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import pytest

from dualcast.observations.aggregation import Aggregate, over_intervals
from dualcast.observations.grid import place
from dualcast.timegrid import DAY, Grid, duration, interval_end, micros

STEPS = ["PT5M", "PT15M", "PT30M", "PT1H", "P1D"]
YEAR = 2024
MICRO = timedelta(microseconds=1)


@cache
def switch_days() -> dict[str, list[date]]:
    """The days of a year on which each zone of the tz database changes its clock; one ordinary day where it never does.

    Zones that have changed their offset alike this year are tested once.
    """
    found: dict[tuple[timedelta | None, ...], tuple[str, list[date]]] = {}
    midnights = [datetime(YEAR, 1, 1) + timedelta(days=k) for k in range(367)]  # noqa: DTZ001 -- wall-clock times
    for name in sorted(available_timezones()):
        offsets = tuple(m.replace(tzinfo=ZoneInfo(name)).utcoffset() for m in midnights)
        days = [m.date() for m, a, b in zip(midnights, offsets, offsets[1:], strict=False) if a != b]
        found.setdefault(offsets, (name, days or [date(YEAR, 5, 1)]))
    return dict(found.values())


def first_moment(day: date, zone: str) -> int:
    """When a local day begins, by zoneinfo alone, in microseconds."""
    moment = datetime.combine(day, time(0), tzinfo=ZoneInfo(zone)).astimezone(UTC)
    return micros(moment)


def test_every_zone_is_looked_at() -> None:
    zones = switch_days()
    assert len(zones) > 60
    assert sum(len(days) == 2 for days in zones.values()) > 20


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("rule", ["mean", "sum"])
def test_a_local_day_covers_the_slots_that_zoneinfo_says_and_adds_up_again(step: str, rule: Aggregate) -> None:
    for zone, days in switch_days().items():
        grid = Grid(duration(step), zone)
        for day in days:
            start, end = first_moment(day, zone), first_moment(day + DAY, zone)
            placed = place(
                grid, np.array([start]), np.array([DAY // MICRO]), np.array([240.5]), np.array([rule == "sum"])
            )
            index, slot = placed.each_slot()
            if grid.step < DAY:
                size = grid.step // MICRO
                assert slot.tolist() == list(range(start // size, end // size)), (zone, day)
            else:
                assert grid.starts_at(slot).tolist() == [start], (zone, day)
            begin, beyond = grid.numbers_at(np.array([[start], [end]]))
            whole = over_intervals(placed.value[index], int(slot[0]), begin, beyond, rule)
            np.testing.assert_allclose(whole, 240.5, rtol=1e-12, err_msg=f"{zone} {day}")


@pytest.mark.parametrize("step", STEPS[:-1])
@pytest.mark.parametrize("rule", ["mean", "sum"])
def test_every_coarser_interval_within_a_switch_day_adds_up_again(step: str, rule: Aggregate) -> None:
    size = duration(step) // MICRO
    for zone, (day, *_) in switch_days().items():
        grid = Grid(duration(step), zone)
        for length in (2 * size, 12 * size):
            start = np.arange(first_moment(day, zone) // size * size, first_moment(day + DAY, zone), length)
            value = np.linspace(1.0, 9.0, len(start))
            placed = place(grid, start, np.full(len(start), length), value, np.full(len(start), rule == "sum"))
            index, slot = placed.each_slot()
            begin = grid.numbers_at(start)
            whole = over_intervals(placed.value[index], int(slot[0]), begin, begin + length // size, rule)
            np.testing.assert_allclose(whole, value, rtol=1e-12)


def test_an_interval_with_an_absent_part_or_outside_the_values_is_unknown() -> None:
    values = np.array([1.0, np.nan, 3.0, 4.0])
    begin, end = np.array([-1, 0, 2, 3]), np.array([1, 2, 4, 5])
    np.testing.assert_array_equal(over_intervals(values, 0, begin, end, "sum"), [np.nan, np.nan, 7.0, np.nan])


def test_a_day_whose_midnight_the_clock_skips_ends_at_the_next_midnight() -> None:
    start = datetime(2024, 3, 10, 5, tzinfo=UTC)
    assert start.astimezone(ZoneInfo("America/Havana")).hour == 1
    assert interval_end(start, DAY, "America/Havana") == start + timedelta(hours=23)
