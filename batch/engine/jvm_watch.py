"""Watches the JVM of a Spark session: a process whose JVM is dead ends at once, so that it is started again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import structlog
from pyspark.sql import SparkSession

from dualcast.heartbeat import beat

_POLL_SECONDS = 1.0
_log = structlog.get_logger(__name__)


@contextmanager
def jvm_watched(spark: SparkSession) -> Iterator[None]:
    """Record progress while the JVM answers, and end this process with status 1 when the JVM has ended.

    Otherwise each call would fail and be retried as an outage. A run can be cut off anywhere.
    """
    stop = Event()
    Thread(target=_watch, args=(spark, stop), name="watch-jvm", daemon=True).start()
    try:
        yield
    finally:
        stop.set()


def _watch(spark: SparkSession, stop: Event) -> None:
    context = spark.sparkContext
    process, tracker = getattr(context._gateway, "proc", None), context.statusTracker()
    while not stop.wait(_POLL_SECONDS):
        if process is not None and process.poll() is not None:
            _log.error("the JVM of Spark has ended", code=process.poll())
            os._exit(1)
        try:
            tracker.getActiveJobsIds()  # waits while the JVM hangs
        except Exception as error:  # noqa: BLE001 - whatever the bridge raises: the state of the process decides
            _log.debug("the JVM does not answer", error=repr(error)[:200])
        else:
            beat()
