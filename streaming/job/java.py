"""Starts the JVM of PyFlink with its environment, and adapts Python that runs inside the JVM."""

from __future__ import annotations

import faulthandler
import os
import shutil
from pathlib import Path
from threading import Thread

from pyflink.java_gateway import get_gateway

from dualcast.settings import Settings

_JAVA_OPTIONS = (
    "-Xms128m -Xmx448m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:MaxMetaspaceSize=256m -XX:+ExitOnOutOfMemoryError"
)
# these make Python handle SIGSEGV, which the JVM uses to stop its threads
_FAULT_HANDLERS = ("PYTHONFAULTHANDLER", "PYTHONDEVMODE")
# Without this, PyFlink opens a server on all addresses that starts workers for whoever asks, in both modes.
_WITHOUT_WORKER_SERVER = {"_python_worker_execution_mode": "process"}
_LOG4J = """\
rootLogger.level = WARN
rootLogger.appenderRef.file.ref = File
# the connector registers a metric twice, which logs a line at each checkpoint
logger.metrics.name = org.apache.flink.metrics.MetricGroup
logger.metrics.level = ERROR
appender.file.name = File
appender.file.type = RollingFile
appender.file.fileName = {folder}/flink.log
appender.file.filePattern = {folder}/flink.log.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{{ISO8601}} %-5p %c{{1}} - %m%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 10MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 2
"""


def start(settings: Settings, job: str) -> None:
    """Prepare the JVM and start it in the background. Later calls of ``get_gateway`` wait for it or raise its error."""
    prepare(settings, job)
    Thread(target=get_gateway, daemon=True).start()


def prepare(settings: Settings, job: str) -> None:
    """Set the environment of the JVM, and write its log configuration."""
    state = settings.state_dir.resolve()
    logs, log4j = state / "logs", state / "flink" / "log4j.properties"
    for folder in (logs, log4j.parent):
        folder.mkdir(parents=True, exist_ok=True)
    log4j.write_text(_LOG4J.format(folder=logs), encoding="utf-8")
    if settings.java_home:
        os.environ["JAVA_HOME"] = settings.java_home
    if settings.flink_python == "thread":
        for variable in _FAULT_HANDLERS:
            os.environ.pop(variable, None)
    os.environ |= _WITHOUT_WORKER_SERVER
    options = f"{_JAVA_OPTIONS} {_temporary_files(state / 'flink' / 'tmp' / job)}"
    os.environ |= {"LOG4J_PROPERTIES": str(log4j), "FLINK_LOG_DIR": str(logs), "JVM_ARGS": options}


def adapt_python() -> None:
    """Must be called first by a function whose Python runs inside the JVM."""
    faulthandler.disable()  # it handles the signals that the JVM uses to stop its threads
    # PyFlink never reads the JVM's stderr: after 64 kB a write to the pipe blocks for ever
    os.dup2(1, 2)


def _temporary_files(folder: Path) -> str:
    """The option for a folder of temporary files, which is emptied first: a killed run leaves 80 MB in it."""
    if len(str(folder).split()) > 1:
        return ""  # PyFlink splits options at spaces
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return f"-Djava.io.tmpdir={folder}"
