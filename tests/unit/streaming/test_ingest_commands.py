"""The messages and exit codes of the commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from streaming.commands import app

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUALCAST_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("DUALCAST_USE_CASES", str(ROOT / "use_cases"))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_window_prints_json() -> None:
    result = run("window", "--start", "2022-03-27", "--days", "2")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {
        "history_start": "2020-03-26T09:00:00Z",
        "start": "2022-03-26T09:00:00Z",
        "until": "2022-03-28T22:00:00Z",
    }


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("window", "--data", "none.csv"), "none.csv: there is no such file"),
        (("window", "--use-case", "none"), "there is no such use case"),
        (("history", "--until", "2022-01-01", "--start", "2023-01-01"), "simulator begins at 2023-01-01 00:00Z, after"),
        (("history", "--until", "tomorrow"), "Invalid value for '--until'"),
    ],
)
def test_wrong_options_exit_with_2_and_a_message(arguments: tuple[str, ...], text: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert text in result.output
    assert "Traceback" not in result.output


def test_all_commands_exist() -> None:
    for command in ("history", "replay", "window"):
        assert run(command, "--help").exit_code == 0
