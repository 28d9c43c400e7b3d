"""Files become observations: shapes, times and gaps; invalid files are refused with the cause."""

from __future__ import annotations

import gzip
import os
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dualcast.adapters.files.observations import FileSource, load_mapping
from dualcast.catalogue import CatalogueError, ReplayMapping, UseCase
from dualcast.observations.frames import COLUMNS, TIME_DTYPE, SourceError

BEGIN, END = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
WIDE = ReplayMapping(time_column="time", columns={"mw": "load", "tso": "load_forecast_tso"})
REAL = Path(os.environ.get("DUALCAST_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))


def written(folder: Path, text: str, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def observations(path: Path, use_case: UseCase, mapping: ReplayMapping) -> pd.DataFrame:
    return FileSource(path, use_case, mapping).observations(BEGIN, END)


def quarter_hours(start: str, count: int, zone: str | None = "UTC") -> pd.DatetimeIndex:
    return pd.date_range(start, periods=count, freq="15min", tz=zone)


def test_a_wide_csv_is_read(tmp_path: Path, use_case: UseCase) -> None:
    text = "time,mw,tso\n2022-01-01T00:00Z,50000,51000\n2022-01-01T00:15Z,50100,\n2022-01-01T00:30Z,50200,51200\n"
    found = observations(written(tmp_path, text), use_case, WIDE)
    assert list(found.columns) == list(COLUMNS)
    assert found["valid_time"].dtype == found["published_at"].dtype == TIME_DTYPE
    load = found[found["variable"] == "load"]
    assert load["value"].tolist() == [50000, 50100, 50200]
    assert load["resolution"].unique().tolist() == ["PT15M"]
    assert load["published_at"].iloc[0] == pd.Timestamp("2022-01-01T00:15Z")
    tso = found[found["variable"] == "load_forecast_tso"]
    assert tso["value"].tolist() == [51000, 51200], "an empty cell is no observation"
    assert (tso["published_at"] == pd.Timestamp("2021-12-31T09:00Z")).all()
    assert not found["simulated"].any()


def test_a_missing_optional_column_is_noted_and_other_missing_columns_are_refused(
    tmp_path: Path, use_case: UseCase
) -> None:
    file = written(tmp_path, "time,mw\n2022-01-01T00:00Z,50000\n2022-01-01T00:15Z,50100\n")
    source = FileSource(file, use_case, WIDE.model_copy(update={"optional": frozenset({"tso"})}))
    assert set(source.observations(BEGIN, END)["variable"]) == {"load"}
    assert source.notes == ["the file has no column 'tso': load_forecast_tso is unknown"]
    with pytest.raises(SourceError, match="no column 'tso'"):
        FileSource(file, use_case, WIDE)
    with pytest.raises(ValueError, match="'optional' names tso"):
        ReplayMapping(columns={"mw": "load"}, optional=frozenset({"tso"}))


def test_the_target_is_last_among_simultaneous_publications(tmp_path: Path, use_case: UseCase) -> None:
    text = "time,mw,tso,at\n2022-01-01T00:00Z,1,2,2022-01-01T01:00Z\n2022-01-01T00:15Z,3,4,2022-01-01T01:00Z\n"
    mapping = WIDE.model_copy(update={"published_column": "at"})
    found = observations(written(tmp_path, text), use_case, mapping)
    assert found["variable"].tolist() == ["load_forecast_tso"] * 2 + ["load"] * 2
    assert found["value"].tolist() == [2, 4, 1, 3]


def test_a_long_file_with_all_vintages_is_read(tmp_path: Path, use_case: UseCase) -> None:
    text = (
        "area;what;start;known;amount\n"
        "DE;demand;2022-01-01T00:00:00+01:00;2022-01-01T00:20:00+01:00;500\n"
        "DE;demand;2022-01-01T00:00:00+01:00;2022-01-02T00:00:00+01:00;510\n"
        "DE;other;2022-01-01T00:00:00+01:00;2022-01-02T00:00:00+01:00;1\n"
    )
    mapping = ReplayMapping(
        shape="long",
        time_column="start",
        entity_column="area",
        variable_column="what",
        value_column="amount",
        published_column="known",
        columns={"demand": "load"},
        resolution=timedelta(minutes=15),
    )
    found = observations(written(tmp_path, text), use_case, mapping)
    assert found["value"].tolist() == [500, 510]
    assert found["valid_time"].unique().tolist() == [pd.Timestamp("2021-12-31T23:00Z")]
    assert found["published_at"].iloc[1] == pd.Timestamp("2022-01-01T23:00Z")


def test_parquet_with_an_index_equals_csv(tmp_path: Path, use_case: UseCase) -> None:
    frame = pd.DataFrame({"mw": [1.0, None, 3.0], "tso": [4.0, 5.0, 6.0]}, quarter_hours("2022-05-01", 3))
    frame = frame.rename_axis("time")
    frame.to_parquet(tmp_path / "data.parquet")
    with gzip.open(tmp_path / "data.csv.gz", "wt", encoding="utf-8") as file:
        frame.to_csv(file)
    from_parquet = FileSource(tmp_path / "data.parquet", use_case, WIDE)
    assert from_parquet.notes == ["1 of 6 values are missing in the file"]
    pd.testing.assert_frame_equal(
        from_parquet.observations(BEGIN, END), observations(tmp_path / "data.csv.gz", use_case, WIDE)
    )


@pytest.mark.parametrize(("day", "hours"), [("2022-03-27", 23), ("2022-10-30", 25), ("2022-06-01", 24)])
@pytest.mark.parametrize("shape", ["wide", "long"])
def test_local_times_without_zone_on_both_switch_days(
    tmp_path: Path, use_case: UseCase, day: str, hours: int, shape: str
) -> None:
    local = pd.date_range(day, periods=4 * hours, freq="15min", tz="Europe/Berlin")
    wall = local.tz_localize(None).astype(str)
    frame = pd.DataFrame({"time": wall, "load": range(len(wall)), "load_forecast_tso": range(len(wall))})
    if shape == "long":
        frame = frame.melt("time").sort_values("time", kind="stable")
    frame.to_csv(tmp_path / "data.csv", index=False)
    mapping = ReplayMapping(shape=shape, time_column="time", time_zone="Europe/Berlin")
    found = observations(tmp_path / "data.csv", use_case, mapping)
    load = found[found["variable"] == "load"].sort_values("value")
    assert load["valid_time"].tolist() == local.tz_convert("UTC").tolist()


def test_hourly_column_among_quarter_hours_keeps_its_resolution(tmp_path: Path, use_case: UseCase) -> None:
    times = quarter_hours("2022-05-01", 16)
    price = [30.0 + i if i % 4 == 0 else None for i in range(16)]
    pd.DataFrame({"time": times, "load": 1.0, "price_day_ahead": price}).to_parquet(tmp_path / "data.parquet")
    found = observations(tmp_path / "data.parquet", use_case, ReplayMapping(time_column="time"))
    assert found.groupby("variable")["resolution"].first().to_dict() == {"load": "PT15M", "price_day_ahead": "PT1H"}


def test_of_duplicate_values_the_last_is_used(tmp_path: Path, use_case: UseCase) -> None:
    text = "time,load\n2022-01-01T00:00Z,1\n2022-01-01T00:00Z,2\n2022-01-01T00:15Z,3\n2022-01-01T00:30Z,4\n"
    source = FileSource(written(tmp_path, text), use_case, ReplayMapping(time_column="time"))
    assert source.observations(BEGIN, END)["value"].tolist() == [2, 3, 4]
    assert any("duplicates" in note for note in source.notes)


def test_any_split_into_windows_gives_all_rows(tmp_path: Path, use_case: UseCase) -> None:
    frame = pd.DataFrame({"time": quarter_hours("2022-05-01", 400), "load": range(400), "load_forecast_tso": 1.0})
    frame.to_parquet(tmp_path / "data.parquet")
    source = FileSource(tmp_path / "data.parquet", use_case, ReplayMapping(time_column="time"))
    cuts = [BEGIN, datetime(2022, 5, 1, 8, tzinfo=UTC), datetime(2022, 5, 3, 0, 15, tzinfo=UTC), END]
    parts = [source.observations(a, b) for a, b in pairwise(cuts)]
    whole = source.observations(BEGIN, END)
    pd.testing.assert_frame_equal(pd.concat(parts), whole)
    at_cut = pd.Timestamp("2022-05-03T00:15Z")
    assert parts[1]["published_at"].max() < at_cut
    assert parts[2]["published_at"].min() == at_cut


def test_the_extent_of_a_file(tmp_path: Path, use_case: UseCase) -> None:
    frame = pd.DataFrame({"time": quarter_hours("2022-05-01", 96), "load": 1.0})
    frame.to_parquet(tmp_path / "data.parquet")
    extent = FileSource(tmp_path / "data.parquet", use_case, ReplayMapping(time_column="time")).extent
    assert extent.first == datetime(2022, 5, 1, 0, 15, tzinfo=UTC)
    assert extent.last == extent.complete_until == datetime(2022, 5, 2, tzinfo=UTC)


HOURS = "2022-01-01T00:00Z,1\n2022-01-01T01:00Z,2\n"
FAULTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "missing column": ("time,mw\n" + HOURS, {"columns": {"megawatt": "load"}}, r"'megawatt'.*the file has: time, mw"),
    "missing time": ("when,load\n" + HOURS, {}, r"'time' \(the time\); the file has: when, load"),
    "unknown variable": ("time,mw\n" + HOURS, {"columns": {"mw": "lod"}}, "lod: no such variable.*load_forecast_tso"),
    "no variable": ("time,mw\n" + HOURS, {}, "no column is a variable of de_load; the file has: time, mw"),
    "no rows": ("time,load\n", {}, "no rows; its columns: time, load"),
    "no header": ("", {}, "not a CSV file"),
    "no values": ("time,load\n2022-01-01T00:00Z,\n2022-01-01T01:00Z,\n", {}, "no row has a value"),
    "no number": ("time,load\n" + HOURS + "2022-01-01T02:00Z,many\n", {}, "row 4: 'load': 'many' is not a number"),
    "no time": ("time,load\n2022-01-01T00:00Z,1\nsoon,2\n", {}, "row 3: 'time': soon is not a time"),
    "mixed zones": ("time,load\n2022-01-01T00:00Z,1\n2022-01-01T01:00,2\n", {}, "row 3: 'time'.*has no zone"),
    "one value": ("time,load\n2022-01-01T00:00Z,1\n", {}, "load: one value has no step"),
    "finer than the grid": ("time,load\n2022-01-01T00:00Z,1\n2022-01-01T00:05Z,2\n", {}, "load: steps of PT5M"),
    "longer than permitted": ("time,load\n2022-01-01T00:00Z,1\n2022-01-03T00:00Z,2\n", {}, "load: steps of P2D exceed"),
    "skipped hour": (
        "time,load\n2022-03-27 02:15,1\n2022-03-27 03:15,2\n",
        {"time_zone": "Europe/Berlin"},
        "row 2: 'time': 2022-03-27 02:15:00 does not exist in Europe/Berlin",
    ),
    "unknown entity": (
        "time,load,zone\n2022-01-01T00:00Z,1,FR\n",
        {"entity_column": "zone"},
        "entities FR are not in de_load, which has: DE",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_invalid_files_are_refused_with_the_cause(tmp_path: Path, use_case: UseCase, name: str) -> None:
    text, mapping, message = FAULTS[name]
    path = written(tmp_path, text)
    with pytest.raises(SourceError, match=message) as caught:
        FileSource(path, use_case, ReplayMapping.model_validate({"time_column": "time"} | mapping))
    assert str(path) in str(caught.value)


def test_missing_files_and_other_file_types_are_refused(tmp_path: Path, use_case: UseCase) -> None:
    with pytest.raises(SourceError, match="no such file"):
        FileSource(tmp_path / "none.csv", use_case, WIDE)
    with pytest.raises(SourceError, match=r"files end in one of \.csv"):
        FileSource(written(tmp_path, "", "data.xlsx"), use_case, WIDE)
    with pytest.raises(SourceError, match="not a Parquet file"):
        FileSource(written(tmp_path, "time,load", "data.parquet"), use_case, WIDE)


def test_a_mapping_file_is_checked_with_its_line(tmp_path: Path) -> None:
    good = written(tmp_path, "shape: long\nresolution: PT1H\n", "good.yaml")
    assert load_mapping(good) == ReplayMapping(shape="long", resolution=timedelta(hours=1))
    with pytest.raises(CatalogueError, match=r"bad\.yaml:2: colums"):
        load_mapping(written(tmp_path, "shape: wide\ncolums: {}\n", "bad.yaml"))
    with pytest.raises(SourceError, match="no such mapping"):
        load_mapping(tmp_path / "none.yaml")


@pytest.mark.skipif(not (REAL / "de_15min.parquet").is_file(), reason="the real series are missing")
def test_real_german_series(use_case: UseCase) -> None:
    found = FileSource(REAL / "de_15min.parquet", use_case, use_case.replay)
    rows = found.observations(BEGIN, END)
    series = pd.read_parquet(REAL / "de_15min.parquet")
    assert len(rows) == series[list(use_case.replay.columns)].notna().sum().sum()
    load = rows[rows["variable"] == "load"].set_index("valid_time")["value"]
    assert (load.to_numpy() == series["load_actual_mw"].to_numpy()).all()
    assert found.extent.complete_until == datetime(2022, 6, 30, 22, tzinfo=UTC)
