"""Results that are shared among origins equal those computed for each origin alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dualcast.arrays import Floats, Slots
from dualcast.catalogue import Entity
from dualcast.features.holidays import SlotCalendar
from dualcast.features.window import Window

HOUR, START, LENGTH, ORIGINS, HORIZONS = 3600, 456_000, 200, 40, 6
Feature = Callable[[Window], Floats]


def window(entity: Entity, origin: Slots, lookback: int = 60) -> Window:
    values = np.random.default_rng(1).normal(50_000, 5_000, (2, LENGTH))
    values[:, ::7] = np.nan
    target, calendar = origin + np.arange(HORIZONS), SlotCalendar(entity, HOUR)
    named = dict(zip(("load", "tso"), values, strict=True))
    return Window(named, frozenset({"load"}), START, origin, target, lookback, HOUR, calendar)


def moved(variable: str, by: int) -> Feature:
    return lambda seen: seen.at(variable, seen.target + by)


@pytest.mark.parametrize(
    "of",
    [
        moved("tso", 0),
        moved("load", -24),
        moved("load", -2),  # hidden from some of the origins
        moved("load", -58),  # unknown at some of the origins
        moved("tso", 80),  # beyond the end
        lambda seen: seen.mean("load", seen.target - HORIZONS, 6),  # depends on the origin
    ],
)
def test_by_slot_equals_the_result_for_each_origin(entity: Entity, of: Feature) -> None:
    origins = START + 100 + np.arange(ORIGINS)[:, np.newaxis]
    together = window(entity, origins).by_slot(of)
    alone = [of(window(entity, origin[np.newaxis])) for origin in origins]
    np.testing.assert_array_equal(together, np.concatenate(alone))


def test_by_slot_computes_each_slot_once_if_that_is_less_work(entity: Entity) -> None:
    sizes: list[int] = []

    def of(seen: Window) -> Floats:
        sizes.append(seen.target.size)
        return seen.at("tso", seen.target)

    window(entity, START + 100 + np.arange(ORIGINS)[:, np.newaxis]).by_slot(of)
    window(entity, START + 100 + np.arange(0, 90, 30)[:, np.newaxis]).by_slot(of)
    window(entity, np.empty((0, 1), dtype=np.int64)).by_slot(of)
    assert sizes == [ORIGINS + HORIZONS - 1, 3 * HORIZONS, 0]


@pytest.mark.parametrize(("widths", "calls"), [([1, 3, 6, 12], 2), ([12, 2], 1), ([7, 8], 2)])
def test_means_before_the_origin_share_their_series(entity: Entity, widths: list[int], calls: int) -> None:
    asked: list[Window] = []

    def of(past: Window) -> Floats:
        asked.append(past)
        return past.at("load", past.target) - past.at("load", past.target - 24)

    seen = window(entity, START + 100 + np.arange(ORIGINS)[:, np.newaxis])
    for width in widths:
        past = seen.origin - np.arange(width, 0, -1)
        change = seen.at("load", past) - seen.at("load", past - 24)
        known = np.isfinite(change).sum(axis=1, keepdims=True)
        plain = np.where(2 * known >= width, np.nansum(change, axis=1, keepdims=True) / np.maximum(known, 1), np.nan)
        np.testing.assert_allclose(seen.mean_before_origin("change", width, of), plain, atol=1e-3)
    assert len(asked) == calls
