"""The Spark session of a process."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from threading import Thread

import pyspark.sql.pandas.functions
import pyspark.sql.pandas.utils
from pyspark.sql import SparkSession

from dualcast.settings import Settings

_DRIVER_MEMORY = "1500m"
_LOCAL_SHUFFLE_PARTITIONS = 4

_EVERYWHERE = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.sources.partitionOverwriteMode": "dynamic",
    # microseconds in UTC, which all readers of the lake support
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}


def spark_session(settings: Settings, name: str = "dualcast") -> SparkSession:
    """The Spark session of this process, with Delta and Kafka. The first call starts a JVM, in about five seconds."""
    _accept_installed_pyarrow()
    if settings.java_home:
        os.environ["JAVA_HOME"] = settings.java_home
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.appName(name).master(settings.spark_master)
    for key, value in {**_EVERYWHERE, **_of_deployment(settings)}.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def start_workers(spark: SparkSession) -> None:
    """Start Spark's Python workers in the background: they take seconds to import what the jobs need."""
    job = spark.range(1).mapInArrow(lambda batches: batches, "id bigint")
    Thread(target=job.collect, name="start-workers", daemon=True).start()


def _of_deployment(settings: Settings) -> dict[str, str]:
    """The settings that differ between a local process and a cluster."""
    if not settings.spark_master.startswith("local"):
        return {"spark.jars": settings.spark_jars} if settings.spark_jars else {}
    home = (settings.state_dir / "spark").resolve()
    home.mkdir(parents=True, exist_ok=True)
    log_config = Path(__file__).with_name("log4j2.properties")
    options = [
        f"-Dlog4j2.configurationFile=file:{log_config}",
        f"-Ddualcast.spark.log={home / 'spark.log'}",
        f"-Dderby.system.home={home}",
        # jobs are short: the second compiler costs more than it saves
        "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
    ]
    return {
        "spark.driver.memory": _DRIVER_MEMORY,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.extraClassPath": ":".join(settings.spark_jar_paths),
        "spark.driver.extraJavaOptions": " ".join(options),
        "spark.local.dir": str(home / "local"),
        "spark.sql.warehouse.dir": str(home / "warehouse"),
        "spark.sql.shuffle.partitions": str(_LOCAL_SHUFFLE_PARTITIONS),
        "spark.databricks.delta.snapshotPartitions": "2",
        "spark.python.daemon.module": "batch.engine.worker_daemon",
    }


def _accept_installed_pyarrow() -> None:
    """Disable Spark's version check of PyArrow: it requires 18, and Flink's Beam limits the environment to 16.1.

    Spark's Arrow functions (mapInArrow, applyInArrow) work with it, as the parity tests show. Its pandas functions do
    not, and are not used.
    """
    for module in (pyspark.sql.pandas.utils, pyspark.sql.pandas.functions):
        module.require_minimum_pyarrow_version = lambda: None
