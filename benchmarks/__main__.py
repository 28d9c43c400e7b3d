"""Run every benchmark, or those that are named, and write the results to ``benchmarks/results.md``."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import track

from benchmarks import day_ahead, endurance, features, growth, inference, services, startup, streaming
from benchmarks.results import replace_section, table

MEASURES = {
    "features": features.measure,
    "streaming": streaming.measure,
    "day-ahead": day_ahead.measure,
    "inference": inference.measure,
    "growth": growth.measure,
    "services": services.measure,
    "startup": startup.measure,
}
# takes half an hour: runs only if it is named
LONG = {"endurance": endurance.measure}
RESULTS = Path(__file__).parent / "results.md"


def main() -> None:
    """Measure, print, and replace the sections of what was measured."""
    console = Console()
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores"
    for name in track(sys.argv[1:] or list(MEASURES), "measuring", console=console):
        measured = table((MEASURES | LONG)[name]())
        RESULTS.write_text(
            replace_section(RESULTS.read_text(encoding="utf-8"), name, f"{machine}\n\n{measured}"), "utf-8"
        )
        console.print(measured, highlight=False)


main()
