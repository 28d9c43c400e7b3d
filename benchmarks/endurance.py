"""Both services under steady load for half an hour: whether memory stays flat and the 99th percentile low.

A plain ``make bench`` leaves it out because of its length: ``make bench ARGS=endurance``.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep

import psutil

from benchmarks.load import Load, flood
from benchmarks.results import Row
from benchmarks.serving import World, world

_SECONDS = 1800
# By then caches, pools and the memory allocator have reached their size.
_WARM_SECONDS = 300
_SAMPLE_SECONDS = 10.0
# 200 requests a second for each service.
_CONNECTIONS, _PAUSE_MS = 40, 192
_MEGA = 2**20


def measure() -> list[Row]:
    """Rates and latencies of half an hour, and the services' memory at its end beside that after five minutes."""
    with world() as found, ThreadPoolExecutor(2) as pool:
        running = {
            name: pool.submit(flood, url, [found.pids[name]], _CONNECTIONS, _SECONDS, _PAUSE_MS)
            for name, url in _urls(found).items()
        }
        memory: dict[str, list[tuple[float, float]]] = {name: [] for name in running}
        begin = monotonic()
        while not all(load.done() for load in running.values()):
            for name, samples in memory.items():
                samples.append((monotonic() - begin, psutil.Process(found.pids[name]).memory_info().rss / _MEGA))
            sleep(_SAMPLE_SECONDS)
        return [row for name, load in running.items() for row in _rows(name, load.result(), memory[name])]


def _rows(name: str, load: Load, memory: Sequence[tuple[float, float]]) -> list[Row]:
    later = [size for at, size in memory if at >= _WARM_SECONDS]
    return [
        Row(
            f"{name}, p99 of {_SECONDS // 60} min at {load.rate:.0f} requests/s, beside 15 ms",
            load.p99,
            "ms",
            load.p99 / 15,
        ),
        Row(
            f"{name}, most memory, beside that after {_WARM_SECONDS // 60} min",
            max(later),
            "MiB",
            max(later) / later[0],
        ),
    ]


def _urls(found: World) -> dict[str, str]:
    forecasts = "api/v1/forecasts"
    return {
        "da-svc": f"{found.settings.da_svc}/{forecasts}/day-ahead/{found.entity_ids[0]}",
        "id-svc": f"{found.settings.id_svc}/{forecasts}/intraday/{found.entity_ids[0]}",
    }
