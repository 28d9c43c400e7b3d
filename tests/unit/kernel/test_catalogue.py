"""Use case files are loaded and validated; a mistake is refused with its file and line."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from shutil import copytree

import pytest

from dualcast.catalogue import (
    CatalogueError,
    NoSuchPathError,
    load_catalogue,
    load_use_case,
    parse_use_case,
    path_identifier,
    path_of,
    read_document,
)
from dualcast.features.intraday.plan import feature_set
from tests.conftest import ROOT

PART = "parts/electricity_demand.yaml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the use cases, which a test may change."""
    return Path(copytree(ROOT / "use_cases", tmp_path / "use_cases"))


Edit = Callable[..., str]


@pytest.fixture
def edit(folder: Path) -> Edit:
    """Replace a text in a file of the folder, the use case or its part, and return the place: file and line."""

    def replace(old: str, new: str, file: str = "de_load.yaml") -> str:
        path = folder / file
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        return f"{path}:{text[: text.index(old)].count(chr(10)) + 1}"

    return replace


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
        ("published: {delay: PT0S}", "published: {delay: PT0S, days_before: 1}", "either 'delay' or both"),
        ("scale: load_mean_7d", "scale: load_mean_9d", "'load_mean_9d' is not one of the features"),
        ("reference: load_forecast_tso", "reference: nobody", "'nobody' is not one of the variables"),
    ],
)
def test_a_mistake_is_refused(folder: Path, edit: Edit, old: str, new: str, says: str) -> None:
    edit(old, new, "de_load.yaml" if old.startswith("time_zone") else PART)
    with pytest.raises(CatalogueError, match=re.escape(says)):
        load_use_case("de_load", folder)


def test_the_shown_interval_can_have_other_levels(folder: Path, edit: Edit) -> None:
    wide = "day_ahead:\n  quantiles: [0.05, 0.5, 0.95]\n  interval: [0.05, 0.95]"
    edit("day_ahead:", wide)
    use_case = load_use_case("de_load", folder)
    assert use_case.day_ahead.shown_levels == (0.05, 0.5, 0.95)
    assert use_case.part("intraday").shown_levels == (0.1, 0.5, 0.9)


def test_a_path_and_its_identifier_convert_both_ways() -> None:
    assert [path_identifier(path) for path in ("day-ahead", "intraday")] == ["day_ahead", "intraday"]
    assert [path_of(name) for name in ("day_ahead", "intraday")] == ["day-ahead", "intraday"]
    with pytest.raises(ValueError, match="'day-ahead' is not the identifier of a path"):
        path_of("day-ahead")


@pytest.mark.parametrize(
    ("file", "old", "new", "key"),
    [
        ("de_load.yaml", "{function: degrees_above,", "{function: typo,", "features.cooling"),
        ("de_load.yaml", "by: [P2D, P3D", "by: [P2X, P3D", "features.load_lag_2x"),
        ("de_load.yaml", "lookback: P400D", "lookback: often", "lookback"),
        (PART, "{function: same_day_type, variable: load, count: 1", "{function: typo", "features.load_last_day_type"),
        (PART, "measurement_delay: PT1H", "measurement_delay: 01:00:00", "measurement_delay"),
        (PART, "measurement_delay:", "measurement_dealy:", "measurement_dealy"),
    ],
)
def test_a_mistake_names_file_and_line(folder: Path, edit: Edit, file: str, old: str, new: str, key: str) -> None:
    place = edit(old, new, file)
    with pytest.raises(CatalogueError) as error:
        load_use_case("de_load", folder)
    assert f"{place}: day_ahead.{key}: " in str(error.value)


def test_a_list_of_arguments_gives_one_feature_each(folder: Path, edit: Edit) -> None:
    edit("    load_typical_error: {}", '    "late_{by}": {function: lag, variable: load, by: [P2D, PT36H]}')
    features = load_use_case("de_load", folder).day_ahead.features
    assert [features[name].arguments()["by"] for name in ("late_2d", "late_36h")] == [
        timedelta(days=2),
        timedelta(hours=36),
    ]


def test_invalid_yaml_is_refused() -> None:
    with pytest.raises(CatalogueError, match=r"x\.yaml: not YAML"):
        parse_use_case("a: [", "x.yaml")


def test_an_unknown_use_case_names_those_that_exist() -> None:
    with pytest.raises(CatalogueError, match="known: de_load"):
        load_use_case("mars_load", ROOT / "use_cases")


def test_a_new_entity_needs_only_lines_in_one_yaml(folder: Path, edit: Edit) -> None:
    where = "time_zone: Europe/Madrid, latitude: 40, longitude: -3, holidays: {country: ES}"
    edit("entities:", f"entities:\n  - {{id: XX, title: Another, {where}}}")
    assert [e.id for e in load_use_case("de_load", folder).entities] == ["XX", "DE"]


def test_every_use_case_of_the_catalogue_loads() -> None:
    assert {"de_load", "es_load", "warehouses"} <= set(load_catalogue(ROOT / "use_cases"))


@pytest.fixture
def thousand_warehouses(folder: Path) -> Path:
    """The folder with a table of a thousand warehouses."""
    zones = ["Europe/Berlin", ""]
    lines = [f"W{i:04d},Number {i},{50 + i % 4},10,{zones[i % 2]},DE" for i in range(1000)]
    header = "id,title,latitude,longitude,time_zone,holidays.country"
    (folder / "warehouses.csv").write_text("\n".join([header, *lines, ""]))
    return folder


def test_entities_may_come_from_a_table(thousand_warehouses: Path) -> None:
    found = load_use_case("warehouses", thousand_warehouses)
    assert len(found.entities) == 1000
    entity = found.entity("W0777")
    assert (entity.title, entity.latitude, entity.time_zone) == ("Number 777", 51, "Europe/Berlin")
    assert entity.holidays.country == "DE"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("W1000,Short,50,10", r"warehouses\.csv:1002: this line has another number of cells"),
        ("W0001,Twice,50,10,,DE", "an entity is listed twice"),
        ("W1000,North,95,10,,DE", "entities.1000.latitude"),
    ],
)
def test_a_mistake_in_a_table_is_refused(thousand_warehouses: Path, line: str, says: str) -> None:
    with (thousand_warehouses / "warehouses.csv").open("a") as table:
        table.write(line + "\n")
    with pytest.raises(CatalogueError, match=says):
        load_use_case("warehouses", thousand_warehouses)


def test_a_missing_table_is_reported(folder: Path) -> None:
    (folder / "warehouses.csv").unlink()
    with pytest.raises(CatalogueError, match=r"warehouses\.csv: there is no such file"):
        load_use_case("warehouses", folder)


def test_a_use_case_without_an_intraday_path() -> None:
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


def test_a_copy_with_other_entities_finds_them() -> None:
    found = load_use_case("warehouses", ROOT / "use_cases")
    first = found.entity(found.entities[0].id)
    copied = found.model_copy(update={"entities": (first.model_copy(update={"id": "new"}),)})
    assert copied.entity("new").title == first.title
    with pytest.raises(KeyError):
        copied.entity(first.id)


def document(folder: Path, part: str, own: str) -> object:
    (folder / "part.yaml").write_text(part)
    (folder / "x.yaml").write_text(f"include: part.yaml\n{own}")
    return read_document(folder / "x.yaml")


def test_the_including_file_overrides_its_part_key_by_key(tmp_path: Path) -> None:
    merged = document(tmp_path, "a: {b: 1, c: [1, 2]}\nd: {e: 1}", "a: {c: [3]}\nd: 7")
    assert merged == {"a": {"b": 1, "c": [3]}, "d": 7}


@pytest.mark.parametrize(
    ("own", "order"),
    [
        ("n: 1", "abcn"),
        ("a: {}\nn: 1\nm: 1", "anmbc"),
        ("n: 1\nb: {}\nm: 1", "abmcn"),
        ("c: {}\na: {}\nn: 1", "anbc"),
    ],
)
def test_a_new_key_is_placed_behind_the_key_before_it(tmp_path: Path, own: str, order: str) -> None:
    merged = document(tmp_path, "a: {x: 1}\nb: {x: 1}\nc: {x: 1}", own)
    assert isinstance(merged, dict)
    assert "".join(merged) == order


def test_a_later_part_overrides_an_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "second.yaml").write_text("b: 2")
    document(tmp_path, "a: 1\nb: 1", "")
    (tmp_path / "x.yaml").write_text("include: [part.yaml, second.yaml]")
    assert read_document(tmp_path / "x.yaml") == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("own", "part", "says"),
    [
        ("include: nowhere.yaml", "a: 1", r"x\.yaml:1: include: .*nowhere\.yaml: there is no such file"),
        (
            "include: part.yaml",
            "include: x.yaml",
            r"part\.yaml:1: a part .* cannot include another",
        ),
        ("include: part.yaml", "[1]", r"part\.yaml:1: a part must be a mapping"),
        ("include: part.yaml", "a: [", r"part\.yaml"),
    ],
)
def test_a_wrong_include_is_refused(tmp_path: Path, own: str, part: str, says: str) -> None:
    (tmp_path / "part.yaml").write_text(part)
    (tmp_path / "x.yaml").write_text(own)
    with pytest.raises(CatalogueError, match=says):
        read_document(tmp_path / "x.yaml")


@pytest.mark.parametrize(("name", "fingerprint"), [("de_load", "c6b2fa7ab2f9"), ("es_load", "1cd099203946")])
def test_the_fingerprint_of_a_feature_set_does_not_depend_on_how_it_is_written(name: str, fingerprint: str) -> None:
    """Stored rows and models contain the fingerprint: if it changes, models must be trained again."""
    assert feature_set(load_use_case(name, ROOT / "use_cases")) == fingerprint
