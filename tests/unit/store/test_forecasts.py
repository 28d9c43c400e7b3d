"""The store contains each published curve once, unchanged."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date, timedelta

import pytest
from sqlalchemy import Engine

from dualcast.adapters.store.forecasts import Span, read_curves, save
from dualcast.curves.forecast import Point
from tests import services_world as world


def test_saved_curves_are_read_unchanged_and_in_order(store: Engine) -> None:
    curves = [world.day_ahead(date(2022, 5, 4)), world.day_ahead(date(2022, 3, 27))]
    other = [world.intraday(world.NOW), world.day_ahead(date(2022, 5, 4), use_case="other")]
    assert save(store, [*curves, *other], world.NOW) == 4
    assert list(read_curves(store, Span("de_load", "day-ahead"))) == curves[::-1]
    assert [len(f.points) for f in read_curves(store, Span("de_load", "day-ahead"))] == [23, 24]


def test_a_repeated_curve_is_stored_once(store: Engine) -> None:
    first = world.day_ahead(date(2022, 5, 4))
    assert save(store, [first, first], world.NOW) == 1
    again = replace(first, degraded=True)
    newer = replace(first, model_version="2")
    assert save(store, [again, newer], world.NOW) == 1
    assert list(read_curves(store, Span("de_load", "day-ahead"))) == [first, newer]


def test_both_paths_may_issue_at_the_same_time_with_the_same_version(store: Engine) -> None:
    day_ahead = world.day_ahead(date(2022, 5, 4))
    intraday = world.intraday(day_ahead.issued_at)
    assert day_ahead.model_version == intraday.model_version
    assert save(store, [day_ahead, intraday], world.NOW) == 2


def test_a_span_includes_its_start_and_excludes_its_end(store: Engine) -> None:
    curves = [world.intraday(world.NOW + timedelta(minutes=15 * i)) for i in range(5)]
    save(store, curves, world.NOW)
    span = Span("de_load", "intraday", curves[1].issued_at, curves[3].issued_at)
    assert list(read_curves(store, span)) == curves[1:3]


def test_nan_is_stored_as_null(store: Engine) -> None:
    curve = world.intraday(world.NOW)
    holed = replace(curve, points=[Point(curve.points[0].valid_time, [math.nan, 1.0, math.inf]), *curve.points[1:]])
    save(store, [holed], world.NOW)
    (found,) = read_curves(store, Span("de_load", "intraday"))
    assert [math.isnan(v) for v in found.points[0].values] == [True, False, True]
    assert found.points[1:] == curve.points[1:]


def test_hundreds_of_curves_are_saved_in_one_call(store: Engine) -> None:
    curves = [world.intraday(world.NOW + timedelta(minutes=i)) for i in range(600)]
    assert save(store, curves, world.NOW) == 600
    assert sum(1 for _ in read_curves(store, Span("de_load", "intraday"))) == 600


def test_times_without_an_offset_are_refused(store: Engine) -> None:
    naive = replace(world.intraday(world.NOW), issued_at=world.NOW.replace(tzinfo=None))
    with pytest.raises(Exception, match="aware"):
        save(store, [naive], world.NOW)


def test_a_long_read_does_not_block_the_writer(store: Engine) -> None:
    save(store, [world.intraday(world.NOW)], world.NOW)
    reading = read_curves(store, Span("de_load", "intraday"))
    next(reading)
    assert save(store, [world.day_ahead(date(2022, 5, 4))], world.NOW) == 1
    assert list(reading) == []
