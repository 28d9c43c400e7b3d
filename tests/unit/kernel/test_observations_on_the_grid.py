"""Placing observations on the grid and aggregating them again, for local days of all zones over both clock changes."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import pandas as pd
import pytest

from dualcast.catalogue import Entity, UseCase
from dualcast.features.intraday.plan import IntradayPlan
from dualcast.features.intraday.update import update_of
from dualcast.observations.aggregation import Aggregate, over_intervals
from dualcast.observations.cleaning import clean
from dualcast.observations.columns import Columns, micros_of
from dualcast.observations.grid import Placed, place
from dualcast.timegrid import DAY, Grid, duration, interval_end, micros

STEPS = ["PT5M", "PT15M", "PT30M", "PT1H", "P1D"]
YEAR = 2024
MICRO = timedelta(microseconds=1)


@cache
def switch_days() -> dict[str, list[date]]:
    """The days of a year on which each zone of the tz database changes its clock; an ordinary day where it does not.

    Of zones with equal offsets throughout the year, the first is tested.
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


def test_every_zone_is_tested() -> None:
    zones = switch_days()
    assert len(zones) > 60
    assert sum(len(days) == 2 for days in zones.values()) > 20


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("rule", ["mean", "sum"])
def test_a_local_day_covers_the_slots_given_by_zoneinfo_and_aggregates_to_its_value(step: str, rule: Aggregate) -> None:
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
def test_coarser_intervals_within_a_switch_day_aggregate_to_their_values(step: str, rule: Aggregate) -> None:
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


def test_an_interval_with_an_absent_or_outlying_part_is_unknown() -> None:
    values = np.array([1.0, np.nan, 3.0, 4.0])
    begin, end = np.array([-1, 0, 2, 3]), np.array([1, 2, 4, 5])
    np.testing.assert_array_equal(over_intervals(values, 0, begin, end, "sum"), [np.nan, np.nan, 7.0, np.nan])


def test_a_day_whose_midnight_the_clock_skips_ends_at_the_next_midnight() -> None:
    start = datetime(2024, 3, 10, 5, tzinfo=UTC)
    assert start.astimezone(ZoneInfo("America/Havana")).hour == 1
    assert interval_end(start, DAY, "America/Havana") == start + timedelta(hours=23)


@pytest.mark.parametrize(("day", "quarters"), [("2022-03-27", 92), ("2022-10-30", 100)])
def test_the_stream_and_the_lake_place_observations_alike(
    use_case: UseCase, entity: Entity, day: str, quarters: int
) -> None:
    summed = use_case.variables["load_forecast_tso"].model_copy(update={"aggregate": "sum"})
    case = use_case.model_copy(update={"variables": {**use_case.variables, "load_forecast_tso": summed}})
    start = pd.Timestamp(day, tz=entity.time_zone).tz_convert("UTC").as_unit("us")
    fresh = pd.DataFrame(
        {
            "entity_id": entity.id,
            "variable": "load_forecast_tso",
            "valid_time": [start, start + pd.Timedelta(days=5)],
            "resolution": ["P1D", "PT1H"],
            "value": [960_000.0, 40_000.0],
            "unit": summed.unit,
            "published_at": start - pd.Timedelta(days=1),
        }
    ).assign(source="test", simulated=False, partition=0, offset=0, position=[0, 1])
    now = datetime(2026, 1, 1, tzinfo=UTC)
    lake = clean(case, fresh, fresh.iloc[:0], (), now)
    update, used = update_of(IntradayPlan(case, entity), Columns.from_frame(fresh))
    assert used.tolist() == [0, 1]
    assert update.span.tolist() == [quarters, 4]
    index, slot = Placed(update.slot, update.span, update.value).each_slot()
    step = case.grid // MICRO
    assert (slot * step).tolist() == micros_of(lake["valid_time"]).tolist()
    assert update.value[index].tolist() == lake["value"].tolist()
    assert lake["value"].sum() == pytest.approx(1_000_000.0)
