"""A Spark session over an empty lake in a temporary folder, as the embedded stack would start it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from pyspark.sql import SparkSession
from rich.console import Console

from batch.engine.session import spark_session
from dualcast.settings import Settings
from infra.local.java import artifacts


@contextmanager
def empty_lake() -> Iterator[tuple[SparkSession, Settings]]:
    """Spark on both cores, and settings with an empty lake; both are removed afterwards."""
    artifacts.ensure({"spark"}, Console(stderr=True))
    with TemporaryDirectory(prefix="dualcast-bench-") as folder:
        settings = Settings(
            state_dir=Path(folder),
            java_home=str(artifacts.java_home(Path(folder) / "java")),
            spark_jars=",".join(map(str, artifacts.jars("spark"))),
        )
        spark = spark_session(settings, "benchmarks")
        try:
            yield spark, settings
        finally:
            spark.stop()
