"""Fixtures of all tests: the German load use case, its entity, and an embedded stack with real servers."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from uuid import uuid4

import pytest

from dualcast import telemetry
from dualcast.adapters.kafka.topics import create_topics
from dualcast.catalogue import Entity, UseCase, load_use_case
from dualcast.settings import Settings, load_settings
from infra.local.state import StateDir
from tests import stacks
from tests.databases import NoPostgresError, postgres

ROOT = stacks.ROOT

# PySpark exits in a process whose main module has no file, as in xdist workers, because it assumes a doctest.
vars(sys.modules["__main__"]).setdefault("__file__", __file__)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--hostile", default="2000", help="number of hostile messages in a replay")


@pytest.fixture(scope="session")
def use_case() -> UseCase:
    """The use case ``de_load``."""
    return load_use_case("de_load", ROOT / "use_cases")


@pytest.fixture(scope="session")
def entity(use_case: UseCase) -> Entity:
    """The first entity of ``de_load``."""
    return use_case.entities[0]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a real PostgreSQL server. Without one, CI fails and other environments skip the test."""
    try:
        with postgres() as url:
            yield url
    except NoPostgresError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"NOT TESTED ON POSTGRESQL: {error}")


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StateDir]:
    """The state folder of the stack that the modules of a worker share. ``stack`` starts the servers."""
    with stacks.stopped_at_the_end(StateDir(tmp_path_factory.mktemp("servers"))) as state:
        yield state


@pytest.fixture(scope="module")
def stack(
    request: pytest.FixtureRequest, servers: StateDir, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """The settings of real servers: Kafka, registry, Redis and MLflow, or those in the module's ``stack`` mark.

    The modules of a worker share servers. Each has its own namespace and state folder, so that tests never read records
    of other modules: they name topics and models by ``settings.names``. A module that stops or counts on servers has
    ``own=True`` in its mark. Commands that tests start use the same servers through the environment.
    """
    mark = request.node.get_closest_marker("stack")
    names, own = (mark.args, mark.kwargs.get("own", False)) if mark is not None else ((), False)
    with ExitStack() as exits:
        patch = exits.enter_context(pytest.MonkeyPatch.context())
        state = StateDir(tmp_path_factory.mktemp("stack"))
        stacks.clean_environment(patch, state.root)
        if own:
            stacks.start(exits.enter_context(stacks.stopped_at_the_end(state)), names)
        else:
            stacks.start(servers, names)
            stacks.use_servers_of(servers, state)
            patch.setenv("DUALCAST_NAMESPACE", f"m{uuid4().hex[:8]}")
        settings = load_settings()
        if not names or "kafka" in names:
            create_topics(settings)
        yield settings


@pytest.fixture(autouse=True)
def _keep_log_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable log configuration: a command in a test would send the logs of later tests to a closed stream."""
    monkeypatch.setattr(telemetry, "configure", lambda _settings, _service: None)
