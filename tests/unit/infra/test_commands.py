"""The output of the commands if no stack runs, and for unknown arguments."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.local import stack
from infra.local.commands import app
from infra.local.state import Desired, StateDir


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateDir:
    monkeypatch.setenv("DUALCAST_STATE_DIR", str(tmp_path / "state"))
    return StateDir(tmp_path / "state")


def test_status_without_a_stack_reports_it_and_fails() -> None:
    answer = CliRunner().invoke(app, ["status"])
    assert answer.exit_code == 1
    assert "dualcast up" in answer.output


def test_status_of_a_stopped_stack_lists_the_requested_components(state: StateDir) -> None:
    state.create()
    state.write_desired(Desired(components=("redis", "kafka")))
    answer = CliRunner().invoke(app, ["status", "--json"])
    assert answer.exit_code == 1
    assert {name: row["state"] for name, row in json.loads(answer.output).items()} == {
        "kafka": "stopped",
        "redis": "stopped",
    }


def test_down_without_a_stack_succeeds() -> None:
    assert CliRunner().invoke(app, ["down"]).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["up", "postgres"], "postgres"),
        (["logs", "postgres"], "postgres"),
        (["up", "redis", "--port", "redis"], "NAME=PORT"),
        (["demo", "--data", "/no/such/file.csv"], "/no/such/file.csv"),
    ],
)
def test_unknown_arguments_are_refused(arguments: list[str], said: str) -> None:
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 2
    assert said in answer.output


def test_the_error_for_an_unknown_port_name_lists_the_known_ones() -> None:
    answer = CliRunner().invoke(app, ["up", "redis", "--port", "postgres=1"])
    assert answer.exit_code == 1
    assert "kafka_controller" in answer.output


def test_too_little_disk_space_is_reported_before_the_start(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "_NEEDED_DISK_BYTES", 10**18)
    answer = CliRunner().invoke(app, ["up", "redis"])
    assert answer.exit_code == 1
    assert "GB are free" in answer.output
    assert state.supervisor_pid() is None


def test_logs_prints_the_end_of_a_log(state: StateDir) -> None:
    state.create()
    state.log("kafka").write_text("first\nsecond\nthird\n")
    answer = CliRunner().invoke(app, ["logs", "kafka", "-n", "2"])
    assert answer.output == "second\nthird\n"
