"""The supervisor keeps a real Redis running and leaves no processes behind, in whichever way it is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from redis import Redis
from rich.console import Console

from infra.local import stack
from infra.local.state import Phase, ProcessId, StateDir
from infra.local.supervision import processes
from tests.waiting import until

CONSOLE = Console(quiet=True)
_DUALCAST = Path(sys.executable).with_name("dualcast")

PATIENCE_SECONDS = 15.0


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateDir]:
    state = StateDir(tmp_path / "state")
    yield state
    stack.stop(state)


def redis_pid(state: StateDir) -> int:
    pid = state.status().components["redis"].pid
    assert pid is not None
    return pid


def client(state: StateDir) -> Redis:
    return Redis.from_url(state.status().components["redis"].address, socket_timeout=5)


def is_back(state: StateDir, killed: int) -> bool:
    redis = state.status().components["redis"]
    return redis.phase == Phase.HEALTHY and redis.pid not in (None, killed)


def test_a_killed_server_restarts_with_its_data_and_down_stops_it(state: StateDir) -> None:
    stack.start(state, ("redis",), console=CONSOLE)
    client(state).set("kept", "yes")
    killed, address = redis_pid(state), state.status().components["redis"].address

    os.kill(killed, signal.SIGKILL)
    until(lambda: is_back(state, killed), PATIENCE_SECONDS)

    assert client(state).get("kept") == b"yes"
    assert state.status().components["redis"].address == address
    running = state.status()
    assert stack.stop(state)
    assert state.supervisor_pid() is None
    assert processes.remaining_processes(running) == []
    assert not stack.stop(state), "a second down finds nothing"


def test_a_second_up_reuses_the_running_stack(state: StateDir) -> None:
    stack.start(state, ("redis",), console=CONSOLE)
    first = redis_pid(state)
    stack.start(state, ("redis",), console=CONSOLE)
    assert redis_pid(state) == first


def test_servers_end_with_a_killed_supervisor_and_up_starts_them_again(state: StateDir) -> None:
    stack.start(state, ("redis",), console=CONSOLE)
    client(state).set("kept", "yes")
    running, supervisor = state.status(), state.supervisor_pid()
    assert supervisor
    assert len(processes.remaining_processes(running)) == 1

    os.kill(supervisor, signal.SIGKILL)
    until(lambda: state.supervisor_pid() is None and processes.remaining_processes(running) == [], PATIENCE_SECONDS)

    stack.start(state, ("redis",), console=CONSOLE)
    assert client(state).get("kept") == b"yes"


def test_the_stack_ends_when_the_process_that_owns_it_ends(state: StateDir) -> None:
    with psutil.Popen(["sleep", "60"]) as owner:
        stack.start(state, ("redis",), console=CONSOLE, owner=ProcessId.of(owner.pid))
        owner.kill()
    until(lambda: state.supervisor_pid() is None, PATIENCE_SECONDS)


def test_a_requested_port_that_is_taken_is_refused(state: StateDir, tmp_path: Path) -> None:
    stack.start(state, ("redis",), console=CONSOLE)
    taken = int(state.status().components["redis"].address.rsplit(":", 1)[1].split("/")[0])
    with pytest.raises(stack.StackError, match=f"Port {taken}"):
        stack.start(StateDir(tmp_path / "other"), ("redis",), console=CONSOLE, ports={"redis": taken})


def test_a_server_with_an_address_in_the_environment_is_not_started(
    state: StateDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.start(state, ("redis",), console=CONSOLE)
    address = state.status().components["redis"].address
    monkeypatch.setenv("DUALCAST_REDIS", address)
    other = StateDir(tmp_path / "other")
    try:
        status = stack.start(other, ("redis",), console=CONSOLE)
        assert (status.components["redis"].phase, status.components["redis"].pid) == (Phase.EXTERNAL, None)
        stack.stop(state)
        until(lambda: other.status().components["redis"].phase == Phase.UNREACHABLE, PATIENCE_SECONDS)
    finally:
        stack.stop(other)


def test_the_error_for_a_server_that_cannot_start_contains_the_end_of_its_log(state: StateDir) -> None:
    state.create()
    data = state.folder("kafka") / "data"
    data.mkdir(parents=True)
    (data / "meta.properties").write_text("version=7")
    with pytest.raises(stack.StackError, match=r"kafka does not start(?s:.)*meta\.properties"):
        stack.start(state, ("kafka",), console=CONSOLE)


def test_damaged_data_of_redis_are_put_aside_since_topics_fill_it_again(state: StateDir) -> None:
    state.create()
    folder = state.folder("redis")
    folder.mkdir()
    (folder / "appendonly.aof").write_text("this is no append-only file")
    stack.start(state, ("redis",), console=CONSOLE)
    assert client(state).ping()
    assert (state.root / "redis.damaged" / "appendonly.aof").exists()
    assert "data moved away after repeated failures" in state.log("supervisor").read_text()


def test_the_addresses_of_a_folder_end_with_its_servers(state: StateDir) -> None:
    stack.start(state, ("redis",), console=CONSOLE)
    assert "DUALCAST_REDIS" in state.stack_env.read_text()
    stack.stop(state)
    assert "DUALCAST_REDIS" not in state.stack_env.read_text()


def test_the_state_of_commands_and_servers_is_for_the_user_alone(state: StateDir) -> None:
    environment = os.environ | {"DUALCAST_STATE_DIR": str(state.root)}
    for command in ("up redis", "keys create desk --role reader --access */*", "up redis"):
        subprocess.run([_DUALCAST, *command.split()], env=environment, check=True, capture_output=True, timeout=60)
    client(state).set("kept", "yes")
    written = [state.root, *state.root.rglob("*")]
    assert {"store.db", "stack.env", "status.json", "supervisor.log", "redis.log"} <= {path.name for path in written}
    opened = [str(path) for path in written if not path.is_symlink() and path.stat().st_mode & 0o077]
    assert opened == []
