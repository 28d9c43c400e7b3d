"""Recent observations in memory, compared with a plain dictionary that follows the same rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import PrivateAttr

from dualcast.catalogue import UseCase, load_use_case
from dualcast.records import Observation, ObservationBatch
from dualcast.timegrid import Clock, Grid, from_micros, interval_end, iso_duration, micros
from services.book.series import SeriesCache
from tests import services_world as world

NOW = world.NOW
_SLOTS = 40
_FIRST = NOW - timedelta(hours=8)
Vintage = tuple[float, datetime]


class ManualClock(Clock):
    """A clock that a test sets."""

    _shown: datetime = PrivateAttr(default=NOW)

    def now(self) -> datetime:
        """The moment that the test has set."""
        return self._shown

    def move(self, span: timedelta) -> None:
        """Move forward."""
        self._shown += span


class DictionarySeries:
    """Slot -> vintage in a dictionary: the expected content of ``SeriesCache`` for one entity, not on local days."""

    def __init__(self, use_case: UseCase) -> None:
        self._use_case = use_case
        self.held: dict[tuple[str, datetime], Vintage] = {}

    def add(self, observations: Sequence[Observation]) -> None:
        for o in observations:
            parts = _span(o) // self._use_case.grid
            summed = self._use_case.variables[o.variable].aggregate == "sum"
            for part in range(parts):
                self._put(o, o.valid_time + part * self._use_case.grid, o.value / parts if summed else o.value)

    def _put(self, o: Observation, slot: datetime, value: float) -> None:
        held = self.held.get((o.variable, slot))
        if held is not None and o.published_at <= held[1]:
            return
        if held is not None and o.variable == self._use_case.reference and o.published_at > slot:
            return
        self.held[o.variable, slot] = value, o.published_at

    def values(self, variable: str, times: Sequence[datetime], step: timedelta) -> Iterator[float]:
        parts = step // self._use_case.grid
        for time in times:
            found = [self.held.get((variable, time + k * self._use_case.grid), (np.nan,))[0] for k in range(parts)]
            total = float(np.array(found).sum())
            yield total if self._use_case.variables[variable].aggregate == "sum" else total / parts


def _span(observation: Observation) -> timedelta:
    return timedelta(minutes=int(observation.resolution[2:-1]))


def _use_case(aggregate: str) -> UseCase:
    """The German use case, with means or sums as the aggregation."""
    known = world.catalogue()["de_load"]
    variables = {
        name: variable.model_copy(update={"aggregate": aggregate}) for name, variable in known.variables.items()
    }
    return known.model_copy(update={"variables": variables})


def _observation(variable: str, slot: int, parts: int, value: int, delay: int) -> Observation:
    valid = _FIRST + slot * timedelta(minutes=15)
    if parts == 4:
        valid = valid.replace(minute=0)
    published = valid + timedelta(minutes=15 * (parts if variable == "load" else -8) + delay)
    return world.observation(variable, valid, 40_000.0 + value, published, resolution=f"PT{15 * parts}M")


observed = st.builds(
    _observation,
    st.sampled_from(["load", "load_forecast_tso"]),
    st.integers(0, _SLOTS - 1),
    st.sampled_from([1, 4]),
    st.integers(0, 999),
    st.integers(0, 240),
)


def add(series: SeriesCache, *observations: Observation, entity_id: str = "DE") -> None:
    """Pass observations as one message."""
    series.add([world.message(ObservationBatch(entity_id, list(observations)).to_record())])


@settings(deadline=None)
@given(st.lists(observed, max_size=60), st.integers(1, 7), st.sampled_from(["mean", "sum"]))
def test_series_equal_a_dictionary_of_vintages(observations: list[Observation], messages: int, aggregate: str) -> None:
    use_case, clock = _use_case(aggregate), world.frozen(NOW + timedelta(days=1))
    series, plain = SeriesCache({"de_load": use_case}, clock), DictionarySeries(use_case)
    in_order = sorted(observations, key=lambda o: o.published_at)
    for part in range(messages):
        add(series, *in_order[part * 60 // messages : (part + 1) * 60 // messages])
    plain.add(in_order)
    for variable in ("load", "load_forecast_tso"):
        for step in (timedelta(minutes=15), timedelta(hours=1)):
            count = _SLOTS * timedelta(minutes=15) // step
            times = [_FIRST + k * step for k in range(count)]
            found = series.values(use_case, "DE", variable, np.array([micros(t) for t in times]), step)
            np.testing.assert_array_equal(found, list(plain.values(variable, times, step)))
        ends = [
            o.valid_time + timedelta(minutes=int(o.resolution[2:-1])) for o in observations if o.variable == variable
        ]
        assert series.known_until(use_case, "DE", variable) == max(ends, default=None)
    loads = [slot for variable, slot in plain.held if variable == "load"]
    assert series.newest_end(use_case, "DE") == (max(loads) + use_case.grid if loads else None)


def values(series: SeriesCache, variable: str, *moments: datetime, entity_id: str = "DE") -> list[float]:
    """The values of the quarter-hours that begin at given moments."""
    times = np.array([micros(moment) for moment in moments])
    step = timedelta(minutes=15)
    return [float(v) for v in series.values(world.catalogue()["de_load"], entity_id, variable, times, step)]


def test_an_implausible_value_is_left_out_also_if_last_weeks_value_is_in_the_same_message() -> None:
    series = SeriesCache(world.catalogue(), world.frozen())
    weeks = [NOW - timedelta(days=days, hours=1) for days in (14, 7, 0)]
    loads = [50_000.0, 120_000.0, 51_000.0]  # the second value is more than twice the first
    add(
        series,
        *(
            world.observation("load", moment, load, moment + timedelta(minutes=15))
            for moment, load in zip(weeks, loads, strict=True)
        ),
    )
    np.testing.assert_array_equal(values(series, "load", *weeks), [50_000.0, np.nan, 51_000.0])


def test_the_newest_reference_published_before_its_interval_is_used() -> None:
    series = SeriesCache(world.catalogue(), world.frozen())
    slot = NOW - timedelta(hours=1)
    for value, age in ((41_000.0, -30), (42_000.0, 60), (43_000.0, 30), (44_000.0, -5)):
        add(series, world.observation("load_forecast_tso", slot, value, slot - timedelta(minutes=age)))
    assert values(series, "load_forecast_tso", slot) == [43_000.0]


def test_the_oldest_reference_is_used_if_all_were_published_after_the_start() -> None:
    series = SeriesCache(world.catalogue(), world.frozen())
    slot = NOW - timedelta(hours=1)
    for value, late in ((41_000.0, 30), (42_000.0, 10), (43_000.0, 50)):
        add(series, world.observation("load_forecast_tso", slot, value, slot + timedelta(minutes=late)))
    assert values(series, "load_forecast_tso", slot) == [42_000.0]


def test_the_window_moves_with_the_clock() -> None:
    clock = ManualClock()
    series = SeriesCache(world.catalogue(), clock)
    old, new = NOW - timedelta(days=20), NOW - timedelta(days=1)
    for moment in (old, new):
        add(series, world.observation("load", moment, 50_000.0, moment + timedelta(minutes=15)))
    assert values(series, "load", old, new) == [50_000.0, 50_000.0]
    clock.move(timedelta(days=10))
    later = new + timedelta(days=10)
    add(series, world.observation("load", later, 51_000.0, later + timedelta(minutes=15)))
    np.testing.assert_array_equal(values(series, "load", old, new, later), [np.nan, 50_000.0, 51_000.0])
    clock.move(timedelta(days=400))
    add(series, world.observation("load", old, 50_000.0, old + timedelta(minutes=15)))
    far = clock.now() - timedelta(hours=1)
    add(series, world.observation("load", far, 52_000.0, far + timedelta(minutes=15)))
    np.testing.assert_array_equal(values(series, "load", old, later, far), [np.nan, np.nan, 52_000.0])


def test_invalid_intervals_and_unknown_entities_are_ignored() -> None:
    use_case = world.catalogue()["de_load"]
    series = SeriesCache(world.catalogue(), world.frozen())
    slot = NOW - timedelta(hours=1)
    good = world.observation("load", slot, 50_000.0, slot + timedelta(minutes=15))
    bad = [
        world.observation("load", slot, 60_000.0, NOW, resolution="a while"),
        world.observation("load", slot, 60_000.0, NOW, resolution="P9999D"),
        world.observation("load_forecast_tso", datetime(2199, 1, 1, tzinfo=UTC), 60_000.0, NOW),
        world.observation("load", datetime(9999, 12, 31, tzinfo=UTC), 60_000.0, NOW),
        world.observation("load", slot, float("nan"), NOW),
        world.observation("load", slot, 60_000.0, NOW, unit="kW"),
        world.observation("load", slot, 60_000.0, NOW + timedelta(hours=1)),
        world.observation("no_such_variable", slot, 60_000.0, NOW),
    ]
    add(series, *bad, good, *bad)
    add(series, good, entity_id="XX")
    assert values(series, "load", slot) == [50_000.0]
    assert series.known_until(use_case, "DE", "load") == slot + timedelta(minutes=15)
    assert series.known_until(use_case, "DE", "load_forecast_tso") is None
    assert series.known_until(use_case, "DE", "no_such_variable") is None
    assert series.newest_end(use_case, "XX") is None
    assert not series.simulated("XX")


@pytest.mark.parametrize(("day", "hours"), [("2024-03-31", 23), ("2024-10-27", 25), ("2024-05-01", 24)])
def test_a_measured_day_ends_at_local_midnight(day: str, hours: int) -> None:
    use_case = load_use_case("warehouses", world.USE_CASES)
    entity = use_case.entities[0]
    start = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(entity.time_zone)).astimezone(UTC)
    end = start + timedelta(hours=hours)
    assert interval_end(start, use_case.grid, entity.time_zone) == end
    series = SeriesCache({use_case.use_case: use_case}, world.frozen(end + timedelta(hours=12)))
    add(series, Observation("orders", start, "P1D", 100.0, use_case.unit, end, "test"), entity_id=entity.id)
    assert series.newest_end(use_case, entity.id) == end
    assert series.known_until(use_case, entity.id, "orders") == end


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
@pytest.mark.parametrize("switch", [date(2022, 3, 27), date(2022, 10, 30), date(2022, 3, 13), date(2022, 4, 3)])
def test_local_days_end_at_local_midnight_also_on_switch_days(zone: str, switch: date) -> None:
    known = load_use_case("warehouses", world.USE_CASES)
    entity = known.entities[0].model_copy(update={"time_zone": zone})
    use_case = known.model_copy(update={"entities": (entity,)})
    grid = Grid(use_case.grid, zone)
    number = (switch - date(1970, 1, 1)).days
    starts = [from_micros(int(t)) for t in grid.starts_at(np.arange(number - 8, number + 1))]
    end = interval_end(starts[-1], use_case.grid, zone)
    series = SeriesCache({"warehouses": use_case}, world.frozen(end + timedelta(hours=3)))
    for orders, start in enumerate(starts):
        published = interval_end(start, use_case.grid, zone) + timedelta(minutes=30)
        observation = world.observation(
            "orders", start, orders, published, resolution=iso_duration(use_case.grid), unit="orders"
        )
        add(series, observation, entity_id=entity.id)
    assert series.newest_end(use_case, entity.id) == end
    assert series.known_until(use_case, entity.id, "orders") == end
    times = np.array([micros(start) for start in starts])
    assert series.values(use_case, entity.id, "orders", times, use_case.grid).tolist() == list(range(9))
    two_days = series.values(use_case, entity.id, "orders", times[-2:], 2 * use_case.grid)
    np.testing.assert_array_equal(two_days, [15.0, np.nan])


def test_entities_in_one_poll_are_separate() -> None:
    known = world.catalogue()["de_load"]
    entities = tuple(known.entities[0].model_copy(update={"id": f"Z{n}"}) for n in range(3))
    series = SeriesCache({"de_load": known.model_copy(update={"entities": entities})}, world.frozen())
    slot = NOW - timedelta(hours=1)
    messages = [
        ObservationBatch(f"Z{n}", [world.observation("load", slot, 50_000.0 + n, NOW, simulated=n == 1)])
        for n in (2, 0, 1)
    ]
    series.add([world.message(batch.to_record()) for batch in messages])
    use_case = known.model_copy(update={"entities": entities})
    times, step = np.array([micros(slot)]), timedelta(minutes=15)
    found = [series.values(use_case, f"Z{n}", "load", times, step)[0] for n in range(3)]
    assert found == [50_000.0, 50_001.0, 50_002.0]
    assert [series.simulated(f"Z{n}") for n in range(3)] == [False, True, False]
