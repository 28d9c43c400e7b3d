"""Start of both services with 1,000 entities: seconds until they have read 16 days of history, and memory.

The ratios are to the targets: 15 seconds and 600 MiB.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx2
import psutil

from benchmarks.embedded import Embedded, embedded
from benchmarks.results import Row
from benchmarks.serving import publish_curves, register_model, trained_model
from benchmarks.zones import load_zones, send_history, use_case_folder
from dualcast.adapters.feature_store import apply_definitions
from dualcast.adapters.kafka.topics import create_topics
from dualcast.lifecycle.registered_model import model_name
from dualcast.settings import Settings

_ENTITIES, _HISTORY = 1000, timedelta(days=16)
_TARGET_SECONDS, _TARGET_MEBIBYTES = 15.0, 600.0
_TIMEOUT_SECONDS, _POLL_SECONDS = 600.0, 0.2
_MEBI = 2**20


def measure() -> list[Row]:
    """Seconds, memory and peak memory of id-svc and da-svc."""
    with use_case_folder(_ENTITIES) as folder, embedded(folder) as stack:
        use_case = load_zones(folder)
        settings = stack.start("kafka", "registry", "redis", "mlflow")
        create_topics(settings)
        register_model(settings, use_case, trained_model(use_case), model_name(use_case.use_case, "intraday"))
        apply_definitions(settings, use_case.use_case)
        publish_curves(settings, use_case)
        send_history(settings, use_case, _HISTORY)
        return [row for name in ("id-svc", "da-svc") for row in _started(stack, name)]


def _started(stack: Embedded, name: str) -> Iterator[Row]:
    settings = stack.start(name)
    process = psutil.Process(stack.pid(name))
    _wait_until_ready(settings, name)
    seconds = time.time() - process.create_time()
    resident, peak = process.memory_info().rss / _MEBI, _peak(process) / _MEBI
    yield Row(f"{name}, {_ENTITIES:,} entities, {_HISTORY.days} days: start", seconds, "s", seconds / _TARGET_SECONDS)
    for text, size in (("memory", resident), ("most memory", peak)):
        yield Row(f"{name}, {_ENTITIES:,} entities: {text} after start", size, "MiB", size / _TARGET_MEBIBYTES)


def _wait_until_ready(settings: Settings, name: str) -> None:
    """Wait until a service serves and has read all topics. Raises TimeoutError."""
    url = f"{settings.id_svc if name == 'id-svc' else settings.da_svc}/health/ready"
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        answer = httpx2.get(url, timeout=60.0)
        if answer.status_code == 200 and not answer.json()["missing"]:
            return
        time.sleep(_POLL_SECONDS)
    raise TimeoutError(f"{name} did not read all topics within {_TIMEOUT_SECONDS:.0f} s")


def _peak(process: psutil.Process) -> int:
    """The most memory that a process has had, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
