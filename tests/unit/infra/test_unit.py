"""A supervised process without a server: its heartbeat, its exit codes, and components that need it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.local.component import Component, LaunchContext
from infra.local.state import Desired, Phase, StateDir
from infra.local.supervision import supervisor, unit
from infra.local.supervision.supervisor import Supervisor
from tests.waiting import until

_BEATS = "from dualcast.heartbeat import beat; import time\nbeat()"
_PATIENCE_SECONDS = 20.0


def python(code: str) -> Callable[[LaunchContext], list[str]]:
    return lambda _: [sys.executable, "-c", code]


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir(tmp_path / "state")


@pytest.fixture
def running(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Supervisor]]:
    """Starts a supervisor of components in this process, and stops them at the end."""
    started: list[Supervisor] = []

    def run(*components: Component) -> Supervisor:
        monkeypatch.setattr(supervisor, "COMPONENTS", {c.name: c for c in components})
        state.create()
        state.write_desired(Desired(components=tuple(c.name for c in components)))
        started.append(Supervisor(state))
        return started[0]

    yield run
    for one in started:
        state.write_desired(Desired())
        reach_none(one, state)
        one.close()


def reach_none(running: Supervisor, state: StateDir) -> None:
    def reached() -> bool:
        running.reconcile()
        return not state.status().components

    until(reached, _PATIENCE_SECONDS, every=0.02)


def reach(running: Supervisor, state: StateDir, name: str, *phases: Phase) -> None:
    def reached() -> bool:
        running.reconcile()
        found = state.status().components.get(name)
        return found is not None and found.phase in phases

    until(reached, _PATIENCE_SECONDS, every=0.02)


def test_a_process_is_healthy_once_it_has_made_progress(running: Callable[..., Supervisor], state: StateDir) -> None:
    started = running(
        Component("loop", "", python(f"time = __import__('time'); time.sleep(2); {_BEATS}; time.sleep(60)"))
    )
    reach(started, state, "loop", Phase.STARTING)
    time_before = time.monotonic()
    reach(started, state, "loop", Phase.HEALTHY)
    assert time.monotonic() - time_before > 1.0


def test_a_process_that_makes_no_progress_is_unhealthy_and_then_killed(
    running: Callable[..., Supervisor], state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit, "_HEARTBEAT_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(unit, "_HUNG_AFTER_SECONDS", 2.0)
    monkeypatch.setattr(unit, "_CHECK_SECONDS", dict.fromkeys(unit._CHECK_SECONDS, 0.1))
    started = running(Component("loop", "", python(f"{_BEATS}; time.sleep(60)")))
    reach(started, state, "loop", Phase.HEALTHY)
    hung = state.status().components["loop"].pid
    reach(started, state, "loop", Phase.UNHEALTHY)
    assert "no progress" in state.status().components["loop"].detail
    reach(started, state, "loop", Phase.BACKOFF)
    reach(started, state, "loop", Phase.HEALTHY)
    assert state.status().components["loop"].pid != hung


def test_unusable_input_fails_for_good_with_the_reason_until_it_is_requested_again(
    running: Callable[..., Supervisor], state: StateDir
) -> None:
    started = running(Component("replay", "", python("import sys; print('no column laod'); sys.exit(2)")))
    reach(started, state, "replay", Phase.FAILED)
    failed = state.status().components["replay"]
    assert (failed.detail, failed.restarts, failed.pid) == ("no column laod", 0, None)
    state.write_desired(Desired(components=("replay",), requests=1))
    reach(started, state, "replay", Phase.STARTING)


def test_components_start_without_a_server_that_cannot_be_started(
    running: Callable[..., Supervisor], state: StateDir
) -> None:
    server = Component("mlflow", "", python("import sys; sys.exit(1)"))
    client = Component("service", "", python(f"{_BEATS}; time.sleep(60)"), needs=("mlflow",))
    started = running(server, client)
    reach(started, state, "service", Phase.HEALTHY)
    assert state.status().components["mlflow"].failures >= unit.MAX_FAILURES


def test_a_process_that_cannot_be_started_is_tried_again(
    running: Callable[..., Supervisor], state: StateDir, tmp_path: Path
) -> None:
    missing = tmp_path / "not yet"

    def command(_: LaunchContext) -> list[str]:
        if not missing.exists():
            raise OSError("no space left on device")
        return [sys.executable, "-c", f"{_BEATS}; time.sleep(60)"]

    started = running(Component("loop", "", command))
    reach(started, state, "loop", Phase.BACKOFF)
    assert "no space" in state.status().components["loop"].detail
    missing.touch()
    reach(started, state, "loop", Phase.HEALTHY)


def test_the_state_is_read_although_its_files_are_damaged(state: StateDir) -> None:
    state.create()
    for name in ("desired.json", "status.json", "ports.json"):
        (state.run / name).write_bytes(os.urandom(64))
    state.stack_env.write_bytes(b"\xff\xfe\x00")
    assert (state.desired(), state.ports()) == (Desired(), {})
    assert state.status().components == {}
    state.update_stack_env({"DUALCAST_REDIS": "redis://localhost"})
    assert "DUALCAST_REDIS" in state.stack_env.read_text()
    assert (state.run / "desired.json.damaged").exists()
