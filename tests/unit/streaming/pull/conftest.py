"""Sources on a local server that responds in the formats of the real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from dualcast.catalogue import UseCase, load_use_case
from dualcast.settings import Settings
from dualcast.timegrid import Clock
from streaming.ingest.pull.http import RetryPolicy
from streaming.ingest.signals import Stop

QUICK = RetryPolicy(attempts=4, wait_first=0.001, wait_most=0.002, most=150.0)
ROOT = Path(__file__).parents[4]

Serve = Callable[..., None]


@pytest.fixture(scope="session")
def es_load() -> UseCase:
    return load_use_case("es_load", ROOT / "use_cases")


@pytest.fixture
def stop() -> Iterator[Stop]:
    with Stop() as made:
        yield made


@pytest.fixture
def settings() -> Settings:
    return Settings(clock=Clock())


@pytest.fixture(autouse=True)
def _local(monkeypatch: pytest.MonkeyPatch, httpserver: HTTPServer) -> Iterator[None]:
    for source in ("SMARD", "ESIOS", "OPEN_METEO"):
        monkeypatch.setenv(f"DUALCAST_{source}_URL", httpserver.url_for("/api"))
    monkeypatch.setenv("DUALCAST_ENTSOE_URL", httpserver.url_for(""))
    monkeypatch.setenv("DUALCAST_OPEN_METEO_HISTORY_URL", httpserver.url_for("/history"))
    monkeypatch.setenv("DUALCAST_ENTSOE_TOKEN", "s3cret")
    monkeypatch.setenv("DUALCAST_ESIOS_TOKEN", "s3cret")
    yield
    httpserver.check_assertions()


QUARTER, HOUR, DAY = timedelta(minutes=15), timedelta(hours=1), timedelta(days=1)
