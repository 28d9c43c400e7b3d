"""Use cases are data, and a mistake in one is refused with its line."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest

from dualcast.catalogue import CatalogueError, UseCase, load_catalogue, load_use_case, parse_use_case
from tests.conftest import ROOT

TEXT = (ROOT / "use_cases" / "de_load.yaml").read_text(encoding="utf-8")


def line_of(text: str, part: str) -> int:
    return next(i for i, line in enumerate(text.splitlines(), start=1) if part in line)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('cutoff: "11:00"', 'cuttof: "11:00"', "day_ahead.cuttof: Extra inputs are not permitted"),
        ("time_zone: Europe/Berlin", "time_zone: Europe/Berlin\n    colour: red", "colour: Extra inputs"),
        ("function: lag, variable: load, by: P2D", "function: lagg, variable: load", "unknown function 'lagg'"),
        ("variable: load, by: P2D", "variable: load, bye: P2D", "unknown ['bye'], missing ['by']"),
        ("variable: load, by: P2D", "variable: load, by: often", "load_lag_2d"),
        (
            "quantiles: [0.1, 0.5, 0.9]\n  scale: load_mean_7d",
            "quantiles: [0.5]\n  scale: load_mean_7d",
            "0.1, 0.5 and",
        ),
        ("published: {delay: PT0S}", "published: {delay: PT0S, days_before: 1, at: '10:00'}", "either 'delay' or both"),
        ("scale: load_mean_7d", "scale: load_mean_9d", "'load_mean_9d' is not one of the features"),
        ("reference: load_forecast_tso", "reference: nobody", "'nobody' is not one of the variables"),
    ],
)
def test_a_mistake_is_refused(old: str, new: str, says: str) -> None:
    assert old in TEXT
    with pytest.raises(CatalogueError, match=re.escape(says)):
        parse_use_case(TEXT.replace(old, new, 1), "x.yaml")


def test_a_mistake_names_file_and_line() -> None:
    text = TEXT.replace("function: same_day_type, variable: load, count: 1", "function: typo, variable: load", 1)
    with pytest.raises(CatalogueError) as error:
        parse_use_case(text, "use_cases/x.yaml")
    place = f"use_cases/x.yaml:{line_of(text, 'function: typo')}: day_ahead.features.load_last_day_type: "
    assert str(error.value).startswith(place)


def test_a_list_of_arguments_makes_a_feature_of_each(edited: Callable[[str, str], UseCase]) -> None:
    line = '"late_{by}": {function: lag, variable: load, by: [P2D, PT36H]}\n    load_newest'
    features = edited("load_newest", line).day_ahead.features
    assert [features[name].arguments()["by"] for name in ("late_2d", "late_36h")] == [
        timedelta(days=2),
        timedelta(hours=36),
    ]


def test_a_mistake_in_a_list_of_arguments_names_its_line() -> None:
    text = TEXT.replace("by: [P2D, P3D", "by: [P2X, P3D", 1)
    with pytest.raises(CatalogueError) as error:
        parse_use_case(text, "x.yaml")
    assert str(error.value).startswith(f"x.yaml:{line_of(text, 'P2X')}: day_ahead.features.load_lag_2x: ")


def test_text_that_is_not_yaml_is_refused() -> None:
    with pytest.raises(CatalogueError, match=r"x\.yaml: not YAML"):
        parse_use_case("a: [", "x.yaml")


def test_an_unknown_use_case_names_those_that_exist() -> None:
    with pytest.raises(CatalogueError, match="known: de_load"):
        load_use_case("mars_load", ROOT / "use_cases")


def test_a_new_entity_is_lines_in_one_yaml(edited: Callable[[str, str], UseCase]) -> None:
    where = "time_zone: Europe/Madrid, latitude: 40, longitude: -3, holidays: {country: ES}"
    found = edited("entities:", f"entities:\n  - {{id: XX, title: Another, {where}}}")
    assert [e.id for e in found.entities] == ["XX", "DE"]


@pytest.fixture
def edited() -> Callable[[str, str], UseCase]:
    return lambda old, new: parse_use_case(TEXT.replace(old, new, 1), "x.yaml")


def test_every_use_case_of_the_catalogue_loads() -> None:
    assert "de_load" in load_catalogue(ROOT / "use_cases")
