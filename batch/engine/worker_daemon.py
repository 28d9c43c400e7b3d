"""Spark's daemon of Python workers, with our imports made once before it forks: each worker then starts at once."""

from __future__ import annotations

from importlib import import_module

from pyspark.daemon import manager

_IMPORTED_BY_JOBS = ("batch.bronze", "batch.silver", "batch.archive")

if __name__ == "__main__":
    for name in _IMPORTED_BY_JOBS:
        import_module(name)
    manager()
