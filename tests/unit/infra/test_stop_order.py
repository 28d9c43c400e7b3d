"""A server is stopped only after all components that need it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from infra.local.component import Component
from infra.local.state import Desired, Phase, StateDir
from infra.local.supervision import supervisor
from infra.local.supervision.supervisor import Supervisor


def component(name: str, log: Path, *needs: str, seconds_to_stop: float = 0.0) -> Component:
    """A process that ends after a delay and then writes its name."""
    loop = "while :; do touch $DUALCAST_HEARTBEAT; sleep 0.05; done"
    script = f"trap 'sleep {seconds_to_stop}; echo {name} >> {log}; exit 0' TERM; {loop}"
    return Component(name, name, lambda _: ["/bin/sh", "-c", script], needs=needs)


def reconcile_until_all_are(running: Supervisor, state: StateDir, phase: Phase) -> None:
    deadline = time.monotonic() + 20
    while {c.phase for c in state.status().components.values()} != {phase}:
        assert time.monotonic() < deadline, state.status()
        running.reconcile()
        time.sleep(0.05)


def test_a_server_stops_after_the_components_that_need_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = tmp_path / "ended"
    server, client = component("server", ended), component("client", ended, "server", seconds_to_stop=0.5)
    monkeypatch.setattr(supervisor, "COMPONENTS", {c.name: c for c in (server, client)})
    state = StateDir(tmp_path / "state")
    state.create()
    state.write_desired(Desired(components=("server", "client")))

    running = Supervisor(state)
    try:
        reconcile_until_all_are(running, state, Phase.HEALTHY)
        state.write_desired(Desired())
        deadline = time.monotonic() + 20
        while state.status().components:
            assert time.monotonic() < deadline, "the components did not stop"
            running.reconcile()
            time.sleep(0.02)
    finally:
        running.close()
    assert ended.read_text().split() == ["client", "server"]
