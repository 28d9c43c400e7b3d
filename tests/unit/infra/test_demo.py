"""The demo runs its steps in order, reports failures, shows its state, and deletes only its own files."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import cast

import pytest
from rich.console import Console

from dualcast.catalogue import UseCase
from dualcast.settings import Settings
from dualcast.timegrid import Clock
from dualcast_client.answers import Curve, DayAheadStatus
from infra.demo.board import board, sparkline
from infra.demo.feed import Snapshot
from infra.demo.plan import Options, Plan, Window
from infra.demo.result import read_scores, score_table
from infra.demo.run import missing_curves
from infra.demo.steps import Progress, Runner, Step, StepError
from infra.local.state import ComponentStatus, Phase, StateDir, Status
from streaming.job.overdue import Overdue

START, UNTIL = datetime(2022, 3, 1, tzinfo=UTC), datetime(2022, 3, 4, tzinfo=UTC)


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    state = StateDir(tmp_path / "state")
    state.create()
    return state


def run(runner: Runner, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    try:
        while not runner.is_done:
            assert time.monotonic() < deadline, "the steps did not end"
            runner.tick()
            time.sleep(0.01)
    finally:
        runner.stop()


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_steps_run_after_the_steps_they_need(state: StateDir) -> None:
    seen: list[str] = []
    touch = state.root / "made by a command"
    steps = [
        Step("last", "last", call=lambda: seen.append(f"last: {touch.exists()}"), after=("call", "command")),
        Step("call", "call", call=lambda: seen.append("call")),
        Step("command", "command", lambda: python(f"open({str(touch)!r}, 'w')"), after=("call",)),
    ]
    run(Runner(steps, state, os.environ))
    assert seen == ["call", "last: True"]
    assert all(step.progress == Progress.DONE and step.seconds >= 0 for step in steps)


def test_a_failed_command_is_reported_with_its_output(state: StateDir) -> None:
    after = Step("never", "never", call=lambda: pytest.fail("must not start"), after=("bad",))
    bad = Step("bad", "train the model", lambda: python("raise SystemExit('there is no data')"))
    with pytest.raises(StepError, match=r"train the model: exited with code 1(?s:.)*there is no data"):
        run(Runner([bad, after], state, os.environ))
    assert (bad.progress, after.progress) == (Progress.FAILED, Progress.WAITING)


def test_a_failed_call_is_reported(state: StateDir) -> None:
    def call() -> None:
        raise RuntimeError("no port is free")

    with pytest.raises(StepError, match="servers: no port is free"):
        run(Runner([Step("servers", "servers", call=call)], state, os.environ))


def test_stop_ends_a_running_command(state: StateDir) -> None:
    runner = Runner([Step("long", "long", lambda: ["sleep", "60"])], state, os.environ)
    runner.tick()
    before = time.monotonic()
    runner.stop()
    assert time.monotonic() - before < 5
    assert runner.join(1.0)


def test_the_plan_is_consistent_and_passes_the_options_to_its_commands(state: StateDir) -> None:
    plan = Plan(Options("pv_parks", Path("/a.csv"), Path("/m.yaml"), None, 3, 3600.0), state, {})
    for steps in (plan.preparation(), plan.scoring()):
        names = [step.name for step in steps]
        assert len(set(names)) == len(names)
        assert all(need in names for step in steps for need in step.after)
        assert all((step.command is None) != (step.call is None) for step in steps)
    commands = {step.name: list(step.command()) for step in plan.scoring() if step.command is not None}
    assert commands["export-intraday"][1:4] == ["export", "--path", "intraday"]
    assert all(command[-2:] == ["--use-case", "pv_parks"] for command in commands.values())
    files = [command[command.index("--actuals") + 1] for command in commands.values()]
    assert len(set(files)) == 2, "each path has its own grid and its own file of actuals"


def test_nothing_is_overdue_before_the_replay_begins(
    state: StateDir, use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Clock] = {}

    def start(_: StateDir, components: Sequence[str], **__: object) -> None:
        seen[components[0]] = Settings(_env_file=state.root / "stack.env").clock

    monkeypatch.setattr("infra.demo.plan.stack.start", start)
    plan = Plan(Options("de_load", None, None, None, 3, 3600.0), state, {})
    plan.window = Window(start=START, until=UNTIL)
    calls = {step.name: step.call for step in plan.preparation()}
    for name in ("features", "start-replay"):
        call = calls[name]
        assert call is not None
        call()
    assert seen["features"].now() == START
    assert Overdue(use_case).next_check(seen["features"]) is None, "the job would count the days to come as missing"
    assert seen["day-ahead"] == plan.clock
    assert (plan.clock.start, plan.clock.until) == (START, UNTIL)


def test_the_dashboard_shows_clock_curves_errors_and_restarting_components() -> None:
    curve = {"issued_at": START.isoformat(), "model": {"name": "model_da_x", "version": "7"}, "degraded": True}
    entity = {
        "entity_id": "X",
        "title": "Xanadu",
        "simulated": True,
        "newest_actual_at": START.isoformat(),
        "day_ahead": [{**curve, "delivery_date": "2022-03-02"}],
        "intraday": {**curve, "degraded": False},
        "errors": {
            "day_ahead": {"points": 24, "mape": 2.0412, "reference_mape": 4.09},
            "intraday": [{"points": 9, "mape": 0.71, "reference_mape": None, "horizon": "PT1H"}],
        },
    }
    status = {"clock": {"now": START.isoformat(), "running": True}, "entities": [entity]}
    status["use_case"] = {"unit": "MW", "reference": "tso"}
    medians = (51000, 62000)
    points = [{"valid_time": START.isoformat(), "quantiles": {"0.1": 1.0, "0.5": v, "0.9": 9e9}} for v in medians]
    curves = {("X", "day-ahead"): cast("Curve", {"points": points})}
    broken = ComponentStatus(name="id-svc", phase=Phase.BACKOFF, detail="exited with code 1")
    fine = ComponentStatus(name="kafka", phase=Phase.HEALTHY)
    components = Status(components={"id-svc": broken, "kafka": fine})

    output = StringIO()
    console = Console(width=140, file=output)
    snapshot = Snapshot(cast("DayAheadStatus", status), curves)
    console.print(board(snapshot, components, (START, UNTIL), START, "http://127.0.0.1:8000"))
    shown = output.getvalue()

    for expected in (
        "Tue 2022-03-01 00:00 UTC",
        "Xanadu, simulated",
        "day-ahead 2022-03-02",
        "51,000 to 62,000 MW",
        "model_da_x 7  degraded",
        "2.04 %",
        "reference 4.09",
        "1h 0.71 %",
        "id-svc is restarting: exited with code 1",
        "http://127.0.0.1:8000/",
    ):
        assert expected in shown, shown
    assert "kafka" not in shown


def test_the_demo_names_the_curves_that_did_not_come() -> None:
    entities = [
        {"entity_id": "X", "day_ahead": [], "intraday": {"issued_at": START.isoformat()}},
        {"entity_id": "Y", "day_ahead": [{"delivery_date": "2022-03-02"}], "intraday": None},
    ]
    snapshot = Snapshot(cast("DayAheadStatus", {"entities": entities}), {})
    assert missing_curves(snapshot) == ["day-ahead of X", "intraday of Y"]
    assert "da-svc does not answer" in missing_curves(None)[0]


def test_a_sparkline_of_equal_or_missing_values() -> None:
    assert sparkline([5.0, 5.0]) == "▁▁"
    assert sparkline([]) == ""


def test_the_score_table_compares_both_paths_with_reference_and_naive_forecast() -> None:
    figures = {"n": 96, "mape": 0.71, "mae": 1.0, "coverage": 79.96, "reference_mape": 3.19, "naive_mape": None}
    intraday = {"all": figures, **{f"{hours:05.2f} h": {**figures, "mape": hours} for hours in (1.0, 0.25, 0.5, 0.75)}}
    scores = {"day-ahead": {"all": figures}, "intraday": intraday}
    output = StringIO()
    Console(width=120, file=output).print(
        score_table({path: read_scores(json.dumps(groups)) for path, groups in scores.items()})
    )
    shown = output.getvalue()
    assert shown.count("0.71 %") == 2
    assert "80.0 %" in shown
    assert "00.25 h ahead" in shown
    assert "01.00 h ahead" in shown
    assert "00.50 h ahead" not in shown
