"""``dualcast backtest`` prints scores, and reports errors in one line with status 2."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from batch.runs.backtest import app
from dualcast.catalogue import UseCase, read_document
from tests.histories import history
from tests.stacks import ROOT, clean_environment

FEW = {"rounds": 10, "learning_rate": 0.3, "num_leaves": 7, "min_data_in_leaf": 20}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, use_case: UseCase) -> Path:
    """A folder with a use case whose model is trained fast, a file and a mapping of its columns."""
    folder = tmp_path_factory.mktemp("command")
    text = read_document(ROOT / "use_cases" / "de_load.yaml")
    text["day_ahead"]["forecaster"]["params"] = {"trees": FEW, "residual_trees": FEW}
    (folder / "de_load.yaml").write_text(yaml.safe_dump(text), encoding="utf-8")
    variables = {name: use_case.variables[name] for name in ("load", "load_forecast_tso")}
    rows = history(use_case.model_copy(update={"variables": variables}), use_case.entities[0], "2022-01-01", 45)
    wide = rows.pivot(index="valid_time", columns="variable", values="value").rename(columns={"load": "mw"})
    wide.rename_axis("when").to_parquet(folder / "data.parquet")
    mapping = {"time_column": "when", "columns": {"mw": "load", "load_forecast_tso": "load_forecast_tso"}}
    (folder / "mapping.yaml").write_text(yaml.safe_dump(mapping), encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def environment(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clean_environment(monkeypatch, tmp_path)
    monkeypatch.setenv("DUALCAST_USE_CASES", str(place))


def arguments(place: Path, out: Path, **options: str) -> list[str]:
    given = {"data": str(place / "data.parquet"), "mapping": str(place / "mapping.yaml"), "out": str(out)}
    given |= {"from": "2022-02-10", "to": "2022-02-12"} | options
    return ["de_load", *(text for name, value in given.items() for text in (f"--{name}", value))]


def test_a_backtest_prints_scores_and_writes_forecasts_and_a_report(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.parquet"
    done = CliRunner().invoke(app, [*arguments(place, out, cutoff="08:00"), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["overall"]["n"] == len(pd.read_parquet(out)) == 72
    assert "made at 08:00" in out.with_suffix(".html").read_text(encoding="utf-8")
    other = CliRunner().invoke(app, arguments(place, out))
    assert other.exit_code == 2
    assert "cutoff was 08:00, is 11:00" in other.stderr


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"without": "wind"}, "--without wind: it must be one of direct_radiation, load_forecast_tso"),
        ({"refit": "monthly"}, "not an ISO 8601 duration of days or longer, such as P3M"),
        ({"to": "2022-12-31"}, "lies outside the file, whose load is from 2022-01-01 00:00Z"),
        ({"data": "nowhere.csv"}, "nowhere.csv: there is no such file"),
        ({"mapping": "nowhere.yaml"}, "nowhere.yaml: there is no such mapping file"),
        ({"path": "intraday", "cutoff": "08:00"}, "--cutoff applies to the day-ahead path"),
    ],
)
def test_errors_are_reported_in_one_line(place: Path, tmp_path: Path, options: dict[str, str], text: str) -> None:
    done = CliRunner().invoke(app, arguments(place, tmp_path / "out.parquet", **options))
    assert done.exit_code == 2
    assert text in done.stderr
    assert not (tmp_path / "out.parquet").exists()
