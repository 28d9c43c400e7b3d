"""The JVM that PyFlink starts: when, with what in its environment, and Python inside it."""

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
# with these, Python handles SIGSEGV, by which the JVM around it stops its threads
_FAULT_HANDLERS = ("PYTHONFAULTHANDLER", "PYTHONDEVMODE")
_LOG4J = """\
rootLogger.level = WARN
rootLogger.appenderRef.file.ref = File
# one line at each checkpoint, about a metric that the connector enters twice
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
    """Prepare it and start it: whoever needs it waits until it runs, and gets the error where it does not."""
    prepare(settings, job)
    Thread(target=get_gateway, daemon=True).start()


def prepare(settings: Settings, job: str) -> None:
    """Set its environment, and write what logs where."""
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
    options = f"{_JAVA_OPTIONS} {_temporary_files(state / 'flink' / 'tmp' / job)}"
    os.environ |= {"LOG4J_PROPERTIES": str(log4j), "FLINK_LOG_DIR": str(logs), "JVM_ARGS": options}


def adapt_python() -> None:
    """To be called first by a function where Python runs inside the JVM."""
    faulthandler.disable()  # it would take the signals by which the JVM stops its threads
    # PyFlink holds the other end of its stderr and reads nothing: once 64 kB are in it, who writes waits for ever
    os.dup2(1, 2)


def _temporary_files(folder: Path) -> str:
    """The option that has Flink keep them in a folder, which is emptied: of each run 80 MB stay if it is killed."""
    if len(str(folder).split()) > 1:
        return ""  # PyFlink takes options apart at each space
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return f"-Djava.io.tmpdir={folder}"
