"""Runs the job: goes on from the newest checkpoint, watches, and ends when told to."""

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
from confluent_kafka.admin import AdminClient
from py4j.protocol import Py4JError
from pyflink.common import Configuration, JobClient, JobStatus
from pyflink.datastream import StreamExecutionEnvironment

from dualcast.adapters.kafka.connection import OUTAGES, connection
from dualcast.adapters.kafka.topics import create_topics
from dualcast.catalogue import UseCase
from dualcast.settings import Settings
from streaming.job import checkpoints, internals, pipeline
from streaming.job.function import IntradayFeatures

_LOOPBACK = "127.0.0.1"
_POLL_SECONDS = 2.0
_TIMEOUT_SECONDS = 30.0
_PATIENCE_SECONDS = 60.0
_SAVING_SECONDS, _SAVING_POLL_SECONDS = 8.0, 0.05
_log = structlog.get_logger(__name__)


class JobError(RuntimeError):
    """The job ended though nobody asked it to."""


def run(settings: Settings, use_case: UseCase, *, parallelism: int, exactly_once: bool) -> None:
    """Run the job until SIGTERM or SIGINT. Raises JobError where it fails for good."""
    name = checkpoints.job_name(settings, use_case)
    _create_topics(settings)
    configuration = configure(settings, use_case, parallelism=parallelism)
    _resume(settings, use_case, configuration)
    env = StreamExecutionEnvironment.get_execution_environment(configuration)
    # `flink run` has put jars of its own there
    env.add_jars(*(Path(p).as_uri() for p in settings.flink_jar_paths))
    function = IntradayFeatures(settings, use_case)
    client = pipeline.start(env, settings, function, group=name, exactly_once=exactly_once)
    _log.info("job started", job=name, id=str(client.get_job_id()))
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):  # until here, to die at once does no harm
        signal.signal(number, lambda *_: stop.set())
    _watch(client, stop)
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
        # hand over each message at once: a message is a chunk already, and a live one must not wait for the next
        "python.fn-execution.bundle.size": 1,
        # or else each record of a message would be copied together with all the others
        "pipeline.object-reuse": "true",
        "execution.buffer-timeout.interval": "0 ms",
        "execution.checkpointing.dir": checkpoints.folder(settings, use_case).as_uri(),
        "execution.checkpointing.interval": f"{round(1000 * settings.flink_checkpoint_seconds)} ms",
        "execution.checkpointing.timeout": "2 min",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "execution.state-recovery.claim-mode": "CLAIM",
        "state.backend.type": settings.flink_state,
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.initial-backoff": "500 ms",
        "restart-strategy.exponential-delay.max-backoff": "10 s",
    }
    if settings.flink_python == "thread":  # the JVM knows nothing of the environment that its Python belongs to
        values["python.pythonpath"] = os.pathsep.join(filter(None, sys.path))
    if settings.flink_target == "local":
        values |= {
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
    elif settings.flink_target != "submitted":
        host, _, port = settings.flink_target.rpartition(":")
        values |= {"execution.target": "remote", "rest.address": host, "rest.port": port}
    configuration = Configuration()
    for key, value in values.items():
        configuration.set_string(key, str(value))
    return configuration


def _resume(settings: Settings, use_case: UseCase, configuration: Configuration) -> None:
    """Go on from the newest checkpoint, or begin anew."""
    folder = checkpoints.folder(settings, use_case)
    folder.mkdir(parents=True, exist_ok=True)
    found = checkpoints.newest(folder)
    if found is not None:
        _log.info("going on from a checkpoint", checkpoint=str(found))
        checkpoints.forget_others(folder, found)
        configuration.set_string("execution.state-recovery.path", found.as_uri())
        return
    _log.info("no checkpoint of these features: reading all observations from the beginning", folder=str(folder))
    _forget_progress(settings, checkpoints.job_name(settings, use_case))


def _forget_progress(settings: Settings, group: str) -> None:
    """Remove what the group has read, which others ask to know how far the job is."""
    admin = AdminClient(connection(settings))
    known = admin.list_consumer_groups(request_timeout=_TIMEOUT_SECONDS).result(_TIMEOUT_SECONDS)
    if group in {g.group_id for g in known.valid}:
        admin.delete_consumer_groups([group], request_timeout=_TIMEOUT_SECONDS)[group].result(_TIMEOUT_SECONDS)


def _watch(client: JobClient, stop: Event) -> None:
    try:
        while not stop.wait(_POLL_SECONDS):
            status = client.get_job_status().result()
            if status in (JobStatus.FAILED, JobStatus.CANCELED, JobStatus.FINISHED):
                client.get_job_execution_result().result()  # raises with the cause
                raise JobError(f"the job is {status.name}")
    except Py4JError as error:
        raise JobError(f"Flink is gone: {error}") from error


def _stop(client: JobClient, folder: Path) -> None:
    """End with a savepoint, by which all that was made is published; without one where that takes too long."""
    _log.info("stopping")
    try:
        saving = internals.stop_with_savepoint(client, (folder / checkpoints.SAVEPOINTS).as_uri())
        deadline = time.monotonic() + _SAVING_SECONDS
        while not saving.done() and time.monotonic() < deadline:
            time.sleep(_SAVING_POLL_SECONDS)
        if saving.done():
            _log.info("stopped", savepoint=str(saving.result()))
            return
        _log.warning("no savepoint in time; the next run goes on from the last checkpoint")
        client.cancel().result()
    except Py4JError as error:
        raise JobError(f"no savepoint; the next run goes on from the last checkpoint: {error}") from error
