"""Published curves in memory: as arrays, and within a bound."""

from __future__ import annotations

import gc
from datetime import timedelta

import pytest

from services.book.curves import CurveCache, intraday_span
from services.book.tracks import TrackMaker
from services.heap import freezing
from tests import services_world as world
from tests.waiting import until


def test_a_curve_stored_as_arrays_is_returned_unchanged() -> None:
    maker = TrackMaker()
    curves = [
        world.intraday(world.NOW),
        world.intraday(world.NOW + timedelta(minutes=15), degraded=True, degraded_reasons=["stale_input:load"]),
        world.day_ahead(world.NOW.date()),
    ]
    assert [maker.make(curve).forecast() for curve in curves] == curves


def test_curves_share_equal_fields_and_times() -> None:
    maker = TrackMaker()
    first, second = (maker.make(world.intraday(world.NOW)) for _ in range(2))
    assert first.shared is second.shared
    assert first.times is second.times
    assert maker.make(world.intraday(world.NOW, simulated=False)).shared is not first.shared


@pytest.mark.parametrize(("entities", "days"), [(1, 14.0), (100, 14.0), (1000, 2.1), (100_000, 0.5)])
def test_intraday_curves_are_kept_as_long_as_memory_allows(entities: int, days: float) -> None:
    known = world.catalogue()["de_load"]
    many = known.model_copy(update={"entities": known.entities * entities})
    assert intraday_span([many], 192 * 2**20) / timedelta(days=1) == pytest.approx(days, abs=0.1)


def test_intraday_curves_older_than_the_span_are_dropped() -> None:
    curves = CurveCache(world.catalogue(), timedelta(hours=2))
    for quarters in range(20):
        curves.add(world.intraday(world.NOW + quarters * timedelta(minutes=15)))
    newest = world.NOW + 19 * timedelta(minutes=15)
    kept = [track.issued_at for track in curves.intraday_tracks("de_load", "DE")]
    assert kept == [newest - quarters * timedelta(minutes=15) for quarters in range(8, -1, -1)]
    assert curves.covered_since("intraday", newest) == kept[0]
    assert curves.intraday_as_of("de_load", "DE", kept[0] - timedelta(seconds=1)) is None


def test_the_heap_is_frozen_once_the_service_has_started() -> None:
    started = False
    threshold = gc.get_threshold()
    gc.unfreeze()
    gc.set_threshold(700)
    worker = freezing(lambda: started)
    worker.start()
    started = True
    try:
        until(lambda: gc.get_threshold()[0] > 700, 5, every=0.02)
        assert gc.get_freeze_count() > 0
    finally:
        worker.stop()
        gc.unfreeze()
        gc.set_threshold(*threshold)
