"""Run every benchmark and write ``benchmarks/results.md``; with names, run those and only print."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import track

from benchmarks import features, growth, inference, services, streaming
from benchmarks.results import table

MEASURES = {
    "features": features.measure,
    "streaming": streaming.measure,
    "inference": inference.measure,
    "growth": growth.measure,
    "services": services.measure,
}


def main() -> None:
    """Measure, print and keep."""
    console = Console()
    names = sys.argv[1:] or list(MEASURES)
    rows = [row for name in track(names, "measuring", console=console) for row in MEASURES[name]()]
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores"
    text = f"# Measured\n\n{machine}. The ratios count; single figures drift.\n\n{table(rows)}"
    if names == list(MEASURES):
        (Path(__file__).parent / "results.md").write_text(text, encoding="utf-8")
    console.print(text, highlight=False)


main()
