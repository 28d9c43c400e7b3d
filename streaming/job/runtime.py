"""Runs the job: resumes from the newest checkpoint, monitors it, and stops it on a signal."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from threading import Event
from typing import Any

import stamina
import structlog
from py4j.protocol import Py4JError
from pyflink.common import Configuration, JobClient, JobStatus
from pyflink.datastream import StreamExecutionEnvironment

from dualcast.adapters.kafka.connection import OUTAGES
from dualcast.adapters.kafka.offsets import delete_group
from dualcast.adapters.kafka.topics import create_topics
from dualcast.catalogue import UseCase
from dualcast.heartbeat import beat
from dualcast.settings import Settings
from streaming.job import checkpoints, internals, pipeline
from streaming.job.function import IntradayFeatures

_LOOPBACK = "127.0.0.1"
_POLL_SECONDS = 2.0
_KEPT_CHECKPOINTS = 2
_PATIENCE_SECONDS = 60.0
_SAVING_SECONDS, _SAVING_POLL_SECONDS = 8.0, 0.05
_log = structlog.get_logger(__name__)


class JobError(RuntimeError):
    """The job ended without a request to stop."""


def run(settings: Settings, use_case: UseCase, *, parallelism: int, exactly_once: bool) -> None:
    """Run the job until SIGTERM or SIGINT. Raises JobError if the job ends otherwise."""
    name = checkpoints.job_name(settings, use_case)
    _create_topics(settings)
    configuration = configure(settings, use_case, parallelism=parallelism)
    _resume(settings, use_case, configuration)
    env = StreamExecutionEnvironment.get_execution_environment(configuration)
    # `flink run` has added its own jars to the configuration
    env.add_jars(*(Path(p).as_uri() for p in settings.flink_jar_paths))
    function = IntradayFeatures(settings, use_case)
    client = pipeline.start(env, settings, function, group=name, exactly_once=exactly_once)
    _log.info("job started", job=name, id=str(client.get_job_id()))
    stop = Event()
    for number in (
        signal.SIGTERM,
        signal.SIGINT,
    ):  # before the job runs, the default handlers may end the process at once
        signal.signal(number, lambda *_: stop.set())
    _watch(client, stop, checkpoints.folder(settings, use_case))
    _stop(client, checkpoints.folder(settings, use_case))


@stamina.retry(on=OUTAGES, attempts=None, timeout=_PATIENCE_SECONDS)
def _create_topics(settings: Settings) -> None:
    create_topics(settings)


def configure(settings: Settings, use_case: UseCase, *, parallelism: int) -> Configuration:
    """Flink's settings for this job."""
    values: dict[str, Any] = {
        "parallelism.default": parallelism,
        "pipeline.name": checkpoints.job_name(settings, use_case),
        "python.executable": sys.executable,
        "python.client.executable": sys.executable,
        "python.execution-mode": settings.flink_python,
        # pass each message on at once: a message is already a batch, and a live one must not wait for the next
        "python.fn-execution.bundle.size": 1,
        # otherwise each record of a message is copied together with all the others
        "pipeline.object-reuse": "true",
        "execution.buffer-timeout.interval": "0 ms",
        "execution.checkpointing.dir": checkpoints.folder(settings, use_case).as_uri(),
        "execution.checkpointing.interval": f"{round(1000 * settings.flink_checkpoint_seconds)} ms",
        "execution.checkpointing.timeout": "2 min",
        "execution.checkpointing.num-retained": _KEPT_CHECKPOINTS,
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "execution.state-recovery.claim-mode": "CLAIM",
        "state.backend.type": settings.flink_state,
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.initial-backoff": "500 ms",
        "restart-strategy.exponential-delay.max-backoff": "10 s",
    }
    if settings.flink_python == "thread":  # the JVM does not know the Python environment
        values["python.pythonpath"] = os.pathsep.join(filter(None, sys.path))
    configuration = Configuration()
    for key, value in (values | _target(settings, parallelism)).items():
        configuration.set_string(key, str(value))
    return configuration


def _target(settings: Settings, parallelism: int) -> dict[str, Any]:
    """Flink's settings for where the job runs."""
    if settings.flink_target == "submitted":
        return {}
    if settings.flink_target != "local":
        host, _, port = settings.flink_target.rpartition(":")
        return {"execution.target": "remote", "rest.address": host, "rest.port": port}
    return {
        "execution.target": "local",
        "rest.bind-address": _LOOPBACK,
        "rest.address": _LOOPBACK,
        "jobmanager.bind-host": _LOOPBACK,
        "taskmanager.bind-host": _LOOPBACK,
        "taskmanager.numberOfTaskSlots": parallelism,
        "taskmanager.memory.network.min": "32 mb",
        "taskmanager.memory.network.max": "32 mb",
        "taskmanager.memory.managed.size": "64 mb",
    }


def _resume(settings: Settings, use_case: UseCase, configuration: Configuration) -> None:
    """Resume from the newest checkpoint, or start from the beginning of the topic."""
    folder = checkpoints.folder(settings, use_case)
    folder.mkdir(parents=True, exist_ok=True)
    found = checkpoints.newest_undamaged(folder)
    if found is not None:
        _log.info("resuming from a checkpoint", checkpoint=str(found))
        # the one before stays until Flink has replaced both
        checkpoints.remove_all_but(folder, {found, *checkpoints.complete(folder)[:_KEPT_CHECKPOINTS]})
        configuration.set_string("execution.state-recovery.path", found.as_uri())
        return
    _log.info("no checkpoint for these features: reading all observations from the beginning", folder=str(folder))
    delete_group(settings, checkpoints.job_name(settings, use_case))


def _watch(client: JobClient, stop: Event, folder: Path) -> None:
    try:
        while not stop.wait(_POLL_SECONDS):
            status = client.get_job_status().result()
            beat()  # the JVM has answered
            checkpoints.seal(folder)
            if status in (JobStatus.FAILED, JobStatus.CANCELED, JobStatus.FINISHED):
                client.get_job_execution_result().result()  # raises the cause
                raise JobError(f"the job is {status.name}")
    except Py4JError as error:
        raise JobError(f"Flink is not running any more: {error}") from error


def _stop(client: JobClient, folder: Path) -> None:
    """Stop with a savepoint, which commits all rows; cancel without one if that takes too long."""
    _log.info("stopping")
    try:
        saving = internals.stop_with_savepoint(client, (folder / checkpoints.SAVEPOINTS).as_uri())
        deadline = time.monotonic() + _SAVING_SECONDS
        while not saving.done() and time.monotonic() < deadline:
            time.sleep(_SAVING_POLL_SECONDS)
        if saving.done():
            _log.info("stopped", savepoint=str(saving.result()))
            checkpoints.seal(folder)
            return
        _log.warning("savepoint timed out; the next run resumes from the last checkpoint")
        client.cancel().result()
    except Py4JError as error:
        raise JobError(f"no savepoint; the next run resumes from the last checkpoint: {error}") from error
