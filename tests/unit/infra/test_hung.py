"""A component that does not respond is killed if it uses no CPU, and later if it does: it may be busy."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from infra.local.checks import NotReadyError
from infra.local.component import Component
from infra.local.state import Desired, Phase, StateDir
from infra.local.supervision import supervisor, unit
from infra.local.supervision.supervisor import Supervisor

HUNG_SECONDS, BUSY_SECONDS = 1.5, 6.0


@pytest.mark.parametrize(
    ("script", "expected"),
    [("import time; time.sleep(600)", HUNG_SECONDS), ("while True: pass", BUSY_SECONDS)],
    ids=["hung", "busy"],
)
def test_an_unresponsive_component_is_killed_after_a_time_that_depends_on_its_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, expected: float
) -> None:
    answers = [True]

    def check(_: str) -> None:
        if not answers[0]:
            raise NotReadyError("does not respond")

    one = Component("one", "one", lambda _: [sys.executable, "-c", script], check=check)
    monkeypatch.setattr(supervisor, "COMPONENTS", {"one": one})
    monkeypatch.setattr(unit, "_HUNG_AFTER_SECONDS", HUNG_SECONDS)
    monkeypatch.setattr(unit, "_BUSY_SECONDS", BUSY_SECONDS)
    monkeypatch.setattr(unit, "_CHECK_SECONDS", dict.fromkeys(unit._CHECK_SECONDS, 0.1))
    state = StateDir(tmp_path / "state")
    state.create()
    state.write_desired(Desired(components=("one",)))
    running = Supervisor(state)

    def reconciled(phase: Phase) -> bool:
        running.reconcile()
        time.sleep(0.05)
        return {c.phase for c in state.status().components.values()} == {phase}

    try:
        while not reconciled(Phase.HEALTHY):
            pass
        answers[0], started = False, time.monotonic()
        while not reconciled(Phase.BACKOFF):
            assert time.monotonic() - started < 20
        took = time.monotonic() - started
        assert took > expected - 0.3
        assert took < BUSY_SECONDS or expected == BUSY_SECONDS
    finally:
        state.write_desired(Desired())
        deadline = time.monotonic() + 20
        while state.status().components and time.monotonic() < deadline:
            running.reconcile()
            time.sleep(0.05)
        running.close()
