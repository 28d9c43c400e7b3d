"""The files of the state folder, and the choice of ports."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from dualcast.settings import load_settings
from infra.local import kafka
from infra.local.component import LaunchContext
from infra.local.components import COMPONENTS, DEFAULT, with_needs
from infra.local.ports import PortAllocator, PortTakenError, is_free
from infra.local.state import Desired, Maker, Phase, ProcessId, StateDir
from infra.local.supervision.external import external_address


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    state = StateDir(tmp_path / "state")
    state.create()
    return state


def test_settings_read_the_values_written_to_stack_env(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("DUALCAST_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DUALCAST_STATE_DIR", str(state.root))
    clock = '{"start":"2022-03-01T00:00:00Z","speed":3600}'
    state.update_stack_env({"DUALCAST_KAFKA": "127.0.0.1:1", "DUALCAST_CLOCK": clock})
    state.update_stack_env({"DUALCAST_JAVA_HOME": "/it's a \\ home", "DUALCAST_SPARK_JARS": "/a.jar,/b.jar"})

    settings = load_settings()
    assert settings.kafka == "127.0.0.1:1"
    assert settings.clock.speed == 3600
    assert settings.java_home == "/it's a \\ home"
    assert settings.spark_jar_paths == ["/a.jar", "/b.jar"]

    state.update_stack_env({"DUALCAST_CLOCK": None})
    assert not load_settings().clock.is_replay


def test_the_environment_overrides_stack_env(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUALCAST_STATE_DIR", str(state.root))
    monkeypatch.setenv("DUALCAST_KAFKA", "elsewhere:9092")
    state.update_stack_env({"DUALCAST_KAFKA": "127.0.0.1:1"})
    assert load_settings().kafka == "elsewhere:9092"


def test_only_a_folder_that_was_empty_is_marked_as_created_by_dualcast(tmp_path: Path) -> None:
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.txt").touch()
    foreign, fresh = StateDir(tmp_path / "foreign"), StateDir(tmp_path / "fresh")
    foreign.create()
    fresh.create()
    assert (foreign.maker, fresh.maker) == (None, Maker.STACK)


def test_only_one_supervisor_gets_the_lock(state: StateDir) -> None:
    assert state.supervisor_pid() is None
    first = state.acquire_supervisor_lock()
    assert first is not None
    state.write_pid_to_supervisor_lock(first)
    assert state.supervisor_pid() == os.getpid()
    assert state.acquire_supervisor_lock() is None
    os.close(first)
    assert state.supervisor_pid() is None


def test_a_reused_process_id_is_not_taken_for_the_old_process() -> None:
    me = ProcessId.of_this_process()
    assert me.process() is not None
    assert ProcessId(pid=me.pid, started=me.started - 3600).process() is None


def test_the_desired_state_is_read_unchanged(state: StateDir) -> None:
    assert state.desired() == Desired()
    asked = Desired(components=("redis",), ports={"redis": 1}, arguments={"replay": ("--data", "a b.csv")})
    state.write_desired(asked)
    assert state.desired() == asked


def test_ports_are_reused_in_the_next_run(state: StateDir) -> None:
    port = PortAllocator(state, {}).port("redis", preferred=6379)
    assert is_free(port)
    assert PortAllocator(StateDir(state.root), {}).saved == {"redis": port}


def test_two_stacks_never_choose_the_same_port(state: StateDir, tmp_path: Path) -> None:
    other = StateDir(tmp_path / "other")
    other.create()
    first, second = PortAllocator(state, {}), PortAllocator(other, {})
    assert first.port("redis", preferred=6379) != second.port("redis", preferred=6379)


def test_a_saved_port_that_is_taken_is_replaced(state: StateDir) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        (state.run / "ports.json").write_text(f'{{"redis": {taken}}}')
        assert PortAllocator(state, {}).port("redis", preferred=taken) != taken


def test_a_port_requested_by_the_user_is_never_replaced(state: StateDir) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        with pytest.raises(PortTakenError, match=str(taken)):
            PortAllocator(state, {"redis": taken}).port("redis", preferred=6379)


def test_a_component_with_a_foreign_address_in_the_environment_is_external(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kafka = COMPONENTS["kafka"]
    monkeypatch.delenv("DUALCAST_KAFKA", raising=False)
    assert external_address(kafka, {}) == ""
    monkeypatch.setenv("DUALCAST_KAFKA", "broker.example:9092")
    assert external_address(kafka, {}) == "broker.example:9092"
    monkeypatch.setenv("DUALCAST_KAFKA", "127.0.0.1:4711")
    assert external_address(kafka, {"kafka": 4711, "kafka_controller": 4712}) == ""


def test_components_start_after_those_they_need() -> None:
    order = with_needs(tuple(COMPONENTS))
    assert set(order) == set(COMPONENTS)
    for name in order:
        assert all(order.index(need) < order.index(name) for need in COMPONENTS[name].needs)
    assert with_needs(("features",)) == ("kafka", "registry", "redis", "features")
    assert DEFAULT == ("kafka", "registry", "redis", "mlflow")


def test_all_components_listen_on_loopback_only() -> None:
    addresses = [c.address for c in COMPONENTS.values() if c.address]
    assert all("127.0.0.1:" in address for address in addresses)


def test_phases_have_readable_names() -> None:
    assert str(Phase.BACKOFF) == "restarting"


def test_the_broker_keeps_the_identity_that_its_folder_was_formatted_with(state: StateDir, tmp_path: Path) -> None:
    context = LaunchContext(state, tmp_path, ports={})
    made = kafka.published(context)["DUALCAST_KAFKA_CLUSTER"]
    assert kafka.published(context)["DUALCAST_KAFKA_CLUSTER"] == made
    assert not made.startswith("-"), "the tool would read it as an option"
    data = state.folder("kafka") / "data"
    data.mkdir()
    (data / "meta.properties").write_text("#\n#Tue Dec 01 03:54:20 UTC 2026\ncluster.id=ZHVhbGNhc3Q\nversion=1\n")
    assert kafka.published(context) == {"DUALCAST_KAFKA_CLUSTER": "ZHVhbGNhc3Q"}
