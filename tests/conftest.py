"""What all tests share: the use case that the platform begins with, its entity, and a real embedded stack."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from dualcast import telemetry
from dualcast.adapters.kafka.topics import create_topics
from dualcast.catalogue import Entity, UseCase, load_use_case
from dualcast.settings import Settings, load_settings
from infra.local import stack as embedded
from infra.local.components import DEFAULT
from infra.local.java import artifacts
from infra.local.state import StateDir
from tests.databases import NoPostgresError, postgres

ROOT = Path(__file__).parent.parent
_JAR_SETS = {"spark", "flink"}

# PySpark takes a process whose main module is no file, as those of xdist are, for a doctest, and ends it
vars(sys.modules["__main__"]).setdefault("__file__", __file__)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--hostile", default="2000", help="how many hostile messages a replay has to bear")


@pytest.fixture(scope="session")
def use_case() -> UseCase:
    """The use case that the platform begins with."""
    return load_use_case("de_load", ROOT / "use_cases")


@pytest.fixture(scope="session")
def entity(use_case: UseCase) -> Entity:
    """Its first entity."""
    return use_case.entities[0]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a real PostgreSQL. Where there is none, CI fails and others are told loudly."""
    try:
        with postgres() as url:
            yield url
    except NoPostgresError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"NOT TESTED ON POSTGRESQL: {error}")


def clean_environment(patch: pytest.MonkeyPatch, state_dir: Path) -> None:
    """Let only the state folder decide where everything is, whatever the developer's shell says."""
    for name in [n for n in os.environ if n.startswith("DUALCAST_") and n != "DUALCAST_CACHE_DIR"]:
        patch.delenv(name)
    patch.setenv("DUALCAST_STATE_DIR", str(state_dir))
    patch.setenv("DUALCAST_USE_CASES", str(ROOT / "use_cases"))


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The settings of a running stack: real Kafka, registry, Redis and MLflow, started as ``dualcast up`` starts them.

    Or those of them that the module's mark names. Each module has its own, so that no test sees another's records.
    Commands started meanwhile find it too.
    """
    mark = request.node.get_closest_marker("stack")
    names = mark.args if mark is not None and mark.args else DEFAULT
    state = StateDir(tmp_path_factory.mktemp("stack"))
    with pytest.MonkeyPatch.context() as patch:
        clean_environment(patch, state.root)
        try:
            artifacts.ensure(_JAR_SETS, Console(stderr=True))
            embedded.start(state, names, console=Console(stderr=True))
            settings = load_settings()
            if "kafka" in names:
                create_topics(settings)
            yield settings
        finally:
            embedded.stop(state)


@pytest.fixture(autouse=True)
def _logs_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that run inside a test must not send later tests' logs to a stream that is closed by then."""
    monkeypatch.setattr(telemetry, "configure", lambda _settings, _service: None)
