"""Load on HTTP services: by wrk, and by clients that pass the response of one service to the next.

Requests per second of wall time depend on the load of the machine; requests per second of CPU time of the serving
processes show what one free core would serve.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from urllib.parse import urlsplit

import numpy as np
import psutil

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


class NoLoadToolError(RuntimeError):
    """wrk is not installed."""


@dataclass(frozen=True)
class Load:
    """Requests per second of wall time and of CPU time, and latencies in milliseconds."""

    rate: float
    rate_of_cpu: float
    p50: float
    p99: float

    @classmethod
    def middle(cls, rounds: Sequence[Load]) -> Load:
        """The median of each figure."""
        names = ("rate", "rate_of_cpu", "p50", "p99")
        return cls(*(float(np.median([getattr(r, name) for r in rounds])) for name in names))


def flood(url: str | Sequence[str], pids: Sequence[int], connections: int, seconds: int, pause_ms: int = 0) -> Load:
    """Request one address, or several of one server in turn, on some connections.

    Each connection sends its next request when it has its answer, or later: after a random pause of ``pause_ms`` on
    average. Raises NoLoadToolError, and RuntimeError where answers were not all 200.
    """
    urls = [url] if isinstance(url, str) else url
    if shutil.which("wrk") is None:
        raise NoLoadToolError("wrk is not installed; Debian's package is called wrk")
    with TemporaryDirectory() as folder:
        script = Path(folder) / "requests.lua"
        script.write_text(_script(urls, pause_ms), encoding="utf-8")
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), urls[0]]
        before = _cpu_seconds(pids)
        text = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=True).stdout
        spent = _cpu_seconds(pids) - before
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(f"{urls[0]} did not always respond with 200:\n{text}")
    count = int(_found(r"(\d+) requests in", text)[1])
    return Load(float(_found(r"Requests/sec:\s+([\d.]+)", text)[1]), count / spent, _ms(text, 50), _ms(text, 99))


def _script(urls: Sequence[str], pause_ms: int) -> str:
    """A Lua script for wrk: pauses between requests, and several addresses in turn."""
    pause = f"function delay() return math.random(0, {2 * pause_ms}) end\n" if pause_ms else ""
    if len(urls) == 1:
        return pause
    paths = ", ".join(f'"{urlsplit(url).path}"' for url in urls)
    return f"""{pause}local paths, turn = {{{paths}}}, 0
function request()
  turn = turn % #paths + 1
  return wrk.format("GET", paths[turn])
end
"""


def in_turn(call: Callable[[], None], pids: Sequence[int], callers: int, seconds: float) -> Load:
    """Several clients in threads, each of which repeats a call."""
    before, begin = _cpu_seconds(pids), perf_counter()

    def one(_: int) -> list[float]:
        took = []
        while perf_counter() - begin < seconds:
            asked = perf_counter()
            call()
            took.append((perf_counter() - asked) * 1e3)
        return took

    with ThreadPoolExecutor(callers) as pool:
        took = [ms for found in pool.map(one, range(callers)) for ms in found]
    wall, spent = perf_counter() - begin, _cpu_seconds(pids) - before
    p50, p99 = np.quantile(took, [0.5, 0.99]).tolist()
    return Load(len(took) / wall, len(took) / spent, p50, p99)


def _cpu_seconds(pids: Sequence[int]) -> float:
    """CPU seconds of some processes and their children."""
    trees = [tree for pid in pids for tree in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True))]
    return sum(sum(process.cpu_times()[:2]) for process in trees)


def _ms(text: str, percentile: int) -> float:
    found = _found(rf"{percentile}%\s+([\d.]+)(us|ms|s|m)\b", text)
    return float(found[1]) * _UNITS[found[2]]


def _found(pattern: str, text: str) -> re.Match[str]:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"unexpected output of wrk:\n{text}")
    return found
