"""Use cases are data, and a mistake in one is refused with its line."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from dualcast.catalogue import (
    CatalogueError,
    NoSuchPathError,
    UseCase,
    load_catalogue,
    load_use_case,
    parse_use_case,
    path_identifier,
    path_of,
)
from tests.conftest import ROOT

TEXT = (ROOT / "use_cases" / "de_load.yaml").read_text(encoding="utf-8")


def line_of(text: str, part: str) -> int:
    return next(i for i, line in enumerate(text.splitlines(), start=1) if part in line)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('cutoff: "11:00"', 'cuttof: "11:00"', "day_ahead.cuttof: Extra inputs are not permitted"),
        ("time_zone: Europe/Berlin", "time_zone: Europe/Berlin\n    colour: red", "colour: Extra inputs"),
        (
            "function: lag, variable: load_forecast_tso, by: P7D",
            "function: lagg, variable: load",
            "unknown function 'lagg'",
        ),
        ("variable: load_forecast_tso, by: P7D", "variable: load, bye: P2D", "unknown ['bye'], missing ['by']"),
        ("variable: load_forecast_tso, by: P7D", "variable: load, by: often", "tso_lag_7d"),
        (
            "quantiles: [0.1, 0.5, 0.9]\n  scale: load_mean_7d",
            "quantiles: [0.5]\n  scale: load_mean_7d",
            "missing: 0.1, 0.9",
        ),
        (
            "quantiles: [0.1, 0.5, 0.9]\n  scale: load_mean_7d",
            "quantiles: [0.1, 0.9]\n  scale: load_mean_7d",
            "missing: 0.5",
        ),
        (
            "quantiles: [0.1, 0.5, 0.9]\n  scale: load_mean_7d",
            "quantiles: [0.1, 0.5, 0.9]\n  interval: [0.05, 0.95]\n  scale: load_mean_7d",
            "missing: 0.05, 0.95",
        ),
        (
            "quantiles: [0.1, 0.5, 0.9]\n  scale: load_mean_7d",
            "quantiles: [0.1, 0.5, 0.9]\n  interval: [0.5, 0.9]\n  scale: load_mean_7d",
            "does not hold the median",
        ),
        (
            "quantiles: [0.1, 0.5, 0.9]\n  scale: load_mean_7d",
            "quantiles: [0.5, 0.1, 0.9]\n  scale: load_mean_7d",
            "quantiles must rise",
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


def test_the_shown_interval_may_be_other_levels_than_the_default() -> None:
    wide = "quantiles: [0.05, 0.5, 0.95]\n  interval: [0.05, 0.95]\n  scale: load_mean_7d"
    use_case = parse_use_case(TEXT.replace("quantiles: [0.1, 0.5, 0.9]\n  scale: load_mean_7d", wide, 1), "x.yaml")
    assert use_case.day_ahead.shown_levels == (0.05, 0.5, 0.95)
    assert use_case.part("intraday").shown_levels == (0.1, 0.5, 0.9)


def test_a_path_and_its_identifier_convert_both_ways() -> None:
    assert [path_identifier(path) for path in ("day-ahead", "intraday")] == ["day_ahead", "intraday"]
    assert [path_of(name) for name in ("day_ahead", "intraday")] == ["day-ahead", "intraday"]
    with pytest.raises(ValueError, match="'day-ahead' is not the identifier of a path"):
        path_of("day-ahead")


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
    assert {"de_load", "es_load", "warehouses"} <= set(load_catalogue(ROOT / "use_cases"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of use cases of its own, with the table of a thousand warehouses."""
    (tmp_path / "warehouses.yaml").write_text((ROOT / "use_cases" / "warehouses.yaml").read_text())
    zones = ["Europe/Berlin", ""]
    lines = [f"W{i:04d},Number {i},{50 + i % 4},10,{zones[i % 2]},DE" for i in range(1000)]
    header = "id,title,latitude,longitude,time_zone,holidays.country"
    (tmp_path / "warehouses.csv").write_text("\n".join([header, *lines, ""]))
    return tmp_path


def test_entities_may_come_from_a_table(folder: Path) -> None:
    found = load_use_case("warehouses", folder)
    assert len(found.entities) == 1000
    entity = found.entity("W0777")
    assert (entity.title, entity.latitude, entity.time_zone) == ("Number 777", 51, "Europe/Berlin")
    assert entity.holidays.country == "DE"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("W1000,Short,50,10", r"warehouses\.csv:1002: this line has not as many cells"),
        ("W0001,Twice,50,10,,DE", "an entity is there twice"),
        ("W1000,North,95,10,,DE", "entities.1000.latitude"),
    ],
)
def test_a_mistake_in_a_table_is_refused(folder: Path, line: str, says: str) -> None:
    with (folder / "warehouses.csv").open("a") as table:
        table.write(line + "\n")
    with pytest.raises(CatalogueError, match=says):
        load_use_case("warehouses", folder)


def test_a_table_that_is_not_there_is_named(folder: Path) -> None:
    (folder / "warehouses.csv").unlink()
    with pytest.raises(CatalogueError, match=r"warehouses\.csv: there is no such file"):
        load_use_case("warehouses", folder)


def test_a_use_case_may_do_without_intraday() -> None:
    found = load_use_case("warehouses", ROOT / "use_cases")
    assert found.paths == ("day-ahead",)
    with pytest.raises(NoSuchPathError, match="warehouses has no intraday forecast"):
        found.part("intraday")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("grid: P1D", "grid: PT7H", "a grid of PT7H does not divide a day"),
        ("grid: P1D", "grid: PT1H", "resolution P1D is no multiple of the grid within a day"),
        ("    open: {function: value, variable: open}\n", "", "no feature gives the 'value' of 'open'"),
        ("active: open", "active: opened", "'opened' is not one of the variables"),
        ("days: 7", "days: 0", "day_ahead.days"),
    ],
)
def test_a_mistake_about_days_is_refused(folder: Path, old: str, new: str, says: str) -> None:
    path = folder / "warehouses.yaml"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(CatalogueError, match=re.escape(says)):
        load_use_case("warehouses", folder)


def test_a_copy_with_other_entities_knows_them() -> None:
    found = load_use_case("warehouses", ROOT / "use_cases")
    first = found.entity(found.entities[0].id)
    copied = found.model_copy(update={"entities": (first.model_copy(update={"id": "new"}),)})
    assert copied.entity("new").title == first.title
    with pytest.raises(KeyError):
        copied.entity(first.id)
