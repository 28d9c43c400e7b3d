"""Both services compared with their peers and with an upper limit of their speed.

id-svc scores at each request, for one entity and for 100 in turn, whose history is on Kafka. Its peers are
``feast serve`` and ``mlflow models serve``, called in turn for the same features and model; its limit is a bare loop of
one pipelined Redis read and the model's own predict. The limit of da-svc is a FastAPI route that returns the same
bytes. All are measured in turn, and the median of several rounds is reported.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

import httpx2
import uvicorn
from fastapi import FastAPI, Response

from benchmarks.load import Load, flood, in_turn
from benchmarks.results import Row
from benchmarks.serving import World, free_port, peers, process, world
from dualcast.adapters.feature_store import OnlineFeatures

_ENTITIES, _HISTORY = 100, timedelta(days=16)
_CONNECTIONS = 8
_SECONDS = 4
_ROUNDS = 3
# 200 requests a second: so many connections, each of which pauses this long after a response.
_STEADY_CONNECTIONS, _PAUSE_MS = 40, 197
_BARE_READS = 500


def measure() -> list[Row]:
    """Requests per second and latencies of both services, of their peers and of their limits."""
    with world(_ENTITIES, _HISTORY) as found:
        return [*_intraday(found), *_day_ahead(found)]


def _intraday(found: World) -> list[Row]:
    urls = [f"{found.settings.id_svc}/api/v1/forecasts/intraday/{entity_id}" for entity_id in found.entity_ids]
    pids, loads = [found.pids["id-svc"]], _Loads()
    with peers(found) as (call, peer_pids):
        call()
        flood(urls, pids, _CONNECTIONS, 1)
        for _ in range(_ROUNDS):
            loads.bare.append(_bare_loop(found))
            loads.one.append(flood(urls[0], pids, _CONNECTIONS, _SECONDS))
            loads.peer.append(in_turn(call, peer_pids, _CONNECTIONS, _SECONDS))
            loads.all.append(flood(urls, pids, _CONNECTIONS, _SECONDS))
            loads.steady.append(flood(urls[0], pids, _STEADY_CONNECTIONS, _SECONDS, _PAUSE_MS))
            loads.alone.append(flood(urls, pids, 1, _SECONDS))
    return loads.rows()


@dataclass(frozen=True)
class _Loads:
    """Rounds of measurements: id-svc for one entity and for all, steady, and on one connection; its peers and limit."""

    bare: list[float] = field(default_factory=list)
    peer: list[Load] = field(default_factory=list)
    one: list[Load] = field(default_factory=list)
    all: list[Load] = field(default_factory=list)
    steady: list[Load] = field(default_factory=list)
    alone: list[Load] = field(default_factory=list)

    def rows(self) -> list[Row]:
        """The median of each."""
        one, every, peer = Load.middle(self.one), Load.middle(self.all), Load.middle(self.peer)
        calm, alone, limit = Load.middle(self.steady), Load.middle(self.alone), sorted(self.bare)[_ROUNDS // 2]
        many = f"id-svc, {_ENTITIES} entities"
        return [
            Row("id-svc, a fresh forecast of 24 steps", one.rate, "requests/s", one.rate / peer.rate),
            Row("id-svc, the same by its CPU", one.rate_of_cpu, "requests/CPU-s", one.rate_of_cpu / peer.rate_of_cpu),
            Row(f"id-svc, p99 of {_CONNECTIONS} connections", one.p99, "ms", one.p99 / peer.p99),
            Row(f"{many}", every.rate, "requests/s", every.rate / peer.rate),
            Row(f"{many}, by its CPU", every.rate_of_cpu, "requests/CPU-s", every.rate_of_cpu / peer.rate_of_cpu),
            Row(f"{many}, p50 of {_CONNECTIONS} connections", every.p50, "ms", every.p50 / peer.p50),
            Row(f"{many}, p99 of {_CONNECTIONS} connections", every.p99, "ms", every.p99 / peer.p99),
            Row(f"{many}, p50 of one connection, beside 2 ms", alone.p50, "ms", alone.p50 / 2),
            Row(f"{many}, p99 of one connection, beside 4 ms", alone.p99, "ms", alone.p99 / 4),
            Row("feast serve + mlflow models serve in turn", peer.rate, "requests/s", 1.0),
            Row("feast serve + mlflow models serve, p99", peer.p99, "ms", 1.0),
            Row(f"id-svc, p99 at {calm.rate:.0f} requests/s, beside 15 ms", calm.p99, "ms", calm.p99 / 15),
            Row("a bare loop of Redis read and predict", limit, "loops/CPU-s", one.rate_of_cpu / limit),
        ]


def _day_ahead(found: World) -> list[Row]:
    path = f"/api/v1/forecasts/day-ahead/{found.entity_ids[0]}"
    url, pids = found.settings.da_svc + path, [found.pids["da-svc"]]
    ours, limits = [], []
    with TemporaryDirectory() as folder:
        body, port = Path(folder) / "body", free_port()
        body.write_bytes(httpx2.get(url, timeout=10.0).raise_for_status().content)
        command = [sys.executable, "-m", "benchmarks.services", str(body), str(port), path]
        bare = f"http://127.0.0.1:{port}{path}"
        with process(command, Path(folder) / "log", bare) as pid:
            for _ in range(_ROUNDS):
                ours.append(flood(url, pids, _CONNECTIONS, _SECONDS))
                limits.append(flood(bare, [pid], _CONNECTIONS, _SECONDS))
    mine, limit = Load.middle(ours), Load.middle(limits)
    return [
        Row("da-svc, a whole day with quantiles", mine.rate, "requests/s", mine.rate / limit.rate),
        Row("da-svc, the same by its CPU", mine.rate_of_cpu, "requests/CPU-s", mine.rate_of_cpu / limit.rate_of_cpu),
        Row("a bare FastAPI route of the same bytes", limit.rate, "requests/s", 1.0),
    ]


def _bare_loop(found: World) -> float:
    """Loops per CPU second of reading a row as Feast stores it and of the model's predict on it."""
    store = OnlineFeatures(found.settings, found.use_case.use_case)
    inputs = found.model.assembler.from_rows([row for row in store.read(found.entity_ids[:1]).values() if row])
    begin = process_time()
    for _ in range(_BARE_READS):
        store.read(found.entity_ids[:1])
        found.model.quantiles(inputs)
    return _BARE_READS / (process_time() - begin)


def _serve_bare(body: bytes, port: int, path: str) -> None:
    app = FastAPI()

    @app.get(path)
    async def route() -> Response:
        return Response(body, media_type="application/json")

    uvicorn.run(app, port=port, access_log=False, log_level="warning", server_header=False)


if __name__ == "__main__":
    _serve_bare(Path(sys.argv[1]).read_bytes(), int(sys.argv[2]), sys.argv[3])
