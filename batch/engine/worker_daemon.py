"""Spark's daemon of Python workers with the jobs' imports made before it forks, so that workers start fast."""

from __future__ import annotations

import gc
from importlib import import_module

from pyspark.daemon import manager

_IMPORTED_BY_JOBS = ("batch.lake.bronze", "batch.lake.silver", "batch.runs.archive")

# Workers make thousands of curves at once: frequent garbage collections would scan all of them.
_COLLECT_AFTER = (100_000, 20, 50)

if __name__ == "__main__":
    for name in _IMPORTED_BY_JOBS:
        import_module(name)
    gc.set_threshold(*_COLLECT_AFTER)
    manager()
